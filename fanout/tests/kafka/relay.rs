//! The relay: what stands on a topic, and that it stands there once, whatever is dropped, killed or doubled.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use annals_core::codec::SchemaFingerprint;
use annals_core::event::{EventId, EventType, NewEvent, Position, StreamName};
use annals_core::family::Family;
use annals_core::store::EventStore;
use annals_fanout::{RegisteredId, RegistryClient, Relay, RelayError, RelayState, TopicError};
use bytes::Bytes;
use uuid::Uuid;

use crate::services::{BROKERS, REGISTRY, UNDISTURBED, services};
use crate::world::{Named, PATIENCE, World, published, records, taken, taken_until};
use annals_core::feed::Feed;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_is_a_cloud_event_around_confluent_framed_avro() {
    let _undisturbed = UNDISTURBED.read().await;
    let world = World::new(20, "record").await;
    world.append_of("trading.OrderPlaced", 1).await;
    world.append_of("trading.Foreign", 1).await;
    let relay = world.relay();
    published(&relay, &world).await;
    relay.stop().await;
    let (events, records) =
        (world.events("trading"), records(&services().brokers, &world.settings.topic("trading")));

    let (event, record) = (&events[0], &records[0]);
    let value = record.value.as_deref().expect("a value");
    assert_eq!(record.key.as_deref(), Some(event.stream.as_str().as_bytes()));
    assert_eq!((value[0], &value[5..]), (0, &event.data[..]), "the payload as in the store");
    let id = u32::from_be_bytes(value[1..5].try_into().expect("four bytes"));
    let registry = RegistryClient::new(&services().registry).expect("an address");
    let (latest, text) = registry.latest("trading.OrderPlaced").await.expect("it is registered");
    assert_eq!(latest, RegisteredId(id));
    assert_eq!(registry.schema(latest).await.expect("it is there"), text);
    for (name, value) in [
        ("content-type", "application/avro"),
        ("ce_specversion", "1.0"),
        ("ce_id", event.id.to_string().as_str()),
        ("ce_source", &format!("urn:annals:{}:1", world.store.identity.id)),
        ("ce_type", "trading.OrderPlaced"),
        ("ce_subject", event.stream.as_str()),
        ("annals-position", &event.position.to_string()),
        ("annals-revision", "0"),
        ("annals-schema", "00000000000000b2"),
    ] {
        assert_eq!(record.header(name), Some(value), "{name}");
    }
    assert_eq!(record.header("annals-previous"), None, "it is the first");

    let (event, record) = (&events[1], &records[1]);
    assert_eq!(record.value.as_deref(), Some(&event.data[..]), "no schema, no frame");
    assert_eq!(record.header("content-type"), Some("application/octet-stream"));
    assert_eq!(record.header("annals-schema"), None);
    assert_eq!(record.header("annals-previous"), Some(events[0].position.to_string().as_str()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_dropped_at_any_moment_loses_and_doubles_nothing() {
    let _undisturbed = UNDISTURBED.read().await;
    let world = World::new(21, "dropped").await;
    let mut follower = world.feed().follow("trading", "dropped", None);
    for _ in 0..12 {
        world.append(2_000).await;
        let relay = world.relay();
        let pause = Duration::from_millis(world.random.below(900));
        tokio::time::sleep(pause).await;
        drop(relay);
    }
    let relay = world.relay();
    published(&relay, &world).await;
    relay.stop().await;
    world.assert_topics_are_exact();
    let head = world.store.head();
    assert_eq!(taken_until(&mut follower, head).await, world.events("trading"));
}

/// Gives the child that is to be killed the topics of its parent.
const PREFIX: &str = "ANNALS_TEST_PREFIX";

/// The log of the killed relays, the same in every process.
async fn log_of_the_killed(prefix: &str) -> World {
    let world = World::new(22, prefix).await;
    world.append(40_000).await;
    world
}

/// Also the process that the next test kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_is_left_alone_publishes_the_whole_log() {
    let _undisturbed = UNDISTURBED.read().await;
    let prefix = std::env::var(PREFIX).unwrap_or_else(|_| "alone".to_owned());
    let world = log_of_the_killed(&prefix).await;
    let relay = world.relay();
    published(&relay, &world).await;
    relay.stop().await;
    world.assert_topics_are_exact();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_process_killed_at_any_moment_loses_and_doubles_nothing() {
    let _undisturbed = UNDISTURBED.read().await;
    let world = log_of_the_killed("killed").await;
    let mut kills = 0;
    for round in 0.. {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "relay::a_relay_that_is_left_alone_publishes_the_whole_log"])
            .env(PREFIX, "killed")
            .env(BROKERS, &services().brokers)
            .env(REGISTRY, &services().registry)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("this program starts");
        if round < 10 {
            let pause = 500 + world.random.below(1_200);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            kills += usize::from(child.try_wait().expect("its state").is_none());
            child.kill().expect("it can be killed");
        }
        let ended = child.wait().expect("it ends");
        if round >= 10 {
            assert!(ended.success(), "the last relay publishes the rest");
            break;
        }
    }
    assert!(kills > 2, "the relay was killed while it ran only {kills} times");
    world.assert_topics_are_exact();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_relays_at_once_are_noticed_and_a_reader_still_sees_each_event_once() {
    let _undisturbed = UNDISTURBED.read().await;
    let world = World::new(23, "twice").await;
    let first = world.relay();
    published(&first, &world).await;
    // By another name of the broker, so that this process does not see that they are two of the same.
    let mut options = world.options();
    options.kafka.brokers = options.kafka.brokers.replace("127.0.0.1", "localhost");
    let second = Relay::start(Arc::new(world.store.clone()), world.schemas.clone(), options);
    let noticed = Arc::new(AtomicBool::new(false));
    for relay in [&first, &second] {
        let (mut status, noticed) = (relay.status(), Arc::clone(&noticed));
        tokio::spawn(async move {
            while status.changed().await.is_ok() {
                let error = status.borrow().error.clone();
                let other = |error| matches!(error, &RelayError::OtherWriter { .. });
                noticed.fetch_or(error.as_deref().is_some_and(other), Ordering::SeqCst);
            }
        });
    }
    let mut running = second.status();
    running.wait_for(|status| status.state == RelayState::Running).await.expect("it goes on");
    for _ in 0..1_000 {
        if noticed.load(Ordering::SeqCst) {
            break;
        }
        world.append(200).await;
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert!(noticed.load(Ordering::SeqCst), "{:?}", first.status());
    second.stop().await;
    published(&first, &world).await;
    let head = world.store.head();
    for context in ["market", "trading"] {
        let found = taken(&world.feed(), context, "twice", None, head).await;
        assert_eq!(found, world.events(context));
    }
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_relay_in_the_process_waits_for_the_first() {
    let _undisturbed = UNDISTURBED.read().await;
    let world = World::new(24, "turns").await;
    world.append(500).await;
    let first = world.relay();
    published(&first, &world).await;
    let second = world.relay();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(second.status().borrow().state, RelayState::Starting);
    world.append(500).await;
    published(&first, &world).await;
    first.stop().await;
    world.append(500).await;
    published(&second, &world).await;
    second.stop().await;
    world.assert_topics_are_exact();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_slows_the_relay_and_loses_nothing() {
    let _undisturbed = UNDISTURBED.read().await;
    let mut world = World::new(28, "full").await;
    let queue = ("queue.buffering.max.messages".to_owned(), "20".to_owned());
    world.settings.properties.extend([queue]);
    world.append(3_000).await;
    let relay = world.relay();
    published(&relay, &world).await;
    relay.stop().await;
    world.assert_topics_are_exact();
}

/// Waits until the relay has failed, and gives the reason.
pub(crate) async fn failure(relay: &annals_fanout::RelayHandle) -> Arc<RelayError> {
    let mut status = relay.status();
    let failed = tokio::time::timeout(PATIENCE, status.wait_for(|status| status.error.is_some()));
    let failed = failed.await.expect("it fails in time").expect("it goes on").clone();
    failed.error.expect("the reason")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_refuses_the_topics_of_another_store_and_those_ahead_of_its_own() {
    let _undisturbed = UNDISTURBED.read().await;
    let world = World::new(25, "others").await;
    world.append(300).await;
    let relay = world.relay();
    published(&relay, &world).await;
    relay.stop().await;

    let mut other = World::new(25, "others").await;
    other.store = Named {
        identity: annals_core::store::StoreIdentity { epoch: 2, ..world.store.identity },
        ..other.store
    };
    other.append(300).await;
    let relay = other.relay();
    let error = failure(&relay).await;
    assert!(matches!(*error, RelayError::Topic(TopicError::Foreign { .. })), "{error:?}");
    assert_eq!(error.family(), Family::Damage);
    relay.stop().await;

    let shorter = World::new(25, "others").await;
    shorter.append(100).await;
    let relay = shorter.relay();
    let error = failure(&relay).await;
    assert!(matches!(*error, RelayError::Topic(TopicError::Ahead { .. })), "{error:?}");
    relay.stop().await;
    world.assert_topics_are_exact();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_no_record_can_hold_stops_the_relay_before_it() {
    let _undisturbed = UNDISTURBED.read().await;
    let mut world = World::new(26, "large").await;
    world.settings.message_bytes_max = 100_000;
    world.append_of("trading.OrderPlaced", 20).await;
    let before = world.events("trading");
    let large = NewEvent {
        id: EventId(Uuid::from_u128(5)),
        event_type: EventType::new("trading.Foreign").expect("a valid name"),
        schema: SchemaFingerprint::NONE,
        metadata: Bytes::new(),
        data: vec![7; 200_000].into(),
    };
    world.append_events(StreamName::new("account-1").expect("a valid name"), vec![large]).await;
    let at = world.store.head().expect("an event");
    world.append_of("trading.OrderPlaced", 20).await;
    let relay = world.relay();
    let error = failure(&relay).await;
    let RelayError::TooLarge { position, limit: 100_000 } = *error else { panic!("{error:?}") };
    assert_eq!((position, error.family()), (at, Family::TooMuch));
    let last = before.last().map(|event| event.position);
    let found = taken(&world.feed(), "trading", "large", None, last).await;
    assert_eq!(found, before);
    assert!(*relay.published().borrow() < Some(at));
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_whose_schema_the_log_lacks_is_not_published_as_something_else() {
    let _undisturbed = UNDISTURBED.read().await;
    let world = World::new(27, "unknown").await;
    let event = NewEvent {
        id: EventId(Uuid::from_u128(6)),
        event_type: EventType::new("trading.OrderPlaced").expect("a valid name"),
        schema: SchemaFingerprint(0xdead),
        metadata: Bytes::new(),
        data: Bytes::from_static(b"\0"),
    };
    world.append_events(StreamName::new("account-1").expect("a valid name"), vec![event]).await;
    let at = world.store.head().map_or(Position(0), |head| head);
    let relay = world.relay();
    let error = failure(&relay).await;
    let RelayError::UnknownSchema { position, .. } = *error else { panic!("{error:?}") };
    assert_eq!(position, at);
    relay.stop().await;
}
