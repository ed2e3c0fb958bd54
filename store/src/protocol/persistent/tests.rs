//! Groups over a store: the one in memory, and the log.

mod flow;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use annals_core::clock::SystemClock;
use annals_core::disk::SimulatedDisk;
use annals_core::memory::MemoryStore;
use annals_core::random::SystemRandom;
use annals_core::{EventStore, ReadQuery, Retention, StreamName};
use bytes::Bytes;
use futures::TryStreamExt;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::super::deletion::Deletion;
use super::super::errors::{GroupTrouble, ProtocolError};
use super::super::names::LINK;
use super::super::service::{Parts, Protocol, Settings as ProtocolSettings};
use super::super::writes::Expected;
use super::configuration::{GroupKey, StartFrom, Wanted};
use super::consumers::About;
use super::group::Action;
use super::groups::{Asked, Groups, Running, whole_log};
use super::keeping::{Keeping, checkpoint_stream, parked_stream};
use super::message::Message;
use super::runner::Connected;
use super::settings::{Settings, Strategy};
use crate::{Log, LogOptions};

/// Nothing here takes so long.
const LIMIT: Duration = Duration::from_secs(20);

fn settings() -> Settings {
    Settings {
        resolve_links: false,
        extra_statistics: false,
        message_timeout: Some(Duration::from_secs(30)),
        max_retry_count: 3,
        checkpoint_after: Duration::from_millis(20),
        min_checkpoint_count: 1,
        max_checkpoint_count: 10,
        max_subscriber_count: 0,
        live_buffer_size: 50,
        read_batch_size: 10,
        history_buffer_size: 50,
        strategy: Strategy::RoundRobin,
    }
}

fn name(name: &str) -> StreamName {
    StreamName::new(name).expect("a name")
}

fn asked(source: &str) -> Asked {
    let key = GroupKey { source: name(source), group: "g".to_owned() };
    Asked { key, wanted: None, start_from: StartFrom::Start, settings: settings() }
}

struct World {
    store: Arc<dyn EventStore>,
    protocol: Arc<Protocol>,
    groups: Groups,
    stopping: CancellationToken,
}

impl World {
    fn over(store: Arc<dyn EventStore>) -> World {
        let stopping = CancellationToken::new();
        let protocol = Protocol::new(Parts {
            store: Arc::clone(&store),
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
            open: Arc::new(Semaphore::new(10)),
            stopping: stopping.clone(),
            asked_to_stop: CancellationToken::new(),
            settings: ProtocolSettings {
                host: "127.0.0.1".to_owned(),
                port: 1,
                event_bytes_max: 1 << 20,
                append_bytes_max: 1 << 20,
                write_timeout: LIMIT,
                system_projections: None,
            },
        });
        World { store, groups: Groups::new(Arc::clone(&protocol)), protocol, stopping }
    }

    /// The store in memory, and the log on a simulated disk.
    fn both() -> [World; 2] {
        let disk = Arc::new(SimulatedDisk::new(5));
        let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
        let options = LogOptions { segment_bytes: 1 << 20, ..LogOptions::default() };
        let log = Log::open(disk, Path::new("log"), clock, random, options);
        [World::over(Arc::new(MemoryStore::new(SystemClock))), World::over(log.expect("a log"))]
    }

    fn keeping(&self) -> Keeping {
        Keeping { protocol: Arc::clone(&self.protocol) }
    }

    /// Writes events whose data are these numbers.
    async fn write(&self, stream: &str, numbers: std::ops::Range<u32>) {
        let keeping = self.keeping();
        for number in numbers {
            let event = keeping.event("note.Taken", number.to_string().into(), Bytes::new());
            keeping.append(name(stream), event).await.expect("room");
        }
    }

    async fn join(&self, asked: &Asked, buffer_size: usize) -> Consumer {
        let text = String::new;
        let about = About { buffer_size, user: text(), from: text(), connection: text() };
        let group = self.groups.find(&asked.key).await.expect("the group");
        let connected = group.connect(about).await.expect("room for a consumer");
        Consumer { group, connected }
    }

    /// The last event of a stream.
    async fn last(&self, stream: StreamName) -> Option<String> {
        let mut batches = self.store.read(ReadQuery::stream(stream).backwards().limit(1));
        while let Some(batch) = batches.try_next().await.expect("a read") {
            if let Some(event) = batch.events.first() {
                return Some(String::from_utf8_lossy(&event.data).into_owned());
            }
        }
        None
    }

