//! What a caller may with streams, on a server whose users sign in: each kind of right refused and allowed, a right that is
//! taken away, links, the whole log.

use delete_req::options::ExpectedStreamRevision as OfDelete;

use super::*;
use crate::protocol::testing::secured_over;

/// The clients of a server: its administrator, ann and bob, and nobody.
struct World {
    admin: Client,
    ann: Client,
    bob: Client,
    nobody: Client,
}

async fn world() -> World {
    let clock = SimulatedClock::new(EPOCH);
    let protocol = secured_over(Arc::new(MemoryStore::new(clock.clone())), &clock).await;
    let users = protocol.users().expect("it has users");
    users.make_first("password of admin").await.expect("there are none");
    for login in ["ann", "bob"] {
        let groups = vec!["readers".to_owned()];
        users.create(login, "password".to_owned(), String::new(), groups).await.expect("new");
    }
    let service = StreamsService(Arc::clone(&protocol));
    let nobody = Client { service, protocol, clock, caller: Caller::Anonymous };
    let of = |login: &str| nobody.of_caller(Caller::User(login.into()));
    World { admin: of("admin"), ann: of("ann"), bob: of("bob"), nobody }
}

impl Client {
    /// Says who may do what with a stream.
    async fn set_acl(&self, stream: &str, acl: &str) {
        let (metastream, data) = (format!("$${stream}"), format!("{{\"$acl\":{acl}}}"));
        let metadata = typed(Uuid::now_v7().as_u128(), "$metadata", &data);
        self.try_append(&metastream, ANY, vec![metadata]).await.expect("it may");
    }

    async fn tries_append(&self, stream: &str, number: u128) -> Result<Came, Status> {
        self.try_append(stream, ANY, numbered(&[number])).await
    }

    async fn tries_read(&self, stream: &str) -> Result<(), Status> {
        self.try_read(of_stream(stream, FIRST)).await.map(drop)
    }
}

const FIRST: RevisionOption = RevisionOption::Start(Empty {});

#[track_caller]
fn is_denied<T>(answer: Result<T, Status>) {
    let Err(status) = answer else { panic!("it is not for this caller") };
    let kind = status.metadata().get("exception").and_then(|kind| kind.to_str().ok());
    assert_eq!((status.code(), kind), (Code::PermissionDenied, Some("access-denied")));
}

