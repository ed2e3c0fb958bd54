//! Events as the protocol has them, and back. What is read back is what was appended, field by field: the metadata travels
//! as JSON that names Annals' fields, and the bytes of other writers as they are.

use annals_core::{
    EventId, EventType, ExpectedRevision, NewEvent, Position, ReadError, RecordedEvent, Revision,
    StreamName, StreamWrite, Timestamp,
};
use eventstore::EventData;
use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::metadata;

/// Ticks of the protocol's clock in a microsecond.
const TICKS: i64 = 10;
/// The protocol's own word for JSON that is written as it stands.
const RAW_JSON: &str = "$serde_json::private::RawValue";

/// A position, of which the protocol has two halves that are the same on every server of today.
pub(super) fn place_of(position: Position) -> eventstore::Position {
    eventstore::Position { commit: position.0, prepare: position.0 }
}

/// What must be so, for the protocol. To follow an event is checked before this.
pub(super) fn expected_of(expected: ExpectedRevision) -> eventstore::ExpectedRevision {
    match expected {
        ExpectedRevision::Any => eventstore::ExpectedRevision::Any,
        ExpectedRevision::NoStream | ExpectedRevision::Behind(None) => {
            eventstore::ExpectedRevision::NoStream
        }
        ExpectedRevision::Exists => eventstore::ExpectedRevision::StreamExists,
        ExpectedRevision::Exact(Revision(revision))
        | ExpectedRevision::Behind(Some(Revision(revision)))
        | ExpectedRevision::Follows(Revision(revision), _) => {
            eventstore::ExpectedRevision::Exact(revision)
        }
    }
}

/// The events of a write on their way.
pub(super) fn sent(write: &StreamWrite) -> Vec<EventData> {
    write.events.iter().map(sent_event).collect()
}

fn sent_event(event: &NewEvent) -> EventData {
    let form = metadata::sent(event);
    let text = form.is_json.then(|| std::str::from_utf8(&event.data).ok()).flatten();
    let data = match text.map(|text| EventData::json(event.event_type.as_str(), &Verbatim(text))) {
        Some(Ok(data)) => data,
        Some(Err(_)) | None => EventData::binary(event.event_type.as_str(), event.data.clone()),
    };
    data.id(event.id.0).metadata(form.custom)
}

/// Text that is JSON by its writer's word, for the crate, which wants to serialize what it sends as JSON.
struct Verbatim<'a>(&'a str);

impl Serialize for Verbatim<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // As `serde_json::value::RawValue` does, which would take white space off and look whether it is JSON.
        let mut raw = serializer.serialize_struct(RAW_JSON, 1)?;
        raw.serialize_field(RAW_JSON, self.0)?;
        raw.end()
    }
}

/// An event as it was read.
pub(super) fn received(event: eventstore::ResolvedEvent) -> Result<RecordedEvent, ReadError> {
    let Some(event) = event.link.or(event.event) else {
        return Err(ReadError::Damage {
            place: "an answer of the server".to_owned(),
            reason: "it holds neither an event nor a link".to_owned(),
        });
    };
    let position = Position(event.position.commit);
    let broken = |error: annals_core::event::InvalidName| ReadError::Damage {
        place: format!("the event at position {position} of the server"),
        reason: error.to_string(),
    };
    let form = metadata::received(event.custom_metadata, event.is_json);
    Ok(RecordedEvent {
        id: EventId(event.id),
        stream: StreamName::new(&event.stream_id).map_err(broken)?,
        revision: Revision(event.revision),
        position,
        event_type: EventType::new(&event.event_type).map_err(broken)?,
        time: time_of(event.metadata.get("created").map(String::as_str)),
        schema: form.schema,
        metadata: form.metadata,
        data: event.data,
    })
}

