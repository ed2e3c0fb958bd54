//! Events as people read them, the one form in which the command line and the APIs show and take them. The domain's
//! own registers tell the codecs, so a new context needs no line here.

use std::sync::{Arc, LazyLock};

use annals_core::{
    EventId, EventType, Family, Metadata, Position, RecordedEvent, Revision, Schemas, StreamName,
    Timestamp,
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
}

impl ForeignError {
    /// The family of this error.
    pub fn family(&self) -> Family {
        Family::Refusal
    }
}

/// Checks that an event may be appended by hand: none of a known context, none to a decider's stream, none of the
/// engine's own.
///
/// # Errors
/// [`ForeignError`].
pub fn check_foreign(stream: &StreamName, event_type: &EventType) -> Result<(), ForeignError> {
    for name in [stream.as_str(), event_type.as_str()] {
        if name.starts_with('$') {
            return Err(ForeignError::System { name: name.to_owned() });
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use annals_core::SchemaFingerprint;
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
}
