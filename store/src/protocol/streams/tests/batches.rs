//! Many appends on one call.

use std::time::Duration;

use annals_core::{Append, AppendError, Appended, Batch, Position, ReadError, ReadQuery, Revision};
use annals_core::{StoreIdentity, StreamName};
use futures::channel::mpsc;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

use super::super::batch::Answers;
use super::*;
use crate::protocol::wire::google::rpc;
use crate::protocol::wire::v1::streams::batch_append_req::options::{
    DeadlineOption, ExpectedStreamPosition as Expects,
};
use crate::protocol::wire::v1::streams::batch_append_req::{Options, ProposedMessage as Proposed};
use crate::protocol::wire::v1::streams::batch_append_resp::Result as Answered;
use crate::protocol::wire::v1::streams::batch_append_resp::success::CurrentRevisionOption;
use crate::protocol::wire::v1::streams::{BatchAppendReq, BatchAppendResp};
use crate::protocol::wire::v1::wrong_expected_version::CurrentStreamRevisionOption as Current;
use crate::protocol::wire::v1::{BadRequest, WrongExpectedVersion};

pub(super) struct Call {
    requests: mpsc::UnboundedSender<Result<BatchAppendReq, Status>>,
    answers: BoxStream<'static, Result<BatchAppendResp, Status>>,
}

pub(super) fn begin(client: &Client) -> Call {
    let (requests, incoming) = mpsc::unbounded();
    let (protocol, caller) = (Arc::clone(&client.protocol), client.caller.clone());
    let answers = Answers::new(protocol, caller, incoming).expect("there is room");
    Call { requests, answers: answers.boxed() }
}

pub(super) fn options(stream: &str, expected: Expects) -> Options {
    Options {
        stream_identifier: Some(identifier(stream)),
        expected_stream_position: Some(expected),
        deadline_option: None,
    }
}

pub(super) fn request(
    id: u128,
    options: impl Into<Option<Options>>,
    numbers: &[u128],
    is_final: bool,
) -> BatchAppendReq {
    let message = |number: &u128| {
        let ProposedMessage { id, metadata, custom_metadata, data } = event(*number);
        Proposed { id, metadata, custom_metadata, data }
    };
    BatchAppendReq {
        correlation_id: Some(wire_uuid(Uuid::from_u128(id), UuidForm::String)),
        options: options.into(),
        proposed_messages: numbers.iter().map(message).collect(),
        is_final,
    }
}

impl Call {
    pub(super) fn send(&self, request: BatchAppendReq) {
        self.requests.unbounded_send(Ok(request)).expect("the call is open");
    }

    /// The next answer: whose, and what in a few words.
    pub(super) async fn next(&mut self) -> (u128, String) {
        let next = tokio::time::timeout(Duration::from_secs(30), self.answers.next()).await;
        let answer = next.expect("in time").expect("an answer").expect("an answer");
        assert!(answer.stream_identifier.is_some());
        let id = crate::protocol::names::uuid(answer.correlation_id.as_ref()).expect("an id");
        let words = match answer.result.expect("a result") {
            Answered::Success(success) => match success.current_revision_option {
                Some(CurrentRevisionOption::CurrentRevision(revision)) => format!("at {revision}"),
                Some(CurrentRevisionOption::NoStream(())) => "no stream".to_owned(),
                None => panic!("no revision"),
            },
            Answered::Error(status) => {
                let [details] = &status.details[..] else { panic!("{status:?}") };
                let name = format!("type.googleapis.com/event_store.client.{}", status.message);
                assert_eq!(details.type_url, name);
                format!(
                    "{} {}",
                    rpc::Code::try_from(status.code).expect("a code").as_str_name(),
                    more(&status)
                )
            }
        };
        (id.as_u128(), words)
    }

    async fn over(mut self) {
        self.requests.close_channel();
        assert!(self.answers.next().await.is_none());
    }
}

