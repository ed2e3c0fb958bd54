//! The server ends, by order and by a kill, and groups go on where they were.

use std::collections::BTreeMap;
use std::time::Duration;

use eventstore::{Error, NakAction, PersistentSubscriptionOptions};
use tokio::time::timeout;

use super::harness::scratch;
use super::{LIMIT, World, finish, next, number};

#[tokio::test]
async fn nothing_is_lost_when_the_server_is_killed() {
    let folder = scratch();
    let world = World::start(folder.path());
    let options = PersistentSubscriptionOptions::default()
        .checkpoint_after(Duration::from_millis(10))
        .checkpoint_lower_bound(1)
        .checkpoint_upper_bound(20);
    world.create("s", options).await;
    world.write("s", 0..300).await;
    let mut consumer = world.join("s", 10).await;
    let mut seen = BTreeMap::new();
    let (event, _) = next(&mut consumer).await;
    consumer.nack(event, NakAction::Park, "later").await.expect("a line to the server");
    world.parked("s", 1).await;
    for number in finish(&mut consumer, 150).await {
        seen.insert(number, 1);
    }
    // A checkpoint is written meanwhile; which one is of no matter.
    tokio::time::sleep(Duration::from_millis(300)).await;
    // Dropping a server is a kill.
    drop((consumer, world));

    let world = World::start(folder.path());
    world.parked("s", 1).await;
    let mut consumer = world.join("s", 10).await;
    let mut again = 0;
    while seen.len() < 299 {
        for number in finish(&mut consumer, 1).await {
            let times = seen.entry(number).or_insert(0);
            again += usize::from(*times > 0);
            *times += 1;
        }
    }
    assert!(seen.into_keys().eq(1..300));
    assert!(again < 50, "{again} events came again: no checkpoint was found");
    let options = Default::default();
    let replayed = world.client.replay_parked_messages("s", super::GROUP, &options).await;
    replayed.expect("a replay");
    assert_eq!(finish(&mut consumer, 1).await, [0]);
}

#[tokio::test]
async fn a_server_that_stops_says_so() {
    let folder = scratch();
    let world = World::start(folder.path());
    world.create("s", PersistentSubscriptionOptions::default()).await;
    world.write("s", 0..1).await;
    let mut consumer = world.join("s", 10).await;
    assert_eq!(number(&next(&mut consumer).await.0), 0);
    let stopped = tokio::task::spawn_blocking(|| world.server.stop());
    let error = timeout(LIMIT, consumer.next()).await.expect("an end in time");
    let error = error.err();
    assert!(
        matches!(&error, Some(Error::ServerError(text)) if text.contains("Not Ready"))
            || matches!(&error, Some(Error::Grpc { .. })),
        "{error:?}"
    );
    stopped.await.expect("a server").exits_with(0);
}
