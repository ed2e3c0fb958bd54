//! Users over a store, the service of users, and rights held against a model.

use std::collections::BTreeMap;
use std::sync::Arc;

use annals_core::clock::SimulatedClock;
use annals_core::memory::MemoryStore;
use annals_core::{Content, EventStore, StreamName};
use futures::StreamExt;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tonic::{Code, Request, Status};

use super::super::errors::ProtocolError;
use super::super::names::METADATA;
use super::super::service::Protocol;
use super::super::testing::{EPOCH, secured_over};
use super::super::wire::v1::users as wire;
use super::super::wire::v1::users::users_server::Users as _;
use super::super::writes::{Expected, Proposal};
use super::{Caller, Right, SignInError, Users, UsersService};

async fn protocol() -> Arc<Protocol> {
    let clock = SimulatedClock::new(EPOCH);
    secured_over(Arc::new(MemoryStore::new(clock.clone())), &clock).await
}

fn users(protocol: &Protocol) -> &Arc<Users> {
    protocol.users().expect("it has users")
}

async fn with_ann() -> Arc<Protocol> {
    let protocol = protocol().await;
    users(&protocol).make_first("of admin").await.expect("there are none");
    create(&protocol, "ann", "of ann").await.expect("new");
    protocol
}

async fn create(protocol: &Protocol, login: &str, password: &str) -> Result<(), ProtocolError> {
    let groups = vec!["staff".to_owned()];
    users(protocol).create(login, password.to_owned(), "Ann".to_owned(), groups).await
}

async fn signs_in(protocol: &Protocol, login: &str, password: &str) -> bool {
    match users(protocol).sign_in(login, password).await {
        Ok(found) => {
            assert_eq!(found.as_ref(), login);
            true
        }
        Err(why) => {
            assert_eq!(why, SignInError::Wrong);
            false
        }
    }
}

#[tokio::test]
async fn the_first_users_are_made_once_and_ops_waits_for_a_password() {
    let protocol = protocol().await;
    let users = users(&protocol);
    assert!(users.are_none().await.expect("it is read"));
    users.make_first("of admin").await.expect("there are none");
    assert!(!users.are_none().await.expect("it is read"));
    assert!(users.make_first("another").await.is_err(), "there are users");
    assert!(signs_in(&protocol, "admin", "of admin").await);
    for (login, password) in [("admin", "another"), ("admin", ""), ("ops", ""), ("ops", "changeit")]
    {
        assert!(!signs_in(&protocol, login, password).await, "{login} {password}");
    }
    let admin = Caller::User("admin".into());
    assert_eq!(protocol.may_administer(&admin), Ok(()));
    users.reset_password("ops", "of ops".to_owned()).await.expect("there is ops");
    assert!(signs_in(&protocol, "ops", "of ops").await);
    let ops = Caller::User("ops".into());
    assert_eq!(protocol.may_operate(&ops), Ok(()));
    assert_eq!(protocol.may_administer(&ops), Err(ProtocolError::AccessDenied));
}

#[tokio::test]
async fn a_change_holds_at_once_also_for_credentials_that_were_right() {
    let protocol = with_ann().await;
    let users = users(&protocol);
    assert!(signs_in(&protocol, "ann", "of ann").await);
    assert!(signs_in(&protocol, "ann", "of ann").await, "remembered");
    assert!(!signs_in(&protocol, "ann", "of bob").await);
    users.disable("ann", true).await.expect("there is ann");
    assert!(!signs_in(&protocol, "ann", "of ann").await);
    let ann = Caller::User("ann".into());
    assert_eq!(protocol.may_be_here(&ann), Err(ProtocolError::AccessDenied));
    users.disable("ann", false).await.expect("there is ann");
    assert!(signs_in(&protocol, "ann", "of ann").await);
    users.reset_password("ann", "new".to_owned()).await.expect("there is ann");
    assert!(!signs_in(&protocol, "ann", "of ann").await);
    assert!(signs_in(&protocol, "ann", "new").await);
    let wrong = users.change_password("ann", "of ann", "newer".to_owned()).await;
    assert_eq!(wrong, Err(ProtocolError::AccessDenied));
    users.change_password("ann", "new", "newer".to_owned()).await.expect("it was right");
    assert!(signs_in(&protocol, "ann", "newer").await && !signs_in(&protocol, "ann", "new").await);
    // A password that was reset lets nobody in again who was disabled for a reason.
    users.disable("ann", true).await.expect("there is ann");
    users.reset_password("ann", "newest".to_owned()).await.expect("there is ann");
    assert!(!signs_in(&protocol, "ann", "newest").await);
    users.delete("ann").await.expect("there is ann");
    assert!(!signs_in(&protocol, "ann", "newest").await);
    create(&protocol, "ann", "again").await.expect("she has gone");
    assert!(
        signs_in(&protocol, "ann", "again").await && !signs_in(&protocol, "ann", "newest").await
    );
}

