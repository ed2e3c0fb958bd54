//! Times the relay and the feed alone, against a running cluster and registry:
//! `KAFKA_BOOTSTRAP_SERVERS=… SCHEMA_REGISTRY_URL=… cargo run --release -p annals-fanout --example fanout_speed -- 1000000 lz4`
#![allow(clippy::print_stdout, reason = "its figures are its purpose")]

use std::sync::Arc;
use std::time::Instant;

use annals_core::clock::SystemClock;
use annals_core::codec::{EventSchema, SchemaFingerprint, Schemas};
use annals_core::event::{EventId, EventType, NewEvent, Position, StreamName};
use annals_core::feed::Feed;
use annals_core::memory::MemoryStore;
use annals_core::metadata::Metadata;
use annals_core::{Append, EventStore, ExpectedRevision, StreamWrite};
use annals_fanout::{KafkaFeed, KafkaSettings, Relay, RelayOptions};
use bytes::Bytes;
use futures::StreamExt;
use uuid::Uuid;

const BATCH: usize = 4096;

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let events: usize = std::env::args().nth(1).map_or(Ok(1_000_000), |text| text.parse())?;
    let kafka = KafkaSettings {
        brokers: std::env::var("KAFKA_BOOTSTRAP_SERVERS")?,
        topic_prefix: format!("speed-{}.", Uuid::new_v4().simple()),
        compression: std::env::args().nth(2).unwrap_or_else(|| "lz4".to_owned()),
        ..KafkaSettings::default()
    };
    let store = MemoryStore::new(SystemClock);
    let schemas = Schemas::default();
    schemas.publish(&store, &[schema()?]).await?;
    fill(&store, events).await?;
    let head = store.head();

    let options = RelayOptions {
        kafka: kafka.clone(),
        registry: std::env::var("SCHEMA_REGISTRY_URL")?,
        contexts: vec!["market".to_owned(), "trading".to_owned()],
    };
    let (began, processor) = (Instant::now(), processor_seconds());
    let relay = Relay::start(Arc::new(store.clone()), schemas, options);
    let mut published = relay.published();
    while *published.borrow() < Some(Position(10)) {
        published.changed().await?;
    }
    let first = began.elapsed();
    published.wait_for(|through| *through >= head).await?;
    report("relay", events, began, processor);
    println!("  of which until the first events were acknowledged: {first:.2?}");

    let feed = KafkaFeed::new(kafka, store.identity());
    let (began, processor) = (Instant::now(), processor_seconds());
    let mut batches = feed.follow("market", "speed", None);
    let (mut seen, mut count) = (0, 0);
    while seen < events {
        let batch = batches.next().await.ok_or("the feed ended")??;
        seen += batch.events.len();
        count += 1;
    }
    report("feed", events, began, processor);
    println!("  in {count} batches");
    relay.stop().await;
    Ok(())
}

fn report(what: &str, events: usize, began: Instant, processor: f64) {
    let (seconds, processor) = (began.elapsed().as_secs_f64(), processor_seconds() - processor);
    #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
    let count = events as f64;
    let rate = count / seconds;
    let each = processor / count * 1e6;
    println!("{what}: {events} events in {seconds:.2} s, {rate:.0} events/s");
    println!("  with {processor:.2} s of this process's processor time, {each:.1} us an event");
}

/// The processor time of this process so far, user and system, from Linux's clock ticks of 10 ms.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn schema() -> Result<EventSchema, Failure> {
    let text = r#"{"type":"record","name":"TradeRecorded","namespace":"market","fields":[
        {"name":"at","type":"long"},{"name":"price","type":"bytes"},{"name":"size","type":"long"}]}"#;
    let event_type = EventType::new("market.TradeRecorded")?;
    Ok(EventSchema { fingerprint: SchemaFingerprint(0xfeed), event_type, text: text.into() })
}

async fn fill(store: &MemoryStore, events: usize) -> Result<(), Failure> {
    let stream = StreamName::new("market-XBTUSD")?;
    let event_type = EventType::new("market.TradeRecorded")?;
    for first in (0..events).step_by(BATCH) {
        let metadata = Metadata { causation: Some(Uuid::new_v4()), ..Metadata::default() }.encode();
        let event = |number: usize| NewEvent {
            id: EventId(Uuid::new_v4()),
            event_type: event_type.clone(),
            schema: SchemaFingerprint(0xfeed),
            metadata: metadata.clone(),
            data: Bytes::from(format!("{number:030}").into_bytes()),
        };
        let events = (first..events.min(first + BATCH)).map(event).collect();
        let expected = ExpectedRevision::Any;
        let write = StreamWrite { stream: stream.clone(), expected, events };
        store.append(Append::to(write)).await?;
    }
    Ok(())
}
