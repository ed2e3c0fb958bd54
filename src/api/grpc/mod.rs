//! The gRPC services, over the same functions as REST. The definitions stand in
//! `proto/annals/v1/annals.proto`.

mod append;
mod append_stream;
mod commands;
mod encoded;
mod events;
mod queries;

use std::sync::Arc;

use tonic::codec::CompressionEncoding::Gzip;
use tonic::service::Routes;

use super::state::ApiState;
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

/// What a message may be larger than the largest JSON body: its other fields.
const ENVELOPE_BYTES_MAX: usize = 64 * 1024;

/// The services, to be merged with REST's routes.
pub(super) fn routes(
    state: &Arc<ApiState>,
) -> Result<axum::Router, tonic_reflection::server::Error> {
    let bytes_max = state.limits.request_bytes_max + ENVELOPE_BYTES_MAX;
    let commands = CommandsServer::new(commands::CommandService(Arc::clone(state)))
        .max_decoding_message_size(bytes_max)
        .accept_compressed(Gzip)
        .send_compressed(Gzip);
    let queries = QueriesServer::new(queries::QueryService(Arc::clone(state)))
        .max_decoding_message_size(bytes_max)
        .accept_compressed(Gzip)
        .send_compressed(Gzip);
    let events = EventsServer::new(events::EventService(Arc::clone(state)))
        .max_decoding_message_size(bytes_max)
        .accept_compressed(Gzip)
        .send_compressed(Gzip);
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
        .build_v1()?;
    let routes = Routes::new(commands)
        .add_service(queries)
        .add_service(events)
        .add_service(reflection)
        .prepare();
    // The fallback for unknown routes is shared with REST and stands in `api`.
    Ok(routes.into_axum_router().reset_fallback())
}
