//! One run of the whole log under a schedule: callers append, followers subscribe, the log is closed at the end or in
//! between, or its disk fails. What is found wrong is told once the log is closed, not where it is seen: a panic
//! there would end the schedule in the middle.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use annals_core::clock::SimulatedClock;
use annals_core::disk::{Disk, Fault, SimulatedDisk, Survival};
use annals_core::random::SeededRandom;
use annals_core::{
    Append, AppendError, Appended, EventId, EventStore, EventType, ExpectedRevision, NewEvent,
    Position, ReadError, ReadQuery, RecordedEvent, SchemaFingerprint, StreamName, StreamWrite,
    Timestamp,
};
use bytes::Bytes;
use futures::StreamExt;
use shuttle::future::block_on;
use shuttle::rand::Rng;
use shuttle::thread;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::disk::ScheduledDisk;
use crate::log::live::FEW;
use crate::log::preparer::SPARE;
use crate::log::sync::turn;
use crate::log::{Log, LogOptions};

const FOLDER: &str = "log";
/// Bytes of an event: little, enough for the encoder to work beside a sync, and a good part of a segment.
const SIZES: [usize; 3] = [16, 600, 1500];

/// What happens in a run.
#[derive(Clone, Debug)]
pub(super) struct Scenario {
    pub(super) options: LogOptions,
    pub(super) callers: u64,
    /// Of each caller.
    pub(super) appends: u64,
    pub(super) followers: u64,
    /// More subscriptions, which only wait: the writer does not wake so many itself.
    pub(super) crowd: bool,
    pub(super) trouble: Trouble,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    Nothing,
    /// The log is closed while callers append.
    Closed,
    /// The log is poisoned while callers append, as by a thread that stops unexpectedly.
    Poisoned,
    /// An operation of the disk fails, and perhaps all after it.
    Fault,
    /// The disk is full after some segments, until there is room again.
    Full,
}

/// What a run came to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outcome {
    pub(super) acknowledged: u64,
    pub(super) refused: u64,
    pub(super) followed: u64,
}

impl Outcome {
    pub(super) fn add(&mut self, other: Outcome) {
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.followed += other.followed;
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Outcome { acknowledged, refused, followed } = self;
        write!(
            f,
            "{acknowledged} appends acknowledged, {refused} refused, {followed} events followed"
        )
    }
}

/// A number below `bound`, as the schedule has it.
fn chance(bound: u64) -> u64 {
    shuttle::rand::thread_rng().gen_range(0..bound)
}

/// What callers and followers share. Its locks are not the schedule's: looking on takes no turn.
struct Run {
    disk: SimulatedDisk,
    log: Arc<Log>,
    trouble: Trouble,
    /// The position behind the newest that a caller knows of.
    known: AtomicU64,
    seen: parking_lot::Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    acknowledged: Vec<(EventId, u64)>,
    unknown: Vec<EventId>,
    refused: u64,
    followed: u64,
    found: Option<String>,
}

/// An append that has its place in the queue.
struct Sent {
    id: EventId,
    /// What was known when it was sent.
    known: u64,
    answer: oneshot::Receiver<Result<Appended, AppendError>>,
}

/// Runs a scenario; what is wrong is the error.
pub(super) fn run(scenario: &Scenario) -> Result<Outcome, String> {
    let disk = SimulatedDisk::new(chance(u64::MAX));
    let log = open(Arc::new(ScheduledDisk(disk.clone())), scenario.options.clone())?;
    match scenario.trouble {
        Trouble::Nothing | Trouble::Closed | Trouble::Poisoned => {}
        Trouble::Fault => {
            let fault = if chance(2) == 0 { Fault::Once } else { Fault::Lasting };
            disk.fail_operation(disk.operations() + 1 + chance(60), fault);
        }
        Trouble::Full => {
            disk.set_capacity(Some((2 + chance(3)) * scenario.options.segment_bytes));
        }
    }
    let crowd = if scenario.crowd { FEW } else { 0 };
    let crowd: Vec<_> = (0..crowd).map(|_| log.shared.live.subscribe()).collect();
    let (known, seen) = (AtomicU64::new(0), parking_lot::Mutex::default());
    let run = Arc::new(Run { disk, log, trouble: scenario.trouble, known, seen });
    let appends = scenario.appends;
    let callers: Vec<_> = (0..scenario.callers)
        .map(|caller| {
            let run = Arc::clone(&run);
            thread::spawn(move || run.call(caller, appends))
        })
        .collect();
    let followers: Vec<_> = (0..scenario.followers)
        .map(|_| {
            let (run, all) = (Arc::clone(&run), scenario.callers * appends);
            thread::spawn(move || run.follow(all))
        })
        .collect();
    for _ in 0..chance(50) {
        turn();
    }
    match scenario.trouble {
        Trouble::Closed => run.log.close(),
        Trouble::Poisoned => run.log.shared.poison("the test has it so"),
        Trouble::Nothing | Trouble::Fault | Trouble::Full => {}
    }
    join(callers)?;
    if scenario.trouble == Trouble::Nothing {
        // Nothing but the appends themselves may be needed for followers to get them.
        join(followers)?;
        run.log.close();
    } else {
        run.log.close();
        join(followers)?;
    }
    drop(crowd);
    run.check()
}

