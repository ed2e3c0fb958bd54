//! Real files, real syncs, real `kill -9`: a child appends and tells what was acknowledged, and is
//! killed at a random moment, again and again on the same log. Everything acknowledged must stand
//! where it was acknowledged, once.

#![allow(clippy::print_stdout, reason = "the child tells its parent on standard output")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use annals_core::clock::SystemClock;
use annals_core::disk::RealDisk;
use annals_core::random::{SeededRandom, SystemRandom};
use annals_core::{
    Append, EventId, EventStore, EventType, ExpectedRevision, NewEvent, ReadQuery,
    SchemaFingerprint, StreamName, StreamWrite,
};
use annals_store::{Log, LogOptions};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use uuid::Uuid;

const ROUNDS: u64 = 12;
const CHILD: &str = "ANNALS_KILL_TEST_FOLDER";

fn open(folder: &Path) -> Arc<Log> {
    let options = LogOptions { segment_bytes: 256 << 10, ..LogOptions::default() };
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
    Log::open(Arc::new(RealDisk), folder, clock, random, options).expect("the log opens")
}

/// The append number `number`: one to five events whose ids follow from it.
fn append(number: u64) -> Append {
    let events = (0..=(number % 5)).map(|part| NewEvent {
        id: EventId(Uuid::from_u64_pair(number, part)),
        event_type: EventType::new("trading.OrderPlaced").expect("a valid name"),
        schema: SchemaFingerprint(1),
        metadata: Bytes::new(),
        data: Bytes::from(vec![number.to_le_bytes()[0]; 100]),
    });
    let stream = StreamName::of("account", number % 7).expect("a valid name");
    let expected = ExpectedRevision::Any;
    Append::to(StreamWrite { stream, expected, events: events.collect() })
}

async fn child(folder: &Path) {
    let log = open(folder);
    let mut number = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(0_u64);
    let mut waiting = FuturesUnordered::new();
    loop {
        while waiting.len() < 16 {
            let answer = log.append(append(number));
            let this = number;
            waiting.push(async move { (this, answer.await) });
            number += 1;
        }
        let (number, answer) = waiting.next().await.expect("some wait");
        let position = answer.expect("the append goes through").position.expect("it has events");
        let mut out = std::io::stdout().lock();
        writeln!(out, "{number} {position}").and_then(|()| out.flush()).expect("the parent reads");
    }
}

/// Lets a child append until it is killed; notes what it was told.
async fn kill_a_child(folder: &Path, first: u64, after: Duration) -> BTreeMap<u64, u64> {
    let this = std::env::current_exe().expect("this program has a path");
    let mut command = Command::new(this);
    command.arg(first.to_string()).env(CHILD, folder).stdout(Stdio::piped());
    let mut child = command.spawn().expect("the child starts");
    let out = child.stdout.take().expect("it is piped");
    let told = tokio::task::spawn_blocking(move || {
        let lines = BufReader::new(out).lines().map_while(Result::ok);
        let numbers = lines.filter_map(|line| {
            // A line that the kill cut short says nothing.
            let (number, position) = line.split_once(' ')?;
            Some((number.parse().ok()?, position.parse().ok()?))
        });
        numbers.collect::<Vec<(u64, u64)>>()
    });
    tokio::time::sleep(after).await;
    child.kill().expect("the child is killed"); // SIGKILL
    child.wait().expect("the child has ended");
    let mut told = told.await.expect("the lines are read");
    told.pop(); // Its position may be cut short.
    told.into_iter().collect()
}

async fn parent() {
    let folder = tempfile::tempdir().expect("a folder");
    let random = SeededRandom::new(u64::from(std::process::id()));
    let mut acknowledged = BTreeMap::new();
    let mut first = 0;
    for round in 0..ROUNDS {
        let after = Duration::from_millis(20 + random.below(300));
        let told = kill_a_child(folder.path(), first, after).await;
        first = told.keys().next_back().copied().unwrap_or(first) + 100;
        acknowledged.extend(told);
        let log = open(folder.path());
        let mut places = BTreeMap::new();
        let mut batches = log.read(ReadQuery::all());
        while let Some(batch) = batches.next().await {
            for event in batch.expect("the log reads").events {
                assert_eq!(event.position.0, places.len() as u64, "positions have no gap");
                let (number, part) = event.id.0.as_u64_pair();
                let sent = &append(number).writes[0];
                let sent_part = usize::try_from(part).expect("five parts at most");
                assert_eq!(event.data, sent.events[sent_part].data, "what was sent stands there");
                let before = places.insert((number, part), event.position.0);
                assert_eq!(before, None, "nothing stands there twice");
            }
        }
        for (number, position) in &acknowledged {
            let last = number % 5;
            assert_eq!(places.get(&(*number, last)), Some(position), "round {round}: {number}");
            assert_eq!(places.get(&(*number, 0)), Some(&(position - last)), "appends are whole");
        }
    }
    assert!(acknowledged.len() > 100, "{} appends were acknowledged", acknowledged.len());
    println!("kill: {ROUNDS} kills, {} appends acknowledged, 0 lost", acknowledged.len());
}

fn main() {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build().expect("a runtime starts");
    match std::env::var_os(CHILD) {
        Some(folder) => runtime.block_on(child(Path::new(&folder))),
        None => runtime.block_on(parent()),
    }
}
