//! The service of streams over a store in memory and over the log, as a client sees it.

mod batches;
mod reads;
mod rights;
mod subscriptions;
mod writes;

use std::sync::Arc;

use annals_core::EventStore;
use annals_core::clock::SimulatedClock;
use annals_core::memory::MemoryStore;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use prost::Message;
use tonic::{Code, Request, Status};
use uuid::Uuid;

use super::StreamsService;
use super::append::append;
use crate::protocol::access::Caller;
use crate::protocol::names::{UuidForm, wire_uuid};
use crate::protocol::service::Protocol;
use crate::protocol::testing::{EPOCH, log, protocol_over};
use crate::protocol::wire::v1::streams::append_req::options::ExpectedStreamRevision as Expects;
use crate::protocol::wire::v1::streams::append_req::{Content, Options, ProposedMessage};
use crate::protocol::wire::v1::streams::append_resp::Result as Answer;
use crate::protocol::wire::v1::streams::append_resp::success::{
    CurrentRevisionOption, PositionOption,
};
use crate::protocol::wire::v1::streams::append_resp::wrong_expected_version::CurrentRevisionOption as Current;
use crate::protocol::wire::v1::streams::read_req::Options as ReadOptions;
use crate::protocol::wire::v1::streams::read_req::options::stream_options::RevisionOption;
use crate::protocol::wire::v1::streams::read_req::options::{
    AllOptions, CountOption, ReadDirection, StreamOption, StreamOptions, SubscriptionOptions,
    UuidOption, all_options, uuid_option,
};
use crate::protocol::wire::v1::streams::read_resp::Content as Read;
use crate::protocol::wire::v1::streams::streams_server::Streams;
use crate::protocol::wire::v1::streams::{
    AppendReq, DeleteReq, ReadReq, ReadResp, delete_req, delete_resp,
};
use crate::protocol::wire::v1::{Empty, StreamIdentifier};

/// A client of a server whose clock stands still unless the test moves it.
struct Client {
    protocol: Arc<Protocol>,
    service: StreamsService,
    clock: SimulatedClock,
    caller: Caller,
}

/// What an append came to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Came {
    /// To this last revision and position.
    Written(Option<u64>, Option<u64>),
    /// To nothing, as the stream is there.
    Wrong(Option<u64>),
    Deleted,
}

const NONE: Expects = Expects::NoStream(Empty {});
const ANY: Expects = Expects::Any(Empty {});
const EXISTS: Expects = Expects::StreamExists(Empty {});

/// A client of each kind of store.
fn clients() -> [Client; 2] {
    [in_memory(), on_log()]
}

fn in_memory() -> Client {
    let clock = SimulatedClock::new(EPOCH);
    Client::of(Arc::new(MemoryStore::new(clock.clone())), clock)
}

fn on_log() -> Client {
    let clock = SimulatedClock::new(EPOCH);
    Client::of(log(&clock), clock)
}

fn identifier(stream: &str) -> StreamIdentifier {
    StreamIdentifier { stream_name: stream.to_owned().into() }
}

/// An event of this number, which is its id and its data.
fn event(number: u128) -> ProposedMessage {
    typed(number, "note.Taken", &number.to_string())
}

fn typed(number: u128, event_type: &str, data: &str) -> ProposedMessage {
    let metadata = [("type", event_type), ("content-type", "application/json")];
    ProposedMessage {
        id: Some(wire_uuid(Uuid::from_u128(number), UuidForm::Structured)),
        metadata: metadata.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        custom_metadata: Bytes::new(),
        data: data.to_owned().into(),
    }
}

fn numbered(numbers: &[u128]) -> Vec<ProposedMessage> {
    numbers.iter().copied().map(event).collect()
}

impl Client {
    fn of(store: Arc<dyn EventStore>, clock: SimulatedClock) -> Client {
        let protocol = protocol_over(store, &clock);
        let service = StreamsService(Arc::clone(&protocol));
        Client { service, protocol, clock, caller: Caller::Anybody }
    }

    /// The same server, for another caller.
    fn of_caller(&self, caller: Caller) -> Client {
        let (protocol, clock) = (Arc::clone(&self.protocol), self.clock.clone());
        Client { service: StreamsService(Arc::clone(&protocol)), protocol, clock, caller }
    }

