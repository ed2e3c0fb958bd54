//! What an append over gRPC means to the log, and what the log's answer means to the caller. It checks what every event
//! must be, and asks no decider: this is the log.

use annals_core::{
    Append, AppendError, Appended, Condition, EventId, EventStore, EventType, ExpectedRevision,
    Family, Metadata, NewEvent, Position, Revision, SchemaFingerprint, Schemas, StreamName,
    StreamWrite,
};
use annals_store::protocol::access::tells_of_users;
use bytes::{Buf, Bytes};
use futures::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::events::query;
use super::new_event;
use super::proto;
use super::proto::stream_write::Expected;
use super::proto::{AppendRequest, AppendResponse, ExpectedState, StreamRevision};
use crate::api::parameters::stream_name;
use crate::api::problem::Problem;
use crate::codec::check_appended;

/// An append that has its place in the log.
pub(super) type Waiting = BoxFuture<'static, Result<Appended, AppendError>>;

/// Gives an append its place in the log. `checked` is what the caller's last append left there.
///
/// # Errors
/// The problem of an append that is wrong in itself, which the log has not seen.
pub(super) fn take(
    store: &dyn EventStore,
    schemas: &Schemas,
    checked: &mut Option<Checked>,
    request: AppendRequest,
) -> Result<Waiting, Problem> {
    Ok(store.append(append(schemas, checked, request)?))
}

/// The names of an event that was right. Whoever appends mostly appends more of the same, whose names are then neither
/// checked nor copied again.
pub(super) struct Checked {
    stream: StreamName,
    event_type: EventType,
    schema: SchemaFingerprint,
}

/// The answer once the log has given its own.
///
/// # Errors
/// The problem of an append that was refused or failed.
pub(super) fn answer(outcome: Result<Appended, AppendError>) -> Result<AppendResponse, Problem> {
    let appended = outcome.map_err(|error| append_problem(&error))?;
    let revision = |last: Option<Revision>| StreamRevision { revision: last.map(|last| last.0) };
    Ok(AppendResponse {
        position: appended.position.map(|position| position.0),
        revisions: appended.revisions.into_iter().map(revision).collect(),
    })
}

fn append_problem(error: &AppendError) -> Problem {
    let of = |code| Problem::of(error.family(), code, error);
    match error {
        AppendError::Conflict { stream, actual, .. } => of("wrong-revision")
            .with("stream", stream.as_str())
            .with("revision", actual.map(|actual| actual.0)),
        AppendError::ConditionFailed { position } => {
            of("condition-failed").with("position", position.0)
        }
        AppendError::Malformed(_) | AppendError::PartlyRepeated => of("malformed-append"),
        AppendError::TooMuch(_) => of("too-many-appends"),
        AppendError::Deleted { stream } => of("stream-deleted").with("stream", stream.to_string()),
        AppendError::Denied(_) => of("append-denied"),
        AppendError::ReadOnly(_) => of("read-only"),
        AppendError::Unknown(_) => of("unknown-outcome"),
    }
}

fn append(
    schemas: &Schemas,
    checked: &mut Option<Checked>,
    request: AppendRequest,
) -> Result<Append, Problem> {
    let writes = request.writes.into_iter().map(|write| stream_write(schemas, checked, write));
    let writes = writes.collect::<Result<Vec<_>, Problem>>()?;
    let condition = request.condition.map(|condition| {
        let after = condition.after_position.map(Position);
        let fail_if_events_match = query(condition.fail_if_events_match)?;
        Ok::<_, Problem>(Condition { fail_if_events_match, after })
    });
    Ok(Append { writes, condition: condition.transpose()? })
}

fn stream_write(
    schemas: &Schemas,
    checked: &mut Option<Checked>,
    write: proto::StreamWrite,
) -> Result<StreamWrite, Problem> {
    let stream = match checked {
        Some(checked) if checked.stream.as_str() == write.stream => checked.stream.clone(),
        _ => written_stream(&write.stream)?,
    };
    let expected = expected(write.expected)?;
    let mut events = Vec::with_capacity(write.events.len());
    for event in write.events {
        events.push(new_event(schemas, checked, &stream, event)?);
    }
    Ok(StreamWrite { stream, expected, events })
}

/// The stream that a write names. What tells of users is written by the server alone.
fn written_stream(name: &str) -> Result<StreamName, Problem> {
    let stream = stream_name(name)?;
    if tells_of_users(&stream) {
        let detail = format!("{stream} is written by the server alone");
        return Err(Problem::new(Family::Denied, "stream-of-users", detail));
    }
    Ok(stream)
}

fn expected(expected: Option<Expected>) -> Result<ExpectedRevision, Problem> {
    let state = match expected {
        None => return Ok(ExpectedRevision::Any),
        Some(Expected::Revision(revision)) => {
            return Ok(ExpectedRevision::Exact(Revision(revision)));
        }
        Some(Expected::State(state)) => state,
    };
    match ExpectedState::try_from(state) {
        Ok(ExpectedState::Unspecified | ExpectedState::Any) => Ok(ExpectedRevision::Any),
        Ok(ExpectedState::NoStream) => Ok(ExpectedRevision::NoStream),
        Ok(ExpectedState::Exists) => Ok(ExpectedRevision::Exists),
        Err(_) => Err(Problem::malformed("wrong-value", "state has an unknown value")),
    }
}