    /// How many events are parked, once it is this many.
    async fn parked(&self, asked: &Asked, count: u64) {
        let group = self.groups.find(&asked.key).await.expect("the group");
        let same = async {
            while group.describe().await.expect("it is there").parked != count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(LIMIT, same).await.unwrap_or_else(|_| panic!("{count} are never parked"));
    }
}

struct Consumer {
    group: Running,
    connected: Connected,
}

/// The number that an event was written with.
fn number(message: &Message) -> u32 {
    let event = message.content.event.as_ref().expect("an event");
    std::str::from_utf8(&event.data).expect("text").parse().expect("a number")
}

impl Consumer {
    async fn next(&mut self) -> Message {
        let next = timeout(LIMIT, self.connected.messages.recv()).await;
        next.expect("an event in time").expect("an event")
    }

    async fn take(&mut self, count: usize) -> Vec<Message> {
        let mut taken = Vec::new();
        for _ in 0..count {
            taken.push(self.next().await);
        }
        taken
    }

    async fn finish(&self, message: &Message) {
        assert!(self.group.acknowledge(self.connected.id, vec![message.id]).await);
    }

    async fn reject(&self, message: &Message, action: Action) {
        let (id, reason) = (self.connected.id, "because".to_owned());
        assert!(self.group.reject(id, vec![message.id], action, reason).await);
    }

    async fn numbers(&mut self, count: usize) -> Vec<u32> {
        let mut numbers = Vec::new();
        for _ in 0..count {
            let message = self.next().await;
            self.finish(&message).await;
            numbers.push(number(&message));
        }
        numbers
    }