#[tokio::test]
async fn users_are_the_same_after_a_restart() {
    let clock = SimulatedClock::new(EPOCH);
    let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new(clock.clone()));
    let before = secured_over(Arc::clone(&store), &clock).await;
    users(&before).make_first("of admin").await.expect("there are none");
    for login in ["ann", "bob", "cid"] {
        create(&before, login, "of all").await.expect("new");
    }
    users(&before).delete("bob").await.expect("there is bob");
    users(&before).disable("cid", true).await.expect("there is cid");
    users(&before).reset_password("ann", "new".to_owned()).await.expect("there is ann");
    let after = secured_over(store, &clock).await;
    assert_eq!(users(&after).all(), users(&before).all());
    let logins: Vec<_> = users(&after).all().iter().map(|user| user.login().to_owned()).collect();
    assert_eq!(logins, ["admin", "ann", "cid", "ops"]);
    assert!(signs_in(&after, "ann", "new").await && !signs_in(&after, "ann", "of all").await);
    assert!(!signs_in(&after, "bob", "of all").await && !signs_in(&after, "cid", "of all").await);
}

#[tokio::test]
async fn what_is_wrong_is_told_and_changes_nothing() {
    let protocol = with_ann().await;
    let all = users(&protocol).all();
    let conflict = Err(ProtocolError::UserConflict("ann".to_owned()));
    assert_eq!(create(&protocol, "ann", "x").await, conflict);
    for (login, password) in [("", "x"), ("$admins", "x"), ("a:b", "x"), ("new", "")] {
        let wrong = create(&protocol, login, password).await;
        assert!(matches!(wrong, Err(ProtocolError::Malformed(_))), "{login}: {wrong:?}");
    }
    let unknown = Err(ProtocolError::UserNotFound("bob".to_owned()));
    let users = users(&protocol);
    assert_eq!(users.update("bob", String::new(), vec![]).await, unknown);
    assert_eq!(users.disable("bob", true).await, unknown);
    assert_eq!(users.delete("bob").await, unknown);
    assert_eq!(users.reset_password("bob", "x".to_owned()).await, unknown);
    assert_eq!(users.change_password("bob", "x", "x".to_owned()).await, unknown);
    let empty = users.reset_password("ann", String::new()).await;
    assert!(matches!(empty, Err(ProtocolError::Malformed(_))));
    let group = users.update("ann", String::new(), vec![String::new()]).await;
    assert!(matches!(group, Err(ProtocolError::Malformed(_))));
    assert_eq!(users.all(), all);
}

fn asks<T>(caller: Caller, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(caller);
    request
}

#[track_caller]
fn check<T>(answer: Result<T, Status>, expected: Result<(), (Code, &str)>) {
    let found = answer.map(drop).map_err(|status| {
        let kind = status.metadata().get("exception").and_then(|kind| kind.to_str().ok());
        (status.code(), kind.unwrap_or_default().to_owned())
    });
    assert_eq!(found, expected.map_err(|(code, kind)| (code, kind.to_owned())));
}

