//! Any bytes as calls of any method of the protocol, one after the other, to its real services over the store in memory: as
//! from the wire, through the decoding of requests and the encoding of answers. What must be so of each call: it comes to
//! its end or waits for more, no error is untyped, and an append that was refused has changed nothing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use annals_core::RecordedEvent;
use annals_core::clock::{SimulatedClock, Timestamp};
use annals_core::memory::MemoryStore;
use annals_core::random::SeededRandom;
use annals_store::protocol::access::{Caller, Users, UsersService};
use annals_store::protocol::features::FeaturesService;
use annals_store::protocol::gossip::GossipService;
use annals_store::protocol::monitoring::MonitoringService;
use annals_store::protocol::operations::OperationsService;
use annals_store::protocol::persistent::PersistentService;
use annals_store::protocol::projections::{ProjectionsService, SystemProjections};
use annals_store::protocol::streams::StreamsService;
use annals_store::protocol::transactions::TransactionsService;
use annals_store::protocol::wire::kurrentdb::protocol::v2::streams::streams_service_server::StreamsServiceServer;
use annals_store::protocol::wire::v1::gossip::gossip_server::GossipServer;
use annals_store::protocol::wire::v1::monitoring::monitoring_server::MonitoringServer;
use annals_store::protocol::wire::v1::operations::operations_server::OperationsServer;
use annals_store::protocol::wire::v1::persistent_subscriptions::persistent_subscriptions_server::PersistentSubscriptionsServer;
use annals_store::protocol::wire::v1::projections::projections_server::ProjectionsServer;
use annals_store::protocol::wire::v1::server_features::server_features_server::ServerFeaturesServer;
use annals_store::protocol::wire::v1::streams::append_resp::Result as AppendAnswer;
use annals_store::protocol::wire::v1::streams::batch_append_resp::Result as BatchAnswer;
use annals_store::protocol::wire::v1::streams::streams_server::StreamsServer;
use annals_store::protocol::wire::v1::streams::{AppendResp, BatchAppendResp};
use annals_store::protocol::wire::v1::users::users_server::UsersServer;
use annals_store::protocol::{Parts, Protocol, Settings};
use bytes::{Buf as _, Bytes};
use http_body_util::{BodyExt as _, Full};
use prost::Message as _;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Code, Status};
use tower::Service as _;

use super::choices::Choices;
use super::messages;

/// Every method but the one that ends the server.
pub const METHODS: [&str; 42] = [
    "/event_store.client.streams.Streams/Append",
    "/event_store.client.streams.Streams/BatchAppend",
    "/event_store.client.streams.Streams/Read",
    "/event_store.client.streams.Streams/Delete",
    "/event_store.client.streams.Streams/Tombstone",
    "/event_store.client.persistent_subscriptions.PersistentSubscriptions/Create",
    "/event_store.client.persistent_subscriptions.PersistentSubscriptions/Update",
    "/event_store.client.persistent_subscriptions.PersistentSubscriptions/Delete",
    "/event_store.client.persistent_subscriptions.PersistentSubscriptions/Read",
    "/event_store.client.persistent_subscriptions.PersistentSubscriptions/GetInfo",
    "/event_store.client.persistent_subscriptions.PersistentSubscriptions/ReplayParked",
    "/event_store.client.persistent_subscriptions.PersistentSubscriptions/TruncateParked",
    "/event_store.client.persistent_subscriptions.PersistentSubscriptions/List",
    "/event_store.client.persistent_subscriptions.PersistentSubscriptions/RestartSubsystem",
    "/event_store.client.gossip.Gossip/Read",
    "/event_store.client.server_features.ServerFeatures/GetSupportedMethods",
    "/event_store.client.monitoring.Monitoring/Stats",
    "/event_store.client.operations.Operations/StartScavenge",
    "/event_store.client.operations.Operations/StopScavenge",
    "/event_store.client.operations.Operations/MergeIndexes",
    "/event_store.client.operations.Operations/SetNodePriority",
    "/event_store.client.operations.Operations/RestartPersistentSubscriptions",
    "/kurrentdb.protocol.v2.streams.StreamsService/AppendSession",
    "/kurrentdb.protocol.v2.streams.StreamsService/AppendRecords",
    "/event_store.client.projections.Projections/Create",
    "/event_store.client.projections.Projections/Update",
    "/event_store.client.projections.Projections/Delete",
    "/event_store.client.projections.Projections/Statistics",
    "/event_store.client.projections.Projections/Disable",
    "/event_store.client.projections.Projections/Enable",
    "/event_store.client.projections.Projections/Reset",
    "/event_store.client.projections.Projections/State",
    "/event_store.client.projections.Projections/Result",
    "/event_store.client.projections.Projections/RestartSubsystem",
    "/event_store.client.users.Users/Create",
    "/event_store.client.users.Users/Update",
    "/event_store.client.users.Users/Delete",
    "/event_store.client.users.Users/Disable",
    "/event_store.client.users.Users/Enable",
    "/event_store.client.users.Users/Details",
    "/event_store.client.users.Users/ChangePassword",
    "/event_store.client.users.Users/ResetPassword",
];

