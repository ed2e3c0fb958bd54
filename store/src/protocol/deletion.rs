//! Deletions: one that the next append undoes, which is an event of the metastream alone, and one for ever, which ends the
//! stream with an event of its own and leaves a mark in the metastream.

use annals_core::{
    Append, AppendError, Content, ExpectedRevision, Position, Retention, Revision, StreamName,
    StreamWrite,
};
use bytes::Bytes;

use super::access::Acl;
use super::errors::{ProtocolError, counted};
use super::names::{DELETED, METADATA, STREAM_DELETED, TOMBSTONE_MARK};
use super::service::Protocol;
use super::state::StreamState;
use super::writes::{Expected, here};

/// How often a deletion is decided.
const ATTEMPTS: usize = 64;

/// How a stream is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// Until the next append.
    Soft,
    /// For ever.
    Tombstone,
}

impl Protocol {
    /// Deletes a stream; answers with the position of what that wrote.
    ///
    /// # Errors
    /// [`ProtocolError`].
    pub async fn delete(
        &self,
        stream: &StreamName,
        expected: Expected,
        deletion: Deletion,
    ) -> Result<Option<Position>, ProtocolError> {
        let Some(metastream) = Retention::stream_of(stream) else {
            let text = format!("{stream} has no metadata of its own and so cannot be deleted");
            return Err(ProtocolError::Malformed(text));
        };
        for _ in 0..ATTEMPTS {
            let state = self.state(stream).await?;
            let last = self.parts.store.stream_head(stream).await?;
            check(stream, &state, last, expected, deletion)?;
            // What was not asked for needs not stay so.
            let pinned = match expected {
                Expected::Any | Expected::Exists => ExpectedRevision::Any,
                Expected::NoStream | Expected::Revision(_) => here(last),
            };
            let (of_metastream, of_stream) = match deletion {
                Deletion::Soft => {
                    // Who may delete a stream does not change who may do what with it.
                    let mut metadata = Acl::kept_of(&state.metadata);
                    metadata.insert("$tb".to_owned(), DELETED.into());
                    let data = serde_json::to_vec(&metadata).expect("an object has a JSON form");
                    (self.own_event(METADATA, Content::Json, data.into()), None)
                }
                Deletion::Tombstone => {
                    let event = |kind| self.own_event(kind, Content::Bytes, Bytes::new());
                    (event(TOMBSTONE_MARK), Some(event(STREAM_DELETED)))
                }
            };
            let writes = vec![
                StreamWrite {
                    stream: metastream.clone(),
                    expected: here(state.metadata_at),
                    events: vec![of_metastream],
                },
                StreamWrite {
                    stream: stream.clone(),
                    expected: pinned,
                    events: of_stream.into_iter().collect(),
                },
            ];
            match self.parts.store.append(Append { writes, condition: None }).await {
                Ok(appended) => return Ok(appended.position),
                Err(AppendError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ProtocolError::TooBusy)
    }
}

/// Whether a stream of this state may be deleted so.
fn check(
    stream: &StreamName,
    state: &StreamState,
    last: Option<Revision>,
    expected: Expected,
    deletion: Deletion,
) -> Result<(), ProtocolError> {
    let deleted = || Err(ProtocolError::StreamDeleted(stream.clone()));
    let wrong = || {
        let (stream, expected, actual) = (stream.clone(), expected.counted(), counted(last));
        Err(ProtocolError::WrongExpectedVersion { stream, expected, actual })
    };
    if state.is_tombstoned {
        return deleted();
    }
    let was_never = last.is_none() && state.metadata_at.is_none();
    if was_never && deletion == Deletion::Soft {
        return wrong();
    }
    match expected {
        Expected::Any => Ok(()),
        Expected::NoStream if last.is_none() || state.is_deleted => Ok(()),
        Expected::Exists if state.is_deleted => deleted(),
        Expected::Exists if !was_never => Ok(()),
        Expected::Revision(revision) if Some(revision) == last => Ok(()),
        Expected::NoStream | Expected::Exists | Expected::Revision(_) => wrong(),
    }
}