/// The time of ticks since 1970. (The crate itself gives whole seconds.)
fn time_of(ticks: Option<&str>) -> Timestamp {
    Timestamp(ticks.and_then(|ticks| ticks.parse::<i64>().ok()).unwrap_or(0) / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use annals_core::SchemaFingerprint;
    use annals_core::metadata::{Content, Metadata};
    use eventstore::ResolvedEvent;
    use proptest::prelude::*;
    use std::collections::HashMap;
    use uuid::Uuid;

    /// What a server makes of an event: the crate's fields are not to be read, so its `Debug` form is not either, and the
    /// parts are built here as `sent_event` builds them.
    fn through(event: &NewEvent) -> RecordedEvent {
        let form = metadata::sent(event);
        let content = if form.is_json { "application/json" } else { "application/octet-stream" };
        let metadata = HashMap::from([
            ("type".to_owned(), event.event_type.to_string()),
            ("content-type".to_owned(), content.to_owned()),
            ("created".to_owned(), "17000000001234567".to_owned()),
        ]);
        let recorded = eventstore::RecordedEvent {
            stream_id: "order-1".to_owned(),
            id: event.id.0,
            revision: 7,
            event_type: event.event_type.to_string(),
            data: event.data.clone(),
            metadata,
            custom_metadata: form.custom,
            is_json: form.is_json,
            position: eventstore::Position { commit: 90, prepare: 90 },
            created: std::time::SystemTime::UNIX_EPOCH.into(),
        };
        let event = ResolvedEvent { event: Some(recorded), link: None, commit_position: Some(90) };
        received(event).expect("valid names")
    }

    fn text() -> impl Strategy<Value = Option<String>> {
        proptest::option::of(".{0,40}")
    }

    proptest! {
        #[test]
        fn what_is_read_back_is_what_was_appended(
            id in any::<u128>(),
            schema in prop_oneof![Just(0), any::<u64>()],
            data in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..60),
                "\\{\"[a-z]{0,5}\": ?[0-9]{1,4}\\} ?".prop_map(String::into_bytes),
            ],
            ids in proptest::option::of((any::<u128>(), any::<u128>())),
            (actor, tenant, traceparent) in (text(), text(), text()),
            tags in proptest::collection::btree_set(".{0,20}", 0..4),
            custom in prop_oneof![
                Just(Vec::new()),
                proptest::collection::vec(any::<u8>(), 0..40),
                Just(br#"{"$correlationId":"00000000-0000-0000-0000-000000000001"}"#.to_vec()),
                Just(b"{\"a\": 1}".to_vec()),
            ],
            content in proptest::option::of(prop_oneof![Just(Content::Json), Just(Content::Bytes)]),
            own in any::<bool>(),
        ) {
            let ids = ids.map(|(one, two)| (Uuid::from_u128(one), Uuid::from_u128(two)));
            let all = Metadata {
                correlation: ids.map(|ids| ids.0),
                causation: ids.map(|ids| ids.1),
                actor, tenant, traceparent, tags,
                custom: custom.into(),
                content,
            };
            let foreign = Metadata { custom: all.custom.clone(), content, ..Metadata::default() };
            let metadata = if own { all } else { foreign };
            let event = NewEvent {
                id: EventId(Uuid::from_u128(id)),
                event_type: EventType::new("test.Happened").expect("a valid name"),
                schema: SchemaFingerprint(schema),
                metadata: metadata.encode(),
                data: data.into(),
            };
            let read = through(&event);
            prop_assert_eq!(read.metadata(), metadata);
            prop_assert_eq!(read.metadata, event.metadata);
            prop_assert_eq!(read.id, event.id);
            prop_assert_eq!(read.schema, event.schema);
            prop_assert_eq!(read.data, event.data);
            prop_assert_eq!(read.event_type, event.event_type);
        }
    }

    #[test]
    fn json_is_sent_as_it_stands() {
        for text in ["{}", " {\"a\" : 1.0e2}\n", "no JSON at all"] {
            assert_eq!(serde_json::to_string(&Verbatim(text)).expect("text"), text);
        }
    }

    #[test]
    fn the_time_is_in_microseconds() {
        assert_eq!(time_of(Some("17000000001234567")), Timestamp(1_700_000_000_123_456));
        assert_eq!(time_of(None), Timestamp(0));
    }
}