fn join(threads: Vec<thread::JoinHandle<()>>) -> Result<(), String> {
    let joined: Result<Vec<()>, _> = threads.into_iter().map(thread::JoinHandle::join).collect();
    joined.map(drop).map_err(|_| "a thread panicked".to_owned())
}

fn open(disk: Arc<dyn Disk>, options: LogOptions) -> Result<Arc<Log>, String> {
    let clock = Arc::new(SimulatedClock::new(Timestamp(1_514_764_800_000_000)));
    let random = Arc::new(SeededRandom::new(11));
    Log::open(disk, Path::new(FOLDER), clock, random, options)
        .map_err(|error| format!("{error}: {error:?}"))
}

/// An event whose data begin with its id.
fn event(id: u128) -> NewEvent {
    let mut data = vec![0; SIZES[usize::try_from(chance(SIZES.len() as u64)).unwrap_or(0)]];
    data[..16].copy_from_slice(&id.to_le_bytes());
    NewEvent {
        id: EventId(Uuid::from_u128(id)),
        event_type: EventType::new("trading.OrderPlaced").expect("a type"),
        schema: SchemaFingerprint(5),
        metadata: Bytes::new(),
        data: Bytes::from(data),
    }
}

impl Run {
    fn found(&self, text: impl FnOnce() -> String) {
        self.seen.lock().found.get_or_insert_with(text);
    }

    /// Appends so often, sometimes several at a time.
    fn call(&self, caller: u64, appends: u64) {
        let name = ["account-A", "account-B"][usize::from(caller % 2 == 1)];
        let stream = StreamName::new(name).expect("a name");
        let (mut waiting, mut last) = (Vec::new(), 0);
        for number in 0..appends {
            if number + 1 == appends {
                self.disk.set_capacity(None);
            }
            let new = event(u128::from(caller * 1000 + number + 1));
            let (id, known) = (new.id, self.known.load(Ordering::Relaxed));
            let (expected, stream) = (ExpectedRevision::Any, stream.clone());
            let write = StreamWrite { stream, expected, events: vec![new] };
            match self.log.enqueue(Append::to(write)) {
                Ok(answer) => waiting.push(Sent { id, known, answer }),
                Err(error) => self.refused(&error, self.trouble != Trouble::Nothing),
            }
            if chance(2) == 0 {
                waiting.drain(..).for_each(|sent| self.hear(sent, &mut last));
            }
        }
        waiting.drain(..).for_each(|sent| self.hear(sent, &mut last));
    }

    /// Waits for an answer; `last` is the position behind the caller's last append.
    fn hear(&self, sent: Sent, last: &mut u64) {
        let Sent { id, known, answer } = sent;
        let answer = block_on(answer);
        let poisoned = self.log.poisoned().is_some();
        match answer {
            Err(_) => self.found(|| format!("append {id} got no answer")),
            Ok(Ok(Appended { position: Some(Position(position)), .. })) => {
                if position < known.max(*last) {
                    self.found(|| format!("{id} stands at {position}, before {known} or {last}"));
                }
                if !self.is_durable(id) {
                    self.found(|| format!("append {id} was answered before it was durable"));
                }
                if self.log.head() < Some(Position(position)) {
                    self.found(|| format!("append {id} was answered before readers see it"));
                }
                *last = position + 1;
                self.known.fetch_max(position + 1, Ordering::Relaxed);
                self.seen.lock().acknowledged.push((id, position));
            }
            // Unknown to the disk, or what it depends on could not be read.
            Ok(Err(AppendError::Unknown(_))) if self.trouble == Trouble::Fault => {
                self.seen.lock().unknown.push(id);
            }
            // What was taken is written, unless the disk does not let it.
            Ok(Err(error)) => self.refused(&error, poisoned || self.trouble == Trouble::Full),
            Ok(Ok(answer)) => self.found(|| format!("append {id} was answered {answer:?}")),
        }
    }