    async fn end(self) -> ProtocolError {
        timeout(LIMIT, self.connected.end).await.expect("an end in time").expect("a reason")
    }
}

fn trouble(asked: &Asked, trouble: GroupTrouble) -> ProtocolError {
    let (stream, group) = (asked.key.source.to_string(), asked.key.group.clone());
    ProtocolError::Group { trouble, stream, group }
}

#[tokio::test]
async fn what_one_consumer_had_goes_to_another_and_nothing_is_lost() {
    for world in World::both() {
        let asked = asked("s");
        world.write("s", 0..30).await;
        world.groups.create(&asked).await.expect("a group");
        let (mut one, two) = (world.join(&asked, 10).await, world.join(&asked, 10).await);
        world.write("s", 30..200).await;
        drop(two);
        let mut seen = BTreeMap::new();
        while seen.len() < 200 {
            for number in one.numbers(1).await {
                *seen.entry(number).or_insert(0) += 1;
            }
        }
        assert!(seen.into_keys().eq(0..200));
    }
}

#[tokio::test]
async fn a_group_of_the_whole_log_has_the_events_it_wants() {
    for world in World::both() {
        let by = |by_type, pattern: Option<&str>, prefix: &str| Wanted {
            by_type,
            pattern: pattern.map(str::to_owned),
            prefixes: vec![prefix.to_owned()],
        };
        let wanted = by(false, None, "a-");
        let asked = Asked { wanted: Some(wanted), ..asked(whole_log().as_str()) };
        world.write("b-1", 0..5).await;
        world.write("a-1", 5..8).await;
        world.groups.create(&asked).await.expect("a group");
        let mut consumer = world.join(&asked, 3).await;
        assert_eq!(consumer.numbers(3).await, [5, 6, 7]);
        world.write("b-1", 8..9).await;
        world.write("a-2", 9..10).await;
        assert_eq!(consumer.numbers(1).await, [9]);
        let wrong = by(false, Some("("), "");
        let key = GroupKey { group: "wrong".to_owned(), ..asked.key.clone() };
        let wrong = Asked { wanted: Some(wrong), key, ..asked };
        let refused = world.groups.create(&wrong).await;
        assert!(matches!(refused, Err(ProtocolError::Malformed(_))), "{refused:?}");
    }
}

#[tokio::test]
async fn a_group_begins_where_it_is_told() {
    for world in World::both() {
        world.write("s", 0..5).await;
        let from = |start_from, group: &str, source: &str| {
            let asked = asked(source);
            let key = GroupKey { group: group.to_owned(), ..asked.key };
            Asked { key, start_from, ..asked }
        };
        let all = whole_log();
        let stream = from(StartFrom::At(3), "revision", "s");
        let end = from(StartFrom::End, "end", "s");
        // Before anything that the groups write.
        let position = from(StartFrom::At(2), "position", all.as_str());
        let after = from(StartFrom::End, "all", all.as_str());
        for asked in [&stream, &end, &position, &after] {
            world.groups.create(asked).await.expect("a group");
        }
        world.write("s", 5..6).await;
        assert_eq!(world.join(&stream, 5).await.numbers(3).await, [3, 4, 5]);
        assert_eq!(world.join(&end, 5).await.numbers(1).await, [5]);
        assert_eq!(world.join(&position, 5).await.numbers(3).await, [2, 3, 4]);
        let first = world.join(&after, 5).await.next().await;
        let original = first.content.original().expect("an event");
        assert!(original.position.0 >= 8, "{original:?}");
    }
}

#[tokio::test]
async fn parked_events_are_links_that_come_again_when_asked_for() {
    for world in World::both() {
        let asked = asked("s");
        world.write("s", 0..3).await;
        world.groups.create(&asked).await.expect("a group");
        let mut consumer = world.join(&asked, 10).await;
        for message in consumer.take(3).await {
            consumer.reject(&message, Action::Park).await;
        }
        world.parked(&asked, 3).await;
        let parked = parked_stream(&asked.key).expect("a name");
        assert_eq!(world.last(parked.clone()).await.as_deref(), Some("2@s"));
        let mut links = world.store.read(ReadQuery::stream(parked.clone()));
        let link = links.try_next().await.expect("a read").expect("a batch").events[0].clone();
        assert_eq!(link.event_type.as_str(), LINK);
        let custom: serde_json::Value =
            serde_json::from_slice(&link.metadata().custom).expect("JSON");
        assert_eq!(custom["Reason"], "because");
        assert_eq!(custom["SubscriptionEventNumber"], 0);

        consumer.group.replay(Some(1)).await.expect("it replays");
        let again = consumer.next().await;
        assert_eq!((number(&again), again.retry_count), (0, 0));
        consumer.reject(&again, Action::Park).await;
        world.parked(&asked, 3).await;
        consumer.group.replay(None).await.expect("it replays");
        assert_eq!(consumer.numbers(3).await, [1, 2, 0]);
        world.parked(&asked, 0).await;
        let metastream = Retention::stream_of(&parked).expect("a name");
        let written = async {
            while world.last(metastream.clone()).await.as_deref() != Some("{\"$tb\":4}") {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(LIMIT, written).await.expect("what is done is let go");
    }
}

#[tokio::test]
async fn a_replay_that_was_not_finished_is_not_forgotten() {
    for world in World::both() {
        let asked = asked("s");
        world.write("s", 0..1).await;
        world.groups.create(&asked).await.expect("a group");
        let mut consumer = world.join(&asked, 10).await;
        let message = consumer.next().await;
        consumer.reject(&message, Action::Park).await;
        world.parked(&asked, 1).await;
        consumer.group.replay(None).await.expect("it replays");
        assert_eq!(number(&consumer.next().await), 0);
        world.parked(&asked, 0).await;
        world.groups.restart().await.expect("a restart");
        assert_eq!(consumer.end().await, trouble(&asked, GroupTrouble::Dropped));
        world.parked(&asked, 1).await;
        let group = world.groups.find(&asked.key).await.expect("the group");
        group.truncate(None).await.expect("it lets go");
        world.parked(&asked, 0).await;
    }
}

#[tokio::test]
async fn a_group_goes_on_behind_its_checkpoint() {
    for world in World::both() {
        let asked = asked("s");
        world.write("s", 0..20).await;
        world.groups.create(&asked).await.expect("a group");
        let mut consumer = world.join(&asked, 20).await;
        let messages = consumer.take(20).await;
        for message in messages.iter().filter(|message| number(message) != 12) {
            consumer.finish(message).await;
        }
        let checkpoints = checkpoint_stream(&asked.key).expect("a name");
        let written = async {
            let at =
                |last: Option<String>| last.is_some_and(|last| last.contains("\"through\":11"));
            while !at(world.last(checkpoints.clone()).await) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(LIMIT, written).await.expect("a checkpoint");
        // As after a kill: the others know nothing of these.
        let later = World::over(Arc::clone(&world.store));
        assert_eq!(later.join(&asked, 20).await.numbers(2).await, [12, 13]);
    }
}

#[tokio::test]
async fn consumers_are_told_why_they_are_dropped() {
    for world in World::both() {
        let asked = asked("s");
        world.write("s", 0..2).await;
        let missing = world.groups.update(&asked).await;
        assert_eq!(missing, Err(trouble(&asked, GroupTrouble::DoesNotExist)));
        world.groups.create(&asked).await.expect("a group");
        let exists = world.groups.create(&asked).await;
        assert_eq!(exists, Err(trouble(&asked, GroupTrouble::Exists)));
        let mut consumer = world.join(&asked, 1).await;
        assert_eq!(consumer.numbers(1).await, [0]);
        let settings = Settings { max_subscriber_count: 1, ..settings() };
        let changed = Asked { settings, ..asked.clone() };
        world.groups.update(&changed).await.expect("a change");
        assert_eq!(consumer.end().await, trouble(&asked, GroupTrouble::Dropped));
        let mut consumer = world.join(&asked, 1).await;
        assert_eq!(consumer.numbers(1).await, [1], "it goes on where it was");
        let group = world.groups.find(&asked.key).await.expect("the group");
        let text = String::new;
        let about = About { buffer_size: 1, user: text(), from: text(), connection: text() };
        let refused = group.connect(about).await.map(|connected| connected.id);
        assert_eq!(refused, Err(trouble(&asked, GroupTrouble::MaximumSubscribers)));
        world.groups.delete(&asked.key).await.expect("a deletion");
        assert_eq!(consumer.end().await, trouble(&asked, GroupTrouble::DoesNotExist));
        let gone = world.groups.find(&asked.key).await.map(|running| running.subscription_id());
        assert_eq!(gone, Err(trouble(&asked, GroupTrouble::DoesNotExist)));
        world.groups.create(&asked).await.expect("a new group");
        let mut consumer = world.join(&asked, 5).await;
        assert_eq!(consumer.numbers(2).await, [0, 1], "the old checkpoint is not its own");
        world.stopping.cancel();
        assert_eq!(consumer.end().await, ProtocolError::Stopping);
    }
}

#[tokio::test]
async fn what_a_deleted_group_parked_is_not_its_successors() {
    for world in World::both() {
        let asked = asked("s");
        world.write("s", 0..1).await;
        world.groups.create(&asked).await.expect("a group");
        let mut consumer = world.join(&asked, 1).await;
        let message = consumer.next().await;
        consumer.reject(&message, Action::Park).await;
        world.parked(&asked, 1).await;
        world.groups.delete(&asked.key).await.expect("a deletion");
        let later = World::over(Arc::clone(&world.store));
        let gone = later.groups.find(&asked.key).await.map(|_| ());
        assert_eq!(gone, Err(trouble(&asked, GroupTrouble::DoesNotExist)), "as after a start");
        world.groups.create(&asked).await.expect("a group");
        world.parked(&asked, 0).await;
    }
}

#[tokio::test]
async fn links_are_answered_as_the_events_they_name() {
    for world in World::both() {
        let settings = Settings { resolve_links: true, ..settings() };
        let asked = Asked { settings, ..asked("links") };
        world.write("s", 0..3).await;
        let keeping = world.keeping();
        for target in ["2@s", "9@s", "0@s"] {
            let link = keeping.event(LINK, target.into(), Bytes::new());
            keeping.append(name("links"), link).await.expect("room");
        }
        world.groups.create(&asked).await.expect("a group");
        let mut consumer = world.join(&asked, 5).await;
        let taken = consumer.take(3).await;
        let numbers: Vec<_> = taken
            .iter()
            .map(|it| it.content.event.as_ref().map(|event| event.revision.0))
            .collect();
        assert_eq!(numbers, [Some(2), None, Some(0)]);
        for (place, message) in taken.iter().enumerate() {
            let link = message.content.link.as_ref().expect("a link");
            assert_eq!((link.revision.0, link.id), (place as u64, message.id));
        }
        consumer.reject(&taken[0], Action::Park).await;
        world.parked(&asked, 1).await;
        consumer.group.replay(None).await.expect("it replays");
        let again = consumer.next().await;
        assert_eq!((again.content, again.id), (taken[0].content.clone(), taken[0].id));
    }
}

#[tokio::test]
async fn a_link_to_a_stream_that_has_ended_leads_nowhere() {
    for world in World::both() {
        let settings = Settings { resolve_links: true, ..settings() };
        let asked = Asked { settings, ..asked("links") };
        world.write("s", 0..1).await;
        let link = world.keeping().event(LINK, "0@s".into(), Bytes::new());
        world.keeping().append(name("links"), link).await.expect("room");
        let ended = world.protocol.delete(&name("s"), Expected::Any, Deletion::Tombstone).await;
        ended.expect("it is there");
        world.groups.create(&asked).await.expect("a group");
        let taken = world.join(&asked, 5).await.next().await;
        assert!(taken.content.event.is_none() && taken.content.link.is_some(), "{taken:?}");
    }
}

#[tokio::test]
async fn groups_are_there_before_anybody_asks() {
    for world in World::both() {
        world.groups.create(&asked("s")).await.expect("a group");
        // As after a start of the server.
        let later = World::over(Arc::clone(&world.store));
        assert!(!later.groups.are_loaded());
        later.groups.load().await;
        assert!(later.groups.are_loaded());
        let all: Vec<_> = later.groups.list(None).await.expect("a list");
        assert_eq!(all.len(), 1);
    }
}
