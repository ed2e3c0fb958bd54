//! Logs on simulated disks, written once for a whole run of a target, with what they hold.

use std::future::Future;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use annals_core::clock::SimulatedClock;
use annals_core::disk::{SimulatedDisk, Survival};
use annals_core::random::SeededRandom;
use annals_core::{
    Append, EventId, EventStore, EventType, ExpectedRevision, Metadata, NewEvent, ReadError,
    ReadQuery, RecordedEvent, SchemaFingerprint, StreamName, StreamWrite, Timestamp,
};
use annals_store::{Log, LogOptions, OpenError};
use bytes::Bytes;
use futures::StreamExt;
use uuid::Uuid;

/// Where the log lies on the simulated disk.
pub const FOLDER: &str = "log";
/// The streams that are written to.
pub const STREAMS: [&str; 3] = ["account-A", "account-B", "market-X"];
/// When the simulated clock begins.
const EPOCH: Timestamp = Timestamp(1_514_764_800_000_000);

static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    built.expect("a runtime starts")
});

/// A log and what stands in it.
pub struct Written {
    /// The disk; take a fork of it.
    pub disk: SimulatedDisk,
    /// Every event, in order.
    pub events: Vec<RecordedEvent>,
    /// The root of the Merkle tree over the first so many events, by their number.
    pub roots: Vec<[u8; 32]>,
    /// It was closed, so its files say how far it reaches.
    pub closed: bool,
}

/// Waits for something that a log answers.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.block_on(future)
}

/// The smallest segments there are.
pub fn options() -> LogOptions {
    LogOptions { segment_bytes: 8 << 10, remembered_ids: 1000, ..LogOptions::default() }
}

/// Opens the log in [`FOLDER`].
///
/// # Errors
/// Those of [`Log::open`].
pub fn open(disk: &SimulatedDisk) -> Result<Arc<Log>, OpenError> {
    open_in(disk, Path::new(FOLDER))
}

/// Opens the log in that folder.
///
/// # Errors
/// Those of [`Log::open`].
pub fn open_in(disk: &SimulatedDisk, folder: &Path) -> Result<Arc<Log>, OpenError> {
    let (clock, random) = (SimulatedClock::new(EPOCH), SeededRandom::new(11));
    Log::open(Arc::new(disk.clone()), folder, Arc::new(clock), Arc::new(random), options())
}

/// Reads to the end.
///
/// # Errors
/// Those of the store.
pub fn read(store: &dyn EventStore, query: ReadQuery) -> Result<Vec<RecordedEvent>, ReadError> {
    block_on(async {
        let mut events = Vec::new();
        let mut batches = store.read(query);
        while let Some(batch) = batches.next().await {
            events.extend(Arc::unwrap_or_clone(batch?.events));
        }
        Ok(events)
    })
}

/// The stream of that name.
///
/// # Panics
/// Where it is no name.
pub fn stream(name: &str) -> StreamName {
    StreamName::new(name).expect("a name")
}

/// An event with a tag.
///
/// # Panics
/// Never: its type is one.
pub fn event(id: u128, data: Vec<u8>) -> NewEvent {
    let tags = [format!("parity:{}", id % 2)].into();
    NewEvent {
        id: EventId(Uuid::from_u128(id)),
        event_type: EventType::new("trading.OrderPlaced").expect("a type"),
        schema: SchemaFingerprint(5),
        metadata: Metadata { tags, ..Metadata::default() }.encode(),
        data: Bytes::from(data),
    }
}

/// An append of one event to one stream, whatever stands there.
pub fn append(name: &str, id: u128, data: Vec<u8>) -> Append {
    let (stream, expected) = (stream(name), ExpectedRevision::Any);
    Append::to(StreamWrite { stream, expected, events: vec![event(id, data)] })
}

/// Writes a log of `count` events, the size of each given by its number.
///
/// # Panics
/// Where the log does not take them.
pub fn write(count: u128, closed: bool, size: impl Fn(usize) -> usize) -> Written {
    let disk = SimulatedDisk::new(3);
    let log = open(&disk).expect("an empty disk takes a log");
    for id in 1..=count {
        let number = usize::try_from(id).expect("a small number");
        let answer = log.append(append(STREAMS[number % 3], id, vec![2; size(number)]));
        block_on(answer).expect("the log takes it");
    }
    let events = read(&*log, ReadQuery::all()).expect("the log is sound");
    let roots = (0..=events.len() as u64).map(|size| log.tree_root(size).expect("it is sound"));
    let roots = roots.collect();
    log.close();
    let disk = if closed { disk } else { disk.crash(Survival::Everything) };
    Written { disk, events, roots, closed }
}

/// Several logs of different shapes, closed ones and ones that a power cut met.
pub fn logs() -> &'static [Written] {
    static LOGS: LazyLock<Vec<Written>> = LazyLock::new(|| {
        vec![
            write(40, true, |number| number * 17),
            write(40, false, |number| number * 17),
            write(5, true, |_| 20),
            write(5, false, |_| 20),
            // Enough small events that the tree has nodes in its file.
            write(330, true, |_| 0),
            write(0, true, |_| 0),
        ]
    });
    &LOGS
}
