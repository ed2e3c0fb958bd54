//! Prints what a large log costs: `cargo run --release -p annals-store --example scale FOLDER [EVENTS]`. Events of 200
//! bytes go to streams of 20, a thousand of which grow at a time, each event with a tag. The folder must be on a real disk; it
//! is left behind for a look.

#![allow(clippy::print_stdout, reason = "it prints figures")]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use annals_core::clock::SystemClock;
use annals_core::disk::RealDisk;
use annals_core::random::{SeededRandom, SystemRandom};
use annals_core::{
    Append, Condition, EventId, EventQuery, EventStore, EventType, ExpectedRevision, Filter,
    Metadata, NewEvent, ReadQuery, SchemaFingerprint, StreamName, StreamWrite,
};
use annals_store::{Log, LogOptions};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use uuid::Uuid;

type Failure = Box<dyn Error>;

const PAYLOAD_BYTES: usize = 200;
const STREAM_EVENTS: u64 = 20;
const GROWING: u64 = 1_000;

fn open(folder: &Path) -> Result<Arc<Log>, Failure> {
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
    Ok(Log::open(Arc::new(RealDisk), folder, clock, random, LogOptions::default())?)
}

fn stream(number: u64) -> u64 {
    number / (GROWING * STREAM_EVENTS) * GROWING + number % GROWING
}

fn event(number: u64, data: &Bytes) -> Result<NewEvent, Failure> {
    let tags = [format!("desk:{}", stream(number) % 500)].into();
    Ok(NewEvent {
        id: EventId(Uuid::from_u64_pair(number.wrapping_mul(0x9E37_79B9_7F4A_7C15), number)),
        event_type: EventType::new(
            ["trading.OrderPlaced", "trading.OrderFilled"][usize::from(number.is_multiple_of(3))],
        )?,
        schema: SchemaFingerprint(1),
        metadata: Metadata { tags, ..Metadata::default() }.encode(),
        data: data.clone(),
    })
}

fn append(number: u64, data: &Bytes) -> Result<Append, Failure> {
    let (stream, expected) =
        (StreamName::new(format!("account-{}", stream(number)))?, ExpectedRevision::Any);
    Ok(Append::to(StreamWrite { stream, expected, events: vec![event(number, data)?] }))
}

fn memory_mib() -> Result<u64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse::<u64>()? / 1024)
}

fn per_second(count: u64, time: Duration) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / time.as_secs_f64()
}

async fn count(log: &Log, query: ReadQuery) -> Result<u64, Failure> {
    let mut batches = log.read(query);
    let mut count = 0;
    while let Some(batch) = batches.next().await {
        count += batch?.events.len() as u64;
    }
    Ok(count)
}

async fn fill(log: &Log, events: u64) -> Result<(), Failure> {
    let data = Bytes::from(vec![b'x'; PAYLOAD_BYTES]);
    let mut waiting = FuturesOrdered::new();
    for number in 0..events {
        waiting.push_back(log.append(append(number, &data)?));
        if waiting.len() >= 4_096
            && let Some(answer) = waiting.next().await
        {
            answer?;
        }
    }
    while let Some(answer) = waiting.next().await {
        answer?;
    }
    Ok(())
}

fn folder_bytes(folder: &Path, kind: &str) -> Result<u64, Failure> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().ends_with(kind) {
            bytes += entry.metadata()?.len();
        }
    }
    Ok(bytes)
}

fn quantiles(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |share: usize| times[times.len() * share / 100].as_secs_f64() * 1e6;
    format!("p50 {:.0} us, p99 {:.0} us", at(50), at(99))
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("name a folder on a real disk")?;
    let events: u64 = arguments.next().map_or(Ok(10_000_000), |events| events.parse())?;
    let folder = Path::new(&folder).join("scale");
    if !folder.exists() {
        let log = open(&folder)?;
        let begun = Instant::now();
        fill(&log, events).await?;
        println!(
            "fill, 1 event x 4,096 in flight: {:.0} events/s",
            per_second(events, begun.elapsed())
        );
        println!("memory after: {} MiB", memory_mib()?);
        log.close();
        return Ok(());
    }
    let begun = Instant::now();
    let log = open(&folder)?;
    println!("open: {:.3} s", begun.elapsed().as_secs_f64());
    println!("memory after: {} MiB", memory_mib()?);
    let stats = log.stats();
    println!("{} events, {} streams, {} segments", stats.events, stats.streams, stats.segments);
    let indexes = folder_bytes(&folder, ".index")?;
    println!(
        "bytes an event: {} and {} of index",
        stats.bytes / stats.events,
        indexes / stats.events
    );
    let random = SeededRandom::new(5);
    let streams = events / STREAM_EVENTS;
    let mut times = Vec::new();
    for round in 0..20_000 {
        let name = StreamName::new(format!("account-{}", random.below(streams)))?;
        let begun = Instant::now();
        let found = count(&log, ReadQuery::stream(name)).await?;
        if round >= 10_000 {
            times.push(begun.elapsed());
        }
        assert_eq!(found, STREAM_EVENTS, "a stream is whole");
    }
    println!("read one stream of 20: {}", quantiles(times));
    let query = EventQuery::tagged(["desk:7".to_owned()]);
    let begun = Instant::now();
    let found = count(
        &log,
        ReadQuery::all().filtered(Filter { query: query.clone(), ..Filter::default() }),
    )
    .await?;
    println!("read {found} events by tag: {:.3} s", begun.elapsed().as_secs_f64());
    let mut times = Vec::new();
    let data = Bytes::from(vec![b'x'; PAYLOAD_BYTES]);
    for round in 0..1_000 {
        let mut new = append(events + round, &data)?;
        let tags = EventQuery::tagged([format!("unique:{round}")]);
        new.condition = Some(Condition { fail_if_events_match: tags, after: None });
        let begun = Instant::now();
        log.append(new).await?;
        times.push(begun.elapsed());
    }
    println!("append if no event has a tag: {}", quantiles(times));
    let begun = Instant::now();
    let read = count(&log, ReadQuery::all()).await?;
    println!("read all: {:.0} events/s", per_second(read, begun.elapsed()));
    println!("memory at the end: {} MiB", memory_mib()?);
    log.close();
    Ok(())
}
