//! A server, and a client that sends any bytes as messages of any method; how much memory and time the server takes.
#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(clippy::unnecessary_wraps, reason = "fields of messages are options")]
#![allow(clippy::needless_pass_by_value, reason = "messages are made where they are sent")]

use std::time::{Duration, Instant};

use annals_store::protocol::wire::v1::streams::append_req::{self, Content as AppendContent};
use annals_store::protocol::wire::v1::streams::{AppendReq, BatchAppendReq, batch_append_req};
use annals_store::protocol::wire::v1::uuid::Value;
use annals_store::protocol::wire::v1::{Empty, StreamIdentifier, Uuid as WireUuid};
use bytes::{Buf as _, BufMut as _, Bytes};
use futures::{Stream, stream};
use http::uri::PathAndQuery;
use prost::Message;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use uuid::Uuid;

use crate::harness::scratch;
use crate::harness::server::Server;

/// Nothing here takes so long.
pub(crate) const LIMIT: Duration = Duration::from_mins(2);
/// How long others wait at most while the server is harried: far more than they do on a machine that does nothing else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// A call that has an end comes to it in this time, once it was answered.
const END: Duration = Duration::from_millis(200);
/// How long others pause before they ask again.
const PAUSE: Duration = Duration::from_millis(100);
/// The service of streams.
pub(crate) const STREAMS: &str = "/event_store.client.streams.Streams/";
/// The service of persistent subscriptions.
pub(crate) const GROUPS: &str =
    "/event_store.client.persistent_subscriptions.PersistentSubscriptions/";

/// Messages as their bytes.
#[derive(Clone, Copy, Default)]
struct AsBytes;

impl Codec for AsBytes {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = AsBytes;
    type Decoder = AsBytes;

    fn encoder(&mut self) -> AsBytes {
        AsBytes
    }

    fn decoder(&mut self) -> AsBytes {
        AsBytes
    }
}

impl Encoder for AsBytes {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, bytes: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(bytes);
        Ok(())
    }
}

impl Decoder for AsBytes {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(bytes.copy_to_bytes(bytes.remaining())))
    }
}

/// A connection to the server.
#[derive(Clone)]
pub(crate) struct Caller(Channel);

impl Caller {
    /// A connection to `HOST:PORT`.
    pub(crate) async fn of(address: &str) -> Caller {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        // No more than HTTP/2 begins with: whoever reads nothing takes little.
        let endpoint = endpoint.initial_stream_window_size(65_535);
        Caller(endpoint.connect().await.expect("the server listens"))
    }

    /// Calls a method with these messages; what it answers, or why it does not.
    pub(crate) async fn open(
        &self,
        path: &str,
        requests: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Result<Streaming<Bytes>, Status> {
        let mut grpc = Grpc::new(self.0.clone()).max_decoding_message_size(64 << 20);
        grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let path = PathAndQuery::try_from(path).expect("a path");
        grpc.streaming(Request::new(requests), path, AsBytes).await.map(tonic::Response::into_inner)
    }

    /// Calls a method to its end, or to the first answer of one that goes on.
    pub(crate) async fn call(
        &self,
        path: &str,
        requests: Vec<Bytes>,
    ) -> Result<Option<Bytes>, Status> {
        let called = async {
            let mut answers = self.open(path, stream::iter(requests)).await?;
            let first = answers.message().await?;
            // One that has an end is read to it: a connection bears only so many calls that are broken off.
            if first.is_some() {
                drop(timeout(END, answers.message()).await);
            }
            Ok(first)
        };
        timeout(LIMIT, called).await.unwrap_or_else(|_| panic!("{path} has no end"))
    }

    /// Calls a method with one message.
    pub(crate) async fn ask(
        &self,
        path: &str,
        request: &impl Message,
    ) -> Result<Option<Bytes>, Status> {
        self.call(path, vec![request.encode_to_vec().into()]).await
    }

    /// Appends events of these sizes to a stream.
    pub(crate) async fn append(&self, stream: &str, sizes: &[usize]) -> Result<(), Status> {
        let mut messages = vec![encoded(append_options(stream))];
        messages.extend(sizes.iter().map(|size| encoded(append_event(event(*size)))));
        self.call(&format!("{STREAMS}Append"), messages).await.map(drop)
    }
}

/// A server and its folder.
pub(crate) struct World {
    pub(crate) server: Server,
    /// How many events a new log has.
    begin: u64,
    _folder: TempDir,
}

impl World {
    /// A server of the log alone.
    pub(crate) fn start() -> World {
        World::with(&[])
    }

    /// The same with settings in its environment.
    pub(crate) fn with(settings: &[(&str, &str)]) -> World {
        let folder = scratch();
        let mut command = crate::harness::annals();
        command.args(["serve", "--role", "store", "--address", "127.0.0.1:0", "--data"]);
        command.arg(folder.path().join("data")).env("ANNALS_LOG_LEVEL", "error");
        let server = Server::start_command(command.envs(settings.iter().copied()));
        let mut world = World { server, begin: 0, _folder: folder };
        world.begin = world.written();
        world
    }

    /// A connection of its own.
    pub(crate) async fn caller(&self) -> Caller {
        Caller::of(&self.server.address).await
    }

    /// A client as it is published.
    pub(crate) fn client(&self) -> eventstore::Client {
        let address = format!("esdb://{}?tls=false", self.server.address);
        eventstore::Client::new(address.parse().expect("an address")).expect("a client")
    }

