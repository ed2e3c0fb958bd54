//! What gives an event's bytes their meaning: the codec of a context and the catalogue of writer schemas. The schemas
//! live in the log itself (stream `$schemas`), so history can be read for ever, with or without a registry.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use hashbrown::HashMap;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::event::{EventId, EventType, NewEvent, RecordedEvent, StreamName};
use crate::query::ReadQuery;
use crate::store::{Append, AppendError, EventStore, ExpectedRevision, ReadError, StreamWrite};

/// The stream that holds every writer schema.
pub const SCHEMAS_STREAM: &str = "$schemas";
/// The type of the events in [`SCHEMAS_STREAM`]; the payload is the schema's JSON text.
pub const SCHEMA_EVENT_TYPE: &str = "$schema";

/// The CRC-64-AVRO fingerprint of a schema's canonical form (Avro 1.12 specification, "Schema Fingerprints").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SchemaFingerprint(pub u64);

impl SchemaFingerprint {
    /// No schema: the bytes are not Avro of ours.
    pub const NONE: SchemaFingerprint = SchemaFingerprint(0);
}

/// One writer schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventSchema {
    /// Its fingerprint, as in each event's [`RecordedEvent::schema`].
    pub fingerprint: SchemaFingerprint,
    /// The event type it belongs to, which is its full name.
    pub event_type: EventType,
    /// The schema as JSON text, as published in `schemas/avro/`.
    pub text: Arc<str>,
}

/// The closed set of events of one context, with its codec. Decoding resolves an old writer schema to today's type.
pub trait DomainEvent: Clone + Send + Sync + std::fmt::Debug + PartialEq + Sized + 'static {
    /// The context: the part of each event type before the `.`.
    const CONTEXT: &'static str;

    /// The schemas that this version writes, one an event type.
    fn schemas() -> &'static [EventSchema];

    /// The type of this event and the fingerprint of the schema that [`DomainEvent::encode`] writes.
    fn schema(&self) -> &'static EventSchema;

    /// The payload. It cannot fail: every value of the type has an encoding.
    fn encode(&self) -> Bytes;

    /// Reads a recorded event of this context.
    ///
    /// # Errors
    /// [`DecodeError`] when the type or schema is unknown or the bytes do not fit it.
    fn decode(recorded: &RecordedEvent, schemas: &Schemas) -> Result<Self, DecodeError>;

    /// The event as people read it.
    fn to_json(&self) -> serde_json::Value;
}

/// Why an event could not be decoded. It names the place, so an operator can look at the event.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DecodeError {
    /// No event type of this name in the context.
    #[error("event {position} of stream {stream} has the unknown type {event_type}")]
    UnknownType {
        /// The event's type.
        event_type: EventType,
        /// Its stream.
        stream: StreamName,
        /// Its position.
        position: crate::Position,
    },
    /// The writer schema is not in the catalogue.
    #[error(
        "event {position} of stream {stream} was written with schema {fingerprint:016x}, which the catalogue lacks"
    )]
    UnknownSchema {
        /// The schema's fingerprint.
        fingerprint: u64,
        /// Its stream.
        stream: StreamName,
        /// Its position.
        position: crate::Position,
    },
    /// The bytes are not what the schema says, or today's type cannot follow the schema.
    #[error("event {position} of stream {stream}, type {event_type}, does not decode: {reason}")]
    Payload {
        /// The event's type.
        event_type: EventType,
        /// Its stream.
        stream: StreamName,
        /// Its position.
        position: crate::Position,
        /// What the codec said.
        reason: String,
    },
}

/// The catalogue of writer schemas; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Schemas(Arc<RwLock<HashMap<SchemaFingerprint, EventSchema>>>);

impl Schemas {
    /// Reads every schema that the log holds.
    ///
    /// # Errors
    /// The store's.
    pub async fn load(store: &dyn EventStore) -> Result<Schemas, ReadError> {
        let schemas = Schemas::default();
        schemas.refresh(store).await?;
        Ok(schemas)
    }

    /// Reads the schemas that were added to the log since.
    ///
    /// # Errors
    /// The store's.
    pub async fn refresh(&self, store: &dyn EventStore) -> Result<(), ReadError> {
        let mut batches = store.read(ReadQuery::stream(schemas_stream()));
        while let Some(batch) = batches.next().await {
            for recorded in batch?.events.iter() {
                if let Some(schema) = schema_of(recorded) {
                    self.insert(schema);
                }
            }
        }
        Ok(())
    }

    /// Makes sure that the log holds these schemas; repeating it writes nothing.
    ///
    /// # Errors
    /// The store's.
    pub async fn publish(
        &self,
        store: &dyn EventStore,
        schemas: &[EventSchema],
    ) -> Result<(), AppendError> {
        for schema in schemas {
            if self.get(schema.fingerprint).is_some() {
                continue;
            }
            let event = NewEvent {
                id: EventId(Uuid::new_v5(
                    &Uuid::NAMESPACE_OID,
                    &schema.fingerprint.0.to_be_bytes(),
                )),
                event_type: EventType::new(SCHEMA_EVENT_TYPE).expect("a valid constant"),
                schema: schema.fingerprint,
                metadata: Bytes::new(),
                data: Bytes::from(schema.text.as_bytes().to_vec()),
            };
            let write = StreamWrite {
                stream: schemas_stream(),
                expected: ExpectedRevision::Any,
                events: vec![event],
            };
            store.append(Append::to(write)).await?;
            self.insert(schema.clone());
        }
        Ok(())
    }

    /// Adds one schema to this catalogue alone.
    pub fn insert(&self, schema: EventSchema) {
        self.0.write().insert(schema.fingerprint, schema);
    }

    /// The schema of that fingerprint.
    pub fn get(&self, fingerprint: SchemaFingerprint) -> Option<EventSchema> {
        self.0.read().get(&fingerprint).cloned()
    }

    /// Every schema, by type and fingerprint.
    pub fn all(&self) -> Vec<EventSchema> {
        let mut all: Vec<_> = self.0.read().values().cloned().collect();
        all.sort_by(|a, b| (&a.event_type, a.fingerprint).cmp(&(&b.event_type, b.fingerprint)));
        all
    }
}

fn schemas_stream() -> StreamName {
    StreamName::new(SCHEMAS_STREAM).expect("a valid constant")
}

/// The schema that an event of [`SCHEMAS_STREAM`] holds: its name and namespace are read from its own text.
fn schema_of(recorded: &RecordedEvent) -> Option<EventSchema> {
    let text = std::str::from_utf8(&recorded.data).ok()?;
    let json: serde_json::Value = serde_json::from_str(text).ok()?;
    let name = json.get("name")?.as_str()?;
    let full = match json.get("namespace").and_then(|namespace| namespace.as_str()) {
        Some(namespace) => format!("{namespace}.{name}"),
        None => name.to_owned(),
    };
    Some(EventSchema {
        fingerprint: recorded.schema,
        event_type: EventType::new(full).ok()?,
        text: Arc::from(text),
    })
}
