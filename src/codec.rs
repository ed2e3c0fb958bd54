//! Events as people read them, the one form in which the command line and the APIs show and take them. The domain's
//! own registers tell the codecs, so a new context needs no line here.

use std::sync::{Arc, LazyLock};

use annals_core::{
    EventId, EventType, Family, Metadata, Position, RecordedEvent, Revision, SchemaFingerprint,
    Schemas, StreamName, Timestamp,
};
use annals_replay::travel::{Folds, raw_json};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

static FOLDS: LazyLock<Arc<Folds>> =
    LazyLock::new(|| Arc::new(Folds::of(annals_commands::register, annals_projections::register)));

/// The deciders, projections and codecs of the domain, for the debugger.
pub fn folds() -> Arc<Folds> {
    Arc::clone(&FOLDS)
}

/// The payload as people read it: decoded where a codec knows the event's context, else JSON, text or base64. What
/// should decode and does not is shown as `{"$undecodable": "why", "$raw": …}`: this never fails, because an event
/// that is broken is the one that people want to see.
pub fn event_json(event: &RecordedEvent, schemas: &Schemas) -> Value {
    FOLDS.event_json(event, schemas).unwrap_or_else(
        |error| json!({ "$undecodable": error.to_string(), "$raw": raw_json(&event.data) }),
    )
}

/// One event, decoded, with its coordinates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventView {
    /// Its place in the whole log.
    pub position: Position,
    /// The stream it belongs to.
    pub stream: StreamName,
    /// Its number in that stream.
    pub revision: Revision,
    /// When the store accepted it.
    pub time: Timestamp,
    /// Its type.
    #[serde(rename = "type")]
    pub event_type: EventType,
    /// Its identity.
    pub id: EventId,
    /// Who and what led to it.
    #[serde(default)]
    pub metadata: Metadata,
    /// The payload: decoded where a codec knows the event's context, else as [`event_json`] shows it; null where it
    /// should decode and does not.
    pub data: Value,
    /// Why the payload does not decode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undecodable: Option<String>,
}

impl EventView {
    /// Decodes an event.
    pub fn of(event: &RecordedEvent, schemas: &Schemas) -> EventView {
        let (data, undecodable) = match FOLDS.event_json(event, schemas) {
            Ok(data) => (data, None),
            Err(error) => (Value::Null, Some(error.to_string())),
        };
        EventView {
            position: event.position,
            stream: event.stream.clone(),
            revision: event.revision,
            time: event.time,
            event_type: event.event_type.clone(),
            id: event.id,
            metadata: event.metadata(),
            data,
            undecodable,
        }
    }
}

/// Why an event that no decider made is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForeignError {
    /// A type of a context whose events follow from commands.
    #[error(
        "events of context {context} follow from its commands and are not appended by hand, as \
         {event_type} would be"
    )]
    OwnType {
        /// The type.
        event_type: EventType,
        /// Its context.
        context: String,
    },
    /// A stream that a decider folds: an event that it does not know would stop its commands.
    #[error("stream {stream} belongs to a decider, which alone writes to its category {category}")]
    OwnStream {
        /// The stream.
        stream: StreamName,
        /// Its category.
        category: String,
    },
    /// A stream or type of the engine itself.
    #[error("{name} begins with $ and so is Annals' own")]
    System {
        /// The stream's or type's name.
        name: String,
    },
    /// A schema that is not in the log.
    #[error(
        "schema {fingerprint:016x} of an event {event_type} is not in the log's catalogue; right would be one that \
         `annals schema list` shows, or 0 for bytes that are not Avro"
    )]
    UnknownSchema {
        /// The schema's fingerprint.
        fingerprint: u64,
        /// The event's type.
        event_type: EventType,
    },
    /// A schema of another type.
    #[error("schema {fingerprint:016x} is that of {schema_type}, and the event is {event_type}")]
    OtherSchema {
        /// The schema's fingerprint.
        fingerprint: u64,
        /// The type that it is of.
        schema_type: EventType,
        /// The event's type.
        event_type: EventType,
    },
}

impl ForeignError {
    /// The family of this error.
    pub fn family(&self) -> Family {
        match self {
            ForeignError::OwnType { .. }
            | ForeignError::OwnStream { .. }
            | ForeignError::System { .. } => Family::Refusal,
            ForeignError::UnknownSchema { .. } | ForeignError::OtherSchema { .. } => {
                Family::Malformed
            }
        }
    }

    /// A stable name of this error for programs.
    pub fn code(&self) -> &'static str {
        match self {
            ForeignError::OwnType { .. } => "own-type",
            ForeignError::OwnStream { .. } => "own-stream",
            ForeignError::System { .. } => "system-name",
            ForeignError::UnknownSchema { .. } => "unknown-schema",
            ForeignError::OtherSchema { .. } => "wrong-schema",
        }
    }
}

