//! The appends of a torture run, and the log that they are held against. An append follows from its number alone, so that
//! whoever reads a log can tell whether what stands there is what was sent, and sent whole.

use std::fmt;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use annals_core::clock::SystemClock;
use annals_core::disk::RealDisk;
use annals_core::random::SystemRandom;
use annals_core::{
    Append, AppendError, Appended, EventId, EventStore, EventType, ExpectedRevision, NewEvent,
    Position, ReadError, ReadQuery, Revision, SchemaFingerprint, Start, StreamName, StreamWrite,
};
use annals_oracle::{Held, Origin, Violation};
use annals_store::{Log, LogOptions, OpenError};
use bytes::Bytes;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use uuid::Uuid;

/// Appends under way at a time, at most.
pub const FLYING: usize = 64;
/// How many appends are sent again that a process sent before its end: more than it can have had under way.
pub const AGAIN: u64 = 3 * FLYING as u64;

/// How a log has failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
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
    /// The log shows what it must not.
    #[error(transparent)]
    Violation(#[from] Violation),
    /// A verification finds damage.
    #[error("a verification finds damage: {0}")]
    Damaged(String),
}

/// An append that was acknowledged. Its text is its number, the position and the revisions of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// Which append.
    pub number: u64,
    /// How it was answered.
    pub answer: Appended,
}

impl Acknowledged {
    /// Reads a line of [`append_without_end`]; one that is cut short within a number reads as another one.
    pub fn parse(line: &str) -> Option<Acknowledged> {
        let mut numbers = line.split(' ').map(|word| word.parse().ok());
        let (number, position) = (numbers.next()??, numbers.next()??);
        let revisions = numbers.map(|number| number.map(Revision)).collect();
        Some(Acknowledged {
            number,
            answer: Appended { position: Some(Position(position)), revisions },
        })
    }
}

impl fmt::Display for Acknowledged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let position = self.answer.position.expect("it has events");
        write!(f, "{} {position}", self.number)?;
        let mut revisions = self.answer.revisions.iter().flatten();
        revisions.try_for_each(|revision| write!(f, " {revision}"))
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
/// [`Failure::Append`]
pub async fn append_one(log: &Log, number: u64) -> Result<Acknowledged, Failure> {
    let answer = log.append(append(number)).await;
    let answer = answer.map_err(|source| Failure::Append { number, source })?;
    Ok(Acknowledged { number, answer })
}

/// Appends from number `first` on, `flying` of them under way at a time, and tells on standard output, a line each,
/// which were acknowledged. It ends with the process, or with the first append that is not taken, which it gives.
///
/// # Panics
/// Where nobody reads standard output any more.
pub async fn append_without_end(log: &Log, first: u64, flying: usize) -> Failure {
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
            match answer {
                Ok(acknowledged) => writeln!(out, "{acknowledged}").expect("the parent reads"),
                Err(failure) => return failure,
            }
            answered = waiting.next().now_or_never().flatten();
        }
        out.flush().expect("the parent reads");
    }
}

/// Reads what is new in the log, as far as it may stand there: only appends before number `sent` can have been sent.
///
/// # Errors
/// [`Failure`]
pub async fn read_on(held: &mut Held, log: &Log, sent: u64) -> Result<(), Failure> {
    let origin = |id: EventId| match id.0.as_u64_pair() {
        (number, _) if number < sent => Origin::Append(number, append(number)),
        _ => Origin::Nobody,
    };
    let start = held.last().map_or(Start::Edge, Start::After);
    let mut batches = log.read(ReadQuery::all().from(start));
    while let Some(batch) = batches.next().await {
        for event in batch?.events.iter() {
            held.take(event, |event| origin(event.id))?;
        }
    }
    Ok(held.end()?)
}

/// Verifies a closed log as `annals store verify` does.
///
/// # Errors
/// [`Failure`], where it cannot be read or holds damage.
pub fn verify(folder: &Path) -> Result<(), Failure> {
    let found = annals_store::log::verify(Arc::new(RealDisk), folder, (0, u64::MAX), |_, _| {})?;
    found.damages.first().map_or(Ok(()), |damage| Err(Failure::Damaged(format!("{damage:?}"))))
}
