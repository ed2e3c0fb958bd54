//! What was sent and how it was answered, what was read, and in which order of time. An append that was sent again with
//! the same ids is the same append; an answer that never came is an outcome that nobody knows.

use std::collections::HashMap;
use std::fmt;

use annals_core::{Append, AppendError, Appended, EventId, RecordedEvent, StreamName};

use crate::{Held, Origin, Violation, order};

/// What the sender of an append knows of it in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It stands there.
    Acknowledged(Appended),
    /// It changed nothing, and never will.
    Refused,
    /// It may stand there or not.
    Unknown,
}

impl From<Result<Appended, AppendError>> for Outcome {
    fn from(answer: Result<Appended, AppendError>) -> Outcome {
        match answer {
            Ok(answer) => Outcome::Acknowledged(answer),
            Err(AppendError::Unknown(_)) => Outcome::Unknown,
            Err(
                AppendError::Conflict { .. }
                | AppendError::ConditionFailed { .. }
                | AppendError::Malformed(_)
                | AppendError::PartlyRepeated
                | AppendError::TooMuch(_)
                | AppendError::Deleted { .. }
                | AppendError::Denied(_)
                | AppendError::ReadOnly(_),
            ) => Outcome::Refused,
        }
    }
}

/// When something began or ended, by the count of all that did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

/// Names one sending of an append, for which there is one answer.
#[derive(Clone, Copy, Debug)]
pub struct Ticket {
    append: usize,
    sending: usize,
}

/// An append and what became of it.
#[derive(Clone, Debug)]
pub struct Sent {
    /// What was sent.
    pub append: Append,
    /// Before it was sent for the first time.
    pub begun: Moment,
    /// When it was acknowledged for the first time.
    pub acknowledged: Option<Moment>,
    /// Of each sending.
    pub outcomes: Vec<Outcome>,
}

/// A read from the newest event back.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Of this stream, or of the whole log.
    pub(crate) stream: Option<StreamName>,
    pub(crate) begun: Moment,
    pub(crate) ended: Moment,
    /// Newest first.
    pub(crate) events: Vec<RecordedEvent>,
}

/// All that was sent to a store and read from it.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Each append once, whose number is its place here.
    sent: Vec<Sent>,
    reads: Vec<Seen>,
    appends: HashMap<EventId, usize>,
    now: Moment,
}

impl History {
    /// This moment, which no other shares.
    pub fn now(&mut self) -> Moment {
        self.now.0 += 1;
        self.now
    }

    /// An append is going to be sent.
    ///
    /// # Panics
    /// Where it has no event, which no log could show, or shares an id with another append.
    pub fn send(&mut self, append: &Append) -> Ticket {
        let begun = self.now();
        let first = append.writes.iter().flat_map(|write| &write.events).next();
        let first = first.unwrap_or_else(|| panic!("an append without an event: {append:?}")).id;
        let number = *self.appends.entry(first).or_insert(self.sent.len());
        if number == self.sent.len() {
            for write in &append.writes {
                for event in &write.events {
                    let other = self.appends.insert(event.id, number);
                    assert!(other.is_none_or(|other| other == number), "shares ids: {append:?}");
                }
            }
            let append = append.clone();
            self.sent.push(Sent { append, begun, acknowledged: None, outcomes: Vec::new() });
        }
        let sent = &mut self.sent[number];
        assert_eq!(sent.append, *append, "another append with the same ids");
        sent.outcomes.push(Outcome::Unknown);
        Ticket { append: number, sending: sent.outcomes.len() - 1 }
    }

    /// A sending was answered.
    pub fn answer(&mut self, ticket: Ticket, outcome: Outcome) {
        let now = self.now();
        let sent = &mut self.sent[ticket.append];
        if let Outcome::Acknowledged(_) = outcome {
            sent.acknowledged.get_or_insert(now);
        }
        sent.outcomes[ticket.sending] = outcome;
    }

    /// A read, which began then, of a stream or of the whole log, saw these as the newest events, newest first.
    pub fn saw(&mut self, begun: Moment, stream: Option<StreamName>, events: Vec<RecordedEvent>) {
        let ended = self.now();
        self.reads.push(Seen { stream, begun, ended, events });
    }

    /// Holds this history against the whole log that it led to. A store may write events of its own to some streams.
    ///
    /// # Errors
    /// [`Violation`], whose numbers are places in [`History::sent`].
    pub fn check(
        &self,
        log: &[RecordedEvent],
        is_own: fn(&StreamName) -> bool,
    ) -> Result<(), Violation> {
        let mut held = Held::default();
        let origin = |event: &RecordedEvent| match self.appends.get(&event.id) {
            Some(&number) => Origin::Append(number as u64, self.sent[number].append.clone()),
            None if is_own(&event.stream) => Origin::Store,
            None => Origin::Nobody,
        };
        log.iter().try_for_each(|event| held.take(event, origin))?;
        held.end()?;
        for (number, sent) in (0..).zip(&self.sent) {
            sent.check(number, &held)?;
        }
        order::check(&self.sent, &self.reads, &held, log)
    }

    /// Each append, in the order in which they were sent for the first time: its number is its place.
    pub fn sent(&self) -> &[Sent] {
        &self.sent
    }

    /// How much of what there was.
    pub fn counts(&self) -> Counts {
        let outcomes = || self.sent.iter().flat_map(|sent| &sent.outcomes);
        let of = |wanted: fn(&Outcome) -> bool| outcomes().filter(|it| wanted(it)).count();
        Counts {
            acknowledged: of(|outcome| matches!(outcome, Outcome::Acknowledged(_))),
            refused: of(|outcome| matches!(outcome, Outcome::Refused)),
            unknown: of(|outcome| matches!(outcome, Outcome::Unknown)),
            reads: self.reads.len(),
        }
    }
}

impl Sent {
    fn check(&self, number: u64, held: &Held) -> Result<(), Violation> {
        for outcome in &self.outcomes {
            if let Outcome::Acknowledged(answer) = outcome {
                held.check(number, &without_expectations(&self.append, answer))?;
            }
        }
        let found = held.append(number).cloned();
        let refused = self.outcomes.iter().all(|outcome| *outcome == Outcome::Refused);
        if refused && found.is_some() {
            return Err(Violation::Outcome { number, outcome: Outcome::Refused, found });
        }
        Ok(())
    }
}

/// The answer to an append without what it says of writes that only expect: a repetition tells nothing of these.
fn without_expectations(append: &Append, answer: &Appended) -> Appended {
    let mut answer = answer.clone();
    for (write, revision) in append.writes.iter().zip(&mut answer.revisions) {
        if write.events.is_empty() {
            *revision = None;
        }
    }
    answer
}

/// How much of what there was, each sending on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Appends that were acknowledged.
    pub acknowledged: usize,
    /// Appends that were refused.
    pub refused: usize,
    /// Appends of which nobody knows.
    pub unknown: usize,
    /// Reads that ended.
    pub reads: usize,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { acknowledged, refused, unknown, reads } = self;
        let all = acknowledged + refused + unknown + reads;
        write!(f, "{all} operations: {acknowledged} appends acknowledged, {refused} refused, ")?;
        write!(f, "{unknown} unknown, {reads} reads")
    }
}