#[tokio::test]
async fn administrators_may_do_all_with_users_and_a_user_little_with_itself() {
    let protocol = with_ann().await;
    let service = UsersService::of(&protocol).expect("it has users");
    let (admin, ann) = (Caller::User("admin".into()), Caller::User("ann".into()));
    let denied = Err((Code::PermissionDenied, "access-denied"));
    let login_name = || "ann".to_owned();
    let details = |login_name: &str| wire::DetailsReq {
        options: Some(wire::details_req::Options { login_name: login_name.to_owned() }),
    };
    let change = |login_name: &str, current: &str| wire::ChangePasswordReq {
        options: Some(wire::change_password_req::Options {
            login_name: login_name.to_owned(),
            current_password: current.to_owned(),
            new_password: "of ann".to_owned(),
        }),
    };
    for (caller, may) in [(&admin, Ok(())), (&ann, denied), (&Caller::Anonymous, denied)] {
        let to = |groups: &[&str]| groups.iter().map(|group| (*group).to_owned()).collect();
        let options = Some(wire::create_req::Options {
            login_name: "bob".to_owned(),
            password: "of bob".to_owned(),
            full_name: "Bob".to_owned(),
            groups: to(&["staff"]),
        });
        check(service.create(asks(caller.clone(), wire::CreateReq { options })).await, may);
        let options = Some(wire::update_req::Options {
            login_name: login_name(),
            groups: to(&["$ops"]),
            ..wire::update_req::Options::default()
        });
        check(service.update(asks(caller.clone(), wire::UpdateReq { options })).await, may);
        let options = Some(wire::disable_req::Options { login_name: login_name() });
        check(service.disable(asks(caller.clone(), wire::DisableReq { options })).await, may);
        let options = Some(wire::enable_req::Options { login_name: login_name() });
        check(service.enable(asks(caller.clone(), wire::EnableReq { options })).await, may);
        let options = Some(wire::reset_password_req::Options {
            login_name: login_name(),
            new_password: "of ann".to_owned(),
        });
        let reset = wire::ResetPasswordReq { options };
        check(service.reset_password(asks(caller.clone(), reset)).await, may);
        let options = Some(wire::delete_req::Options { login_name: "bob".to_owned() });
        check(service.delete(asks(caller.clone(), wire::DeleteReq { options })).await, may);
        check(service.details(asks(caller.clone(), details("admin"))).await, may);
        let all = wire::DetailsReq { options: None };
        check(service.details(asks(caller.clone(), all)).await, may);
        check(service.change_password(asks(caller.clone(), change("admin", "no"))).await, denied);
    }
    let unknown = Err((Code::NotFound, "user-not-found"));
    check(service.details(asks(admin.clone(), details("bob"))).await, unknown);
    let options = Some(wire::create_req::Options {
        login_name: login_name(),
        password: "x".to_owned(),
        ..wire::create_req::Options::default()
    });
    let conflict = Err((Code::FailedPrecondition, "user-conflict"));
    check(service.create(asks(admin, wire::CreateReq { options })).await, conflict);
    check(service.change_password(asks(ann.clone(), change("ann", "of ann"))).await, Ok(()));
    check(service.change_password(asks(ann.clone(), change("ann", "of bob"))).await, denied);
    let told = service.details(asks(ann, details("ann"))).await.expect("of herself");
    let told: Vec<_> = told.into_inner().collect().await;
    let [Ok(wire::DetailsResp { user_details: Some(told) })] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!((&*told.login_name, &*told.groups[0], told.disabled), ("ann", "$ops", false));
    let ticks = told.last_updated.as_ref().map(|at| at.ticks_since_epoch);
    assert_eq!(ticks, Some(EPOCH.0 * 10));
}

#[tokio::test]
async fn without_users_nothing_is_asked() {
    let protocol = super::super::testing::protocol();
    let caller = protocol.caller(&tonic::Extensions::new());
    assert_eq!(caller, Caller::Anybody);
    let stream = StreamName::new("$own").expect("a name");
    assert_eq!(protocol.may(&caller, Right::Write, &stream).await, Ok(()));
    assert_eq!(protocol.may_administer(&caller), Ok(()));
    assert!(UsersService::of(&protocol).is_none());
}

