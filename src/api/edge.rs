//! Every request's way in: REST and gRPC on one port. It gives the request an id and a span, has it admitted, hands it to
//! the interface that it speaks, and counts and times the answer. gRPC does not pass through the layers and routes of
//! REST: what they cost is little beside a command, and much beside an append.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::MatchedPath;
use axum::response::IntoResponse;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use http_body_util::Either;
use hyper::body::Incoming;
use hyper::service::Service;
use tower::Service as _;
use tracing::Instrument;
use uuid::Uuid;

use super::problem::Problem;
use super::state::ApiState;
use super::{commands, grpc, guard, rest};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// A request id of a caller is kept only up to this length, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// The body of an answer.
type Body = Either<axum::body::Body, tonic::body::Body>;

/// Everything that is served, as one service. Clones share it.
#[derive(Clone)]
pub(super) struct Edge(Arc<Interfaces>);

struct Interfaces {
    state: Arc<ApiState>,
    rest: axum::Router,
    grpc: grpc::Services,
}

impl Edge {
    /// The service over the parts of the engine.
    ///
    /// # Errors
    /// Where the description of the gRPC services is broken.
    pub(super) fn new(state: &Arc<ApiState>) -> Result<Edge, tonic_reflection::server::Error> {
        let (rest, grpc) = (rest(state), grpc::Services::new(state)?);
        Ok(Edge(Arc::new(Interfaces { state: Arc::clone(state), rest, grpc })))
    }
}

impl Service<Request<Incoming>> for Edge {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let interfaces = Arc::clone(&self.0);
        let id = request_id(request.headers());
        let span = span(&request, &id);
        request.headers_mut().insert(REQUEST_ID, id.clone());
        let answer = async move {
            let mut response = interfaces.answer(request).await;
            response.headers_mut().insert(REQUEST_ID, id);
            Ok(response)
        };
        Box::pin(answer.instrument(span))
    }
}

impl Interfaces {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let started = Instant::now();
        let is_grpc = is_grpc(request.headers());
        let path = is_grpc.then(|| request.uri().path().to_owned());
        let permit = guard::admit(&self.state, &request);
        let (response, route) = match (permit, path) {
            (Err(problem), _) => (refusal(is_grpc, problem), None),
            (Ok(_permit), Some(path)) => {
                let response = self.grpc.answer(request).await;
                // A method that there is; never a caller's text.
                let route = Some(path).filter(|_| grpc::knows_method(&response));
                (response.map(Either::Right), route)
            }
            (Ok(_permit), None) => {
                let Ok(response) = self.rest.clone().call(request).await;
                let matched = response.extensions().get::<MatchedPath>();
                let route = matched.map(|path| path.as_str().to_owned());
                (response.map(Either::Left), route)
            }
        };
        let interface = if is_grpc { "grpc" } else { "rest" };
        let route = route.unwrap_or_else(|| "none".to_owned());
        let status = response.status().as_str().to_owned();
        metrics::counter!("annals_requests_total",
            "interface" => interface, "route" => route.clone(), "status" => status)
        .increment(1);
        metrics::histogram!("annals_request_seconds", "interface" => interface, "route" => route)
            .record(started.elapsed().as_secs_f64());
        response
    }
}

/// Whether a request speaks gRPC.
fn is_grpc(headers: &HeaderMap) -> bool {
    let media_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    media_type.is_some_and(|media_type| media_type.starts_with(b"application/grpc"))
}

/// A problem in the form that the caller understands.
fn refusal(is_grpc: bool, problem: Problem) -> Response<Body> {
    if is_grpc {
        tonic::Status::from(problem).into_http().map(Either::Right)
    } else {
        problem.into_response().map(Either::Left)
    }
}

/// The caller's id of the request, unless it is too long to be repeated in every log line, or a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let given = headers.get(REQUEST_ID).filter(|id| id.len() <= REQUEST_ID_BYTES_MAX);
    given.cloned().unwrap_or_else(|| {
        let mut text = Uuid::encode_buffer();
        let id = Uuid::now_v7().hyphenated().encode_lower(&mut text);
        HeaderValue::from_str(id).expect("a UUID is visible ASCII")
    })
}

/// The span of a request: its path, never its query, which may hold what people asked for.
fn span(request: &Request<Incoming>, id: &HeaderValue) -> tracing::Span {
    let trace = request.headers().get("traceparent").and_then(|parent| parent.to_str().ok());
    let trace = commands::traceparent(trace);
    tracing::info_span!(
        "request",
        method = %request.method(),
        path = request.uri().path(),
        id = id.to_str().unwrap_or_default(),
        trace = trace.as_deref().and_then(|parent| parent.split('-').nth(1)),
    )
}