#[track_caller]
fn check<T>(may: bool, answer: Result<T, Status>) {
    if may {
        assert!(answer.is_ok());
    } else {
        is_denied(answer);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_acl_streams_are_for_users_and_those_of_the_server_for_admins() {
    let World { admin, ann, nobody, .. } = world().await;
    assert_eq!(ann.append("a", NONE, &[1]).await, Came::Written(Some(0), Some(8)));
    ann.tries_read("a").await.expect("ann may");
    is_denied(nobody.tries_append("a", 2).await);
    is_denied(nobody.tries_read("a").await);
    is_denied(nobody.delete("a", OfDelete::Any(Empty {})).await);
    is_denied(ann.tries_append("$own", 3).await);
    is_denied(ann.tries_read("$own").await);
    is_denied(ann.tries_read("$$$own").await);
    admin.tries_append("$own", 3).await.expect("admin may");
    admin.tries_read("$own").await.expect("admin may");
    // The defaults are said in `$settings`.
    is_denied(ann.tries_append("$settings", 4).await);
    let defaults = r#"{"$userStreamAcl":{"$w":"bob"},"$systemStreamAcl":{"$r":"$all"}}"#;
    let settings = typed(5, "settings", defaults);
    admin.try_append("$settings", ANY, vec![settings]).await.expect("admin may");
    is_denied(ann.tries_append("a", 6).await);
    ann.tries_read("a").await.expect("it does not say");
    ann.tries_read("$own").await.expect("it says so");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_right_is_refused_and_allowed_by_itself() {
    let World { admin, ann, bob, .. } = world().await;
    admin.append("a", NONE, &[1]).await;
    let nobody_else = r#"{"$r":[],"$w":[],"$d":[],"$mr":[],"$mw":[]}"#;
    for right in ["$r", "$w", "$d", "$mr", "$mw"] {
        let acl = nobody_else.replace(&format!("\"{right}\":[]"), &format!("\"{right}\":\"ann\""));
        admin.set_acl("a", &acl).await;
        let metadata = |number| vec![typed(number, "$metadata", &format!("{{\"$acl\":{acl}}}"))];
        for (client, has) in [(&ann, true), (&bob, false)] {
            let may = |asked| has && asked == right;
            check(may("$r"), client.tries_read("a").await);
            check(may("$w"), client.tries_append("a", Uuid::now_v7().as_u128()).await);
            check(may("$mr"), client.tries_read("$$a").await);
            let number = Uuid::now_v7().as_u128();
            check(may("$mw"), client.try_append("$$a", ANY, metadata(number)).await);
            check(may("$d"), client.delete("a", OfDelete::Any(Empty {})).await);
        }
    }
    // Who may delete has not come to other rights by it.
    admin.set_acl("a", r#"{"$w":"bob","$d":"ann"}"#).await;
    ann.delete("a", OfDelete::Any(Empty {})).await.expect("ann may");
    is_denied(ann.tries_append("a", 70).await);
    bob.tries_append("a", 71).await.expect("bob may");
    is_denied(bob.tombstone("a", OfDelete::Any(Empty {})).await);
    ann.tombstone("a", OfDelete::Any(Empty {})).await.expect("ann may");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_taken_away_ends_what_is_open() {
    let World { admin, ann, bob, .. } = world().await;
    admin.append("a", NONE, &[1]).await;
    let subscribe = |client: &Client| {
        let asked = live(of_stream("a", FIRST));
        let (service, request) =
            (StreamsService(Arc::clone(&client.protocol)), ReadReq { options: Some(asked) });
        let request = client.asks(request);
        async move { service.read(request).await.expect("it may").into_inner() }
    };
    let (mut of_ann, mut of_bob) = (subscribe(&ann).await, subscribe(&bob).await);
    for subscription in [&mut of_ann, &mut of_bob] {
        for expected in ["confirmed", "0@a 1", "caught up Some(0) None"] {
            let response = subscription.next().await.expect("it goes on").expect("a response");
            assert_eq!(told(&response), expected);
        }
    }
    admin.set_acl("a", r#"{"$r":"ann"}"#).await;
    admin.append("a", ANY, &[2]).await;
    let response = of_ann.next().await.expect("it goes on").expect("ann may");
    assert_eq!(told(&response), "1@a 2");
    is_denied(of_bob.next().await.expect("the reason"));
    assert!(of_bob.next().await.is_none());
    // So does a user that is disabled.
    let users = ann.protocol.users().expect("it has users");
    users.disable("ann", true).await.expect("there is ann");
    admin.append("a", ANY, &[3]).await;
    is_denied(of_ann.next().await.expect("the reason"));
    is_denied(ann.tries_read("a").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_leads_nobody_where_they_may_not_go() {
    let World { admin, ann, bob, .. } = world().await;
    admin.append("secret", NONE, &[1]).await;
    admin.set_acl("secret", r#"{"$r":["bob"]}"#).await;
    let links = [("l", "0@secret"), ("m", "0@$user-admin")];
    for (number, (stream, target)) in (10..).zip(links) {
        ann.try_append(stream, ANY, vec![typed(number, "$>", target)]).await.expect("ann may");
    }
    let resolved = |stream| ReadOptions { resolve_links: true, ..of_stream(stream, FIRST) };
    let first = |client: Client, stream: &'static str| async move {
        let mut responses = client.try_read(resolved(stream)).await.expect("the links are shown");
        responses.next().await.expect("an event")
    };
    let found = first(bob.of_caller(bob.caller.clone()), "l").await.expect("bob may");
    assert_eq!(told(&found), "0@secret 1 by 0@l 0@secret");
    is_denied(first(ann.of_caller(ann.caller.clone()), "l").await);
    is_denied(first(ann.of_caller(ann.caller.clone()), "m").await);
    assert_eq!(ann.events("l").await, ["0@l 0@secret"], "the link itself is not secret");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_log_is_for_admins_and_whom_they_let_and_tells_of_no_users() {
    let World { admin, ann, bob, .. } = world().await;
    ann.append("a", NONE, &[1]).await;
    is_denied(ann.try_read(of_log(START)).await.map(drop));
    is_denied(ann.try_read(live(of_log(START))).await.map(drop));
    admin.set_acl("$all", r#"{"$r":"readers"}"#).await;
    for client in [&admin, &ann, &bob] {
        let shown = client.read(of_log(START)).await;
        assert_eq!(shown, ["0@a 1", r#"0@$$$all {"$acl":{"$r":"readers"}}"#]);
    }
    // Whatever an ACL says.
    admin.set_acl("$settings", r#"{"$r":"$all"}"#).await;
    for stream in ["$user-admin", "$users"] {
        admin.tries_read(stream).await.expect("admin may");
        is_denied(ann.tries_read(stream).await);
        is_denied(admin.tries_append(stream, 9).await);
        is_denied(admin.tries_append(&format!("$${stream}"), 9).await);
        is_denied(admin.delete(stream, OfDelete::Any(Empty {})).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_appended_within_the_rights_of_their_caller() {
    use super::batches::{begin, options as of_batch, request};
    use crate::protocol::wire::v1::streams::batch_append_req::options::ExpectedStreamPosition as InBatch;
    let World { admin, ann, nobody, .. } = world().await;
    let mut call = begin(&ann);
    call.send(request(1, of_batch("a", InBatch::Any(())), &[1], true));
    assert_eq!(call.next().await, (1, "at 0".to_owned()));
    admin.set_acl("a", r#"{"$w":[]}"#).await;
    call.send(request(2, of_batch("a", InBatch::Any(())), &[2], true));
    call.send(request(3, of_batch("b", InBatch::Any(())), &[3], true));
    let mut answers = [call.next().await, call.next().await];
    answers.sort();
    assert_eq!(answers[0], (2, "PERMISSION_DENIED AccessDenied".to_owned()));
    assert_eq!(answers[1], (3, "at 0".to_owned()));
    assert_eq!(admin.events("a").await, ["0@a 1"]);
    let (protocol, caller) = (Arc::clone(&nobody.protocol), nobody.caller.clone());
    let refused = super::super::batch::Answers::new(protocol, caller, futures::stream::empty());
    is_denied(refused.map(drop).map_err(Status::from));
}
