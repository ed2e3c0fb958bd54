//! A log to measure and events to put into it.

use std::path::Path;
use std::sync::Arc;

use annals_core::clock::SystemClock;
use annals_core::disk::RealDisk;
use annals_core::random::SystemRandom;
use annals_core::{
    Append, EventId, EventType, ExpectedRevision, NewEvent, SchemaFingerprint, StreamName,
    StreamWrite,
};
use annals_store::{Log, LogOptions};
use bytes::Bytes;
use uuid::Uuid;

use crate::BenchError;

/// The payload of an event, in bytes.
pub(crate) const EVENT_BYTES: usize = 200;

/// Opens the log in `folder` with the options of production.
pub(crate) fn open(folder: &Path) -> Result<Arc<Log>, BenchError> {
    let (disk, clock, random) = (Arc::new(RealDisk), Arc::new(SystemClock), Arc::new(SystemRandom));
    Ok(Log::open(disk, folder, clock, random, LogOptions::default())?)
}

/// Makes appends of equal size to one stream.
#[derive(Clone)]
pub(crate) struct Source {
    stream: StreamName,
    event_type: EventType,
    data: Bytes,
    next: u128,
}

impl Source {
    /// Appends to stream `bench-NUMBER`.
    pub(crate) fn new(number: u64) -> Source {
        let byte = |place: usize| u8::try_from((place * 31 + 7) % 251).unwrap_or_default();
        Source {
            stream: StreamName::of("bench", number).expect("a valid name"),
            event_type: EventType::new("bench.Measured").expect("a valid name"),
            data: (0..EVENT_BYTES).map(byte).collect(),
            next: Uuid::new_v4().as_u128(),
        }
    }

    /// The stream.
    pub(crate) fn stream(&self) -> StreamName {
        self.stream.clone()
    }

    /// The next `events` events as one append.
    pub(crate) fn append(&mut self, events: usize) -> Append {
        let event = |_| {
            self.next = self.next.wrapping_add(1);
            NewEvent {
                id: EventId(Uuid::from_u128(self.next)),
                event_type: self.event_type.clone(),
                schema: SchemaFingerprint::NONE,
                metadata: Bytes::new(),
                data: self.data.clone(),
            }
        };
        let events = (0..events).map(event).collect();
        Append::to(StreamWrite {
            stream: self.stream.clone(),
            expected: ExpectedRevision::Any,
            events,
        })
    }
}
