//! What no client of every day asks for: to let go of parked events, and to start all groups again.

use annals_store::protocol::wire::v1::Empty;
use annals_store::protocol::wire::v1::persistent_subscriptions::ReplayParkedReq;
use annals_store::protocol::wire::v1::persistent_subscriptions::replay_parked_req::Options;
use annals_store::protocol::wire::v1::persistent_subscriptions::replay_parked_req::options::{
    StopAtOption, StreamOption,
};
use eventstore::{Error, NakAction, PersistentSubscriptionOptions};
use tokio::time::timeout;
use tonic::Code;

use super::calls::{Caller, GROUPS, kind, named, refused};
use super::harness::scratch;
use super::{GROUP, LIMIT, World, finish, next, number};

/// Lets go of the parked events before a number, or of all.
fn truncation(group: &str, before: Option<i64>) -> ReplayParkedReq {
    let options = Options {
        group_name: group.to_owned(),
        stream_option: named("s").map(StreamOption::StreamIdentifier),
        stop_at_option: Some(before.map_or(StopAtOption::NoLimit(Empty {}), StopAtOption::StopAt)),
    };
    ReplayParkedReq { options: Some(options) }
}

#[tokio::test]
async fn parked_events_that_are_let_go_do_not_come_again() {
    let folder = scratch();
    let world = World::start(folder.path());
    world.create("s", PersistentSubscriptionOptions::default()).await;
    world.write("s", 0..4).await;
    let mut consumer = world.join("s", 10).await;
    for _ in 0..4 {
        let (event, _) = next(&mut consumer).await;
        consumer.nack(event, NakAction::Park, "later").await.expect("a line to the server");
    }
    world.parked("s", 4).await;
    let caller = Caller::of(&world.server.address).await;
    let path = format!("{GROUPS}TruncateParked");
    let unknown = caller.ask(&path, &truncation("others", None)).await;
    let unknown = refused(unknown, Code::NotFound, "does not exist", "a group that there is not");
    assert_eq!(kind(&unknown), Some("persistent-subscription-does-not-exist"));
    world.parked("s", 4).await;

    caller.ask(&path, &truncation(GROUP, Some(3))).await.expect("it lets go");
    world.parked("s", 1).await;
    let options = Default::default();
    world.client.replay_parked_messages("s", GROUP, &options).await.expect("a replay");
    let (event, _) = next(&mut consumer).await;
    assert_eq!(number(&event), 3, "an event came again that was let go");
    consumer.nack(event, NakAction::Park, "later").await.expect("a line to the server");
    world.parked("s", 1).await;
    caller.ask(&path, &truncation(GROUP, None)).await.expect("it lets go");
    world.parked("s", 0).await;
    drop(consumer);
    world.server.stop().exits_with(0);

    let world = World::start(folder.path());
    world.parked("s", 0).await;
    let mut consumer = world.join("s", 10).await;
    world.client.replay_parked_messages("s", GROUP, &options).await.expect("a replay");
    world.write("s", 4..5).await;
    assert_eq!(finish(&mut consumer, 1).await, [4]);
}

#[tokio::test]
async fn groups_that_are_started_again_drop_their_consumers_and_go_on() {
    let folder = scratch();
    let world = World::start(folder.path());
    let options = PersistentSubscriptionOptions::default().checkpoint_lower_bound(1);
    world.create("s", options).await;
    world.write("s", 0..5).await;
    let mut consumer = world.join("s", 3).await;
    assert_eq!(finish(&mut consumer, 2).await, [0, 1]);
    assert_eq!(number(&next(&mut consumer).await.0), 2);
    // What it has said is heard once the group tells so.
    let heard = async {
        while world.info("s").await.expect("the group").stats.total_items < 5 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    timeout(LIMIT, heard).await.expect("two are done");
    let options = Default::default();
    world.client.restart_persistent_subscription_subsystem(&options).await.expect("a restart");
    let dropped = async {
        loop {
            if let Err(error) = consumer.next().await {
                return error;
            }
        }
    };
    let dropped = timeout(LIMIT, dropped).await.expect("an end in time");
    assert!(matches!(dropped, Error::IllegalStateError(_)), "{dropped:?}");
    let mut consumer = world.join("s", 10).await;
    assert_eq!(finish(&mut consumer, 3).await, [2, 3, 4], "it goes on behind what was done");
}
