//! Prints what many live subscribers cost: `cargo run --release -p annals-store --example subscribers FOLDER [COUNT]`. One
//! writer appends 1,000 events of 200 bytes a second, first alone, then with COUNT (10,000) subscriptions that each take
//! every event. The folder must be on a real disk; it is left behind for a look.

#![allow(clippy::print_stdout, reason = "it prints figures")]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use annals_core::clock::SystemClock;
use annals_core::disk::RealDisk;
use annals_core::random::SystemRandom;
use annals_core::{
    Append, EventId, EventStore, EventType, ExpectedRevision, NewEvent, ReadQuery,
    SchemaFingerprint, Start, StreamName, StreamWrite,
};
use annals_store::{Log, LogOptions};
use bytes::Bytes;
use futures::StreamExt;
use uuid::Uuid;

type Failure = Box<dyn Error + Send + Sync>;

const EVENTS: u64 = 5_000;
const PER_SECOND: u64 = 1_000;

fn append(number: u64) -> Result<Append, Failure> {
    let event = NewEvent {
        id: EventId(Uuid::from_u64_pair(7, number)),
        event_type: EventType::new("trading.OrderPlaced")?,
        schema: SchemaFingerprint(1),
        metadata: Bytes::new(),
        data: Bytes::from(vec![b'x'; 200]),
    };
    let (stream, expected) = (StreamName::new("account-1")?, ExpectedRevision::Any);
    Ok(Append::to(StreamWrite { stream, expected, events: vec![event] }))
}

fn memory_kib() -> Result<u64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse()?)
}

/// Appends at the rate; answers how long each took.
async fn write(log: &Log, from: u64) -> Result<Vec<Duration>, Failure> {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / u32::try_from(PER_SECOND)?);
    let mut times = Vec::new();
    for number in from..from + EVENTS {
        ticks.tick().await;
        let begun = Instant::now();
        log.append(append(number)?).await?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    Ok(times)
}

fn shown(times: &[Duration]) -> String {
    let at = |share: usize| times[(times.len() - 1) * share / 1000].as_secs_f64() * 1e3;
    format!("p50 {:.2} ms, p99 {:.2} ms", at(500), at(990))
}

/// Takes every event, in order; ends with the last one.
async fn follow(log: Arc<Log>, first: u64, delivered: Arc<AtomicU64>) -> Result<(), Failure> {
    let mut batches = log.subscribe(ReadQuery::all().from(Start::End));
    let mut next = first;
    while next < first + EVENTS {
        let batch = batches.next().await.ok_or("the subscription ended")??;
        for event in batch.events.iter() {
            if event.position.0 != next {
                return Err(format!("position {} came for {next}", event.position).into());
            }
            next += 1;
        }
        delivered.fetch_add(batch.events.len() as u64, Ordering::Relaxed);
    }
    Ok(())
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("name a folder on a real disk")?;
    let count: u64 = arguments.next().map_or(Ok(10_000), |count| count.parse())?;
    let folder = Path::new(&folder).join(format!("subscribers-{}", std::process::id()));
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
    let log = Log::open(Arc::new(RealDisk), &folder, clock, random, LogOptions::default())?;
    let alone = write(&log, 0).await?;
    println!("the writer alone: {}", shown(&alone));
    let before = memory_kib()?;
    let delivered = Arc::new(AtomicU64::new(0));
    let mut followers = Vec::new();
    for _ in 0..count {
        followers.push(tokio::spawn(follow(Arc::clone(&log), EVENTS, Arc::clone(&delivered))));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let begun = Instant::now();
    let beside = write(&log, EVENTS).await?;
    let peak = memory_kib()?;
    let written = begun.elapsed();
    let last = Instant::now();
    for follower in followers {
        follower.await??;
    }
    println!("with {count} subscribers: {}", shown(&beside));
    println!(
        "written in {:.1} s, all delivered {:.1} s later",
        written.as_secs_f64(),
        last.elapsed().as_secs_f64()
    );
    println!("{} events delivered, each in order", delivered.load(Ordering::Relaxed));
    println!("memory a subscriber: {} KiB", peak.saturating_sub(before) / count.max(1));
    log.close();
    Ok(())
}