fn check_names(stream: &StreamName, event_type: &EventType) -> Result<(), ForeignError> {
    for name in [stream.as_str(), event_type.as_str()] {
        if name.starts_with('$') {
            return Err(ForeignError::System { name: name.to_owned() });
        }
    }
    Ok(())
}

/// Checks that an event may be appended by hand: none of a known context, none to a decider's stream, none of the
/// engine's own.
///
/// # Errors
/// [`ForeignError`].
pub fn check_foreign(stream: &StreamName, event_type: &EventType) -> Result<(), ForeignError> {
    check_names(stream, event_type)?;
    let context = event_type.context();
    if FOLDS.contexts().any(|known| known == context) {
        let (event_type, context) = (event_type.clone(), context.to_owned());
        return Err(ForeignError::OwnType { event_type, context });
    }
    let category = stream.category();
    if FOLDS.categories().any(|known| known == category) {
        let (stream, category) = (stream.clone(), category.to_owned());
        return Err(ForeignError::OwnStream { stream, category });
    }
    Ok(())
}

/// Checks that a client may append an event to the log itself: one without a schema as [`check_foreign`], one with a
/// schema if the catalogue has it for that type. No decider is asked, and the payload is not read.
///
/// # Errors
/// [`ForeignError`].
pub fn check_appended(
    stream: &StreamName,
    event_type: &EventType,
    schema: SchemaFingerprint,
    schemas: &Schemas,
) -> Result<(), ForeignError> {
    if schema == SchemaFingerprint::NONE {
        return check_foreign(stream, event_type);
    }
    check_names(stream, event_type)?;
    let (fingerprint, event_type) = (schema.0, event_type.clone());
    match schemas.get(schema).map(|schema| schema.event_type) {
        None => Err(ForeignError::UnknownSchema { fingerprint, event_type }),
        Some(schema_type) if schema_type != event_type => {
            Err(ForeignError::OtherSchema { fingerprint, schema_type, event_type })
        }
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn event(event_type: &str, data: &'static [u8]) -> RecordedEvent {
        RecordedEvent {
            id: EventId(uuid::Uuid::nil()),
            stream: StreamName::new("note-1").expect("a valid name"),
            revision: Revision(0),
            position: Position(9),
            event_type: EventType::new(event_type).expect("a valid type"),
            time: Timestamp(0),
            schema: SchemaFingerprint::NONE,
            metadata: Bytes::new(),
            data: Bytes::from_static(data),
        }
    }

    #[test]
    fn a_foreign_payload_is_shown_as_it_is() {
        let shown = event_json(&event("note.Taken", b"{\"a\":1}"), &Schemas::default());
        assert_eq!(shown, json!({"a": 1}));
    }

    #[test]
    fn a_payload_that_does_not_decode_is_shown_with_the_reason() {
        let shown = event_json(&event("trading.Nothing", b"bytes"), &Schemas::default());
        assert_eq!(shown["$raw"], "bytes");
        let why = shown["$undecodable"].as_str().expect("a reason");
        assert!(why.contains("event 9 of stream note-1"), "{why}");
    }

    #[test]
    fn only_events_that_no_decider_owns_are_appended_by_hand() {
        let check = |stream: &str, event_type: &str| {
            let stream = StreamName::new(stream).expect("a valid name");
            check_foreign(&stream, &EventType::new(event_type).expect("a valid type"))
        };
        assert_eq!(check("note-1", "note.Taken"), Ok(()));
        let refused = [
            ("note-1", "trading.OrderPlaced"),
            ("account-A001", "note.Taken"),
            ("$schemas", "note.Taken"),
            ("note-1", "$schema"),
        ];
        for (stream, event_type) in refused {
            let error = check(stream, event_type).expect_err("not by hand");
            assert_eq!(error.family(), Family::Refusal);
        }
    }

    #[test]
    fn an_event_with_a_schema_is_appended_where_the_catalogue_has_it_for_its_type() {
        use annals_core::DomainEvent;
        use annals_events::trading::TradingEvent;

        let schemas = Schemas::default();
        let [schema, other, ..] = TradingEvent::schemas() else { panic!("two types at least") };
        schemas.insert(schema.clone());
        schemas.insert(other.clone());
        let check = |stream: &str, event_type: &EventType, fingerprint| {
            let stream = StreamName::new(stream).expect("a valid name");
            check_appended(&stream, event_type, fingerprint, &schemas).map_err(|error| error.code())
        };
        let unknown = SchemaFingerprint(7);
        assert_eq!(check("account-A001", &schema.event_type, schema.fingerprint), Ok(()));
        assert_eq!(check("$schemas", &schema.event_type, schema.fingerprint), Err("system-name"));
        assert_eq!(check("note-1", &schema.event_type, unknown), Err("unknown-schema"));
        assert_eq!(check("note-1", &schema.event_type, other.fingerprint), Err("wrong-schema"));
        assert_eq!(check("note-1", &schema.event_type, SchemaFingerprint::NONE), Err("own-type"));
    }
}