    /// A request of the caller.
    fn asks<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.extensions_mut().insert(self.caller.clone());
        request
    }

    async fn try_append(
        &self,
        stream: &str,
        expected: Expects,
        events: Vec<ProposedMessage>,
    ) -> Result<Came, Status> {
        let options = Options {
            stream_identifier: Some(identifier(stream)),
            expected_stream_revision: Some(expected),
        };
        let messages = events.into_iter().map(Content::ProposedMessage);
        let contents = [Content::Options(options)].into_iter().chain(messages);
        self.send(contents.collect()).await
    }

    async fn send(&self, contents: Vec<Content>) -> Result<Came, Status> {
        let requests = contents.into_iter().map(|content| Ok(AppendReq { content: Some(content) }));
        let response = append(&self.protocol, &self.caller, futures::stream::iter(requests)).await;
        let answer = match response {
            Ok(response) => response.result.expect("an answer"),
            Err(status) if status.metadata().contains_key("exception") => {
                let kind = status.metadata().get("exception").map(|kind| kind.as_bytes().to_vec());
                if kind.as_deref() == Some(b"stream-deleted") {
                    return Ok(Came::Deleted);
                }
                return Err(status);
            }
            Err(status) => return Err(status),
        };
        Ok(match answer {
            Answer::Success(success) => {
                let revision = match success.current_revision_option.expect("one of them") {
                    CurrentRevisionOption::CurrentRevision(revision) => Some(revision),
                    CurrentRevisionOption::NoStream(_) => None,
                };
                let position = match success.position_option.expect("one of them") {
                    PositionOption::Position(at) => {
                        assert_eq!(at.commit_position, at.prepare_position);
                        Some(at.commit_position)
                    }
                    PositionOption::NoPosition(_) => None,
                };
                Came::Written(revision, position)
            }
            Answer::WrongExpectedVersion(wrong) => {
                Came::Wrong(match wrong.current_revision_option.expect("one of them") {
                    Current::CurrentRevision(revision) => Some(revision),
                    Current::CurrentNoStream(_) => None,
                })
            }
        })
    }

    async fn append(&self, stream: &str, expected: Expects, numbers: &[u128]) -> Came {
        self.try_append(stream, expected, numbered(numbers)).await.expect("an answer")
    }

    async fn delete(
        &self,
        stream: &str,
        expected: delete_req::options::ExpectedStreamRevision,
    ) -> Result<u64, Status> {
        let options = Some(delete_req::Options {
            stream_identifier: Some(identifier(stream)),
            expected_stream_revision: Some(expected),
        });
        let deleted = self.service.delete(self.asks(DeleteReq { options })).await?;
        let position = deleted.into_inner().position_option;
        let Some(delete_resp::PositionOption::Position(at)) = position else {
            panic!("{position:?}")
        };
        Ok(at.commit_position)
    }

    async fn tombstone(
        &self,
        stream: &str,
        expected: delete_req::options::ExpectedStreamRevision,
    ) -> Result<(), Status> {
        let options = Some(delete_req::Options {
            stream_identifier: Some(identifier(stream)),
            expected_stream_revision: Some(expected),
        });
        self.service.tombstone(self.asks(DeleteReq { options })).await.map(|_| ())
    }

    async fn try_read(
        &self,
        options: ReadOptions,
    ) -> Result<impl Stream<Item = Result<ReadResp, Status>> + use<> + Unpin, Status> {
        let request = ReadReq { options: Some(options) };
        Ok(self.service.read(self.asks(request)).await?.into_inner())
    }

    /// Everything that a read answers, in words.
    async fn read(&self, options: ReadOptions) -> Vec<String> {
        let responses = self.try_read(options).await.expect("it is served");
        responses.map(|response| told(&response.expect("a response"))).collect().await
    }

    /// The stream from its beginning.
    async fn events(&self, stream: &str) -> Vec<String> {
        self.read(of_stream(stream, RevisionOption::Start(Empty {}))).await
    }
}

