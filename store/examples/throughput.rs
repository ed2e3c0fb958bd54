//! Prints what the log reaches on this machine: `cargo run --release -p annals-store --example
//! throughput FOLDER`. The folder must be on a real disk; it is left behind for a look.

#![allow(clippy::print_stdout, reason = "it prints figures")]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use annals_core::clock::SystemClock;
use annals_core::disk::RealDisk;
use annals_core::random::SystemRandom;
use annals_core::{
    Append, EventId, EventStore, EventType, ExpectedRevision, NewEvent, ReadQuery,
    SchemaFingerprint, StreamName, StreamWrite,
};
use annals_store::{Log, LogOptions};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use uuid::Uuid;

type Failure = Box<dyn Error>;

const PAYLOAD_BYTES: usize = 200;

fn open(folder: &Path) -> Result<Arc<Log>, Failure> {
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
    Ok(Log::open(Arc::new(RealDisk), folder, clock, random, LogOptions::default())?)
}

fn event(number: u64) -> Result<NewEvent, Failure> {
    Ok(NewEvent {
        id: EventId(Uuid::from_u64_pair(number, number.wrapping_mul(0x9E37_79B9_7F4A_7C15))),
        event_type: EventType::new("trading.OrderPlaced")?,
        schema: SchemaFingerprint(1),
        metadata: Bytes::new(),
        data: Bytes::from(vec![b'x'; PAYLOAD_BYTES]),
    })
}

fn append(stream: &str, numbers: std::ops::Range<u64>) -> Result<Append, Failure> {
    let events = numbers.map(event).collect::<Result<_, _>>()?;
    let (stream, expected) = (StreamName::new(stream)?, ExpectedRevision::Any);
    Ok(Append::to(StreamWrite { stream, expected, events }))
}

/// Appends of `size` events, `flying` at a time, made beforehand; answers events a second.
async fn appends(
    log: &Log,
    from: u64,
    count: u64,
    size: u64,
    flying: usize,
) -> Result<f64, Failure> {
    let made: Vec<_> = (0..count)
        .map(|n| append(&format!("account-{}", n % 100), from + n * size..from + (n + 1) * size))
        .collect::<Result<_, _>>()?;
    let mut waiting = FuturesUnordered::new();
    let begun = Instant::now();
    for next in made {
        waiting.push(log.append(next));
        if waiting.len() >= flying
            && let Some(answer) = waiting.next().await
        {
            answer?;
        }
    }
    while let Some(answer) = waiting.next().await {
        answer?;
    }
    Ok(rate(count * size, begun.elapsed()))
}

fn rate(count: u64, time: Duration) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / time.as_secs_f64()
}

async fn read(log: &Log, query: ReadQuery) -> Result<f64, Failure> {
    let begun = Instant::now();
    let mut count = 0;
    let mut batches = log.read(query);
    while let Some(batch) = batches.next().await {
        count += batch?.events.len() as u64;
    }
    Ok(rate(count, begun.elapsed()))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let folder = std::env::args().nth(1).ok_or("name a folder on a real disk")?;
    let folder = Path::new(&folder).join("throughput");
    if folder.exists() {
        return Err(format!("{} exists already", folder.display()).into());
    }
    let log = open(&folder)?;
    log.append(append("warm-up", 0..1)?).await?;
    let rounds = [
        ("1,000 events x 4 in flight", 1 << 40, 1_200, 1_000, 4),
        ("100 events x 16 in flight", 2 << 40, 5_000, 100, 16),
        ("1 event x 64 in flight", 3 << 40, 50_000, 1, 64),
        ("1 event x 1,024 in flight", 4 << 40, 200_000, 1, 1_024),
        ("1 event x 1 in flight", 5 << 40, 3_000, 1, 1),
    ];
    for (name, from, count, size, flying) in rounds {
        println!("append {name}: {:.0} events/s", appends(&log, from, count, size, flying).await?);
    }
    let stats = log.stats();
    println!("{} events, {} bytes, {} segments", stats.events, stats.bytes, stats.segments);
    println!("bytes an event: {}", stats.bytes / stats.events);
    log.close();
    drop(log);
    let begun = Instant::now();
    let log = open(&folder)?;
    println!("open: {:.2} s", begun.elapsed().as_secs_f64());
    println!("read all: {:.0} events/s", read(&log, ReadQuery::all()).await?);
    println!("read all backwards: {:.0} events/s", read(&log, ReadQuery::all().backwards()).await?);
    let stream = StreamName::new("account-7")?;
    println!("read a stream: {:.0} events/s", read(&log, ReadQuery::stream(stream)).await?);
    log.close();
    Ok(())
}
