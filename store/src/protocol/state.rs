//! What the metadata of a stream says of it: whether it is deleted, whether for ever, and who may do what with it. Every append
//! to a stream is decided on its state and expects the revision of the metastream that the state stands on, so that nobody who
//! deletes or revives the stream meanwhile is passed over. States are remembered, but for streams without metadata, which are
//! nearly all.

use std::sync::Arc;

use annals_core::{Filter, ReadError, ReadQuery, RecordedEvent, Retention, Revision, StreamName};
use bytes::Bytes;
use quick_cache::sync::Cache;

use super::access::Acl;
use super::errors::ProtocolError;
use super::lookup;
use super::names::{DELETED, TOMBSTONE_MARK};
use super::service::Protocol;

/// How many states are remembered.
const STATES_MAX: usize = 65_536;

/// What the metadata of a stream says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamState {
    /// The last revision of the metastream; nothing where it has no event.
    pub metadata_at: Option<Revision>,
    /// The data of that event.
    pub metadata: Bytes,
    /// Who may do what with the stream.
    pub acl: Acl,
    /// Deleted until the next append.
    pub is_deleted: bool,
    /// Ended for ever.
    pub is_tombstoned: bool,
}

/// The states that are remembered.
pub(crate) struct States(Cache<StreamName, Arc<StreamState>>);

impl Default for States {
    fn default() -> States {
        States(Cache::new(STATES_MAX))
    }
}

impl StreamState {
    fn of(last: &RecordedEvent, is_tombstoned: bool) -> StreamState {
        StreamState {
            metadata_at: Some(last.revision),
            metadata: last.data.clone(),
            acl: Acl::of_metadata(&last.data),
            is_deleted: Retention::parse(&last.data).truncate_before == Some(DELETED),
            is_tombstoned,
        }
    }
}

impl Protocol {
    /// The state as it is remembered, which may be an older one.
    pub(crate) fn remembered(&self, stream: &StreamName) -> Option<Arc<StreamState>> {
        self.states.0.get(stream)
    }

    /// The state as it is. Of a metastream itself there is none: it is as a stream without metadata.
    ///
    /// # Errors
    /// Where it could not be read.
    pub async fn state(&self, stream: &StreamName) -> Result<Arc<StreamState>, ReadError> {
        let Some(metastream) = Retention::stream_of(stream) else { return Ok(Arc::default()) };
        let head = self.parts.store.stream_head(&metastream).await?;
        let remembered = self.remembered(stream);
        if head.is_none() {
            self.states.0.remove(stream);
            return Ok(Arc::default());
        }
        if let Some(remembered) = remembered.as_ref().filter(|state| state.metadata_at == head) {
            return Ok(Arc::clone(remembered));
        }
        let query = ReadQuery::stream(metastream).backwards().limit(1);
        let last = self.first_of(query.clone()).await?;
        let Some(last) = last else { return Ok(Arc::default()) };
        let ended = remembered.as_ref().is_some_and(|state| state.is_tombstoned)
            || last.event_type.as_str() == TOMBSTONE_MARK;
        let seen = remembered.and_then(|state| state.metadata_at).map_or(0, |at| at.0 + 1);
        let is_tombstoned = ended || {
            // Clients may write metadata behind the mark.
            let marks =
                Filter { type_prefixes: vec![TOMBSTONE_MARK.to_owned()], ..Filter::default() };
            last.revision.0 > seen && self.first_of(query.filtered(marks)).await?.is_some()
        };
        let state = Arc::new(StreamState::of(&last, is_tombstoned));
        self.states.0.insert(stream.clone(), Arc::clone(&state));
        Ok(state)
    }

    /// Whether the stream, or that whose metadata it holds, has ended for ever.
    ///
    /// # Errors
    /// [`ProtocolError::StreamDeleted`] where it has, and where it could not be read.
    pub async fn check_readable(
        &self,
        stream: &StreamName,
    ) -> Result<Arc<StreamState>, ProtocolError> {
        let state = match super::names::original_of(stream) {
            Some(original) => {
                let of_original = self.state(&original).await?;
                if of_original.is_tombstoned { of_original } else { Arc::default() }
            }
            None => self.state(stream).await?,
        };
        if state.is_tombstoned {
            return Err(ProtocolError::StreamDeleted(stream.clone()));
        }
        Ok(state)
    }

    /// The first event that a read gives.
    ///
    /// # Errors
    /// Those of the read.
    pub async fn first_of(&self, query: ReadQuery) -> Result<Option<RecordedEvent>, ReadError> {
        lookup::first_of(&*self.parts.store, query).await
    }
}