fn more(status: &rpc::Status) -> String {
    let bytes = status.details[0].value.as_slice();
    match status.message.as_str() {
        "WrongExpectedVersion" => {
            let wrong = WrongExpectedVersion::decode(bytes).expect("a right message");
            match wrong.current_stream_revision_option.expect("one of them") {
                Current::CurrentStreamRevision(revision) => format!("wrong {revision}"),
                Current::CurrentNoStream(()) => "wrong none".to_owned(),
            }
        }
        "BadRequest" => BadRequest::decode(bytes).expect("a right message").message,
        other => other.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_are_told_apart_by_their_ids() {
    for client in clients() {
        let mut call = begin(&client);
        // In pieces, with another between.
        call.send(request(1, options("a", Expects::NoStream(())), &[10], false));
        call.send(request(2, options("b", Expects::Any(())), &[11, 12], true));
        call.send(request(1, None, &[13, 14], false));
        call.send(request(9, None, &[15], true));
        call.send(request(1, None, &[], true));
        assert_eq!(call.next().await, (2, "at 1".to_owned()));
        assert_eq!(call.next().await, (1, "at 2".to_owned()));
        assert_eq!(client.events("a").await, ["0@a 10", "1@a 13", "2@a 14"]);
        call.send(request(3, options("a", Expects::StreamPosition(0)), &[16], true));
        assert_eq!(call.next().await, (3, "ALREADY_EXISTS wrong 2".to_owned()));
        call.send(request(4, options("c", Expects::StreamPosition(0)), &[16], true));
        assert_eq!(call.next().await, (4, "ALREADY_EXISTS wrong none".to_owned()));
        call.over().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_appends_are_under_way_at_once() {
    for client in clients() {
        let mut call = begin(&client);
        for id in 0..6000 {
            call.send(request(
                id,
                options(&format!("a-{}", id % 7), Expects::Any(())),
                &[id],
                true,
            ));
        }
        let mut answered = std::collections::BTreeSet::new();
        for _ in 0..6000 {
            let (id, words) = call.next().await;
            assert!(words.starts_with("at "), "{words}");
            assert!(answered.insert(id));
        }
        assert_eq!(client.protocol.parts.store.head(), Some(Position(5999)));
        call.over().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_deleted_or_ended_is_so_for_batches_too() {
    use delete_req::options::ExpectedStreamRevision as OfDelete;
    use delete_req::options::ExpectedStreamRevision as OfTombstone;
    for client in clients() {
        client.append("a", NONE, &[1]).await;
        client.append("b", NONE, &[1]).await;
        client.delete("a", OfDelete::Any(Empty {})).await.expect("it is there");
        client.tombstone("b", OfTombstone::Any(Empty {})).await.expect("it is there");
        // Another server knows nothing of that yet.
        let other = Client::of(Arc::clone(&client.protocol.parts.store), client.clock.clone());
        for client in [&other, &client] {
            let mut call = begin(client);
            call.send(request(1, options("b", Expects::Any(())), &[2], true));
            assert_eq!(call.next().await, (1, "NOT_FOUND StreamDeleted".to_owned()));
            call.send(request(2, options("a", Expects::NoStream(())), &[2], true));
            let revived = call.next().await.1;
            let expected = if std::ptr::eq(client, &raw const other) {
                "at 1"
            } else {
                "ALREADY_EXISTS wrong 1"
            };
            assert_eq!(revived, expected);
            call.over().await;
        }
        assert_eq!(client.events("a").await, ["1@a 2"]);
    }
}

#[tokio::test]
async fn what_is_wrong_is_told_and_the_rest_of_it_passed_over() {
    let client = in_memory();
    let mut call = begin(&client);
    let is_wrong = |words: &str, says: &str| {
        assert!(words.starts_with("INVALID_ARGUMENT") && words.contains(says), "{words}");
    };
    call.send(request(1, options("", Expects::Any(())), &[1], false));
    call.send(request(1, None, &[2], true));
    is_wrong(&call.next().await.1, "stream name");
    call.send(request(2, options("a", Expects::StreamPosition(u64::MAX)), &[1], true));
    is_wrong(&call.next().await.1, "revision");
    let mut nameless = request(3, options("a", Expects::Any(())), &[1], true);
    nameless.proposed_messages[0].metadata.clear();
    call.send(nameless);
    is_wrong(&call.next().await.1, "type");
    let mut large = request(4, options("a", Expects::Any(())), &[1], true);
    large.proposed_messages[0].data = vec![0; 1000].into();
    call.send(large);
    is_wrong(&call.next().await.1, "MaximumAppendEventSizeExceeded");
    let mut many = request(5, options("a", Expects::Any(())), &[1, 2, 3, 4], false);
    for message in &mut many.proposed_messages {
        message.data = vec![0; 900].into();
    }
    call.send(many);
    is_wrong(&call.next().await.1, "MaximumAppendSizeExceeded");
    call.send(request(5, None, &[5], true));
    call.send(request(6, options("a", Expects::Any(())), &[1], true));
    assert_eq!(call.next().await, (6, "at 0".to_owned()));
    call.over().await;
}

/// A store whose appends are never durable.
struct Stuck(MemoryStore);

impl EventStore for Stuck {
    fn append(&self, _: Append) -> BoxFuture<'static, Result<Appended, AppendError>> {
        Box::pin(futures::future::pending())
    }
    fn read(&self, query: ReadQuery) -> BoxStream<'static, Result<Batch, ReadError>> {
        self.0.read(query)
    }
    fn subscribe(&self, query: ReadQuery) -> BoxStream<'static, Result<Batch, ReadError>> {
        self.0.subscribe(query)
    }
    fn stream_head(
        &self,
        stream: &StreamName,
    ) -> BoxFuture<'static, Result<Option<Revision>, ReadError>> {
        self.0.stream_head(stream)
    }
    fn head(&self) -> Option<Position> {
        self.0.head()
    }
    fn identity(&self) -> StoreIdentity {
        self.0.identity()
    }
}

#[tokio::test]
async fn whoever_waits_too_long_is_told() {
    let clock = SimulatedClock::new(EPOCH);
    let client = Client::of(Arc::new(Stuck(MemoryStore::new(clock.clone()))), clock);
    let mut call = begin(&client);
    let within = |deadline| {
        let mut options = options("a", Expects::Any(()));
        options.deadline_option = Some(DeadlineOption::Deadline(deadline));
        Some(options)
    };
    let duration = |seconds| prost_types::Duration { seconds, nanos: 0 };
    let begun = tokio::time::Instant::now();
    call.send(request(1, within(duration(0)), &[1], true));
    call.send(request(2, within(duration(-5)), &[1], true));
    call.send(request(3, within(duration(1)), &[1], true));
    // A time of day where a duration is meant; and no limit at all: the server's is 3 s.
    call.send(request(4, within(duration(1_700_000_010)), &[1], true));
    call.send(request(5, options("a", Expects::Any(())), &[1], true));
    for (id, seconds) in [(1, 0), (2, 0), (3, 1), (4, 3), (5, 3)] {
        assert_eq!(call.next().await, (id, "DEADLINE_EXCEEDED Timeout".to_owned()));
        let waited = begun.elapsed();
        assert!(waited >= Duration::from_secs(seconds), "{id}: {waited:?}");
        assert!(waited < Duration::from_millis(1000 * seconds + 1500), "{id}: {waited:?}");
    }
    call.over().await;
}

#[tokio::test]
async fn a_server_that_stops_answers_what_it_took() {
    let client = in_memory();
    let mut call = begin(&client);
    call.send(request(1, options("a", Expects::Any(())), &[1], true));
    call.send(request(2, options("a", Expects::Any(())), &[2], false));
    assert_eq!(call.next().await.0, 1);
    client.protocol.parts.stopping.cancel();
    let end = call.answers.next().await.expect("the reason").expect_err("it stops");
    assert_eq!(end.code(), Code::Unavailable);
    assert!(call.answers.next().await.is_none());
}
