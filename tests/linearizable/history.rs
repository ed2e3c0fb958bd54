//! What clients sent and saw, and when: times count from the beginning of the test.

use std::fmt;
use std::time::Duration;

use annals_client::proto::{AppendRequest, AppendResponse, RecordedEvent};

/// An append and what became of it.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) request: AppendRequest,
    /// Before it was sent for the first time.
    pub(crate) invoked: Duration,
    pub(crate) outcome: Outcome,
}

/// What a client knows of its append in the end.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// It was acknowledged, at this time at the latest.
    Stored(Duration, AppendResponse),
    /// Someone else wrote first; so it would be again, whenever it came.
    Refused,
    /// Nothing: it may stand there or not.
    Unknown,
}

/// A read from the newest event back.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Of this stream; empty for the whole log.
    pub(crate) stream: String,
    pub(crate) invoked: Duration,
    pub(crate) completed: Duration,
    /// Newest first.
    pub(crate) events: Vec<RecordedEvent>,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) appends: Vec<Sent>,
    pub(crate) reads: Vec<Seen>,
    /// How often an append was sent again with the same ids.
    pub(crate) repeated: u64,
}

impl History {
    pub(crate) fn add(&mut self, other: History) {
        self.appends.extend(other.appends);
        self.reads.extend(other.reads);
        self.repeated += other.repeated;
    }

    pub(crate) fn counts(&self) -> Counts {
        let of = |wanted: fn(&Outcome) -> bool| {
            self.appends.iter().filter(|sent| wanted(&sent.outcome)).count()
        };
        Counts {
            stored: of(|outcome| matches!(outcome, Outcome::Stored(..))),
            refused: of(|outcome| matches!(outcome, Outcome::Refused)),
            unknown: of(|outcome| matches!(outcome, Outcome::Unknown)),
            reads: self.reads.len(),
            repeated: self.repeated,
        }
    }
}

/// How much of what there was.
pub(crate) struct Counts {
    stored: usize,
    refused: usize,
    unknown: usize,
    reads: usize,
    repeated: u64,
}

impl Counts {
    /// A run in which one of these does not happen shows little.
    pub(crate) fn are_telling(&self) {
        assert!(self.stored > 50 && self.reads > 20, "{self}");
        assert!(self.refused > 0 && self.repeated > 0, "{self}");
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { stored, refused, unknown, reads, repeated } = self;
        let all = stored + refused + unknown + reads;
        write!(f, "{all} operations: {stored} appends acknowledged, {refused} refused, ")?;
        write!(f, "{unknown} unknown, {reads} reads, {repeated} sent again")
    }
}
