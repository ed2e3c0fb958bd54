//! Consumers share events, refuse them, come and go.

use std::collections::BTreeSet;
use std::time::Duration;

use eventstore::{
    NakAction, PersistentSubscriptionOptions, ReplayParkedMessagesOptions, SystemConsumerStrategy,
};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::harness::scratch;
use super::{GROUP, LIMIT, World, client, finish, join, next, number};

#[tokio::test]
async fn what_a_killed_consumer_had_goes_to_others() {
    let folder = scratch();
    let world = World::start(folder.path());
    world.create("s", PersistentSubscriptionOptions::default()).await;
    let mut one = world.join("s", 10).await;
    let other = client(&world.server);
    let mut two = join(&other, "s", 10).await;
    world.write("s", 0..100).await;
    let (held, tried) = next(&mut two).await;
    assert_eq!(tried, 0);
    drop((two, other));
    let (mut seen, mut retried) = (BTreeSet::new(), BTreeSet::new());
    while seen.len() < 100 {
        let (event, tried) = next(&mut one).await;
        assert!(seen.insert(number(&event)), "{} came twice", number(&event));
        if tried > 0 {
            retried.insert(number(&event));
        }
        one.ack(event).await.expect("a line to the server");
    }
    assert!(retried.contains(&number(&held)) && retried.len() == 10, "{retried:?}");
}

#[tokio::test]
async fn each_answer_does_what_it_says_and_parked_events_come_again() {
    let folder = scratch();
    let world = World::start(folder.path());
    let options = PersistentSubscriptionOptions::default().max_retry_count(1);
    world.create("s", options).await;
    world.write("s", 0..4).await;
    let mut consumer = world.join("s", 10).await;
    for action in [NakAction::Park, NakAction::Retry, NakAction::Skip, NakAction::Park] {
        let (event, _) = next(&mut consumer).await;
        consumer.nack(event, action, "because").await.expect("a line to the server");
    }
    let (event, tried) = next(&mut consumer).await;
    assert_eq!((number(&event), tried), (1, 1));
    consumer.nack(event, NakAction::Retry, "again").await.expect("a line to the server");
    world.parked("s", 3).await;

    let replay = ReplayParkedMessagesOptions::default().stop_at(1);
    world.client.replay_parked_messages("s", GROUP, &replay).await.expect("a replay");
    let (event, tried) = next(&mut consumer).await;
    assert_eq!((number(&event), tried), (0, 0));
    consumer.ack(event).await.expect("a line to the server");
    world.parked("s", 2).await;
    let replayed = world.client.replay_parked_messages("s", GROUP, &Default::default()).await;
    replayed.expect("a replay");
    assert_eq!(finish(&mut consumer, 2).await, [3, 1]);
    world.parked("s", 0).await;
}

#[tokio::test]
async fn an_event_that_takes_too_long_is_tried_again_and_then_parked() {
    let folder = scratch();
    let world = World::start(folder.path());
    let options = PersistentSubscriptionOptions::default()
        .message_timeout(Duration::from_millis(100))
        .max_retry_count(2);
    world.create("s", options).await;
    world.write("s", 0..1).await;
    let mut consumer = world.join("s", 10).await;
    for tries in 0..3 {
        assert_eq!(next(&mut consumer).await.1, tries);
    }
    world.parked("s", 1).await;
}

#[tokio::test]
async fn there_are_no_more_consumers_than_there_may_be() {
    let folder = scratch();
    let world = World::start(folder.path());
    world.create("s", PersistentSubscriptionOptions::default().max_subscriber_count(1)).await;
    let first = world.join("s", 10).await;
    let options = Default::default();
    let join = || world.client.subscribe_to_persistent_subscription("s", GROUP, &options);
    assert!(join().await.is_err());
    drop(first);
    let free = async {
        while join().await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LIMIT, free).await.expect("the place is free again");
}

#[tokio::test]
async fn a_pinned_stream_comes_in_order_to_one_consumer() {
    let folder = scratch();
    let world = World::start(folder.path());
    let options = PersistentSubscriptionOptions::default()
        .consumer_strategy_name(SystemConsumerStrategy::Pinned);
    world.create("s", options).await;
    let (mut one, mut two) = (world.join("s", 3).await, world.join("s", 3).await);
    world.write("s", 0..50).await;
    let numbers = tokio::select! {
        numbers = finish(&mut one, 50) => numbers,
        numbers = finish(&mut two, 50) => numbers,
    };
    assert!(numbers.into_iter().eq(0..50));
}

#[tokio::test]
async fn five_hundred_consumers_of_one_connection_share_the_events() {
    let folder = scratch();
    let world = World::start(folder.path());
    let options = PersistentSubscriptionOptions::default()
        .consumer_strategy_name(SystemConsumerStrategy::RoundRobin);
    world.create("s", options).await;
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let mut consumers = JoinSet::new();
    for place in 0..500 {
        let (mut consumer, told) = (world.join("s", 10).await, told.clone());
        consumers.spawn(async move {
            loop {
                let (event, _) = next(&mut consumer).await;
                let number = number(&event);
                consumer.ack(event).await.expect("a line to the server");
                told.send((place, number)).expect("a test that listens");
            }
        });
    }
    for first in (0..5000).step_by(500) {
        world.write("s", first..first + 500).await;
    }
    let (mut seen, mut busy) = (BTreeSet::new(), BTreeSet::new());
    while seen.len() < 5000 {
        let (place, number) = timeout(LIMIT, heard.recv()).await.expect("in time").expect("one");
        assert!(seen.insert(number), "{number} came twice");
        busy.insert(place);
    }
    assert_eq!(busy.len(), 500, "every consumer has its turns");
    consumers.shutdown().await;
}
