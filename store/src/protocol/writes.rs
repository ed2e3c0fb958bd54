//! Appends as the protocol means them. One mechanism serves deletion, revival and the end of a stream: each append to a
//! stream also expects the revision of its metastream that it was decided on. Where that has moved, it is decided
//! again. The metastream stands first in an append, so that a conflict there is told before one of the stream itself, and the
//! append's position is that of the stream's own last event.

use std::sync::Arc;

use annals_core::{
    Append, AppendError, Appended, Clock, Content, EventId, EventType, ExpectedRevision, Metadata,
    NewEvent, Position, Random, ReadQuery, Retention, Revision, SchemaFingerprint, Start,
    StreamName, StreamWrite,
};
use bytes::Bytes;
use serde_json::{Map, Value};

use super::errors::ProtocolError;
use super::names::{METADATA, original_of};
use super::service::Protocol;
use super::state::StreamState;

/// How often an append is decided; others delete, revive or describe the same stream meanwhile.
const ATTEMPTS: usize = 64;

/// What a client expects of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Anything.
    Any,
    /// No event, or deleted.
    NoStream,
    /// An event, or metadata, and not deleted.
    Exists,
    /// This last revision.
    Revision(Revision),
}

impl Expected {
    /// As the protocol counts it.
    pub fn counted(self) -> i64 {
        match self {
            Expected::NoStream => -1,
            Expected::Any => -2,
            Expected::Exists => -4,
            Expected::Revision(Revision(revision)) => i64::try_from(revision).unwrap_or(i64::MAX),
        }
    }

    /// Of a revision that a message gives.
    ///
    /// # Errors
    /// [`ProtocolError::Malformed`] where there can be none such.
    pub fn revision(given: u64) -> Result<Expected, ProtocolError> {
        if given >= i64::MAX as u64 {
            let text =
                format!("no stream has revision {given}; the last one there can be is 2^63-2");
            return Err(ProtocolError::Malformed(text));
        }
        Ok(Expected::Revision(Revision(given)))
    }
}

/// What a client wants to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// The stream.
    pub stream: StreamName,
    /// Its metastream; nothing where it is one itself.
    pub metastream: Option<StreamName>,
    /// What must be so.
    pub expected: Expected,
    /// The events, in order.
    pub events: Vec<NewEvent>,
}

impl Proposal {
    /// These events for a stream.
    pub fn new(stream: StreamName, expected: Expected, events: Vec<NewEvent>) -> Proposal {
        let metastream = Retention::stream_of(&stream);
        Proposal { stream, metastream, expected, events }
    }
}

/// The answer to an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The stream's last revision; of a repetition, that of its last event.
    pub revision: Option<Revision>,
    /// The position of the append's last event; nothing where it had none.
    pub position: Option<Position>,
}

/// Why an append did not go through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteError {
    /// The stream is not where it was expected, but there.
    Wrong(Option<Revision>),
    /// Anything else.
    Other(ProtocolError),
}

impl From<ProtocolError> for WriteError {
    fn from(error: ProtocolError) -> WriteError {
        WriteError::Other(error)
    }
}

impl From<annals_core::ReadError> for WriteError {
    fn from(error: annals_core::ReadError) -> WriteError {
        WriteError::Other(error.into())
    }
}

/// What the store's answer to an append means.
pub(crate) enum Settled {
    /// This.
    Done(Result<Written, WriteError>),
    /// It was decided on a state that has passed.
    Again,
    /// Some of its ids are known, others are not.
    Partly,
}

/// What the answer to an append on the remembered state means.
pub(crate) fn settled(proposal: &Proposal, answer: Result<Appended, AppendError>) -> Settled {
    Settled::Done(match answer {
        Ok(appended) => Ok(Written {
            revision: appended.revisions.last().copied().flatten(),
            position: appended.position,
        }),
        Err(AppendError::Conflict { stream, actual, .. }) if stream == proposal.stream => {
            Err(WriteError::Wrong(actual))
        }
        Err(AppendError::Conflict { .. }) => return Settled::Again,
        Err(AppendError::PartlyRepeated) => return Settled::Partly,
        Err(error) => Err(WriteError::Other(error.into())),
    })
}