/// How many calls of one input are made.
const CALLS_MAX: usize = 24;
/// How many answers of one call are taken.
const ANSWERS_MAX: usize = 64;
/// How long a call may work before it answers; none has to wait for anything but its own work.
const LIMIT: Duration = Duration::from_secs(10);
/// A call that answers nothing for so long waits for something new.
const IDLE: Duration = Duration::from_millis(15);
/// When it takes place.
const EPOCH: Timestamp = Timestamp(1_700_000_000_000_000);

/// Makes the calls that the bytes are.
///
/// # Panics
/// Where one of them is not answered as it must be.
pub fn drive(input: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime starts").block_on(async {
        let mut server = Server::new().await;
        let mut choices = Choices::new(input);
        for _ in 0..CALLS_MAX {
            if choices.is_empty() {
                break;
            }
            server.call(&mut choices).await;
        }
        server.stopping.cancel();
        server.projections.close().await;
    });
}

struct Server {
    store: MemoryStore,
    routes: Routes,
    projections: Arc<SystemProjections>,
    stopping: CancellationToken,
}

impl Server {
    async fn new() -> Server {
        let clock = SimulatedClock::new(EPOCH);
        let (store, stopping) = (MemoryStore::new(clock.clone()), CancellationToken::new());
        let (clock, random) = (Arc::new(clock), Arc::new(SeededRandom::new(7)));
        let users = Users::open(Arc::new(store.clone()), clock.clone(), random.clone()).await;
        let parts = Parts {
            store: Arc::new(store.clone()),
            clock,
            random,
            open: Arc::new(Semaphore::new(8)),
            stopping: stopping.clone(),
            asked_to_stop: CancellationToken::new(),
            settings: Settings {
                host: "127.0.0.1".to_owned(),
                port: 2113,
                event_bytes_max: 1000,
                append_bytes_max: 3000,
                write_timeout: Duration::from_secs(3),
                system_projections: Some(BTreeSet::new()),
            },
        };
        let protocol = Protocol::for_users(parts, Some(users.expect("there are none")));
        let projections = Arc::new(SystemProjections::new(&protocol));
        let persistent = PersistentService::new(&protocol);
        let operations =
            OperationsService { protocol: Arc::clone(&protocol), persistent: persistent.clone() };
        let routes = Routes::new(StreamsServer::new(StreamsService(Arc::clone(&protocol))))
            .add_service(PersistentSubscriptionsServer::new(persistent))
            .add_service(GossipServer::new(GossipService(Arc::clone(&protocol))))
            .add_service(ServerFeaturesServer::new(FeaturesService(Arc::clone(&protocol))))
            .add_service(MonitoringServer::new(MonitoringService(Arc::clone(&protocol))))
            .add_service(OperationsServer::new(operations))
            .add_service(StreamsServiceServer::new(TransactionsService(Arc::clone(&protocol))))
            .add_service(ProjectionsServer::new(ProjectionsService(Arc::clone(&projections))))
            .add_service(UsersServer::new(UsersService::of(&protocol).expect("it has users")))
            .prepare();
        Server { store, routes, projections, stopping }
    }

