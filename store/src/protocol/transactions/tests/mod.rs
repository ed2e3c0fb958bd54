//! Appends over several streams, over a store in memory and over the log, as their sender sees them.

mod repetitions;
mod requests;
mod revivals;
mod rights;
mod states;

use std::sync::Arc;

use annals_core::clock::SimulatedClock;
use annals_core::memory::MemoryStore;
use annals_core::{EventStore, Metadata, ReadQuery, RecordedEvent, StreamName};
use futures::StreamExt;
use prost::{Message, Name};
use tonic::{Code, Status};
use uuid::Uuid;

use super::service::{append_records, append_session};
use crate::protocol::access::Caller;
use crate::protocol::deletion::Deletion;
use crate::protocol::names::stream_named;
use crate::protocol::service::Protocol;
use crate::protocol::testing::{EPOCH, log, protocol_over};
use crate::protocol::wire::google::rpc;
use crate::protocol::wire::kurrentdb::protocol::v2::streams::consistency_check::{
    StreamStateCheck, Type,
};
use crate::protocol::wire::kurrentdb::protocol::v2::streams::errors as details;
use crate::protocol::wire::kurrentdb::protocol::v2::streams::{
    AppendRecord, AppendRecordsRequest, AppendRequest, ConsistencyCheck, SchemaFormat, SchemaInfo,
};
use crate::protocol::writes::Expected;

/// A server whose clock stands still, and its sender.
struct World {
    protocol: Arc<Protocol>,
    caller: Caller,
    clock: SimulatedClock,
}

/// A server over each kind of store.
fn worlds() -> [World; 2] {
    [in_memory(), on_log()]
}

fn in_memory() -> World {
    let clock = SimulatedClock::new(EPOCH);
    World::over(Arc::new(MemoryStore::new(clock.clone())), clock)
}

fn on_log() -> World {
    let clock = SimulatedClock::new(EPOCH);
    World::over(log(&clock), clock)
}

/// A record of this number, which is its id and its data.
fn record(stream: &str, number: u128) -> AppendRecord {
    AppendRecord {
        record_id: Some(Uuid::from_u128(number).to_string()),
        schema: Some(SchemaInfo {
            format: Some(SchemaFormat::Json.into()),
            name: Some("note.Taken".to_owned()),
            id: None,
        }),
        data: Some(number.to_string().into()),
        stream: Some(stream.to_owned()),
        ..AppendRecord::default()
    }
}

fn records(of: &[(&str, u128)]) -> Vec<AppendRecord> {
    of.iter().map(|(stream, number)| record(stream, *number)).collect()
}

fn check(stream: &str, expected: i64) -> ConsistencyCheck {
    let (stream, expected_state) = (Some(stream.to_owned()), Some(expected));
    ConsistencyCheck {
        r#type: Some(Type::StreamState(StreamStateCheck { stream, expected_state })),
    }
}

fn request(stream: &str, expected: impl Into<Option<i64>>, numbers: &[u128]) -> AppendRequest {
    AppendRequest {
        stream: Some(stream.to_owned()),
        records: numbers.iter().map(|number| record(stream, *number)).collect(),
        expected_revision: expected.into(),
    }
}

/// What the streams came to, with each its revision and in a session its position, and the position of it all.
type Came = (Vec<(String, i64, Option<i64>)>, i64);

fn came(streams: &[(&str, i64)], position: i64) -> Came {
    let streams = streams.iter().map(|(stream, at)| ((*stream).to_owned(), *at, None));
    (streams.collect(), position)
}

fn came_in_session(streams: &[(&str, i64, i64)], position: i64) -> Came {
    let streams =
        streams.iter().map(|(stream, at, position)| ((*stream).to_owned(), *at, Some(*position)));
    (streams.collect(), position)
}

impl World {
    fn over(store: Arc<dyn EventStore>, clock: SimulatedClock) -> World {
        World { protocol: protocol_over(store, &clock), caller: Caller::Anybody, clock }
    }