/// The event's type, which may stand in this stream and is that of its schema.
fn event_type(
    schemas: &Schemas,
    checked: &mut Option<Checked>,
    stream: &StreamName,
    event: &new_event::NewEvent<'_>,
) -> Result<EventType, Problem> {
    let schema = SchemaFingerprint(event.schema);
    if let Some(last) = checked
        && last.event_type.as_str() == event.event_type
        && last.schema == schema
        && last.stream == *stream
    {
        return Ok(last.event_type.clone());
    }
    let event_type = EventType::new(event.event_type)
        .map_err(|error| Problem::malformed("wrong-value", error.to_string()))?;
    check_appended(stream, &event_type, schema, schemas)
        .map_err(|error| Problem::of(error.family(), error.code(), &error))?;
    *checked = Some(Checked { stream: stream.clone(), event_type: event_type.clone(), schema });
    Ok(event_type)
}

/// The event that the bytes of a `NewEvent` are.
fn new_event(
    schemas: &Schemas,
    checked: &mut Option<Checked>,
    stream: &StreamName,
    mut bytes: Bytes,
) -> Result<NewEvent, Problem> {
    let event = new_event::NewEvent::read(&bytes)?;
    let event_type = event_type(schemas, checked, stream, &event)?;
    let id = if event.id.is_empty() {
        Uuid::now_v7()
    } else {
        Uuid::try_parse(event.id).map_err(|error| {
            let detail = format!("the event id {:?} is no UUID: {error}", event.id);
            Problem::malformed("wrong-value", detail)
        })?
    };
    let metadata = metadata(event.metadata_json, &event.tags)?;
    let (schema, data) = (SchemaFingerprint(event.schema), event.data);
    bytes.truncate(data.end);
    bytes.advance(data.start);
    Ok(NewEvent { id: EventId(id), event_type, schema, metadata, data: bytes })
}

/// Metadata as a caller writes it.
#[derive(Deserialize)]
struct Given {
    #[serde(flatten)]
    known: Metadata,
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

/// Metadata as the log keeps it.
fn metadata(json: &[u8], tags: &[&str]) -> Result<Bytes, Problem> {
    let tags = tags.iter().map(|tag| (*tag).to_owned());
    if json.is_empty() {
        let tags = tags.collect();
        return Ok(Metadata { tags, ..Metadata::default() }.encode());
    }
    let given: Given = serde_json::from_slice(json).map_err(|error| {
        Problem::malformed("malformed-metadata", format!("metadata_json is wrong: {error}"))
    })?;
    if let Some(name) = given.unknown.keys().next() {
        let detail = format!(
            "metadata_json has the unknown field {name:?}; there are $correlationId, $causationId, actor, tenant, \
             traceparent and tags"
        );
        return Err(Problem::malformed("malformed-metadata", detail));
    }
    let mut metadata = given.known;
    metadata.tags.extend(tags);
    Ok(metadata.encode())
}

#[cfg(test)]
mod tests {
    use super::*;
    use annals_core::StreamName;
    use prost::Message;
    use serde_json::json;
    use tonic::Code;

    fn write(stream: &str, events: Vec<proto::NewEvent>) -> AppendRequest {
        let events = events.into_iter().map(|event| event.encode_to_vec().into()).collect();
        let write = proto::StreamWrite { stream: stream.to_owned(), expected: None, events };
        AppendRequest { writes: vec![write], condition: None }
    }

