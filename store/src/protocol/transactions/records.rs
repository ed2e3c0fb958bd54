//! Records as the events that they become: what they must say of themselves, and how large they may be.

use annals_core::{Content, EventId, Metadata, NewEvent, SchemaFingerprint, StreamName};
use uuid::Uuid;

use super::errors::Refusal;
use super::properties::{Schema, custom_metadata};
use crate::protocol::errors::ProtocolError;
use crate::protocol::proposed::Names;
use crate::protocol::service::Protocol;
use crate::protocol::wire::kurrentdb::protocol::v2::streams::{AppendRecord, SchemaFormat};

/// An event, and how many bytes it counts for.
pub(super) struct Measured {
    pub(super) event: NewEvent,
    pub(super) bytes: usize,
}

/// The event of a record for a stream.
///
/// # Errors
/// [`Refusal`] where it does not say what it must, or is too large.
pub(super) fn event(
    record: AppendRecord,
    stream: &StreamName,
    names: &mut Names,
    protocol: &Protocol,
) -> Result<Measured, Refusal> {
    let parts = &protocol.parts;
    let id = match record.record_id.as_deref() {
        Some(text) => uuid("the record_id", text, stream)?,
        None => parts.random.uuid_v7(parts.clock.now()),
    };
    let missing = |what: &str| {
        let text = format!("record {id} for stream '{stream}' says no {what}");
        Refusal::from(ProtocolError::Malformed(text))
    };
    let schema = record.schema.ok_or_else(|| missing("schema"))?;
    let name = schema.name.filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| missing("schema.name, which is the type of the event"))?;
    let (format, content) = match schema.format.map(SchemaFormat::try_from) {
        Some(Ok(SchemaFormat::Json)) => ("Json", Content::Json),
        Some(Ok(SchemaFormat::Protobuf)) => ("Protobuf", Content::Bytes),
        Some(Ok(SchemaFormat::Avro)) => ("Avro", Content::Bytes),
        Some(Ok(SchemaFormat::Bytes)) => ("Bytes", Content::Bytes),
        Some(Ok(SchemaFormat::Unspecified) | Err(_)) | None => {
            return Err(missing("schema.format: JSON, PROTOBUF, AVRO or BYTES"));
        }
    };
    if let Some(text) = &schema.id {
        uuid("the schema.id", text, stream)?;
    }
    let event_type = names.event_type(&name)?;
    let schema = Schema { name: &name, format, id: schema.id.as_deref() };
    let custom = custom_metadata(record.properties, &schema)?;
    let data = record.data.unwrap_or_default();
    let (bytes, most) =
        (data.len() + custom.len() + 2 * name.len(), parts.settings.event_bytes_max);
    if bytes > most {
        return Err(Refusal::RecordTooLarge { stream: stream.clone(), id, size: bytes, most });
    }
    let metadata = Metadata { content: Some(content), custom, ..Metadata::default() }.encode();
    let schema = SchemaFingerprint::NONE;
    let event = NewEvent { id: EventId(id), event_type, schema, metadata, data };
    Ok(Measured { event, bytes })
}

fn uuid(what: &str, text: &str, stream: &StreamName) -> Result<Uuid, ProtocolError> {
    Uuid::try_parse(text).map_err(|error| {
        let text = format!("{what} {text:?} of a record for stream '{stream}' is no UUID: {error}");
        ProtocolError::Malformed(text)
    })
}
