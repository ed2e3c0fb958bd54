//! The gRPC services, over the same functions as REST. The definitions stand in
//! `proto/annals/v1/annals.proto`; beside them stands the KurrentDB protocol.

mod append;
mod append_stream;
mod commands;
mod encoded;
mod events;
mod new_event;
mod queries;

use std::sync::Arc;

use annals_store::protocol::access::UsersService;
use annals_store::protocol::features::FeaturesService;
use annals_store::protocol::gossip::GossipService;
use annals_store::protocol::monitoring::MonitoringService;
use annals_store::protocol::operations::OperationsService;
use annals_store::protocol::persistent::PersistentService;
use annals_store::protocol::projections::ProjectionsService;
use annals_store::protocol::streams::StreamsService;
use annals_store::protocol::transactions::TransactionsService;
use annals_store::protocol::wire::kurrentdb::protocol::v2::streams::streams_service_server::StreamsServiceServer;
use annals_store::protocol::wire::v1::gossip::gossip_server::GossipServer;
use annals_store::protocol::wire::v1::monitoring::monitoring_server::MonitoringServer;
use annals_store::protocol::wire::v1::operations::operations_server::OperationsServer;
use annals_store::protocol::wire::v1::persistent_subscriptions::persistent_subscriptions_server::PersistentSubscriptionsServer;
use annals_store::protocol::wire::v1::projections::projections_server::ProjectionsServer;
use annals_store::protocol::wire::v1::server_features::server_features_server::ServerFeaturesServer;
use annals_store::protocol::wire::v1::streams::streams_server::StreamsServer;
use annals_store::protocol::wire::v1::users::users_server::UsersServer;
use http::{Request, Response};
use hyper::body::Incoming;
use tonic::codec::CompressionEncoding::Gzip;
use tonic::service::Routes;
use tonic::{Code, Status};
use tower::Service;

use super::state::ApiState;
use events::EventService;
use proto::commands_server::CommandsServer;
use proto::events_server::EventsServer;
use proto::queries_server::QueriesServer;

/// What `build.rs` made of the definitions: messages and servers. Clients are those of the crate `annals-client`.
#[allow(
    missing_docs,
    dead_code,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    clippy::wildcard_enum_match_arm,
    reason = "generated; the definitions carry the documentation"
)]
mod proto {
    tonic::include_proto!("annals.v1");

    /// The definitions as reflection tells them.
    pub(super) const DESCRIPTORS: &[u8] =
        include_bytes!(concat!(env!("OUT_DIR"), "/annals.v1.bin"));
}

/// Where the methods of the log stand.
const EVENTS: &str = "/annals.v1.Events/";
/// Where those of the KurrentDB protocol stand that are called most.
const STREAMS: &str = "/event_store.client.streams.Streams/";
/// What a message of that protocol may take at least: clients send appends in pieces of any size.
const KURRENT_BYTES_MAX: usize = 40 << 20;
/// What a message may be larger than the largest JSON body: its other fields.
const ENVELOPE_BYTES_MAX: usize = 64 * 1024;

/// The services. The log's own stand beside the others: routing costs as much as the rest of a small append.
pub(super) struct Services {
    events: EventsServer<EventService>,
    streams: StreamsServer<StreamsService>,
    others: Routes,
}

impl Services {
    /// The services over the parts of the engine.
    ///
    /// # Errors
    /// Where the description of the services is broken.
    pub(super) fn new(state: &Arc<ApiState>) -> Result<Services, tonic_reflection::server::Error> {
        let bytes_max = state.limits.request_bytes_max + ENVELOPE_BYTES_MAX;
        let commands = CommandsServer::new(commands::CommandService(Arc::clone(state)))
            .max_decoding_message_size(bytes_max)
            .accept_compressed(Gzip)
            .send_compressed(Gzip);
        let queries = QueriesServer::new(queries::QueryService(Arc::clone(state)))
            .max_decoding_message_size(bytes_max)
            .accept_compressed(Gzip)
            .send_compressed(Gzip);
        let events = EventsServer::new(EventService(Arc::clone(state)))
            .max_decoding_message_size(bytes_max)
            .accept_compressed(Gzip)
            .send_compressed(Gzip);
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .build_v1()?;
        let protocol = &state.protocol;
        let kurrent_bytes_max = KURRENT_BYTES_MAX.max(bytes_max);
        let transactions = StreamsServiceServer::new(TransactionsService(Arc::clone(protocol)))
            .max_decoding_message_size(kurrent_bytes_max);
        let persistent = PersistentService::new(protocol);
        persistent.load_in_background();
        let operations =
            OperationsService { protocol: Arc::clone(protocol), persistent: persistent.clone() };
        let projections = ProjectionsService(Arc::clone(&state.system_projections));
        let mut others = Routes::new(commands)
            .add_service(queries)
            .add_service(reflection)
            .add_service(ServerFeaturesServer::new(FeaturesService(Arc::clone(protocol))))
            .add_service(GossipServer::new(GossipService(Arc::clone(protocol))))
            .add_service(MonitoringServer::new(MonitoringService(Arc::clone(protocol))))
            .add_service(OperationsServer::new(operations))
            .add_service(PersistentSubscriptionsServer::new(persistent))
            .add_service(transactions)
            .add_service(ProjectionsServer::new(projections));
        if let Some(users) = UsersService::of(protocol) {
            others = others.add_service(UsersServer::new(users));
        }
        let streams = StreamsServer::new(StreamsService(Arc::clone(protocol)))
            .max_decoding_message_size(kurrent_bytes_max);
        Ok(Services { events, streams, others: others.prepare() })
    }

    /// Answers a request.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<tonic::body::Body> {
        let path = request.uri().path();
        let answered = if path.starts_with(EVENTS) {
            self.events.clone().call(request).await
        } else if path.starts_with(STREAMS) {
            self.streams.clone().call(request).await
        } else {
            self.others.clone().call(request).await
        };
        let Ok(response) = answered;
        response
    }
}

/// Whether what was asked for is a method that there is.
pub(super) fn knows_method<B>(response: &Response<B>) -> bool {
    Status::from_header_map(response.headers())
        .is_none_or(|status| status.code() != Code::Unimplemented)
}
