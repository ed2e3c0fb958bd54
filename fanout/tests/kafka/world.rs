//! What the tests share: logs that are the same for a seed, relays and feeds over topics of their own, and a reader
//! of topics that knows nothing of the crate's.

use std::sync::Arc;
use std::time::Duration;

use annals_core::clock::{SimulatedClock, Timestamp};
use annals_core::codec::{EventSchema, SchemaFingerprint, Schemas};
use annals_core::event::{
    EventId, EventType, NewEvent, Position, RecordedEvent, Revision, StreamName,
};
use annals_core::feed::{Batch, Feed, FeedError};
use annals_core::memory::MemoryStore;
use annals_core::metadata::Metadata;
use annals_core::random::{Random, SeededRandom};
use annals_core::{
    Append, AppendError, Appended, EventStore, ExpectedRevision, ReadError, ReadQuery,
    StoreIdentity, StreamWrite,
};
use annals_fanout::{KafkaFeed, KafkaSettings, Relay, RelayHandle, RelayOptions};
use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use uuid::Uuid;

use crate::services::services;

/// Longer than anything here takes, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// A store whose identity can be chosen.
#[derive(Clone)]
pub(crate) struct Named {
    pub(crate) store: MemoryStore,
    pub(crate) identity: StoreIdentity,
}

impl EventStore for Named {
    fn append(&self, append: Append) -> BoxFuture<'static, Result<Appended, AppendError>> {
        self.store.append(append)
    }
    fn read(&self, query: ReadQuery) -> BoxStream<'static, Result<Batch, ReadError>> {
        self.store.read(query)
    }
    fn subscribe(&self, query: ReadQuery) -> BoxStream<'static, Result<Batch, ReadError>> {
        self.store.subscribe(query)
    }
    fn stream_head(
        &self,
        stream: &StreamName,
    ) -> BoxFuture<'static, Result<Option<Revision>, ReadError>> {
        self.store.stream_head(stream)
    }
    fn head(&self) -> Option<Position> {
        self.store.head()
    }
    fn identity(&self) -> StoreIdentity {
        self.identity
    }
}

/// A log under test, with topics of its own.
pub(crate) struct World {
    pub(crate) store: Named,
    pub(crate) schemas: Schemas,
    pub(crate) settings: KafkaSettings,
    pub(crate) random: SeededRandom,
    clock: SimulatedClock,
}

/// A schema of a record with one string field `f`.
pub(crate) fn schema(event_type: &str, fingerprint: u64) -> EventSchema {
    let (namespace, name) = event_type.split_once('.').expect("context.Name");
    let text = format!(
        r#"{{"type":"record","name":"{name}","namespace":"{namespace}","fields":[{{"name":"f","type":"string"}}]}}"#
    );
    let event_type = EventType::new(event_type).expect("a valid name");
    EventSchema { fingerprint: SchemaFingerprint(fingerprint), event_type, text: text.into() }
}

/// The types in the logs; the last two have no schema, the last one is not relayed.
const TYPES: [(&str, u64); 5] = [
    ("market.TradeRecorded", 0xa1),
    ("trading.OrderPlaced", 0xb2),
    ("trading.OrderFilled", 0xb3),
    ("trading.Foreign", 0),
    ("other.Thing", 0),
];

impl World {
    /// An empty log; the seed gives all that is random in it, the name its topics.
    pub(crate) async fn new(seed: u64, name: &str) -> World {
        let clock = SimulatedClock::new(Timestamp(1_514_764_800_000_001));
        let store = MemoryStore::new(clock.clone());
        let schemas = Schemas::default();
        let all: Vec<_> = TYPES
            .iter()
            .filter(|(_, fingerprint)| *fingerprint != 0)
            .map(|(event_type, fingerprint)| schema(event_type, *fingerprint))
            .collect();
        schemas.publish(&store, &all).await.expect("memory takes it");
        let random = SeededRandom::new(seed);
        let id = Uuid::from_u64_pair(seed, random.next_u64());
        let settings = KafkaSettings {
            brokers: services().brokers.clone(),
            topic_prefix: format!("{name}."),
            ..KafkaSettings::default()
        };
        let store = Named { store, identity: StoreIdentity { id, epoch: 1 } };
        World { store, schemas, settings, random, clock }
    }

    /// Appends this many events of all kinds, in appends of random size.
    pub(crate) async fn append(&self, events: usize) {
        let mut left = events;
        while left > 0 {
            let size = left.min(1 + usize::try_from(self.random.below(40)).expect("small"));
            self.append_one_batch(size, None).await;
            left -= size;
        }
    }

    /// Appends events of this type alone.
    pub(crate) async fn append_of(&self, event_type: &str, events: usize) {
        let kind = TYPES.iter().position(|(name, _)| *name == event_type);
        self.append_one_batch(events, kind).await;
    }

