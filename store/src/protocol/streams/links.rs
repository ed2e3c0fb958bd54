//! Links: events whose data is `REVISION@STREAM`, and which stand for the event there.

use annals_core::{ReadError, RecordedEvent, Revision, StreamName};

use crate::protocol::access::{Caller, Right};
use crate::protocol::errors::ProtocolError;
use crate::protocol::lookup::{event_at, link_target};
use crate::protocol::names::LINK;
use crate::protocol::service::Protocol;

impl Protocol {
    /// The event that a link stands for; nothing where the event is no link, or what it stood for is gone.
    ///
    /// # Errors
    /// Where it could not be read.
    pub async fn linked(&self, event: &RecordedEvent) -> Result<Option<RecordedEvent>, ReadError> {
        let Some((revision, stream)) = target(event) else { return Ok(None) };
        let state = self.state(&stream).await?;
        if state.is_tombstoned || state.is_deleted {
            return Ok(None);
        }
        event_at(&*self.parts.store, stream, revision).await
    }

    /// The same for a caller.
    ///
    /// # Errors
    /// [`ProtocolError::AccessDenied`] where the caller may not read the stream of that event, and where it could not be
    /// read.
    pub async fn linked_for(
        &self,
        caller: &Caller,
        event: &RecordedEvent,
    ) -> Result<Option<RecordedEvent>, ProtocolError> {
        if let Some((_, stream)) = target(event) {
            self.may(caller, Right::Read, &stream).await?;
        }
        Ok(self.linked(event).await?)
    }
}

/// Where a link leads; nothing where the event is none.
fn target(event: &RecordedEvent) -> Option<(Revision, StreamName)> {
    is_link(event).then(|| link_target(&event.data)).flatten()
}

/// Whether the event is a link.
pub(super) fn is_link(event: &RecordedEvent) -> bool {
    event.event_type.as_str() == LINK
}
