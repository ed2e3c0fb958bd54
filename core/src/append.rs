//! The rule by which every store takes or refuses an append: first whether it is a repetition, then each stream's
//! expected revision, then the condition.

use std::hash::Hash;

use hashbrown::HashSet;
use smallvec::SmallVec;

use crate::event::{EventId, Position, Revision, StreamName};
use crate::store::{Append, AppendError, Appended, Condition, ExpectedRevision, PerWrite};

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
    check_form(append)?;
    if let Some(answer) = repeated_by_id(append, view)? {
        return Ok(Checked::Repeated(answer));
    }
    let mut heads = PerWrite::with_capacity(append.writes.len());
    for write in &append.writes {
        let actual = view.head(&write.stream)?;
        if !is_expected(write, actual, view)? {
            // Ids are remembered for a while only; what stands where it was to stand is found for ever.
            if let Some(answer) = repeated_in_place(append, view)? {
                return Ok(Checked::Repeated(answer));
            }
            let (stream, expected) = (write.stream.clone(), write.expected);
            return Err(AppendError::Conflict { stream, expected, actual });
        }
        heads.push(actual);
    }
    let excluded =
        append.condition.as_ref().map(|condition| view.excluded(condition)).transpose()?;
    match excluded.flatten() {
        Some(position) => Err(AppendError::ConditionFailed { position }),
        None => Ok(Checked::New(heads)),
    }
}