    async fn append_one_batch(&self, events: usize, kind: Option<usize>) {
        let random = &self.random;
        let stream = StreamName::new(format!("account-Å{}", random.below(9))).expect("valid");
        let command = Uuid::from_u64_pair(random.next_u64(), random.next_u64());
        let metadata = Metadata {
            causation: Some(command),
            actor: Some("me".to_owned()),
            ..Metadata::default()
        };
        let metadata = if random.below(4) == 0 { Bytes::new() } else { metadata.encode() };
        self.clock.advance(Duration::from_micros(random.below(3_000_000)));
        let event = |_| {
            let kind = kind.unwrap_or_else(|| {
                usize::try_from(random.below(TYPES.len() as u64)).expect("small")
            });
            let (event_type, fingerprint) = TYPES[kind];
            NewEvent {
                id: EventId(Uuid::from_u64_pair(random.next_u64(), random.next_u64())),
                event_type: EventType::new(event_type).expect("a valid name"),
                schema: SchemaFingerprint(fingerprint),
                metadata: metadata.clone(),
                data: self.payload(fingerprint),
            }
        };
        let events = (0..events).map(event).collect();
        self.append_events(stream, events).await;
    }

    pub(crate) async fn append_events(&self, stream: StreamName, events: Vec<NewEvent>) {
        let write = StreamWrite { stream, expected: ExpectedRevision::Any, events };
        self.store.append(Append::to(write)).await.expect("memory takes it");
    }

    /// An Avro string; or any bytes, none too, where there is no schema.
    fn payload(&self, fingerprint: u64) -> Bytes {
        let below = |bound| u8::try_from(self.random.below(bound)).expect("a small bound");
        let length = below(60);
        let letters = (0..length).map(|_| b'a' + below(26));
        if fingerprint == 0 {
            return letters.collect();
        }
        std::iter::once(length * 2).chain(letters).collect()
    }

    pub(crate) fn options(&self) -> RelayOptions {
        RelayOptions {
            kafka: self.settings.clone(),
            registry: services().registry.clone(),
            contexts: vec!["market".to_owned(), "trading".to_owned()],
        }
    }

    pub(crate) fn relay(&self) -> RelayHandle {
        Relay::start(Arc::new(self.store.clone()), self.schemas.clone(), self.options())
    }

    pub(crate) fn feed(&self) -> KafkaFeed {
        KafkaFeed::new(self.settings.clone(), self.store.identity)
    }

    /// The events of a context in the log.
    pub(crate) fn events(&self, context: &str) -> Vec<RecordedEvent> {
        let mut events = self.store.store.events();
        events.retain(|event| event.event_type.context() == context);
        events
    }

    /// Every topic holds each event of its context once, in order, and nothing else but through records.
    #[track_caller]
    pub(crate) fn assert_topics_are_exact(&self) {
        for context in ["market", "trading"] {
            let expected: Vec<_> = self.events(context).iter().map(|e| e.position.0).collect();
            let records = records(&self.settings.brokers, &self.settings.topic(context));
            let events = records.iter().filter(|record| record.header("ce_id").is_some());
            let found: Vec<_> = events.map(Record::position).collect();
            assert_eq!(found, expected, "the topic of {context}");
        }
    }
}

/// Waits until the relay has published the whole log.
pub(crate) async fn published(relay: &RelayHandle, world: &World) {
    let head = world.store.head();
    let mut published = relay.published();
    let waited = tokio::time::timeout(PATIENCE, published.wait_for(|through| *through >= head));
    let in_time = waited.await.is_ok();
    assert!(in_time, "published {:?} of {head:?}, {:?}", relay.published(), relay.status());
}

/// Takes what a feed delivers until it tells that it is through with `until`.
pub(crate) async fn taken_until(
    batches: &mut BoxStream<'static, Result<Batch, FeedError>>,
    until: Option<Position>,
) -> Vec<RecordedEvent> {
    let mut events = Vec::new();
    loop {
        let batch = tokio::time::timeout(PATIENCE, batches.next()).await;
        let batch = batch.unwrap_or_else(|_| panic!("{} events, then nothing", events.len()));
        let batch = batch.expect("it goes on").expect("it does not fail");
        assert!(batch.through >= batch.events.last().map(|event| event.position));
        events.extend(Arc::unwrap_or_clone(batch.events));
        if batch.through >= until {
            return events;
        }
    }
}

/// Takes the whole context from this feed.
pub(crate) async fn taken(
    feed: &dyn Feed,
    context: &'static str,
    group: &str,
    after: Option<Position>,
    until: Option<Position>,
) -> Vec<RecordedEvent> {
    taken_until(&mut feed.follow(context, group, after), until).await
}

/// One record of a topic, as any consumer sees it.
pub(crate) struct Record {
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    headers: Vec<(String, Vec<u8>)>,
}

impl Record {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| std::str::from_utf8(value).expect("text"))
    }

    pub(crate) fn position(&self) -> u64 {
        self.header("annals-position").expect("a position").parse().expect("a number")
    }
}

/// Every record of a topic.
pub(crate) fn records(brokers: &str, topic: &str) -> Vec<Record> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "test")
        .set("enable.auto.commit", "false")
        .create()
        .expect("a consumer");
    consumer.fetch_metadata(Some(topic), PATIENCE).expect("the topic's metadata");
    let (low, high) = consumer.fetch_watermarks(topic, 0, PATIENCE).expect("its offsets");
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition_offset(topic, 0, Offset::Offset(low)).expect("an offset");
    consumer.assign(&partitions).expect("an assignment");
    let mut records = Vec::new();
    let mut next = low;
    while next < high {
        let message = consumer.poll(PATIENCE).expect("a record").expect("no error");
        next = message.offset() + 1;
        let headers = message.headers().expect("headers").iter();
        records.push(Record {
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: headers
                .map(|h| (h.key.to_owned(), h.value.unwrap_or_default().to_vec()))
                .collect(),
        });
    }
    records
}