    /// Another server over the same store.
    fn another(&self) -> World {
        World::over(Arc::clone(&self.protocol.parts.store), self.clock.clone())
    }

    async fn append(
        &self,
        records: Vec<AppendRecord>,
        checks: &[(&str, i64)],
    ) -> Result<Came, Status> {
        let checks = checks.iter().map(|(stream, expected)| check(stream, *expected)).collect();
        let request = AppendRecordsRequest { records, checks };
        let answer = append_records(&self.protocol, &self.caller, request).await?;
        let revisions = answer
            .revisions
            .into_iter()
            .map(|told| (told.stream.expect("a stream"), told.revision.expect("a revision"), None));
        Ok((revisions.collect(), answer.position.expect("a position")))
    }

    async fn session(&self, requests: Vec<AppendRequest>) -> Result<Came, Status> {
        let requests = futures::stream::iter(requests.into_iter().map(Ok));
        let answer = append_session(&self.protocol, &self.caller, requests).await?;
        let output = answer.output.into_iter().map(|told| {
            let revision = told.stream_revision.expect("a revision");
            (told.stream.expect("a stream"), revision, told.position)
        });
        Ok((output.collect(), answer.position.expect("a position")))
    }

    async fn delete(&self, stream: &str, deletion: Deletion) {
        let stream = stream_named(stream).expect("a name");
        self.protocol.delete(&stream, Expected::Any, deletion).await.expect("it is there");
    }

    /// All events of the log.
    async fn log(&self) -> Vec<RecordedEvent> {
        self.read(ReadQuery::all()).await
    }

    async fn read(&self, query: ReadQuery) -> Vec<RecordedEvent> {
        let batches: Vec<_> = self.protocol.parts.store.read(query).collect().await;
        batches.into_iter().flat_map(|batch| batch.expect("a batch").events.to_vec()).collect()
    }

    /// The events that the stream shows, in words.
    async fn stream(&self, stream: &str) -> Vec<String> {
        let stream = StreamName::new(stream).expect("a name");
        told(&self.read(ReadQuery::stream(stream)).await)
    }
}

fn told(events: &[RecordedEvent]) -> Vec<String> {
    let words = events.iter().map(|event| {
        let data = std::str::from_utf8(&event.data).expect("text");
        format!("{}@{} {data}", event.revision, event.stream)
    });
    words.collect()
}

/// What a status carries: its reason, and the message that tells more.
fn carried<M: Message + Name + Default>(status: &Status) -> (String, M) {
    let carried = rpc::Status::decode(status.details()).expect("a status within the status");
    assert_eq!((carried.code, carried.message.as_str()), (status.code().into(), status.message()));
    let [info, detail] = &carried.details[..] else { panic!("{carried:?}") };
    assert_eq!(info.type_url, "type.googleapis.com/google.rpc.ErrorInfo");
    assert_eq!(detail.type_url, format!("type.googleapis.com/{}", M::full_name()));
    let info = rpc::ErrorInfo::decode(info.value.as_slice()).expect("a right message");
    assert_eq!(info.domain, "streams");
    (info.reason, M::decode(detail.value.as_slice()).expect("a right message"))
}

/// The violations that a status tells: the number of the check, the stream, what was expected, what is.
#[track_caller]
fn violations(status: &Status) -> Vec<(i32, String, i64, i64)> {
    use details::consistency_violation::Type;
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    let (reason, detail) = carried::<details::AppendConsistencyViolationErrorDetails>(status);
    assert_eq!(reason, "APPEND_CONSISTENCY_VIOLATION");
    let told = detail.violations.into_iter().map(|violation| {
        let Some(Type::StreamState(state)) = violation.r#type else { panic!("no state") };
        (
            violation.check_index.expect("a number"),
            state.stream.expect("a stream"),
            state.expected_state.expect("a state"),
            state.actual_state.expect("a state"),
        )
    });
    told.collect()
}

fn violation(check: i32, stream: &str, expected: i64, actual: i64) -> (i32, String, i64, i64) {
    (check, stream.to_owned(), expected, actual)
}
