//! What a log was found to hold: a fold over its events in order, which ends at the first one that must not stand there.
//! It keeps of each append where it stands, and not its events, so that it can follow a log that does not fit in memory.

use std::collections::HashMap;

use annals_core::{
    Append, Appended, ExpectedRevision, PerWrite, Position, RecordedEvent, Revision, StreamName,
};

use crate::{Outcome, Violation, Wrong};

/// Whose an event is.
#[derive(Clone, Debug)]
pub enum Origin {
    /// It is of an append of this number.
    Append(u64, Append),
    /// The store wrote it for itself.
    Store,
    /// Nobody sent it.
    Nobody,
}

/// What a log was found to hold so far.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// How many events it has.
    events: u64,
    /// How many events each stream has.
    streams: HashMap<StreamName, u64>,
    /// How each whole append would be answered if it were sent again, by its number; of a write without events nothing.
    appends: HashMap<u64, Appended>,
    under_way: Option<UnderWay>,
}

/// An append whose first events were found.
#[derive(Debug, PartialEq, Eq)]
struct UnderWay {
    number: u64,
    append: Append,
    /// How many events of the first write that is not whole were found.
    found: usize,
    /// The last revision of each whole write; nothing of one without events.
    revisions: PerWrite<Option<Revision>>,
}

impl Held {
    /// Takes the next event. `origin` is asked whose it is where an append may begin.
    ///
    /// # Errors
    /// [`Violation`], after which nothing more can be said of this log.
    pub fn take(
        &mut self,
        event: &RecordedEvent,
        origin: impl FnOnce(&RecordedEvent) -> Origin,
    ) -> Result<(), Violation> {
        count(&mut self.events, None, event.position.0)?;
        let of_stream = self.streams.entry(event.stream.clone()).or_default();
        count(of_stream, Some(&event.stream), event.revision.0)?;
        let position = event.position;
        let mut under_way = match self.under_way.take() {
            Some(under_way) => under_way,
            None => match origin(event) {
                Origin::Store => return Ok(()),
                Origin::Nobody => return Err(Violation::Phantom { id: event.id, position }),
                Origin::Append(number, _) if self.appends.contains_key(&number) => {
                    return Err(Violation::Append { number, position, wrong: Wrong::Twice });
                }
                Origin::Append(number, append) => {
                    UnderWay { number, append, found: 0, revisions: PerWrite::new() }
                }
            },
        };
        let number = under_way.number;
        let wrong = |wrong| Violation::Append { number, position, wrong };
        under_way.expect(&self.streams, Some(&event.stream)).map_err(wrong)?;
        under_way.take(event).map_err(wrong)?;
        under_way.expect(&self.streams, None).map_err(wrong)?;
        if under_way.revisions.len() == under_way.append.writes.len() {
            let answer = Appended { position: Some(position), revisions: under_way.revisions };
            self.appends.insert(number, answer);
        } else {
            self.under_way = Some(under_way);
        }
        Ok(())
    }

    /// The log ends here: no append is under way.
    ///
    /// # Errors
    /// [`Violation::Append`]
    pub fn end(&self) -> Result<(), Violation> {
        self.under_way.as_ref().map_or(Ok(()), |&UnderWay { number, .. }| {
            let position = Position(self.events);
            Err(Violation::Append { number, position, wrong: Wrong::Torn })
        })
    }

    /// The position of the last event taken.
    pub fn last(&self) -> Option<Position> {
        self.events.checked_sub(1).map(Position)
    }

    /// How an append would be answered if it were sent again; nothing where it does not stand there.
    pub fn append(&self, number: u64) -> Option<&Appended> {
        self.appends.get(&number)
    }

    /// Holds an acknowledgement against what was found.
    ///
    /// # Errors
    /// [`Violation::Outcome`]
    pub fn check(&self, number: u64, acknowledged: &Appended) -> Result<(), Violation> {
        let found = self.append(number);
        if found == Some(acknowledged) {
            return Ok(());
        }
        let (outcome, found) = (Outcome::Acknowledged(acknowledged.clone()), found.cloned());
        Err(Violation::Outcome { number, outcome, found })
    }
}

/// Counts an event of a stream, or of the log, where it has the number that is due.
fn count(due: &mut u64, stream: Option<&StreamName>, found: u64) -> Result<(), Violation> {
    if found != *due {
        return Err(Violation::Gap { stream: stream.cloned(), expected: *due, found });
    }
    *due += 1;
    Ok(())
}

impl UnderWay {
    /// Passes the next writes that have no events, if what they expect is so. The streams are counted with the event that
    /// was met in that stream and is not taken yet.
    fn expect(
        &mut self,
        streams: &HashMap<StreamName, u64>,
        met: Option<&StreamName>,
    ) -> Result<(), Wrong> {
        if self.found > 0 {
            return Ok(());
        }
        for write in &self.append.writes[self.revisions.len()..] {
            if !write.events.is_empty() {
                break;
            }
            let counted = streams.get(&write.stream).copied().unwrap_or(0);
            let count = counted - u64::from(met == Some(&write.stream));
            if !lets(write.expected, Revision(count)) {
                return Err(Wrong::Unexpected);
            }
            self.revisions.push(None);
        }
        Ok(())
    }

    /// Takes the append's next event, if this is the one.
    fn take(&mut self, event: &RecordedEvent) -> Result<(), Wrong> {
        let write = &self.append.writes[self.revisions.len()];
        let due = &write.events[self.found];
        if event.id != due.id {
            return Err(Wrong::Torn);
        }
        let found = (&event.stream, &event.event_type, event.schema, &event.metadata, &event.data);
        if found != (&write.stream, &due.event_type, due.schema, &due.metadata, &due.data) {
            return Err(Wrong::Altered);
        }
        if self.found == 0 && !lets(write.expected, event.revision) {
            return Err(Wrong::Unexpected);
        }
        self.found += 1;
        if self.found == write.events.len() {
            self.revisions.push(Some(event.revision));
            self.found = 0;
        }
        Ok(())
    }
}

/// Whether what was expected lets a write begin at this revision, which is how many events its stream has.
fn lets(expected: ExpectedRevision, first: Revision) -> bool {
    match expected {
        ExpectedRevision::Any => true,
        ExpectedRevision::NoStream | ExpectedRevision::Behind(None) => first == Revision(0),
        ExpectedRevision::Exists => first > Revision(0),
        // Which event stands before it is not kept.
        ExpectedRevision::Exact(last)
        | ExpectedRevision::Follows(last, _)
        | ExpectedRevision::Behind(Some(last)) => first.0.checked_sub(1) == Some(last.0),
    }
}
