//! Events for the tests of projections, and what projections are to make of them.

use std::collections::BTreeMap;

use annals_core::{
    Content, EventId, EventType, Metadata, NewEvent, Position, RecordedEvent, Revision,
    SchemaFingerprint, StreamName, Timestamp,
};
use bytes::Bytes;
use serde_json::Value;
use uuid::Uuid;

use super::system::SystemProjection;

/// An event as a store has it.
pub(crate) fn event(stream: &str, revision: u64, event_type: &str) -> RecordedEvent {
    RecordedEvent {
        id: EventId(Uuid::from_u128(revision.into())),
        stream: StreamName::new(stream).expect("a name"),
        revision: Revision(revision),
        position: Position(revision),
        event_type: EventType::new(event_type).expect("a type"),
        time: Timestamp(0),
        schema: SchemaFingerprint::NONE,
        metadata: Bytes::new(),
        data: Bytes::new(),
    }
}

/// The same with a correlation id, given as the inside of a JSON text.
pub(crate) fn correlated(
    stream: &str,
    revision: u64,
    event_type: &str,
    correlation: &str,
) -> RecordedEvent {
    let metadata = client_metadata(Some(correlation));
    RecordedEvent { metadata, ..event(stream, revision, event_type) }
}

/// An event for a store.
pub(crate) fn new_event(id: u128, event_type: &str, correlation: Option<&str>) -> NewEvent {
    NewEvent {
        id: EventId(Uuid::from_u128(id)),
        event_type: EventType::new(event_type).expect("a type"),
        schema: SchemaFingerprint::NONE,
        metadata: client_metadata(correlation),
        data: Bytes::from_static(b"{}"),
    }
}

fn client_metadata(correlation: Option<&str>) -> Bytes {
    let custom = correlation.map(|id| format!(r#"{{"$correlationId":"{id}"}}"#));
    let custom = custom.unwrap_or_default().into();
    Metadata { content: Some(Content::Json), custom, ..Metadata::default() }.encode()
}

/// The links of each stream that a projection is to write over a log, reckoned in the plainest way, apart from the code
/// under test.
pub(crate) fn naive(
    projection: SystemProjection,
    log: &[RecordedEvent],
) -> BTreeMap<String, Vec<String>> {
    let mut streams = BTreeMap::<String, Vec<String>>::new();
    for event in log {
        let (stream, kind) = (event.stream.to_string(), event.event_type.to_string());
        if stream.starts_with('$') {
            continue;
        }
        let dash = stream.find('-').filter(|dash| *dash > 0);
        let category = dash.map(|dash| stream[..dash].to_owned());
        let custom = serde_json::from_slice::<Value>(&event.metadata().custom).unwrap_or_default();
        let lists = event.revision.0 == 0 && kind != "$streamDeleted";
        let links = !kind.starts_with('$');
        let target = match projection {
            SystemProjection::ByCategory if links => category.map(|it| format!("$ce-{it}")),
            SystemProjection::ByEventType if links => Some(format!("$et-{kind}")),
            SystemProjection::ByCorrelationId if links => {
                custom["$correlationId"].as_str().map(|it| format!("$bc-{it}"))
            }
            SystemProjection::StreamByCategory if lists => {
                category.map(|it| format!("$category-{it}"))
            }
            SystemProjection::Streams if lists => Some("$streams".to_owned()),
            SystemProjection::ByCategory
            | SystemProjection::ByEventType
            | SystemProjection::ByCorrelationId
            | SystemProjection::StreamByCategory
            | SystemProjection::Streams => None,
        };
        if let Some(target) = target.filter(|target| StreamName::new(target).is_ok()) {
            streams.entry(target).or_default().push(format!("{}@{stream}", event.revision));
        }
    }
    streams
}
