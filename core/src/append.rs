//! The rule by which every store takes or refuses an append: first whether it is a repetition, then each stream's
//! expected revision, then the condition. Writes are looked at one after the other, each as those before it leave its
//! stream.

use std::hash::Hash;

use hashbrown::{HashMap, HashSet};
use smallvec::SmallVec;

use crate::event::{EventId, Position, Revision, StreamName};
use crate::store::{Append, AppendError, Appended, Condition, ExpectedRevision, PerWrite, Unmet};

/// So many are compared with each other.
const FEW: usize = 8;

/// What of an append the check looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendHead {
    /// The writes, in order.
    pub writes: PerWrite<WriteHead>,
    /// What else must be so.
    pub condition: Option<Condition>,
}

/// What of a write the check looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteHead {
    /// The stream.
    pub stream: StreamName,
    /// What must be so.
    pub expected: ExpectedRevision,
    /// The ids of its events, in order.
    pub ids: SmallVec<[EventId; 1]>,
}

impl From<&Append> for AppendHead {
    fn from(append: &Append) -> AppendHead {
        let writes = append.writes.iter().map(|write| WriteHead {
            stream: write.stream.clone(),
            expected: write.expected,
            ids: write.events.iter().map(|event| event.id).collect(),
        });
        AppendHead { writes: writes.collect(), condition: append.condition.clone() }
    }
}

/// What the writer of a store knows of its log, also of what is not durable yet.
pub trait AppendView {
    /// The stream's last revision; nothing where it has no event.
    ///
    /// # Errors
    /// [`AppendError::Unknown`] where it could not be read; so for the others.
    fn head(&self, stream: &StreamName) -> Result<Option<Revision>, AppendError>;

    /// The id and the position of the stream's event of that revision.
    ///
    /// # Errors
    /// As [`AppendView::head`].
    fn event_at(
        &self,
        stream: &StreamName,
        revision: Revision,
    ) -> Result<Option<(EventId, Position)>, AppendError>;

    /// Where the event of the stream with that id stands, as far back as the store remembers ids.
    ///
    /// # Errors
    /// As [`AppendView::head`].
    fn known(
        &self,
        stream: &StreamName,
        id: EventId,
    ) -> Result<Option<(Revision, Position)>, AppendError>;

    /// False only for an id of the append that is checked that neither stands in the log, as far as the store remembers, nor
    /// comes twice in the append.
    fn may_be_known(&self, _id: &EventId) -> bool {
        true
    }

    /// The position of an event that the condition excludes.
    ///
    /// # Errors
    /// As [`AppendView::head`].
    fn excluded(&self, condition: &Condition) -> Result<Option<Position>, AppendError>;
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checked {
    /// It stands there already: the answer, as the first time.
    Repeated(Appended),
    /// It may be appended: the last revision of each stream written, in the order of the writes.
    New(PerWrite<Option<Revision>>),
}

/// Checks one append against the log.
///
/// # Errors
/// [`AppendError::Malformed`], [`AppendError::PartlyRepeated`], [`AppendError::Conflict`],
/// [`AppendError::ConditionFailed`], and the view's.
pub fn check_append(append: &AppendHead, view: &impl AppendView) -> Result<Checked, AppendError> {
    let streams = check_form(append, view)?;
    let known = known_by_id(append, view)?;
    if !append.writes.iter().any(WriteHead::goes_by_place) {
        match known {
            Known::All(answer) => return Ok(Checked::Repeated(answer)),
            Known::Some => return Err(AppendError::PartlyRepeated),
            Known::Nothing => {}
        }
    }
    let (heads, unmet) = expectations(append, streams, view)?;
    let mut unmet = unmet.into_iter();
    if let Some(Unmet { stream, expected, actual }) = unmet.next() {
        // Ids are remembered for a while only; what stands where it was to stand is found for ever.
        if let Some(answer) = repeated_in_place(append, view)? {
            return Ok(Checked::Repeated(answer));
        }
        let others = unmet.collect();
        return Err(AppendError::Conflict { stream, expected, actual, others });
    }
    if !matches!(known, Known::Nothing) {
        // What goes by its place is new.
        return Err(AppendError::PartlyRepeated);
    }
    let excluded =
        append.condition.as_ref().map(|condition| view.excluded(condition)).transpose()?;
    match excluded.flatten() {
        Some(position) => Err(AppendError::ConditionFailed { position }),
        None => Ok(Checked::New(heads)),
    }
}

/// How often a stream occurs in an append.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Streams {
    /// Each once: nearly every append.
    Once,
    /// One of them several times.
    Again,
}

impl WriteHead {
    /// A place tells events apart that have the same id.
    fn goes_by_place(&self) -> bool {
        !self.ids.is_empty() && matches!(self.expected, ExpectedRevision::Behind(_))
    }

    fn refuse(&self, id: EventId) -> AppendError {
        let text = format!("event id {id} occurs twice in the events for {}", self.stream);
        AppendError::Malformed(text)
    }
}

fn check_form(append: &AppendHead, view: &impl AppendView) -> Result<Streams, AppendError> {
    let by_id = || append.writes.iter().filter(|write| !write.goes_by_place());
    let maybe_known = |write: &WriteHead| -> SmallVec<[EventId; FEW]> {
        write.ids.iter().filter(|id| view.may_be_known(id)).copied().collect()
    };
    for write in by_id() {
        if let Some(id) = twice(maybe_known(write).iter()) {
            return Err(write.refuse(*id));
        }
    }
    if twice(append.writes.iter().map(|write| &write.stream)).is_none() {
        return Ok(Streams::Once);
    }
    let mut met = HashSet::new();
    for write in by_id() {
        let again = maybe_known(write).into_iter().find(|id| !met.insert((&write.stream, *id)));
        if let Some(id) = again {
            return Err(write.refuse(id));
        }
    }
    Ok(Streams::Again)
}