/// `RecordedEvent` of the definitions, as a client reads it.
#[derive(Clone, PartialEq, Message)]
struct Decoded {
    #[prost(message, optional, tag = "2")]
    stream: Option<StreamIdentifier>,
    #[prost(uint64, tag = "3")]
    revision: u64,
    #[prost(uint64, tag = "5")]
    position: u64,
    #[prost(btree_map = "string, string", tag = "6")]
    metadata: std::collections::BTreeMap<String, String>,
    #[prost(bytes = "bytes", tag = "8")]
    data: Bytes,
}

fn decoded(message: &impl Message) -> Decoded {
    Decoded::decode(message.encode_to_vec().as_slice()).expect("a right message")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

/// A response in a few words.
fn told(response: &ReadResp) -> String {
    match response.content.as_ref().expect("a content") {
        Read::Event(read) => {
            let shown = |event: &Decoded| {
                let stream = event.stream.as_ref().expect("a stream");
                format!("{}@{} {}", event.revision, text(&stream.stream_name), text(&event.data))
            };
            let event = read.event.as_ref().map(|event| shown(&decoded(event)));
            let link = read.link.as_ref().map(|link| shown(&decoded(link)));
            match (event, link) {
                (Some(event), None) => event,
                (Some(event), Some(link)) => format!("{event} by {link}"),
                (None, link) => format!("nothing by {}", link.expect("a link")),
            }
        }
        Read::Confirmation(confirmation) => {
            assert!(Uuid::try_parse(&confirmation.subscription_id).is_ok());
            "confirmed".to_owned()
        }
        Read::Checkpoint(checkpoint) => format!("checkpoint {}", checkpoint.commit_position),
        Read::StreamNotFound(found) => {
            let stream = found.stream_identifier.as_ref().expect("a stream");
            format!("no {}", text(&stream.stream_name))
        }
        Read::FirstStreamPosition(first) => format!("first {first}"),
        Read::LastStreamPosition(last) => format!("last {last}"),
        Read::CaughtUp(caught_up) => {
            let position = caught_up.position.as_ref().map(|position| position.commit_position);
            format!("caught up {:?} {position:?}", caught_up.stream_revision)
        }
        other @ (Read::LastAllStreamPosition(_) | Read::FellBehind(_)) => panic!("{other:?}"),
    }
}

fn options() -> ReadOptions {
    ReadOptions {
        count_option: Some(CountOption::Count(1000)),
        uuid_option: Some(UuidOption { content: Some(uuid_option::Content::String(Empty {})) }),
        ..ReadOptions::default()
    }
}

fn of_stream(stream: &str, from: RevisionOption) -> ReadOptions {
    let stream_identifier = Some(identifier(stream));
    let asked = StreamOptions { stream_identifier, revision_option: Some(from) };
    ReadOptions { stream_option: Some(StreamOption::Stream(asked)), ..options() }
}

fn of_log(from: all_options::AllOption) -> ReadOptions {
    let asked = AllOptions { all_option: Some(from) };
    ReadOptions { stream_option: Some(StreamOption::All(asked)), ..options() }
}

fn backwards(options: ReadOptions) -> ReadOptions {
    ReadOptions { read_direction: ReadDirection::Backwards.into(), ..options }
}

fn count(options: ReadOptions, count: u64) -> ReadOptions {
    ReadOptions { count_option: Some(CountOption::Count(count)), ..options }
}

fn live(options: ReadOptions) -> ReadOptions {
    let count_option = Some(CountOption::Subscription(SubscriptionOptions {}));
    ReadOptions { count_option, ..options }
}

fn at(commit_position: u64) -> all_options::AllOption {
    use crate::protocol::wire::v1::streams::read_req::options::Position;
    all_options::AllOption::Position(Position {
        commit_position,
        prepare_position: commit_position,
    })
}

const START: all_options::AllOption = all_options::AllOption::Start(Empty {});
const END: all_options::AllOption = all_options::AllOption::End(Empty {});

#[track_caller]
fn is_deleted<T>(answer: Result<T, Status>) {
    let Err(status) = answer else { panic!("the stream has ended") };
    let kind = status.metadata().get("exception").and_then(|kind| kind.to_str().ok());
    assert_eq!((status.code(), kind), (Code::FailedPrecondition, Some("stream-deleted")));
}
