//! The rule by which every store takes or refuses an append: first whether it is a repetition, then each stream's
//! expected revision, then the condition.

use hashbrown::HashSet;
use smallvec::SmallVec;

use crate::event::{EventId, Position, Revision, StreamName};
use crate::store::{Append, AppendError, Appended, Condition, ExpectedRevision, PerWrite};

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
/// [`AppendError::Malformed`], [`AppendError::Conflict`], [`AppendError::ConditionFailed`], and the view's.
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
    if let [write] = &append.writes[..]
        && write.ids.len() <= 1
    {
        return Ok(()); // The most frequent append has nothing that could occur twice.
    }
    let mut streams = HashSet::with_capacity(append.writes.len());
    for write in &append.writes {
        if !streams.insert(&write.stream) {
            let text = format!("stream {} occurs twice in one append", write.stream);
            return Err(AppendError::Malformed(text));
        }
        let mut ids = HashSet::with_capacity(write.ids.len());
        if let Some(twice) = write.ids.iter().find(|id| !ids.insert(**id)) {
            let text = format!("event id {twice} occurs twice in the events for {}", write.stream);
            return Err(AppendError::Malformed(text));
        }
    }
    Ok(())
}

/// The answer to an append whose events stand there already, found by their ids.
fn repeated_by_id(
    append: &AppendHead,
    view: &impl AppendView,
) -> Result<Option<Appended>, AppendError> {
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
        (_, true) => Err(AppendError::Malformed(
            "some of its event ids are stored already and others are not".to_owned(),
        )),
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
            ExpectedRevision::NoStream => Revision(0),
            ExpectedRevision::Exact(last) | ExpectedRevision::Follows(last, _) => {
                Revision(last.0.saturating_add(1))
            }
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
        ExpectedRevision::Follows(revision, id) => {
            actual == Some(revision)
                && view.event_at(&write.stream, revision)?.is_some_and(|(last, _)| last == id)
        }
    })
}
