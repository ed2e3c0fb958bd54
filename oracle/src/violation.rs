//! What a log, or a read of it, must never show. A stream that is not named is the whole log, and an append has the number
//! that whoever sent it gave it.

use annals_core::{Appended, EventId, Position, StreamName};

use crate::Outcome;

/// What a log, or a read of it, must never show.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The positions of the log, or the revisions of a stream, do not count 0, 1, 2, …
    #[error("{} has {found} where {expected} is due", named(stream.as_ref()))]
    Gap {
        /// Of this stream.
        stream: Option<StreamName>,
        /// The number that was due.
        expected: u64,
        /// The one that came.
        found: u64,
    },
    /// An event that nobody sent.
    #[error("event {id} stands at position {position}, and was never sent")]
    Phantom {
        /// Its id.
        id: EventId,
        /// Where it stands.
        position: Position,
    },
    /// An append is not there as it was sent.
    #[error("append {number} {wrong} at position {position}")]
    Append {
        /// Which append.
        number: u64,
        /// Where it was noticed.
        position: Position,
        /// How.
        wrong: Wrong,
    },
    /// The sender was told otherwise: an acknowledged append is gone or elsewhere, or a refused one stands there.
    #[error("append {number} was answered as {outcome:?}, and found as {found:?}")]
    Outcome {
        /// Which append.
        number: u64,
        /// What its sender was told.
        outcome: Outcome,
        /// How it would have been acknowledged where it stands.
        found: Option<Appended>,
    },
    /// A read saw at this position what does not stand there, or what does not follow what it saw before.
    #[error("a read of {} is wrong at position {position}", named(stream.as_ref()))]
    Misread {
        /// Of this stream.
        stream: Option<StreamName>,
        /// Where it saw it.
        position: Position,
    },
    /// What was over before something else began stands behind it, or is a read that saw it or missed it.
    #[error(
        "in {}, what reaches up to {events} events was over before what stands before it began",
        named(stream.as_ref())
    )]
    Order {
        /// Of this stream.
        stream: Option<StreamName>,
        /// How many events the log has up to its end.
        events: u64,
    },
}

/// How an append is not there as it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// An event of its ids has something else in it, or is of another stream.
    #[error("holds something else than was sent")]
    Altered,
    /// A part of it is missing, or something stands in between.
    #[error("is torn")]
    Torn,
    /// It was stored again.
    #[error("begins a second time")]
    Twice,
    /// Its expected revision did not let it stand there.
    #[error("was not to be")]
    Unexpected,
}

impl Violation {
    /// The number of the append that it is about.
    pub fn append(&self) -> Option<u64> {
        match self {
            Violation::Append { number, .. } | Violation::Outcome { number, .. } => Some(*number),
            Violation::Gap { .. }
            | Violation::Phantom { .. }
            | Violation::Misread { .. }
            | Violation::Order { .. } => None,
        }
    }
}

fn named(stream: Option<&StreamName>) -> &str {
    stream.map_or("the log", StreamName::as_str)
}
