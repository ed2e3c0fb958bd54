//! The appends of a torture run and what must be true of a log that holds them. An append follows from its number alone,
//! so that whoever reads a log can tell whether what stands there is what was sent, and sent whole.

use std::collections::HashMap;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use annals_core::clock::SystemClock;
use annals_core::disk::RealDisk;
use annals_core::random::SystemRandom;
use annals_core::{
    Append, AppendError, EventId, EventStore, EventType, ExpectedRevision, NewEvent, Position,
    ReadError, ReadQuery, SchemaFingerprint, Start, StreamName, StreamWrite,
};
use annals_store::{Log, LogOptions, OpenError};
use bytes::Bytes;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use uuid::Uuid;

/// Appends under way at a time, at most.
pub const FLYING: usize = 64;
/// How many appends are sent again that a process sent before its end: more than it can have had under way.
pub const AGAIN: u64 = 3 * FLYING as u64;

/// What a log must never show.
#[derive(Debug, thiserror::Error)]
pub enum Violation {
    /// The log does not open.
    #[error("the log does not open")]
    Open(#[from] OpenError),
    /// The log does not read.
    #[error("the log does not read")]
    Read(#[from] ReadError),
    /// The log takes no more appends.
    #[error("the log does not take append {number}")]
    Append {
        /// Which append.
        number: u64,
        /// Why not.
        source: AppendError,
    },
    /// Positions have a gap.
    #[error("position {found} follows where {expected} is due")]
    Gap {
        /// The position that was due.
        expected: u64,
        /// The one that came.
        found: u64,
    },
    /// An event that nobody sent.
    #[error("append {number} stands at position {position}, and was never sent")]
    Phantom {
        /// The append that its id names.
        number: u64,
        /// Where it stands.
        position: u64,
    },
    /// The payload is not the one that was sent.
    #[error("position {position} of append {number} holds other bytes than were sent")]
    Altered {
        /// The append that its id names.
        number: u64,
        /// Where it stands.
        position: u64,
    },
    /// Part of an append without the rest.
    #[error("append {number} is torn at position {position}")]
    Torn {
        /// Which append.
        number: u64,
        /// Where its next event should stand.
        position: u64,
    },
    /// An append that was stored again.
    #[error("append {number} stands there twice, the second time at position {position}")]
    Twice {
        /// Which append.
        number: u64,
        /// Where it ends the second time.
        position: u64,
    },
    /// An acknowledged append is gone, or elsewhere.
    #[error("append {number} was acknowledged at position {acknowledged}, and stands at {found:?}")]
    Lost {
        /// Which append.
        number: u64,
        /// Where it was acknowledged.
        acknowledged: u64,
        /// Where it is found.
        found: Option<u64>,
    },
    /// A verification finds damage.
    #[error("a verification finds damage: {0}")]
    Damaged(String),
}

/// An append that was acknowledged: its number, and the position of its last event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// Which append.
    pub number: u64,
    /// Where its last event stands.
    pub position: u64,
}

impl Acknowledged {
    /// Reads a line of [`append_without_end`]; a line that was cut short says nothing.
    pub fn parse(line: &str) -> Option<Acknowledged> {
        let (number, position) = line.split_once(' ')?;
        Some(Acknowledged { number: number.parse().ok()?, position: position.parse().ok()? })
    }
}

/// Opens the log in `folder`, with segments of so many bytes, on the real disk.
///
/// # Errors
/// [`OpenError`]
pub fn open(folder: &Path, segment_bytes: u64) -> Result<Arc<Log>, OpenError> {
    let options = LogOptions { segment_bytes, ..LogOptions::default() };
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
    Log::open(Arc::new(RealDisk), folder, clock, random, options)
}

/// How many events an append has.
pub fn size(number: u64) -> u64 {
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

/// Appends number `number` and waits until it is acknowledged.
///
/// # Errors
/// [`Violation::Append`]
pub async fn append_one(log: &Log, number: u64) -> Result<Acknowledged, Violation> {
    let answer = log.append(append(number)).await;
    let appended = answer.map_err(|source| Violation::Append { number, source })?;
    let position = appended.position.expect("it has events").0;
    Ok(Acknowledged { number, position })
}

/// Appends from number `first` on, `flying` of them under way at a time, and tells on standard output, a line each,
/// which were acknowledged. It ends with the process, or with the first append that is not taken, which it gives.
///
/// # Panics
/// Where nobody reads standard output any more.
pub async fn append_without_end(log: &Log, first: u64, flying: usize) -> Violation {
    let mut waiting = FuturesUnordered::new();
    let mut out = BufWriter::new(std::io::stdout());
    let mut number = first;
    loop {
        while waiting.len() < flying {
            waiting.push(append_one(log, number));
            number += 1;
        }
        let mut answered = waiting.next().await;
        while let Some(answer) = answered {
            let Acknowledged { number, position } = match answer {
                Ok(acknowledged) => acknowledged,
                Err(violation) => return violation,
            };
            writeln!(out, "{number} {position}").expect("the parent reads");
            answered = waiting.next().now_or_never().flatten();
        }
        out.flush().expect("the parent reads");
    }
}

/// What a log was found to hold so far.
#[derive(Debug, Default)]
pub struct Known {
    /// Where the last event of each append stands, by the append's number.
    pub places: HashMap<u64, u64>,
    read: u64,
}

impl Known {
    /// Reads what is new in the log: what was sent, each append whole and once, without a gap. Only appends before
    /// number `sent` can have been sent.
    ///
    /// # Errors
    /// [`Violation`]
    pub async fn read_on(&mut self, log: &Log, sent: u64) -> Result<(), Violation> {
        let start =
            self.read.checked_sub(1).map_or(Start::Edge, |last| Start::After(Position(last)));
        let mut batches = log.read(ReadQuery::all().from(start));
        let mut under_way = None;
        while let Some(batch) = batches.next().await {
            for event in Arc::unwrap_or_clone(batch?.events) {
                let (position, expected) = (event.position.0, self.read);
                if position != expected {
                    return Err(Violation::Gap { expected, found: position });
                }
                let (number, part) = event.id.0.as_u64_pair();
                if number >= sent {
                    return Err(Violation::Phantom { number, position });
                }
                if event.data != data(number) {
                    return Err(Violation::Altered { number, position });
                }
                let (due, due_part) = under_way.unwrap_or((number, 0));
                if (number, part) != (due, due_part) {
                    return Err(Violation::Torn { number: due, position });
                }
                under_way = (part + 1 < size(number)).then_some((number, part + 1));
                if under_way.is_none() && self.places.insert(number, position).is_some() {
                    return Err(Violation::Twice { number, position });
                }
                self.read += 1;
            }
        }
        under_way.map_or(Ok(()), |(number, _)| Err(Violation::Torn { number, position: self.read }))
    }

    /// Holds what was acknowledged against what the log holds.
    ///
    /// # Errors
    /// [`Violation::Lost`]
    pub fn check(&self, acknowledged: &[Acknowledged]) -> Result<(), Violation> {
        for &Acknowledged { number, position } in acknowledged {
            let found = self.places.get(&number).copied();
            if found != Some(position) {
                return Err(Violation::Lost { number, acknowledged: position, found });
            }
        }
        Ok(())
    }
}

/// Verifies a closed log as `annals store verify` does.
///
/// # Errors
/// [`Violation`], where it cannot be read or holds damage.
pub fn verify(folder: &Path) -> Result<(), Violation> {
    let found = annals_store::log::verify(Arc::new(RealDisk), folder, (0, u64::MAX), |_, _| {})?;
    found.damages.first().map_or(Ok(()), |damage| Err(Violation::Damaged(format!("{damage:?}"))))
}