/// A stream as the writes so far leave it.
#[derive(Clone, Copy)]
struct Left {
    head: Option<Revision>,
    /// The id of its last event, where that is of this append.
    last: Option<EventId>,
    /// It is not where one of them expected it.
    is_elsewhere: bool,
}

impl Left {
    fn behind(self, ids: &[EventId], is_elsewhere: bool) -> Left {
        let count = ids.len() as u64;
        let next = self.head.map_or(0, |Revision(head)| head + 1);
        Left {
            head: (next + count).checked_sub(1).map(Revision),
            last: ids.last().copied().or(self.last),
            is_elsewhere: self.is_elsewhere || is_elsewhere,
        }
    }
}

/// Each write's last revision before it, and what was expected and is not so: of each stream the first.
fn expectations(
    append: &AppendHead,
    streams: Streams,
    view: &impl AppendView,
) -> Result<(PerWrite<Option<Revision>>, Vec<Unmet>), AppendError> {
    let mut heads = PerWrite::with_capacity(append.writes.len());
    let mut unmet = Vec::new();
    let mut left: HashMap<&StreamName, Left> = HashMap::new();
    for write in &append.writes {
        let now = match left.get(&write.stream) {
            Some(left) => *left,
            None => Left { head: view.head(&write.stream)?, last: None, is_elsewhere: false },
        };
        let is_met = is_expected(write, now, view)?;
        if !is_met && !now.is_elsewhere {
            let (stream, expected) = (write.stream.clone(), write.expected);
            unmet.push(Unmet { stream, expected, actual: now.head });
        }
        heads.push(now.head);
        if streams == Streams::Again {
            left.insert(&write.stream, now.behind(&write.ids, !is_met));
        }
    }
    Ok((heads, unmet))
}

/// The first of the items that is there a second time.
fn twice<'a, T: Eq + Hash>(items: impl ExactSizeIterator<Item = &'a T> + Clone) -> Option<&'a T> {
    let length = items.len();
    if length <= FEW {
        // Nearly every append: comparing is cheaper than a set.
        let mut places = items.clone().enumerate();
        return places.find_map(|(place, item)| items.clone().take(place).find(|it| *it == item));
    }
    let mut met = HashSet::with_capacity(length);
    items.into_iter().find(|item| !met.insert(*item))
}

/// What is known of the events that go by their ids.
enum Known {
    /// None of them.
    Nothing,
    /// Some, and others not.
    Some,
    /// All: the answer to an append of these alone.
    All(Appended),
}

fn known_by_id(append: &AppendHead, view: &impl AppendView) -> Result<Known, AppendError> {
    let (mut found, mut missing) = (0_usize, false);
    let mut answer = Appended { position: None, revisions: PerWrite::new() };
    for write in &append.writes {
        let mut last = None;
        let by_id = if write.goes_by_place() { &[][..] } else { &write.ids };
        for id in by_id {
            let Some((revision, position)) = view.known(&write.stream, *id)? else {
                missing = true;
                continue;
            };
            found += 1;
            last = Some(revision);
            answer.position = answer.position.max(Some(position));
        }
        answer.revisions.push(last);
    }
    Ok(match (found, missing) {
        (0, _) => Known::Nothing,
        (_, false) => Known::All(answer),
        (_, true) => Known::Some,
    })
}

/// The answer to an append whose events stand at the very revisions that it expected, and where it expected none, in
/// their streams at all.
fn repeated_in_place(
    append: &AppendHead,
    view: &impl AppendView,
) -> Result<Option<Appended>, AppendError> {
    let mut answer = Appended { position: None, revisions: PerWrite::new() };
    for write in &append.writes {
        let mut next = match write.expected {
            ExpectedRevision::NoStream | ExpectedRevision::Behind(None) => Some(Revision(0)),
            ExpectedRevision::Exact(last)
            | ExpectedRevision::Follows(last, _)
            | ExpectedRevision::Behind(Some(last)) => Some(Revision(last.0.saturating_add(1))),
            ExpectedRevision::Any | ExpectedRevision::Exists => None,
        };
        let mut last = None;
        for wanted in &write.ids {
            let stands = match next {
                Some(revision) => view
                    .event_at(&write.stream, revision)?
                    .filter(|(id, _)| id == wanted)
                    .map(|(_, position)| (revision, position)),
                None => view.known(&write.stream, *wanted)?,
            };
            let Some((revision, position)) = stands else { return Ok(None) };
            answer.position = answer.position.max(Some(position));
            last = Some(revision);
            next = next.map(|next| Revision(next.0 + 1));
        }
        answer.revisions.push(last);
    }
    Ok(answer.position.map(|_| answer))
}

/// Whether the stream is as the write expects it.
fn is_expected(write: &WriteHead, now: Left, view: &impl AppendView) -> Result<bool, AppendError> {
    let actual = now.head;
    Ok(match write.expected {
        ExpectedRevision::Any => true,
        ExpectedRevision::NoStream => actual.is_none(),
        ExpectedRevision::Exists => actual.is_some(),
        ExpectedRevision::Exact(revision) => actual == Some(revision),
        ExpectedRevision::Behind(revision) => actual == revision,
        ExpectedRevision::Follows(revision, id) => {
            actual == Some(revision)
                && match now.last {
                    Some(last) => last == id,
                    None => {
                        view.event_at(&write.stream, revision)?.is_some_and(|(last, _)| last == id)
                    }
                }
        }
    })
}

#[cfg(test)]
mod tests;