    fn note() -> proto::NewEvent {
        proto::NewEvent { r#type: "note.Taken".to_owned(), ..proto::NewEvent::default() }
    }

    #[track_caller]
    fn refused(request: AppendRequest, code: &str, says: &str) {
        let problem = append(&Schemas::default(), &mut None, request).expect_err("it is wrong");
        assert_eq!(problem.code, code, "{}", problem.detail);
        assert!(problem.detail.contains(says), "{}", problem.detail);
    }

    #[test]
    fn a_request_becomes_an_append() {
        let id = "67e55044-10b1-426f-9247-bb680e5fe0c8";
        let event = proto::NewEvent {
            id: id.to_owned(),
            tags: vec!["course:1".to_owned()],
            metadata_json: json!({"actor": "ann", "tags": ["student:2"]}).to_string().into(),
            data: Bytes::from_static(b"text"),
            ..note()
        };
        let mut request = write("note-1", vec![event]);
        // A field of a later version, behind the payload.
        let later = [&request.writes[0].events[0], &[0x98, 0x06, 7][..]].concat();
        request.writes[0].events[0] = later.into();
        request.writes[0].expected = Some(Expected::Revision(4));
        let item = proto::QueryItem { types: vec![], tags: vec!["course:1".to_owned()] };
        request.condition =
            Some(proto::Condition { fail_if_events_match: vec![item], after_position: Some(9) });
        let append = append(&Schemas::default(), &mut None, request).expect("a right append");
        let write = &append.writes[0];
        assert_eq!(write.stream, StreamName::new("note-1").expect("a valid name"));
        assert_eq!(write.expected, ExpectedRevision::Exact(Revision(4)));
        let [event] = write.events.as_slice() else { panic!("{write:?}") };
        assert_eq!(event.id.to_string(), id);
        assert_eq!(event.data, "text");
        let metadata = Metadata::decode(&event.metadata);
        assert_eq!(metadata.actor.as_deref(), Some("ann"));
        assert!(metadata.tags.iter().eq(["course:1", "student:2"]));
        let condition = append.condition.expect("a condition");
        assert_eq!(condition.after, Some(Position(9)));
        assert!(condition.fail_if_events_match.matches("any.Type", &event.metadata));
        assert!(!condition.fail_if_events_match.matches("any.Type", b""));
    }

    #[test]
    fn an_event_without_id_gets_its_own() {
        let request = write("note-1", vec![note(), note()]);
        let append = append(&Schemas::default(), &mut None, request).expect("a right append");
        let ids: Vec<_> = append.writes[0].events.iter().map(|event| event.id).collect();
        assert_ne!(ids[0], ids[1]);
    }

    #[test]
    fn what_was_checked_is_not_taken_for_something_else() {
        let mut checked = None;
        let mut of = |stream: &str, event: proto::NewEvent| {
            append(&Schemas::default(), &mut checked, write(stream, vec![event]))
        };
        for stream in ["note-1", "note-1", "note-2"] {
            let append = of(stream, note()).expect("a right append");
            assert_eq!(append.writes[0].stream.as_str(), stream);
            assert_eq!(append.writes[0].events[0].event_type.as_str(), "note.Taken");
        }
        of("account-1", note()).expect_err("the type may not stand there");
        of("note-2", proto::NewEvent { schema: 7, ..note() }).expect_err("there is no schema 7");
        of("$note", note()).expect_err("it is the system's");
        let other = proto::NewEvent { r#type: "note.Lost".to_owned(), ..note() };
        let append = of("note-2", other).expect("a right append");
        assert_eq!(append.writes[0].events[0].event_type.as_str(), "note.Lost");
    }

    #[test]
    fn what_is_wrong_is_told() {
        let with = |change: fn(&mut proto::NewEvent)| {
            let mut event = note();
            change(&mut event);
            write("note-1", vec![event])
        };
        refused(write("", vec![]), "wrong-stream", "empty");
        refused(write("$note", vec![note()]), "system-name", "$note");
        refused(write("account-1", vec![note()]), "own-stream", "account");
        refused(with(|event| event.id = "7".to_owned()), "wrong-value", "\"7\"");
        refused(with(|event| event.r#type.clear()), "wrong-value", "event type");
        refused(with(|event| event.schema = 7), "unknown-schema", "0000000000000007");
        let json = |json: &'static str| {
            let metadata_json = Bytes::from_static(json.as_bytes());
            write("note-1", vec![proto::NewEvent { metadata_json, ..note() }])
        };
        refused(json("{"), "malformed-metadata", "line 1");
        refused(json(r#"{"actr": "ann"}"#), "malformed-metadata", "actr");
        let mut request = write("note-1", vec![]);
        request.writes[0].events.push(Bytes::from_static(b"?"));
        refused(request, "malformed-event", "decoded");
        let mut request = write("note-1", vec![]);
        request.writes[0].expected = Some(Expected::State(99));
        refused(request, "wrong-value", "state");
    }

    #[test]
    fn every_error_of_the_log_has_its_code() {
        let stream = StreamName::new("note-1").expect("a valid name");
        let expected = ExpectedRevision::NoStream;
        let actual = Some(Revision(3));
        let position = Position(8);
        let text = String::new;
        let cases = [
            (
                AppendError::Conflict { stream, expected, actual, others: Vec::new() },
                Code::Aborted,
                "wrong-revision",
            ),
            (AppendError::ConditionFailed { position }, Code::Aborted, "condition-failed"),
            (AppendError::Malformed(text()), Code::InvalidArgument, "malformed-append"),
            (AppendError::PartlyRepeated, Code::InvalidArgument, "malformed-append"),
            (AppendError::TooMuch(text()), Code::ResourceExhausted, "too-many-appends"),
            (AppendError::ReadOnly(text()), Code::Unavailable, "read-only"),
            (AppendError::Unknown(text()), Code::Unavailable, "unknown-outcome"),
        ];
        for (error, status, code) in cases {
            let problem = answer(Err(error)).expect_err("an error");
            assert_eq!(problem.code, code);
            assert_eq!(tonic::Status::from(problem).code(), status, "{code}");
        }
    }
}