    async fn call(&mut self, choices: &mut Choices<'_>) {
        let path = METHODS[choices.below(METHODS.len())];
        let requests = if choices.one_in(6) {
            vec![choices.bytes()]
        } else {
            let mut requests = messages::requests(path, choices);
            if choices.one_in(8) {
                change(&mut requests, choices);
            }
            requests
        };
        let (before, begun) = (self.events(), Instant::now());
        let (answers, status) = self.answers(path, &requests).await;
        assert!(begun.elapsed() < LIMIT, "{path} took {:?}", begun.elapsed());
        is_typed(path, &status);
        let written = self.events() - before;
        match path.rsplit('/').next().unwrap_or_default() {
            "Append" | "AppendSession" | "AppendRecords" | "Delete" | "Tombstone"
                if status.code() != Code::Ok =>
            {
                assert_eq!(written, 0, "{path} was refused: {status}");
            }
            "Append" => {
                let answer = answers.first().expect("an answer").clone();
                let answer = AppendResp::decode(answer).expect("a right message");
                if !matches!(answer.result, Some(AppendAnswer::Success(_))) {
                    assert_eq!(written, 0, "{answer:?}");
                }
            }
            "BatchAppend" => {
                let answers = answers.iter().map(|answer| {
                    BatchAppendResp::decode(answer.clone()).expect("a right message").result
                });
                let answers: Vec<_> = answers.collect();
                if !answers.iter().any(|answer| matches!(answer, Some(BatchAnswer::Success(_)))) {
                    assert_eq!(written, 0, "{answers:?}");
                }
            }
            "AppendSession" | "AppendRecords" => {}
            "Delete" | "Tombstone" if path.contains("Streams/") => {}
            _ => assert_eq!(written, 0, "{path} writes no events of clients"),
        }
    }

    /// How many events there are, without those that groups, projections and users are kept in.
    fn events(&self) -> usize {
        let events = self.store.events();
        let is_own = |name: &str| {
            let name = name.trim_start_matches('$');
            ["persistent", "projections-", "user"].iter().any(|own| name.starts_with(own))
        };
        // Links are written by projections, in their own time.
        let of_client = |event: &&RecordedEvent| {
            !is_own(event.stream.as_str()) && event.event_type.as_str() != "$>"
        };
        events.iter().filter(of_client).count()
    }

    /// What a call answers, and how it ends; as if well where it goes on.
    async fn answers(&mut self, path: &str, requests: &[Bytes]) -> (Vec<Bytes>, Status) {
        let mut body = Vec::new();
        for request in requests {
            body.push(0);
            body.extend(u32::try_from(request.len()).expect("a small message").to_be_bytes());
            body.extend(request);
        }
        let request = http::Request::post(path).header("content-type", "application/grpc");
        let body = tonic::body::Body::new(Full::new(Bytes::from(body)));
        let mut request = request.body(body).expect("a request");
        request.extensions_mut().insert(Caller::Key);
        let answered = timeout(LIMIT, self.routes.call(request)).await;
        let Ok(response) = answered.unwrap_or_else(|_| panic!("{path} has no answer"));
        let (parts, mut body) = response.into_parts();
        if let Some(status) = Status::from_header_map(&parts.headers) {
            return (Vec::new(), status);
        }
        let (mut bytes, mut answers) = (Vec::new(), Vec::new());
        while answers.len() < ANSWERS_MAX {
            let Ok(frame) = timeout(IDLE, body.frame()).await else { break };
            match frame.expect("an end with a status").expect("a frame").into_data() {
                Ok(data) => bytes.extend(data),
                Err(frame) => {
                    let trailers = frame.into_trailers().ok();
                    let status = trailers.as_ref().and_then(Status::from_header_map);
                    return (answers, status.expect("a status"));
                }
            }
            let mut rest = &bytes[..];
            while rest.len() >= 5 {
                let length = usize::try_from((&rest[1..5]).get_u32()).expect("a length");
                let Some(answer) = rest.get(5..5 + length) else { break };
                answers.push(Bytes::copy_from_slice(answer));
                rest = &rest[5 + length..];
            }
            bytes = rest.to_vec();
        }
        (answers, Status::ok(""))
    }
}

/// An error that tells a client what to do.
fn is_typed(path: &str, status: &Status) {
    let is_named = status.metadata().contains_key("exception");
    let is_vague = [Code::Unknown, Code::DataLoss].contains(&status.code());
    assert!(!is_vague, "{path}: {status}");
    assert!(is_named || status.code() != Code::Internal, "{path}: {status}");
}

/// Changes a few bytes of a message that was right or nearly so.
fn change(requests: &mut [Bytes], choices: &mut Choices<'_>) {
    if requests.is_empty() {
        return;
    }
    let place = choices.below(requests.len());
    let mut bytes = requests[place].to_vec();
    for _ in 0..=choices.below(3) {
        let at = choices.below(bytes.len().min(256));
        match choices.below(4) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at.min(bytes.len()), choices.byte()),
            _ if at < bytes.len() => bytes[at] ^= choices.byte(),
            _ => {}
        }
    }
    requests[place] = bytes.into();
}
