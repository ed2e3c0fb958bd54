//! A transaction as one append. Before anything else it expects the metastreams that it was decided on, so that nobody who
//! deletes, revives or ends a stream meanwhile is passed over; then what is expected of each stream; then the records. What
//! is never to be written, since a stream is not as it must be, is sent all the same, behind an expectation that nothing
//! meets: it may be a repetition, and the log tells all that is not as expected at one moment.

use std::sync::Arc;

use annals_core::{
    Append, Appended, ExpectedRevision, NewEvent, PerWrite, Position, Revision, StreamName,
    StreamWrite, Unmet,
};
use hashbrown::{HashMap, HashSet};

use super::checks::{Expected, NEVER, Role, Standing, asked};
use super::errors::Violation;
use super::requests::{Named, Transaction};
use crate::protocol::state::StreamState;
use crate::protocol::writes::here;

/// How one of the transaction's streams was found.
pub(super) struct Found {
    /// Its own state; that of a metastream is always the same.
    pub(super) state: Arc<StreamState>,
    /// The metastream whose revision the decision rests on.
    pub(super) guard: Option<Guard>,
    /// What brings the stream back to life, or the one whose metadata it is.
    pub(super) revival: Option<Revival>,
}

/// A metastream that must not move.
pub(super) struct Guard {
    pub(super) metastream: StreamName,
    pub(super) at: Option<Revision>,
}

/// The metadata of a stream that begins again.
pub(super) enum Revival {
    /// Before all records.
    First(NewEvent),
    /// Behind the metadata that the transaction itself writes.
    Last(NewEvent),
}

/// Which part of a transaction is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it.
    Whole,
    /// The records, so that they are not written anew.
    Repetition,
    /// What is expected, without the records.
    Expectations,
}

/// A transaction, and how its streams were found.
pub(super) struct Plan<'a> {
    transaction: &'a Transaction,
    found: Vec<Found>,
}

/// An append, and where the records' writes stand in it.
pub(super) struct Sent {
    pub(super) append: Append,
    /// The place among the writes of each run.
    runs: Vec<usize>,
}

/// What became of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Done {
    /// The last revision of each stream written, in the order of their first records.
    pub(super) revisions: Vec<(StreamName, Revision)>,
    /// The position of the append's last event.
    pub(super) until: Position,
    /// That event is a record.
    pub(super) ends_with_record: bool,
}

