//! The feed: what it delivers is what the store holds, from wherever it resumes.

use annals_core::event::Position;
use annals_core::family::Family;
use annals_core::feed::Feed;
use annals_core::{EventStore, StoreIdentity};
use annals_fanout::{InProcessFeed, KafkaFeed};
use futures::StreamExt;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::sync::Arc;

use crate::services::UNDISTURBED;
use crate::world::{PATIENCE, World, published, taken, taken_until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_feeds_deliver_the_events_of_the_store() {
    let _undisturbed = UNDISTURBED.read().await;
    let world = World::new(1, "equal").await;
    world.append(5_000).await;
    let relay = world.relay();
    let in_process = InProcessFeed::new(Arc::new(world.store.clone()));
    let head = world.store.head();
    for context in ["market", "trading"] {
        let expected = world.events(context);
        let kafka = taken(&world.feed(), context, "equal", None, head).await;
        assert_eq!(kafka, expected, "{context} over Kafka");
        let direct = taken(&in_process, context, "equal", None, head).await;
        assert_eq!(direct, expected, "{context} in process");
    }
    relay.stop().await;
    world.assert_topics_are_exact();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_of_one_context_is_told_of_positions_of_another() {
    let _undisturbed = UNDISTURBED.read().await;
    let world = World::new(2, "through").await;
    let relay = world.relay();
    let mut market = world.feed().follow("market", "through", None);
    for _ in 0..3 {
        world.append_of("trading.OrderPlaced", 10).await;
        let head = world.store.head();
        assert_eq!(taken_until(&mut market, head).await, vec![]);
    }
    world.append_of("market.TradeRecorded", 3).await;
    let head = world.store.head();
    assert_eq!(taken_until(&mut market, head).await, world.events("market"));
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_is_caught_up_when_the_topic_ends() {
    let _undisturbed = UNDISTURBED.read().await;
    let world = World::new(3, "caught-up").await;
    world.append(20_000).await;
    let relay = world.relay();
    published(&relay, &world).await;
    let expected = world.events("trading").len();
    let mut batches = world.feed().follow("trading", "caught-up", None);
    let mut seen = 0;
    loop {
        let batch = batches.next().await.expect("it goes on").expect("it does not fail");
        seen += batch.events.len();
        assert_eq!(batch.caught_up, seen == expected, "after {seen} of {expected} events");
        if batch.caught_up {
            break;
        }
    }
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_resumes_anywhere_without_a_gap() {
    let _undisturbed = UNDISTURBED.read().await;
    let world = World::new(4, "resume").await;
    world.append(30_000).await;
    let relay = world.relay();
    published(&relay, &world).await;
    let (head, feed, all) = (world.store.head(), world.feed(), world.events("trading"));
    let mut committed = Position(0);
    for round in 0..12 {
        // Before, at and behind what the group has acknowledged; also in the middle of other contexts' events.
        let after = match round {
            0 => None,
            1 => Some(committed),
            2 => head,
            _ => Some(Position(world.random.below(30_000))),
        };
        let expected: Vec<_> =
            all.iter().filter(|event| Some(event.position) > after).cloned().collect();
        let mut batches = feed.follow("trading", "resume", after);
        let found = taken_until(&mut batches, head).await;
        assert_eq!(found, expected, "after {after:?}, with {committed} acknowledged");
        if let Some(some) = found.get(found.len() / 2) {
            feed.acknowledge("trading", "resume", some.position);
            committed = some.position;
        }
        tokio::time::sleep(std::time::Duration::from_millis(120)).await;
    }
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_waits_for_a_topic_that_is_not_there_yet() {
    let _undisturbed = UNDISTURBED.read().await;
    let world = World::new(5, "early").await;
    let mut batches = world.feed().follow("market", "early", None);
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    world.append(100).await;
    let relay = world.relay();
    let head = world.store.head();
    assert_eq!(taken_until(&mut batches, head).await, world.events("market"));
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_topic_of_another_store_or_epoch_is_refused() {
    let _undisturbed = UNDISTURBED.read().await;
    let world = World::new(6, "foreign").await;
    world.append(100).await;
    let relay = world.relay();
    published(&relay, &world).await;
    let identity = world.store.identity;
    for other in [
        StoreIdentity { epoch: 2, ..identity },
        StoreIdentity { id: uuid::Uuid::from_u128(99), ..identity },
    ] {
        let feed = KafkaFeed::new(world.settings.clone(), other);
        let first = feed.follow("market", "foreign", None).next().await.expect("an answer");
        assert_eq!(first.expect_err("another store's").family, Family::Damage);
    }
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_lost_its_beginning_is_not_read_as_if_it_had_not() {
    let _undisturbed = UNDISTURBED.read().await;
    let world = World::new(7, "cut").await;
    world.append(2_000).await;
    let relay = world.relay();
    published(&relay, &world).await;
    let topic = world.settings.topic("market");
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", &world.settings.brokers)
        .create()
        .expect("a client");
    let mut cut = TopicPartitionList::new();
    cut.add_partition_offset(&topic, 0, Offset::Offset(100)).expect("an offset");
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    admin.delete_records(&cut, &options).await.expect("the first 100 records are deleted");

    let (events, head) = (world.events("market"), world.store.head());
    for after in [None, Some(events[97].position)] {
        let first = world.feed().follow("market", "cut", after).next().await;
        let error = first.expect("an answer").expect_err("events are missing");
        assert_eq!(error.family, Family::Damage, "{error:?}");
    }
    let rest = taken(&world.feed(), "market", "cut", Some(events[99].position), head).await;
    assert_eq!(rest, events[100..]);
    relay.stop().await;
}
