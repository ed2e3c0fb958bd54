//! Links: events whose data is `REVISION@STREAM`, and which stand for the event there.

use annals_core::{ReadQuery, RecordedEvent, Revision, Start, StreamName};

use crate::protocol::errors::ProtocolError;
use crate::protocol::names::LINK;
use crate::protocol::service::Protocol;

impl Protocol {
    /// The event that a link stands for; nothing where the event is no link, or what it stood for is gone.
    ///
    /// # Errors
    /// Where it could not be read.
    pub async fn linked(
        &self,
        event: &RecordedEvent,
    ) -> Result<Option<RecordedEvent>, ProtocolError> {
        let Some((stream, revision)) = target(event) else { return Ok(None) };
        let state = self.state(&stream).await?;
        if state.is_tombstoned || state.is_deleted {
            return Ok(None);
        }
        let query = ReadQuery::stream(stream).from(Start::Revision(revision)).limit(1);
        let found = self.first_of(query).await?;
        Ok(found.filter(|found| found.revision == revision))
    }
}

/// Whether the event is a link.
pub(super) fn is_link(event: &RecordedEvent) -> bool {
    event.event_type.as_str() == LINK
}

fn target(event: &RecordedEvent) -> Option<(StreamName, Revision)> {
    if !is_link(event) {
        return None;
    }
    let text = std::str::from_utf8(&event.data).ok()?;
    let (revision, stream) = text.split_once('@')?;
    Some((StreamName::new(stream).ok()?, Revision(revision.parse().ok()?)))
}