/// Whose rights are held against the model: the login name, and the groups.
const CALLERS: [(&str, &[&str]); 4] =
    [("ann", &["staff"]), ("bob", &["$ops"]), ("cid", &[]), ("dan", &["$admins"])];
const STREAMS: [&str; 4] = ["a", "b", "$c", "$all"];

type Model = BTreeMap<&'static str, [Option<Vec<&'static str>>; 5]>;

fn roles() -> impl Strategy<Value = Option<Vec<&'static str>>> {
    let role = prop::sample::select(vec!["ann", "bob", "staff", "$ops", "$all", "else", "$admins"]);
    prop::option::of(prop::collection::vec(role, 0..3))
}

fn acls() -> impl Strategy<Value = Model> {
    let acl = prop::array::uniform5(roles());
    prop::collection::btree_map(prop::sample::select(STREAMS.to_vec()), acl, 0..4)
}

/// The rule, once more: whom the stream's own ACL names, or else everybody where the stream is a user's; `$admins` always.
fn is_right(model: &Model, caller: &(&str, &[&str]), right: usize, stream: &str) -> bool {
    let (login, groups) = caller;
    let named = model.get(stream).and_then(|acl| acl[right].clone());
    let by_default = if stream.starts_with('$') { vec![] } else { vec!["$all"] };
    let named = named.unwrap_or(by_default);
    groups.contains(&"$admins")
        || named.iter().any(|role| role == login || *role == "$all" || groups.contains(role))
}

async fn write_acl(protocol: &Protocol, stream: &str, acl: &[Option<Vec<&'static str>>; 5]) {
    let named: serde_json::Map<_, _> = Right::ALL
        .iter()
        .zip(acl)
        .filter_map(|(right, roles)| Some((right.name().to_owned(), roles.clone()?.into())))
        .collect();
    let data = serde_json::json!({ "$acl": named, "else": 1 }).to_string();
    let event = protocol.own_event(METADATA, Content::Json, data.into());
    let metastream = StreamName::new(format!("$${stream}")).expect("a name");
    let proposal = Proposal::new(metastream, Expected::Any, vec![event]);
    protocol.write(&proposal).await.expect("room");
}

/// Every right of every caller to every stream, and to the stream of its metadata, as the model has it.
async fn check_rights(protocol: &Protocol, model: &Model) {
    for caller in &CALLERS {
        let who = Caller::User(caller.0.into());
        for stream in STREAMS {
            let metastream = format!("$${stream}");
            for (place, right) in Right::ALL.into_iter().enumerate() {
                let of_metadata =
                    if matches!(right, Right::Read | Right::ReadMetadata) { 3 } else { 4 };
                for (name, place) in [(stream, place), (&*metastream, of_metadata)] {
                    let name = StreamName::new(name).expect("a name");
                    let found = protocol.may(&who, right, &name).await.is_ok();
                    let expected = is_right(model, caller, place, stream);
                    assert_eq!(found, expected, "{caller:?} {right:?} {name} {model:?}");
                    let anonymous = protocol.may(&Caller::Anonymous, right, &name).await;
                    assert_eq!(anonymous, Err(ProtocolError::AccessDenied));
                }
            }
        }
    }
}

#[test]
fn nobody_gains_or_loses_a_right_but_by_the_streams_own_acl() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let protocol = runtime.block_on(async {
        let protocol = protocol().await;
        for (login, groups) in CALLERS {
            let groups = groups.iter().map(|group| (*group).to_owned()).collect();
            let made = users(&protocol).create(login, "x".to_owned(), String::new(), groups);
            made.await.expect("new");
        }
        protocol
    });
    let mut runner = TestRunner::new(ProptestConfig::with_cases(64));
    let checked = runner.run(&acls(), |model| {
        runtime.block_on(async {
            for stream in STREAMS {
                let acl = model.get(stream).cloned().unwrap_or_default();
                write_acl(&protocol, stream, &acl).await;
            }
            check_rights(&protocol, &model).await;
        });
        Ok(())
    });
    checked.expect("rights are as the model has them");
}