/// Whether an append brings the stream back to life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Revival {
    /// Where it is deleted.
    Due,
    /// No: some of its ids are known, so it can only be a repetition.
    Passed,
}

/// An append that was decided on the present state.
struct Decided {
    append: Append,
    /// The event that revives the stream is the last one of the stream written itself.
    ends_with_revival: bool,
    has_revival: bool,
    /// Where the write to the stream itself expects more than the client does, a conflict there decides nothing.
    is_pinned: bool,
}

impl Protocol {
    /// Writes what a client proposes.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn write(&self, proposal: &Proposal) -> Result<Written, WriteError> {
        if let Some(append) = self.on_remembered(proposal) {
            match settled(proposal, self.parts.store.append(append).await) {
                Settled::Done(answer) => return answer,
                Settled::Again | Settled::Partly => {}
            }
        }
        self.write_on_present(proposal).await
    }

    /// The append, decided on the state as it is remembered; nothing where that would not do.
    pub(crate) fn on_remembered(&self, proposal: &Proposal) -> Option<Append> {
        proposal.metastream.as_ref()?;
        match self.remembered(&proposal.stream) {
            None => Some(plain(proposal, None)),
            Some(state) if state.is_deleted || state.is_tombstoned => None,
            Some(state) => Some(plain(proposal, state.metadata_at)),
        }
    }

    /// Writes what a client proposes, on the state as it is.
    pub(crate) async fn write_on_present(
        &self,
        proposal: &Proposal,
    ) -> Result<Written, WriteError> {
        let mut revival = Revival::Due;
        for _ in 0..ATTEMPTS {
            let decided = match original_of(&proposal.stream) {
                Some(original) => self.decide_metadata(proposal, &original, revival).await?,
                None => self.decide(proposal, revival).await?,
            };
            let answer = self.parts.store.append(decided.append).await;
            match settled(proposal, answer) {
                Settled::Done(Err(WriteError::Wrong(_))) if decided.is_pinned => {}
                Settled::Done(Ok(written)) if decided.ends_with_revival => {
                    return self.before_revival(proposal, written).await;
                }
                Settled::Done(answer) => return answer,
                Settled::Again => {}
                Settled::Partly if decided.has_revival => revival = Revival::Passed,
                Settled::Partly => {
                    let actual = self.parts.store.stream_head(&proposal.stream).await?;
                    return Err(WriteError::Wrong(actual));
                }
            }
        }
        Err(WriteError::Other(ProtocolError::TooBusy))
    }

    async fn decide(&self, proposal: &Proposal, revival: Revival) -> Result<Decided, WriteError> {
        let state = self.state(&proposal.stream).await?;
        if state.is_tombstoned {
            return Err(ProtocolError::StreamDeleted(proposal.stream.clone()).into());
        }
        let mut append = plain(proposal, state.metadata_at);
        let mut has_revival = false;
        if state.is_deleted {
            if proposal.expected == Expected::Exists {
                return Err(ProtocolError::StreamDeleted(proposal.stream.clone()).into());
            }
            let last = self.parts.store.stream_head(&proposal.stream).await?;
            let [metadata, write] = &mut append.writes[..] else {
                unreachable!("a stream that is deleted has metadata")
            };
            if let (Expected::NoStream, Some(last)) = (proposal.expected, last) {
                write.expected = ExpectedRevision::Exact(last);
            }
            // Behind another revision it is a repetition, or wrong.
            let goes_on = match proposal.expected {
                Expected::Revision(revision) => Some(revision) == last,
                Expected::Any | Expected::NoStream | Expected::Exists => true,
            };
            has_revival = goes_on && revival == Revival::Due;
            if has_revival {
                metadata.events.push(self.revived(&state.metadata, last));
            }
        }
        Ok(Decided { append, ends_with_revival: false, has_revival, is_pinned: false })
    }

    /// Of an append to a metastream. It expects that its stream is deleted as little as before, or as much.
    async fn decide_metadata(
        &self,
        proposal: &Proposal,
        original: &StreamName,
        revival: Revival,
    ) -> Result<Decided, WriteError> {
        let state: Arc<StreamState> = self.state(original).await?;
        let at = state.metadata_at;
        let is_pinned = match proposal.expected {
            Expected::Any => true,
            Expected::Exists => at.is_some(),
            Expected::NoStream | Expected::Revision(_) => false,
        };
        let expected = if is_pinned { here(at) } else { on_stream(proposal.expected, false) };
        let mut events = proposal.events.clone();
        let goes_on = match proposal.expected {
            Expected::Revision(revision) => Some(revision) == at,
            Expected::NoStream => false,
            Expected::Any | Expected::Exists => true,
        };
        let written = proposal.events.last().filter(|_| {
            state.is_deleted && !state.is_tombstoned && goes_on && revival == Revival::Due
        });
        let has_revival = written.is_some();
        if let Some(written) = written {
            let last = self.parts.store.stream_head(original).await?;
            events.push(self.revived(&written.data, last));
        }
        let write = StreamWrite { stream: proposal.stream.clone(), expected, events };
        let append = Append::to(write);
        Ok(Decided { append, ends_with_revival: has_revival, has_revival, is_pinned })
    }

    /// What a client is told whose own last event stands before the revival.
    async fn before_revival(
        &self,
        proposal: &Proposal,
        written: Written,
    ) -> Result<Written, WriteError> {
        let last = written.revision.and_then(|last| last.0.checked_sub(1)).map(Revision);
        let Some(revision) = last else { return Ok(written) };
        let query = ReadQuery::stream(proposal.stream.clone()).from(Start::Revision(revision));
        let event = self.first_of(query.limit(1)).await?;
        let position = event.map(|event| event.position);
        Ok(Written { revision: Some(revision), position })
    }

    /// The metadata of a stream that begins again behind its last event, with all else that it said.
    pub(crate) fn revived(&self, metadata: &[u8], last: Option<Revision>) -> NewEvent {
        let mut object: Map<String, Value> = serde_json::from_slice(metadata).unwrap_or_default();
        let before = last.map_or(0, |Revision(last)| last + 1);
        object.insert("$tb".to_owned(), before.into());
        let data = serde_json::to_vec(&object).expect("an object has a JSON form");
        self.own_event(METADATA, Content::Json, data.into())
    }

    /// An event that the server writes itself.
    pub fn own_event(&self, event_type: &str, content: Content, data: Bytes) -> NewEvent {
        own_event(&*self.parts.clock, &*self.parts.random, event_type, content, data)
    }
}

