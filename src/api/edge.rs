//! Every request's way in: REST and gRPC on one port. It gives the request an id and a span, has it admitted, hands it to
//! the interface that it speaks, and counts and times the answer. gRPC does not pass through the layers and routes of
//! REST: what they cost is little beside a command, and much beside an append.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use annals_store::protocol::access::Caller;
use axum::extract::MatchedPath;
use axum::response::IntoResponse;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use http_body_util::Either;
use hyper::body::Incoming;
use hyper::service::Service;
use tokio::sync::OwnedSemaphorePermit;
use tonic::transport::server::TcpConnectInfo;
use tower::Service as _;
use tracing::Instrument;
use uuid::Uuid;

use super::access::{self, Wants};
use super::problem::Problem;
use super::state::ApiState;
use super::{commands, grpc, guard, rest};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// A request id of a caller is kept only up to this length, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// The body of an answer.
type Body = Either<axum::body::Body, tonic::body::Body>;

/// Where consumers of the KurrentDB protocol come from is shown to others.
const PERSISTENT: &str = "/event_store.client.persistent_subscriptions.PersistentSubscriptions/";

/// Everything that is served, as one service. Clones share it.
#[derive(Clone)]
pub(super) struct Edge {
    interfaces: Arc<Interfaces>,
    /// Whose connection it serves.
    peer: Option<SocketAddr>,
}

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
        let interfaces = Interfaces { state: Arc::clone(state), rest, grpc };
        Ok(Edge { interfaces: Arc::new(interfaces), peer: None })
    }

    /// The same for the connection of that peer.
    pub(super) fn of(&self, peer: SocketAddr) -> Edge {
        Edge { interfaces: Arc::clone(&self.interfaces), peer: Some(peer) }
    }
}

impl Service<Request<Incoming>> for Edge {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let interfaces = Arc::clone(&self.interfaces);
        if request.uri().path().starts_with(PERSISTENT) {
            let info = TcpConnectInfo { local_addr: None, remote_addr: self.peer };
            request.extensions_mut().insert(info);
        }
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
    async fn answer(&self, mut request: Request<Incoming>) -> Response<Body> {
        let started = Instant::now();
        let is_grpc = is_grpc(request.headers());
        let path = is_grpc.then(|| request.uri().path().to_owned());
        let permit = self.let_in(&mut request, is_grpc).await;
        let (response, route) = match (permit, path) {
            (Err(refused), _) => (refusal(is_grpc, *refused), None),
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

/// Why a request is not answered.
enum Refused {
    /// Told in the form of the interface that is spoken.
    Problem(Problem),
    /// Told as KurrentDB's clients know it.
    OfKurrent(tonic::Status),
}

impl From<Problem> for Box<Refused> {
    fn from(problem: Problem) -> Box<Refused> {
        Box::new(Refused::Problem(problem))
    }
}

impl Interfaces {
    /// Finds out who calls, leaves that with the request, and lets it in.
    async fn let_in(
        &self,
        request: &mut Request<Incoming>,
        is_grpc: bool,
    ) -> Result<Option<OwnedSemaphorePermit>, Box<Refused>> {
        let state = &*self.state;
        if state.asks_who_calls() {
            let path = request.uri().path().to_owned();
            let credentials = guard::Credentials::of(request.headers());
            let caller = guard::identify(state, &path, credentials).await?;
            if is_grpc && caller == Caller::Anonymous && access::is_of_kurrent(&path) {
                if access::wanted_of_method(&path) != Wants::Nobody {
                    return Err(Box::new(Refused::OfKurrent(access::denied_to_client())));
                }
            } else if is_grpc {
                access::check(state, &caller, access::wanted_of_method(&path))?;
            }
            request.extensions_mut().insert(caller);
        }
        Ok(guard::admit(state, request)?)
    }
}

/// Whether a request speaks gRPC.
fn is_grpc(headers: &HeaderMap) -> bool {
    let media_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    media_type.is_some_and(|media_type| media_type.starts_with(b"application/grpc"))
}

/// A problem in the form that the caller understands.
fn refusal(is_grpc: bool, refused: Refused) -> Response<Body> {
    match refused {
        Refused::Problem(problem) if !is_grpc => problem.into_response().map(Either::Left),
        Refused::Problem(problem) => tonic::Status::from(problem).into_http().map(Either::Right),
        Refused::OfKurrent(status) => status.into_http().map(Either::Right),
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
