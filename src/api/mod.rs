//! The server's edge: REST, gRPC, health and metrics on one port. It turns requests into calls of
//! the engine and the engine's errors into codes, and holds no rule of any domain.

mod commands;
mod debug;
mod documentation;
mod grpc;
mod guard;
mod health;
mod log;
mod openapi;
mod parameters;
pub mod problem;
mod projections;
mod queries;
pub mod read_models;
mod routes;
mod server;
mod state;
pub mod status;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use http::{HeaderName, HeaderValue, StatusCode};
use tower_http::request_id::{
    MakeRequestId, PropagateRequestIdLayer, RequestId, SetRequestIdLayer,
};
use tower_http::trace::{DefaultOnFailure, DefaultOnResponse, TraceLayer};
use tracing::Level;
use uuid::Uuid;

pub use problem::Problem;
pub use server::{ServeError, listen, serve};
pub use state::{ApiState, Domain, Parts};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// A request id of a caller is kept only up to this length, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 128;

#[derive(Clone, Copy)]
struct NewRequestId;

impl MakeRequestId for NewRequestId {
    fn make_request_id<B>(&mut self, _: &http::Request<B>) -> Option<RequestId> {
        HeaderValue::from_str(&Uuid::now_v7().to_string()).ok().map(RequestId::new)
    }
}

/// Everything that is served, as one service.
fn service(state: &Arc<ApiState>) -> Result<Router, tonic_reflection::server::Error> {
    let mut rest = Router::new();
    for route in routes::all() {
        rest = rest.route(route.path, route.handler);
    }
    let rest = rest
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(state.limits.request_bytes_max))
        .with_state(Arc::clone(state));
    // What fails is logged where it fails, with its cause; here it is only told that it was answered.
    let trace = TraceLayer::new_for_http()
        .make_span_with(span)
        .on_response(DefaultOnResponse::new().level(Level::DEBUG))
        .on_failure(DefaultOnFailure::new().level(Level::DEBUG));
    Ok(rest
        .merge(grpc::routes(state)?)
        .fallback(unknown_route)
        .layer(from_fn_with_state(Arc::clone(state), guard::guard))
        .layer(trace)
        .layer(PropagateRequestIdLayer::new(REQUEST_ID))
        .layer(SetRequestIdLayer::new(REQUEST_ID, NewRequestId))
        .layer(axum::middleware::from_fn(shorten_request_id)))
}

/// Drops a request id that is too long to be repeated in every log line.
async fn shorten_request_id(mut request: Request, next: axum::middleware::Next) -> Response {
    let headers = request.headers_mut();
    if headers.get(REQUEST_ID).is_some_and(|id| id.len() > REQUEST_ID_BYTES_MAX) {
        headers.remove(REQUEST_ID);
    }
    next.run(request).await
}

/// The span of a request: its path, never its query, which may hold what people asked for.
fn span(request: &Request) -> tracing::Span {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let trace = commands::traceparent(header("traceparent"));
    tracing::info_span!(
        "request",
        method = %request.method(),
        path = request.uri().path(),
        id = header("x-request-id").unwrap_or_default(),
        trace = trace.as_deref().and_then(|parent| parent.split('-').nth(1)),
    )
}

async fn unknown_route(request: Request) -> Response {
    if guard::is_grpc(request.headers()) {
        let detail = format!("there is no method {}", request.uri().path());
        return tonic::Status::unimplemented(detail).into_http();
    }
    let detail = format!("there is no {}; /docs lists what there is", request.uri().path());
    guard::refusal(false, Problem::not_found("unknown-route", detail))
}

async fn wrong_method(request: Request) -> Response {
    let detail = format!("{} does not go with {}", request.method(), request.uri().path());
    let problem = Problem::malformed("wrong-method", detail).http(StatusCode::METHOD_NOT_ALLOWED);
    guard::refusal(false, problem)
}
