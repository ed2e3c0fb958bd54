//! What a caller may with transactions, on a server whose users sign in: to write to each stream that is written, and to read
//! each that is only checked.

use super::*;
use crate::protocol::access::ADMINISTRATORS;
use crate::protocol::testing::secured_over;
use crate::protocol::wire::kurrent::rpc::AccessDeniedErrorDetails;

/// The same server for its administrator and for ann, who has no right to the streams of the server itself.
async fn worlds() -> (World, World) {
    let clock = SimulatedClock::new(EPOCH);
    let store = Arc::new(MemoryStore::new(clock.clone()));
    let protocol = secured_over(store, &clock).await;
    let users = protocol.users().expect("it has users");
    for (login, groups) in [("root", vec![ADMINISTRATORS.to_owned()]), ("ann", vec![])] {
        users.create(login, "password".to_owned(), String::new(), groups).await.expect("new");
    }
    let of = |login: &str| World {
        protocol: Arc::clone(&protocol),
        caller: Caller::User(login.into()),
        clock: clock.clone(),
    };
    (of("root"), of("ann"))
}

#[track_caller]
fn denied(answer: Result<Came, Status>) -> (String, Option<String>, Option<String>) {
    let status = answer.expect_err("it is not for this caller");
    assert_eq!((status.code(), status.message()), (Code::PermissionDenied, "Access Denied"));
    let (reason, detail) = carried::<AccessDeniedErrorDetails>(&status);
    assert_eq!(reason, "ACCESS_DENIED");
    (detail.operation, detail.username, detail.permission)
}

#[tokio::test]
async fn a_transaction_needs_a_right_to_each_stream_that_it_names() {
    let (admin, ann) = worlds().await;
    let login = || Some("ann".to_owned());
    let before = admin.log().await.len();
    let write = ("streams:append".to_owned(), login(), Some("$w@$own".to_owned()));
    assert_eq!(denied(ann.append(records(&[("a", 1), ("$own", 2)]), &[]).await), write);
    let session = vec![request("a", None, &[1]), request("$own", None, &[2])];
    assert_eq!(denied(ann.session(session).await), write);
    let check = ("streams:check".to_owned(), login(), Some("$r@$own".to_owned()));
    assert_eq!(denied(ann.append(records(&[("a", 1)]), &[("$own", -1)]).await), check);
    assert_eq!(admin.log().await.len(), before);
    ann.append(records(&[("a", 1)]), &[("b", -1)]).await.expect("ann may");
    admin.append(records(&[("a", 3), ("$own", 4)]), &[]).await.expect("root may");
    // What users are is written by the server alone.
    for world in [&admin, &ann] {
        denied(world.append(records(&[("$user-eve", 5)]), &[]).await);
        denied(world.append(records(&[("$$$users", 6)]), &[]).await);
    }
    let nobody = World { caller: Caller::Anonymous, ..ann };
    let (_, login, _) = denied(nobody.append(records(&[("a", 7)]), &[]).await);
    assert_eq!(login, None);
}
