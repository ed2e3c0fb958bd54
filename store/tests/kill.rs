//! Real files, real syncs, real `kill -9`: a child appends and tells what was acknowledged, and is
//! killed at a random moment, again and again on the same log. Everything acknowledged must stand
//! where it was acknowledged, once.

#![allow(clippy::print_stdout, reason = "the child tells its parent on standard output")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use annals_core::clock::SystemClock;
use annals_core::disk::RealDisk;
use annals_core::random::{SeededRandom, SystemRandom};
use annals_core::{
    Append, EventId, EventStore, EventType, ExpectedRevision, NewEvent, Position, ReadQuery,
    SchemaFingerprint, Start, StreamName, StreamWrite,
};
use annals_store::log::verify;
use annals_store::{Log, LogOptions};
use bytes::Bytes;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use uuid::Uuid;

/// How many kills, unless `ANNALS_KILLS` says otherwise.
const KILLS: u64 = 50;
const CHILD: &str = "ANNALS_KILL_TEST_FOLDER";
/// Appends under way at a time.
const FLYING: usize = 64;
/// How many appends a child sends again that another one sent before.
const AGAIN: u64 = 3 * FLYING as u64;

fn open(folder: &Path) -> Arc<Log> {
    let options = LogOptions { segment_bytes: 1 << 20, ..LogOptions::default() };
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
    Log::open(Arc::new(RealDisk), folder, clock, random, options).expect("the log opens")
}

/// How many events an append has.
fn size(number: u64) -> u64 {
    1 + number % 5
}

fn data(number: u64) -> Vec<u8> {
    let length = usize::try_from(number % 211).expect("it is small");
    vec![number.to_le_bytes()[0]; length]
}

/// The append number `number`: one to five events whose ids follow from it, in a stream or two.
fn append(number: u64) -> Append {
    let write = |stream: u64, parts: std::ops::Range<u64>| {
        let events = parts.map(|part| NewEvent {
            id: EventId(Uuid::from_u64_pair(number, part)),
            event_type: EventType::new("trading.OrderPlaced").expect("a valid name"),
            schema: SchemaFingerprint(1),
            metadata: Bytes::new(),
            data: Bytes::from(data(number)),
        });
        let stream = StreamName::of("account", stream).expect("a valid name");
        StreamWrite { stream, expected: ExpectedRevision::Any, events: events.collect() }
    };
    let (first, half) = (number % 97, size(number) / 2);
    let mut writes = vec![write(first, 0..half), write(first + 1, half..size(number))];
    writes.retain(|write| !write.events.is_empty());
    Append { writes, condition: None }
}

async fn child(folder: &Path) {
    let log = open(folder);
    let mut number = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(0_u64);
    let mut waiting = FuturesUnordered::new();
    let mut out = BufWriter::new(std::io::stdout());
    loop {
        while waiting.len() < FLYING {
            let answer = log.append(append(number));
            let this = number;
            waiting.push(async move { (this, answer.await) });
            number += 1;
        }
        let mut answered = waiting.next().await;
        while let Some((number, answer)) = answered {
            let position =
                answer.expect("the append goes through").position.expect("it has events");
            writeln!(out, "{number} {position}").expect("the parent reads");
            answered = waiting.next().now_or_never().flatten();
        }
        out.flush().expect("the parent reads");
    }
}

/// Lets a child append until it is killed; notes what it was told.
async fn kill_a_child(folder: &Path, first: u64, after: Duration) -> Vec<(u64, u64)> {
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
    told
}

/// What the log held so far, and what was acknowledged.
#[derive(Default)]
struct Known {
    /// Where the last event of each append stands, by the append's number.
    places: HashMap<u64, u64>,
    acknowledged: HashMap<u64, u64>,
    events: u64,
    read: u64,
}

impl Known {
    /// Reads what is new in the log: what was sent, each append whole and once, without a gap.
    async fn read_on(&mut self, log: &Log) {
        let start =
            self.read.checked_sub(1).map_or(Start::Edge, |last| Start::After(Position(last)));
        let mut batches = log.read(ReadQuery::all().from(start));
        let mut under_way = None;
        while let Some(batch) = batches.next().await {
            for event in Arc::unwrap_or_clone(batch.expect("the log reads").events) {
                assert_eq!(event.position.0, self.read, "positions have no gap");
                let (number, part) = event.id.0.as_u64_pair();
                assert_eq!(event.data, data(number), "what was sent stands there");
                let expected = under_way.unwrap_or((number, 0));
                assert_eq!((number, part), expected, "appends are whole");
                under_way = (part + 1 < size(number)).then_some((number, part + 1));
                if under_way.is_none() {
                    let before = self.places.insert(number, event.position.0);
                    assert_eq!(before, None, "append {number} stands there twice");
                }
                self.read += 1;
            }
        }
        assert_eq!(under_way, None, "the last append is whole");
    }

    /// Holds what a child was told against the log.
    fn check(&mut self, told: &[(u64, u64)]) {
        for (number, position) in told {
            assert_eq!(self.places.get(number), Some(position), "append {number} was acknowledged");
            if self.acknowledged.insert(*number, *position).is_none() {
                self.events += size(*number);
            }
        }
    }
}

async fn parent() {
    let folder = tempfile::tempdir().expect("a folder");
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let kills = number("ANNALS_KILLS").unwrap_or(KILLS);
    let seed = number("ANNALS_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("kill: {kills} kills, ANNALS_SEED={seed}");
    let random = SeededRandom::new(seed);
    let mut known = Known::default();
    let mut next = 0_u64;
    for _ in 0..kills {
        let after = Duration::from_millis(20 + random.below(300));
        // Some of what was acknowledged, and all of which nobody knows, is sent again.
        let told = kill_a_child(folder.path(), next.saturating_sub(AGAIN), after).await;
        next = told.iter().map(|(number, _)| number + 1).max().unwrap_or(next).max(next);
        let log = open(folder.path());
        known.read_on(&log).await;
        log.close();
        known.check(&told);
    }
    // And once more from the start: nothing that was there before a kill has moved.
    let log = open(folder.path());
    let mut again = Known::default();
    again.read_on(&log).await;
    assert!(again.places == known.places, "what was read once stays");
    log.close();
    let found = verify(Arc::new(RealDisk), folder.path(), (0, u64::MAX), |_, _| {});
    let found = found.expect("the log is verified");
    assert_eq!(found.damages, Vec::new());
    let events = known.events;
    assert!(events > kills * 100, "{events} events were acknowledged");
    println!(
        "kill: {kills} kills, {events} events acknowledged, 0 lost, 0 doubled, ANNALS_SEED={seed}"
    );
}

fn main() {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build().expect("a runtime starts");
    match std::env::var_os(CHILD) {
        Some(folder) => runtime.block_on(child(Path::new(&folder))),
        None => runtime.block_on(parent()),
    }
}