/// An event that the server writes itself.
pub(super) fn own_event(
    clock: &dyn Clock,
    random: &dyn Random,
    event_type: &str,
    content: Content,
    data: Bytes,
) -> NewEvent {
    NewEvent {
        id: EventId(random.uuid_v7(clock.now())),
        event_type: EventType::new(event_type).expect("a constant of the protocol"),
        schema: SchemaFingerprint::NONE,
        metadata: Metadata { content: Some(content), ..Metadata::default() }.encode(),
        data,
    }
}

/// The metastream as it is.
pub(crate) fn here(at: Option<Revision>) -> ExpectedRevision {
    at.map_or(ExpectedRevision::NoStream, ExpectedRevision::Exact)
}

/// What is asked of the stream itself.
fn on_stream(expected: Expected, has_metadata: bool) -> ExpectedRevision {
    match expected {
        Expected::Any => ExpectedRevision::Any,
        Expected::NoStream => ExpectedRevision::Behind(None),
        // Metadata alone makes a stream exist.
        Expected::Exists if has_metadata => ExpectedRevision::Any,
        Expected::Exists => ExpectedRevision::Exists,
        Expected::Revision(revision) => ExpectedRevision::Behind(Some(revision)),
    }
}

/// The append to a stream whose metastream is at a revision.
fn plain(proposal: &Proposal, at: Option<Revision>) -> Append {
    let mut writes = Vec::with_capacity(2);
    if let Some(metastream) = &proposal.metastream {
        let (stream, expected) = (metastream.clone(), here(at));
        writes.push(StreamWrite { stream, expected, events: Vec::new() });
    }
    writes.push(StreamWrite {
        stream: proposal.stream.clone(),
        expected: on_stream(proposal.expected, at.is_some()),
        events: proposal.events.clone(),
    });
    Append { writes, condition: None }
}
