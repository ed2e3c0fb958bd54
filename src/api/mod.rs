//! The server's edge: REST, gRPC, health and metrics on one port. It turns requests into calls of
//! the engine and the engine's errors into codes, and holds no rule of any domain.

mod access;
mod commands;
mod debug;
mod documentation;
mod edge;
mod grpc;
mod guard;
mod health;
mod kurrent;
mod log;
mod openapi;
mod parameters;
pub mod problem;
mod projections;
mod prompt;
mod queries;
pub mod read_models;
mod routes;
mod server;
mod state;
pub mod status;
mod tls;
mod turns;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http::StatusCode;

pub use problem::Problem;
pub use server::{Listening, ServeError, listen, serve};
pub use state::{ApiState, Domain, Parts};
pub use tls::TlsError;

/// REST.
fn rest(state: &Arc<ApiState>) -> Router {
    let mut rest = Router::new();
    for route in routes::all() {
        let guard = from_fn_with_state((Arc::clone(state), route.wants), access::guard_route);
        rest = rest.route(route.path, route.handler.layer(guard));
    }
    rest.route_layer(from_fn(tell_route))
        .method_not_allowed_fallback(wrong_method)
        .fallback(unknown_route)
        .layer(DefaultBodyLimit::max(state.limits.request_bytes_max))
        .with_state(Arc::clone(state))
}

/// Leaves the route's pattern with the answer, for the metrics.
async fn tell_route(request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().cloned();
    let mut response = next.run(request).await;
    if let Some(path) = path {
        response.extensions_mut().insert(path);
    }
    response
}

async fn unknown_route(request: Request) -> Response {
    let detail = format!("there is no {}; /docs lists what there is", request.uri().path());
    Problem::not_found("unknown-route", detail).into_response()
}

async fn wrong_method(request: Request) -> Response {
    let detail = format!("{} does not go with {}", request.method(), request.uri().path());
    let problem = Problem::malformed("wrong-method", detail).http(StatusCode::METHOD_NOT_ALLOWED);
    problem.into_response()
}
