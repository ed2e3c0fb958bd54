//! Events as clients propose them: what they must say of themselves, and how large they may be.

use std::collections::BTreeMap;

use annals_core::{Content, EventId, EventType, Metadata, NewEvent, SchemaFingerprint, StreamName};
use bytes::Bytes;

use super::errors::ProtocolError;
use super::events::JSON;
use super::names::{STREAM_DELETED, TOMBSTONE_MARK, stream_name, uuid};
use super::service::Settings;
use super::wire::v1::{StreamIdentifier, Uuid as WireUuid};

/// The names that came last. Whoever appends mostly appends more of the same, whose names are then neither checked nor
/// copied again.
#[derive(Default)]
pub(crate) struct Names {
    stream: Option<(StreamName, Option<StreamName>)>,
    event_type: Option<EventType>,
}

impl Names {
    /// The stream that a message names, with its metastream.
    pub(crate) fn stream(
        &mut self,
        given: Option<&StreamIdentifier>,
    ) -> Result<(StreamName, Option<StreamName>), ProtocolError> {
        let name = given.map_or(&b""[..], |given| &given.stream_name);
        if let Some(known) = &self.stream
            && known.0.as_str().as_bytes() == name
        {
            return Ok(known.clone());
        }
        let stream = stream_name(given)?;
        let metastream = annals_core::Retention::stream_of(&stream);
        self.stream = Some((stream.clone(), metastream.clone()));
        Ok((stream, metastream))
    }

    /// The type that a message names.
    pub(crate) fn event_type(&mut self, name: &str) -> Result<EventType, ProtocolError> {
        if let Some(known) = &self.event_type
            && known.as_str() == name
        {
            return Ok(known.clone());
        }
        if [STREAM_DELETED, TOMBSTONE_MARK].contains(&name) {
            let text = format!("events of type {name} are written by the server alone");
            return Err(ProtocolError::Malformed(text));
        }
        let event_type =
            EventType::new(name).map_err(|error| ProtocolError::Malformed(error.to_string()))?;
        self.event_type = Some(event_type.clone());
        Ok(event_type)
    }
}

/// An event as a message has it.
pub(crate) struct Proposed {
    pub(crate) id: Option<WireUuid>,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) custom_metadata: Bytes,
    pub(crate) data: Bytes,
}

/// How many events an append may have: each takes more than it counts for, here and in the log.
pub(crate) const EVENTS_MAX: usize = 500_000;
/// What an event takes beside what it counts for.
pub(crate) const BESIDE: usize = 64;

impl Proposed {
    /// How many bytes it counts for.
    pub(crate) fn size(&self) -> usize {
        let event_type = self.metadata.get("type").map_or(0, String::len);
        self.data.len() + self.custom_metadata.len() + 2 * event_type
    }

    /// The event.
    pub(crate) fn event(
        self,
        names: &mut Names,
        settings: &Settings,
    ) -> Result<NewEvent, ProtocolError> {
        let id = uuid(self.id.as_ref())?;
        let (size, most) = (self.size(), settings.event_bytes_max);
        if size > most {
            return Err(ProtocolError::EventTooLarge { id, size, most });
        }
        let property = |name| self.metadata.get(name).ok_or(ProtocolError::MissingMetadata(name));
        let event_type = names.event_type(property("type")?)?;
        let content =
            if property("content-type")? == JSON { Content::Json } else { Content::Bytes };
        let custom = self.custom_metadata;
        Ok(NewEvent {
            id: EventId(id),
            event_type,
            schema: SchemaFingerprint::NONE,
            metadata: Metadata { content: Some(content), custom, ..Metadata::default() }.encode(),
            data: self.data,
        })
    }
}