    /// How many events were written since the server was started.
    pub(crate) fn written(&self) -> u64 {
        let head = &self.server.get("/gossip")["members"][0]["writerCheckpoint"];
        let events = head.as_i64().expect("a number") + 1;
        u64::try_from(events).expect("a position") - self.begin
    }

    /// How many bytes of memory the server has of its own, without files that it maps.
    pub(crate) fn memory(&self) -> u64 {
        self.status("RssAnon:")
    }

    /// Begins to look how much memory the server takes at most; how much it has now.
    pub(crate) fn forget_peak(&self) -> u64 {
        let told = std::fs::write(format!("/proc/{}/clear_refs", self.server.pid()), "5");
        told.expect("a process of ours");
        self.status("VmHWM:")
    }

    /// How many bytes more it took at most since then.
    pub(crate) fn grown_since(&self, before: u64) -> u64 {
        self.status("VmHWM:").saturating_sub(before)
    }

    fn status(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.server.pid()));
        let status = status.expect("the server runs");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("it is told");
        let kibibytes = line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number");
        kibibytes << 10
    }

    /// How much time of processors the server took.
    pub(crate) fn processor_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.server.pid()));
        let stat = stat.expect("the server runs");
        let fields: Vec<_> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
        let ticks = |place: usize| fields[place].parse::<u64>().expect("a number");
        // In hundredths of a second, on every Linux that is built for people.
        Duration::from_millis((ticks(11) + ticks(12)) * 10)
    }

    /// The longest that another waited who appended and asked while `work` was done.
    pub(crate) async fn others_wait<T>(&self, work: impl Future<Output = T>) -> (T, Duration) {
        let other = self.caller().await;
        let mut longest = Duration::ZERO;
        let mut work = std::pin::pin!(work);
        loop {
            let begun = Instant::now();
            let answer = async {
                other.append("of-another", &[10]).await.expect("others are served");
                let features =
                    "/event_store.client.server_features.ServerFeatures/GetSupportedMethods";
                other.ask(features, &Empty {}).await.expect("others are served");
            };
            let served = timeout(LIMIT, answer);
            tokio::pin!(served);
            tokio::select! {
                biased;
                served = &mut served => served.expect("others are served in time"),
                done = &mut work => {
                    served.await.expect("others are served in time");
                    return (done, longest.max(begun.elapsed()));
                }
            }
            longest = longest.max(begun.elapsed());
            tokio::select! {
                done = &mut work => return (done, longest),
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }
}

/// What is sent into a channel, as the messages of a call.
pub(crate) fn handed_on(requests: mpsc::Receiver<Bytes>) -> impl Stream<Item = Bytes> {
    stream::unfold(requests, |mut requests| async {
        requests.recv().await.map(|next| (next, requests))
    })
}

/// A message's bytes.
pub(crate) fn encoded(message: impl Message) -> Bytes {
    message.encode_to_vec().into()
}

/// A stream as messages name it.
pub(crate) fn named(stream: &str) -> Option<StreamIdentifier> {
    Some(StreamIdentifier { stream_name: stream.to_owned().into() })
}

/// A UUID as text.
pub(crate) fn id(text: &str) -> Option<WireUuid> {
    Some(WireUuid { value: Some(Value::String(text.to_owned())) })
}

/// A UUID of no other.
pub(crate) fn new_id() -> Option<WireUuid> {
    id(&Uuid::now_v7().to_string())
}

/// The beginning of an append that expects anything.
pub(crate) fn append_options(stream: &str) -> AppendReq {
    use append_req::options::ExpectedStreamRevision::Any;
    let options = append_req::Options {
        stream_identifier: named(stream),
        expected_stream_revision: Some(Any(Empty {})),
    };
    AppendReq { content: Some(AppendContent::Options(options)) }
}

/// An event of an append.
pub(crate) fn append_event(event: append_req::ProposedMessage) -> AppendReq {
    AppendReq { content: Some(AppendContent::ProposedMessage(event)) }
}

/// An event with that much data.
pub(crate) fn event(size: usize) -> append_req::ProposedMessage {
    let metadata = [("type", "note.Taken"), ("content-type", "application/octet-stream")];
    append_req::ProposedMessage {
        id: new_id(),
        metadata: metadata.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        custom_metadata: Bytes::new(),
        data: vec![7; size].into(),
    }
}

/// A piece of an append of a batch.
pub(crate) fn piece(
    correlation: Option<WireUuid>,
    stream: Option<&str>,
    sizes: &[usize],
    is_final: bool,
) -> BatchAppendReq {
    use batch_append_req::options::ExpectedStreamPosition::Any;
    let options = stream.map(|stream| batch_append_req::Options {
        stream_identifier: named(stream),
        expected_stream_position: Some(Any(())),
        deadline_option: None,
    });
    let proposed = sizes.iter().map(|size| {
        let event = event(*size);
        batch_append_req::ProposedMessage {
            id: event.id,
            metadata: event.metadata,
            custom_metadata: event.custom_metadata,
            data: event.data,
        }
    });
    BatchAppendReq {
        correlation_id: correlation,
        options,
        proposed_messages: proposed.collect(),
        is_final,
    }
}

/// The kind of an error, as most clients learn it.
pub(crate) fn kind(status: &Status) -> Option<&str> {
    status.metadata().get("exception").and_then(|kind| kind.to_str().ok())
}

#[track_caller]
pub(crate) fn refused(
    answer: Result<Option<Bytes>, Status>,
    code: Code,
    says: &str,
    what: &str,
) -> Status {
    let Err(status) = answer else { panic!("{what} was taken") };
    assert_eq!(status.code(), code, "{what}: {status}");
    assert!(status.message().contains(says), "{what}: {status}");
    status
}