fn check_form(append: &AppendHead) -> Result<(), AppendError> {
    if let Some(stream) = twice(append.writes.iter().map(|write| &write.stream)) {
        let text = format!("stream {stream} occurs twice in one append");
        return Err(AppendError::Malformed(text));
    }
    // A place tells events apart that have the same id.
    let by_id = |write: &&WriteHead| !matches!(write.expected, ExpectedRevision::Behind(_));
    for write in append.writes.iter().filter(by_id) {
        if let Some(id) = twice(write.ids.iter()) {
            let text = format!("event id {id} occurs twice in the events for {}", write.stream);
            return Err(AppendError::Malformed(text));
        }
    }
    Ok(())
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

/// The answer to an append whose events stand there already, found by their ids.
fn repeated_by_id(
    append: &AppendHead,
    view: &impl AppendView,
) -> Result<Option<Appended>, AppendError> {
    let by_place = |write: &WriteHead| matches!(write.expected, ExpectedRevision::Behind(_));
    if append.writes.iter().any(by_place) {
        return Ok(None);
    }
    let (mut found, mut missing) = (0_usize, false);
    let mut answer = Appended { position: None, revisions: PerWrite::new() };
    for write in &append.writes {
        let mut last = None;
        for id in &write.ids {
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
    match (found, missing) {
        (0, _) => Ok(None),
        (_, false) => Ok(Some(answer)),
        (_, true) => Err(AppendError::PartlyRepeated),
    }
}

/// The answer to an append whose events stand at the very revisions that it expected.
fn repeated_in_place(
    append: &AppendHead,
    view: &impl AppendView,
) -> Result<Option<Appended>, AppendError> {
    let mut answer = Appended { position: None, revisions: PerWrite::new() };
    for write in &append.writes {
        let mut next = match write.expected {
            ExpectedRevision::NoStream | ExpectedRevision::Behind(None) => Revision(0),
            ExpectedRevision::Exact(last)
            | ExpectedRevision::Follows(last, _)
            | ExpectedRevision::Behind(Some(last)) => Revision(last.0.saturating_add(1)),
            ExpectedRevision::Any | ExpectedRevision::Exists => return Ok(None),
        };
        let mut last = None;
        for wanted in &write.ids {
            let Some((id, position)) = view.event_at(&write.stream, next)? else { return Ok(None) };
            if id != *wanted {
                return Ok(None);
            }
            answer.position = answer.position.max(Some(position));
            last = Some(next);
            next = Revision(next.0 + 1);
        }
        answer.revisions.push(last);
    }
    Ok(answer.position.map(|_| answer))
}

/// Whether the stream's last revision is what the write expects.
fn is_expected(
    write: &WriteHead,
    actual: Option<Revision>,
    view: &impl AppendView,
) -> Result<bool, AppendError> {
    Ok(match write.expected {
        ExpectedRevision::Any => true,
        ExpectedRevision::NoStream => actual.is_none(),
        ExpectedRevision::Exists => actual.is_some(),
        ExpectedRevision::Exact(revision) => actual == Some(revision),
        ExpectedRevision::Behind(revision) => actual == revision,
        ExpectedRevision::Follows(revision, id) => {
            actual == Some(revision)
                && view.event_at(&write.stream, revision)?.is_some_and(|(last, _)| last == id)
        }
    })
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use uuid::Uuid;

    use super::*;
    use crate::clock::{SimulatedClock, Timestamp};
    use crate::codec::SchemaFingerprint;
    use crate::event::{EventType, NewEvent};
    use crate::memory::MemoryStore;
    use crate::store::{EventStore, StreamWrite};

    fn append(
        store: &MemoryStore,
        expected: ExpectedRevision,
        ids: &[u128],
    ) -> Result<Option<Revision>, AppendError> {
        let event = |id: &u128| NewEvent {
            id: EventId(Uuid::from_u128(*id)),
            event_type: EventType::new("note.Taken").expect("a type"),
            schema: SchemaFingerprint::NONE,
            metadata: bytes::Bytes::new(),
            data: bytes::Bytes::new(),
        };
        let events = ids.iter().map(event).collect();
        let stream = StreamName::new("note-1").expect("a name");
        let append = Append::to(StreamWrite { stream, expected, events });
        let answer = store.append(append).now_or_never().expect("it is in memory")?;
        Ok(answer.revisions[0])
    }

    /// A stream of the events 10, 11, 12.
    fn three() -> MemoryStore {
        let store = MemoryStore::new(SimulatedClock::new(Timestamp(0)));
        let answer = append(&store, ExpectedRevision::Behind(None), &[10, 11, 12]);
        assert_eq!(answer.expect("it is new"), Some(Revision(2)));
        store
    }

    #[test]
    fn an_append_behind_a_place_is_a_repetition_only_there() {
        let behind = |revision: u64| ExpectedRevision::Behind(Some(Revision(revision)));
        let repeated = [
            (ExpectedRevision::Behind(None), &[10, 11][..], 1),
            (behind(0), &[11], 1),
            (behind(1), &[12], 2),
        ];
        for (expected, ids, last) in repeated {
            let store = three();
            let answer = append(&store, expected, ids).expect("a repetition");
            assert_eq!(answer, Some(Revision(last)));
            assert_eq!(store.events().len(), 3, "{expected:?}");
        }
        let refused = [
            (ExpectedRevision::Behind(None), &[11][..]),
            (ExpectedRevision::Behind(None), &[10, 12]),
            (ExpectedRevision::Behind(None), &[]),
            (behind(0), &[11, 12, 13]),
            (behind(1), &[11]),
            (behind(3), &[10]),
        ];
        for (expected, ids) in refused {
            let answer = append(&three(), expected, ids);
            assert!(matches!(answer, Err(AppendError::Conflict { .. })), "{expected:?} {ids:?}");
        }
        // What is known elsewhere is another event here, and twice the same in one append are two.
        let store = three();
        assert_eq!(append(&store, behind(2), &[10, 10]).expect("new"), Some(Revision(4)));
    }

    #[test]
    fn an_append_that_is_partly_known_is_neither_new_nor_a_repetition() {
        for expected in [ExpectedRevision::Any, ExpectedRevision::Exact(Revision(2))] {
            let answer = append(&three(), expected, &[12, 13]);
            assert!(matches!(answer, Err(AppendError::PartlyRepeated)), "{answer:?}");
        }
        for expected in [ExpectedRevision::Any, ExpectedRevision::Exact(Revision(2))] {
            let answer = append(&three(), expected, &[11, 12]).expect("a repetition");
            assert_eq!(answer, Some(Revision(2)));
        }
    }

    #[test]
    fn nothing_occurs_twice_in_one_append() {
        let many: Vec<u128> = (101..=120).collect();
        let twice = |ids: &[u128]| [ids, &ids[..1]].concat();
        for ids in [&[1][..], &[1, 2, 3], &many] {
            let store = three();
            append(&store, ExpectedRevision::Any, ids).expect("each is there once");
            let store = three();
            let refused = append(&store, ExpectedRevision::Any, &twice(ids));
            assert!(matches!(refused, Err(AppendError::Malformed(_))), "{refused:?}");
        }
    }
}