impl<'a> Plan<'a> {
    pub(super) fn new(transaction: &'a Transaction, found: Vec<Found>) -> Plan<'a> {
        Plan { transaction, found }
    }

    fn streams(&self) -> impl Iterator<Item = (&Named, &Found, Standing)> {
        self.transaction
            .streams
            .iter()
            .zip(&self.found)
            .map(|(named, found)| (named, found, Standing::from(&*found.state)))
    }

    /// Whether a stream that is written has ended: then no repetition counts.
    pub(super) fn is_over(&self) -> bool {
        self.streams()
            .any(|(named, _, standing)| named.role == Role::Written && standing == Standing::Ended)
    }

    /// Whether it is clear already that nothing is written anew.
    pub(super) fn is_refused(&self) -> bool {
        self.expectations().any(|write| write.expected == NEVER)
    }

    /// Whether a stream is brought back to life.
    pub(super) fn has_revival(&self) -> bool {
        !self.is_refused() && self.found.iter().any(|found| found.revival.is_some())
    }

    /// What is asked of each stream of which anything is.
    fn expectations(&self) -> impl Iterator<Item = StreamWrite> {
        self.streams().filter_map(|(named, found, standing)| {
            let has_metadata = found.state.metadata_at.is_some();
            let expected = asked(named.expected, standing, named.role, has_metadata);
            let stream = named.stream.clone();
            (expected != ExpectedRevision::Any).then(|| StreamWrite {
                stream,
                expected,
                events: Vec::new(),
            })
        })
    }

    /// The append of a part.
    pub(super) fn append(&self, part: Part) -> Sent {
        let revives = part == Part::Whole && self.has_revival();
        let mut writes: Vec<StreamWrite> = Vec::new();
        let mut guarded = HashSet::new();
        let guards = self.found.iter().filter_map(|found| found.guard.as_ref());
        for Guard { metastream, at } in guards.filter(|guard| guarded.insert(&guard.metastream)) {
            let (stream, expected) = (metastream.clone(), here(*at));
            writes.push(StreamWrite { stream, expected, events: Vec::new() });
        }
        writes.extend(self.expectations());
        // Behind what is expected, which may be expected of a metastream.
        for found in self.found.iter().filter(|_| revives) {
            if let (Some(guard), Some(Revival::First(event))) = (&found.guard, &found.revival) {
                writes.push(anywhere(&guard.metastream, event));
            }
        }
        if part == Part::Repetition {
            let stream = self.transaction.streams[self.transaction.runs[0].place].stream.clone();
            writes.push(StreamWrite { stream, expected: NEVER, events: Vec::new() });
        }
        let mut runs = Vec::new();
        if part != Part::Expectations {
            self.add_records(&mut writes, &mut runs, revives);
        }
        Sent { append: Append { writes, condition: None }, runs }
    }

    fn add_records(&self, writes: &mut Vec<StreamWrite>, runs: &mut Vec<usize>, revives: bool) {
        let mut last_runs = vec![0; self.found.len()];
        for (number, run) in self.transaction.runs.iter().enumerate() {
            last_runs[run.place] = number;
        }
        // The revision that each stream's next record stands behind, where it is known.
        let mut places: Vec<_> =
            self.streams().map(|(named, _, standing)| behind(named, standing)).collect();
        for (number, run) in self.transaction.runs.iter().enumerate() {
            let stream = &self.transaction.streams[run.place].stream;
            let place = &mut places[run.place];
            let expected = place.map_or(ExpectedRevision::Any, ExpectedRevision::Behind);
            *place = place.map(|before| {
                let next = before.map_or(0, |Revision(before)| before + 1);
                (next + run.events.len() as u64).checked_sub(1).map(Revision)
            });
            runs.push(writes.len());
            let events = run.events.clone();
            writes.push(StreamWrite { stream: stream.clone(), expected, events });
            let is_last = last_runs[run.place] == number;
            if let (true, true, Some(Revival::Last(event))) =
                (revives, is_last, &self.found[run.place].revival)
            {
                writes.push(anywhere(stream, event));
            }
        }
    }

    /// The streams that are not as expected, by what the log says of its expectations; nothing where a metastream moved.
    pub(super) fn violations(&self, unmet: &[Unmet]) -> Option<Vec<Violation>> {
        // Of a stream itself nothing is asked in these two ways.
        let of_guard = |unmet: &Unmet| match unmet.expected {
            ExpectedRevision::NoStream => true,
            ExpectedRevision::Exact(_) => unmet.expected != NEVER,
            ExpectedRevision::Any
            | ExpectedRevision::Exists
            | ExpectedRevision::Behind(_)
            | ExpectedRevision::Follows(..) => false,
        };
        if unmet.iter().any(of_guard) {
            return None;
        }
        let lasts: HashMap<_, _> = unmet.iter().map(|it| (&it.stream, it.actual)).collect();
        let violation = |(place, (named, _, standing)): (usize, (&Named, &Found, Standing))| {
            let last = *lasts.get(&named.stream)?;
            let (stream, expected) = (named.stream.clone(), named.expected);
            Some(Violation { place, stream, expected, standing, last })
        };
        Some(self.streams().enumerate().filter_map(violation).collect())
    }

    /// What became of it, by the answer to an append that went through.
    pub(super) fn done(&self, sent: &Sent, appended: &Appended) -> Option<Done> {
        let mut places = HashMap::new();
        let mut revisions: Vec<(StreamName, Revision)> = Vec::new();
        for (run, write) in self.transaction.runs.iter().zip(&sent.runs) {
            let last = last_of(&appended.revisions, *write)?;
            let place = *places.entry(run.place).or_insert_with(|| {
                let stream = self.transaction.streams[run.place].stream.clone();
                revisions.push((stream, last));
                revisions.len() - 1
            });
            revisions[place].1 = last;
        }
        let ends_with_record =
            sent.runs.last().map(|last| last + 1) == Some(sent.append.writes.len());
        Some(Done { revisions, until: appended.position?, ends_with_record })
    }
}

fn anywhere(stream: &StreamName, event: &NewEvent) -> StreamWrite {
    let (stream, events) = (stream.clone(), vec![event.clone()]);
    StreamWrite { stream, expected: ExpectedRevision::Any, events }
}

fn last_of(revisions: &PerWrite<Option<Revision>>, write: usize) -> Option<Revision> {
    revisions.get(write).copied().flatten()
}

/// Where the records of a stream stand, if that is what is expected. Then they are a repetition only there, and else where the
/// stream has their ids.
#[allow(
    clippy::option_option,
    reason = "a stream that is to be new has a place, which is behind nothing"
)]
fn behind(named: &Named, standing: Standing) -> Option<Option<Revision>> {
    match (named.expected, standing) {
        (Expected::Revision(revision), _) => Some(Some(revision)),
        (Expected::NoStream, Standing::Open) => Some(None),
        (Expected::NoStream, Standing::Deleted | Standing::Ended)
        | (Expected::Any | Expected::Exists | Expected::Deleted | Expected::Ended, _) => None,
    }
}
