//! The messages of the interface as the events and appends that the oracle knows. Metadata stay the JSON that clients send
//! and see, and is not what the log keeps.

use annals_client::proto::{
    self, AppendRequest, AppendResponse, ExpectedState, stream_write::Expected,
};
use annals_core::{
    Append, Appended, EventId, EventType, ExpectedRevision, NewEvent, Position, RecordedEvent,
    Revision, SchemaFingerprint, StreamName, StreamWrite, Timestamp,
};
use bytes::Bytes;
use uuid::Uuid;

pub(crate) fn request(append: &Append) -> AppendRequest {
    let writes = append.writes.iter().map(write).collect();
    AppendRequest { writes, condition: None }
}

fn write(write: &StreamWrite) -> proto::StreamWrite {
    let expected = match write.expected {
        ExpectedRevision::Any => Expected::State(ExpectedState::Any.into()),
        ExpectedRevision::NoStream => Expected::State(ExpectedState::NoStream.into()),
        ExpectedRevision::Exists => Expected::State(ExpectedState::Exists.into()),
        ExpectedRevision::Exact(revision) => Expected::Revision(revision.0),
        ExpectedRevision::Follows(..) | ExpectedRevision::Behind(_) => {
            unreachable!("no message says so")
        }
    };
    let events = write.events.iter().map(new_event).collect();
    proto::StreamWrite { stream: write.stream.to_string(), expected: Some(expected), events }
}

fn new_event(event: &NewEvent) -> proto::NewEvent {
    proto::NewEvent {
        id: event.id.to_string(),
        r#type: event.event_type.to_string(),
        schema: event.schema.0,
        tags: Vec::new(),
        metadata_json: event.metadata.clone(),
        data: event.data.clone(),
    }
}

pub(crate) fn answer(response: AppendResponse) -> Appended {
    let revisions = response.revisions.into_iter().map(|last| last.revision.map(Revision));
    Appended { position: response.position.map(Position), revisions: revisions.collect() }
}

pub(crate) fn recorded(event: &proto::RecordedEvent) -> RecordedEvent {
    assert!(event.json().is_empty(), "nobody asked for it: {event:?}");
    RecordedEvent {
        id: EventId(Uuid::try_parse(event.id()).expect("a UUID")),
        stream: StreamName::new(event.stream()).expect("a valid name"),
        revision: Revision(event.revision),
        position: Position(event.position),
        event_type: EventType::new(event.event_type()).expect("a valid name"),
        time: Timestamp(event.time_micros),
        schema: SchemaFingerprint(event.schema),
        metadata: Bytes::copy_from_slice(event.metadata_json()),
        data: Bytes::copy_from_slice(event.data()),
    }
}
