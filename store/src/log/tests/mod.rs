//! The log under test: against the store in memory as the model, and on a disk that tears, loses,
//! fails and lies. The checks answer with what they found instead of panicking, so that `sabotage`
//! can see that they find something.

mod backup;
mod crash;
mod damage;
mod faults;
mod gather;
mod golden;
mod index;
mod mangled;
mod model;
mod oracle;
mod repair;
mod restore;
mod sabotage;
mod subscriptions;
mod tree;
mod verify;

use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use annals_core::clock::SimulatedClock;
use annals_core::disk::{Disk, SimulatedDisk};
use annals_core::random::SeededRandom;
use annals_core::{
    Append, EventId, EventStore, EventType, ExpectedRevision, NewEvent, ReadError, ReadQuery,
    RecordedEvent, SchemaFingerprint, StreamName, StreamWrite, Timestamp,
};
use bytes::Bytes;
use futures::StreamExt;
use uuid::Uuid;

use super::{Log, LogOptions, OpenError};

/// Where the log lies on the simulated disk.
const FOLDER: &str = "log";
/// When the simulated clock begins.
const EPOCH: Timestamp = Timestamp(1_514_764_800_000_000);

fn small() -> LogOptions {
    LogOptions { segment_bytes: 8 << 10, remembered_ids: 1000, ..LogOptions::default() }
}

fn open_with(disk: &SimulatedDisk, options: LogOptions) -> Result<Arc<Log>, OpenError> {
    open_at(Arc::new(disk.clone()), Path::new(FOLDER), SimulatedClock::new(EPOCH), options)
}

fn open_at(
    disk: Arc<dyn Disk>,
    folder: &Path,
    clock: SimulatedClock,
    options: LogOptions,
) -> Result<Arc<Log>, OpenError> {
    Log::open(disk, folder, Arc::new(clock), Arc::new(SeededRandom::new(11)), options)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime starts").block_on(future)
}

fn stream(name: &str) -> StreamName {
    StreamName::new(name).unwrap()
}

fn event(id: u128, data: Vec<u8>) -> NewEvent {
    NewEvent {
        id: EventId(Uuid::from_u128(id)),
        event_type: EventType::new("trading.OrderPlaced").unwrap(),
        schema: SchemaFingerprint(5),
        metadata: Bytes::from_static(b"\x04\x02eu"),
        data: Bytes::from(data),
    }
}

fn write(name: &str, events: Vec<NewEvent>) -> StreamWrite {
    StreamWrite { stream: stream(name), expected: ExpectedRevision::Any, events }
}

fn append(name: &str, id: u128, data: Vec<u8>) -> Append {
    Append::to(write(name, vec![event(id, data)]))
}

async fn read(log: &Log, query: ReadQuery) -> Result<Vec<RecordedEvent>, ReadError> {
    let mut events = Vec::new();
    let mut batches = log.read(query);
    while let Some(batch) = batches.next().await {
        events.extend(Arc::unwrap_or_clone(batch?.events));
    }
    Ok(events)
}