    fn refused(&self, error: &AppendError, may_be: bool) {
        if may_be && matches!(error, AppendError::ReadOnly(_) | AppendError::TooMuch(_)) {
            self.seen.lock().refused += 1;
        } else {
            self.found(|| format!("an append was refused: {error}"));
        }
    }

    /// Whether a power cut now would leave an event.
    fn is_durable(&self, id: EventId) -> bool {
        let cut = self.disk.fork().crash(Survival::Nothing);
        let id = id.0.as_u128().to_le_bytes();
        let segment = |path: &Path| path.extension().is_some_and(|kind| kind == "segment");
        let named = |path: &Path| segment(path) && !path.ends_with(SPARE);
        let mut paths = cut.paths();
        paths.retain(|path| named(path));
        let mut files = paths.iter().filter_map(|path| cut.contents(path));
        files.any(|bytes| bytes.windows(id.len()).any(|found| found == id))
    }

    /// Subscribes until there are so many events or the log is closed.
    fn follow(&self, all: u64) {
        let mut batches = self.log.subscribe(ReadQuery::all());
        let mut next = 0;
        while next < all {
            match block_on(batches.next()) {
                Some(Ok(batch)) => {
                    for event in batch.events.iter() {
                        if event.position != Position(next) {
                            let position = event.position;
                            self.found(|| format!("{position} was delivered in place of {next}"));
                        }
                        next += 1;
                    }
                    if batch.through != next.checked_sub(1).map(Position) {
                        self.found(|| format!("after {next} events, {:?}", batch.through));
                    }
                    let last = batch.events.last();
                    if last.is_some_and(|event| !self.is_durable(event.id)) {
                        self.found(|| format!("{next} was delivered before it was durable"));
                    }
                }
                Some(Err(ReadError::Fault { .. })) => break,
                Some(Err(error)) => return self.found(|| format!("a follower: {error}")),
                None => return self.found(|| "a subscription ended without an error".to_owned()),
            }
        }
        let known = self.known.load(Ordering::Relaxed);
        if next < known && self.trouble != Trouble::Fault {
            self.found(|| format!("a follower got {next} of {known} events"));
        }
        self.seen.lock().followed += next;
    }

    /// Once all is over: the log, opened again behind a power cut, holds what was acknowledged and nothing that was not
    /// sent or was refused.
    fn check(&self) -> Result<Outcome, String> {
        let seen = std::mem::take(&mut *self.seen.lock());
        if let Some(found) = seen.found {
            return Err(found);
        }
        let cut = self.disk.crash(Survival::Nothing);
        cut.set_capacity(None);
        let log = open(Arc::new(cut), self.log.shared.options.clone())?;
        let stored = block_on(read(&log))?;
        log.close();
        for (id, position) in &seen.acknowledged {
            let found = usize::try_from(*position).ok().and_then(|at| stored.get(at));
            if found.is_none_or(|event| event.id != *id) {
                return Err(format!("append {id}, acknowledged at {position}, is lost"));
            }
        }
        for (number, event) in (0..).zip(&stored) {
            let acknowledged = seen.acknowledged.contains(&(event.id, number));
            if event.position != Position(number)
                || !(acknowledged || seen.unknown.contains(&event.id))
            {
                return Err(format!("event {} stands at {number}", event.id));
            }
        }
        let acknowledged = seen.acknowledged.len() as u64;
        Ok(Outcome { acknowledged, refused: seen.refused, followed: seen.followed })
    }
}

async fn read(log: &Log) -> Result<Vec<RecordedEvent>, String> {
    let (mut events, mut batches) = (Vec::new(), log.read(ReadQuery::all()));
    while let Some(batch) = batches.next().await {
        events.extend(batch.map_err(|error| error.to_string())?.events.iter().cloned());
    }
    Ok(events)
}
