//! ClickHouse's HTTP interface over the engine: what the official clients send and read, no more. See the crate's
//! documentation for what it does not have.

mod body;
mod connections;
mod execution;
mod failure;
mod fence;
mod frames;
mod request;
mod row_binary;
mod statement;

pub(crate) use connections::Connections;
pub(crate) use request::Credentials;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::response::Response;
use axum::{Router, routing};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_stream::wrappers::ReceiverStream;

use crate::foreign::Statistics;
use execution::{Begun, Reply};
use failure::{Failure, Reason};

/// Statements at work at once; each has a thread and a connection.
pub(crate) const STATEMENTS_MAX: u32 = 48;
/// How long a statement may wait for its turn.
const TURN_WAIT_MAX: Duration = Duration::from_mins(1);
const FORM_BYTES_MAX: usize = 8 << 20;

/// What every request shares.
pub(crate) struct Endpoint {
    pub(crate) connections: Connections,
    pub(crate) credentials: Credentials,
    pub(crate) turns: Arc<Semaphore>,
}

impl Endpoint {
    pub(crate) fn new(connections: Connections, credentials: Credentials) -> Self {
        let turns = Arc::new(Semaphore::new(usize::try_from(STATEMENTS_MAX).unwrap_or(1)));
        Self { connections, credentials, turns }
    }
}

/// The routes of the endpoint.
pub(crate) fn router(endpoint: Arc<Endpoint>) -> Router {
    Router::new()
        .route("/ping", routing::get(ok))
        .route("/", routing::any(root))
        .fallback(not_found)
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
        .with_state(endpoint)
}

async fn ok() -> &'static str {
    "Ok.\n"
}

async fn not_found(request: Request) -> Response {
    let text = format_args!("There is no handle {}: statements go to /", request.uri().path());
    Failure::new(Reason::NotFound, text).response()
}

async fn root(State(endpoint): State<Arc<Endpoint>>, request: Request) -> Response {
    let reading = request.method() == Method::GET || request.method() == Method::HEAD;
    if reading && request.uri().query().is_none_or(str::is_empty) {
        return Response::new(Body::from("Ok.\n"));
    }
    if !reading && request.method() != Method::POST {
        let mut response = Response::new(Body::from("GET and POST are supported\n"));
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        return response;
    }
    statement(endpoint, request).await.unwrap_or_else(|failure| failure.response())
}

async fn statement(endpoint: Arc<Endpoint>, request: Request) -> Result<Response, Failure> {
    endpoint.credentials.check(request.headers())?;
    let turn = turn(&endpoint).await?;
    let (asked, body) = request::read(request).await?;
    let query_id = asked
        .query_id
        .clone()
        .filter(|id| !id.is_empty())
        .unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    let tag = exception_tag();
    let (sender, begun) = oneshot::channel();
    let reply = Reply { sender, tag: tag.clone() };
    tokio::task::spawn_blocking(move || {
        execution::run(&endpoint.connections, &asked, body, reply);
        // Held to the end of the statement, also when the client is gone before it.
        drop(turn);
    });
    let begun = begun
        .await
        .map_err(|_| Failure::new(Reason::Stopping, "the statement ended without an answer"))
        .flatten();
    let mut response = match begun {
        Ok(begun) => response(begun, &tag),
        Err(failure) => failure.response(),
    };
    insert(&mut response, "X-ClickHouse-Query-Id", &query_id);
    insert(&mut response, "X-ClickHouse-Server-Display-Name", "annals");
    insert(&mut response, "X-ClickHouse-Timezone", "UTC");
    Ok(response)
}

async fn turn(endpoint: &Endpoint) -> Result<OwnedSemaphorePermit, Failure> {
    let turn = Arc::clone(&endpoint.turns).acquire_owned();
    match tokio::time::timeout(TURN_WAIT_MAX, turn).await {
        Ok(Ok(turn)) => Ok(turn),
        Ok(Err(_)) => Err(Failure::new(Reason::Stopping, "the endpoint is stopping")),
        Err(_) => {
            let text = format_args!("Too many simultaneous queries: {STATEMENTS_MAX} are at work");
            Err(Failure::new(Reason::TooManyQueries, text))
        }
    }
}

fn response(begun: Begun, tag: &str) -> Response {
    let body = match begun.rest {
        None => Body::from(begun.first),
        Some(rest) => {
            let first = Some(begun.first).filter(|first| !first.is_empty());
            let chunks = stream::iter(first).chain(ReceiverStream::new(rest));
            Body::from_stream(chunks.map(Ok::<Bytes, std::convert::Infallible>))
        }
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static(media_type(&begun.format)));
    insert(&mut response, "X-ClickHouse-Format", &begun.format);
    insert(&mut response, "X-ClickHouse-Exception-Tag", tag);
    if let Some(statistics) = begun.statistics {
        insert(&mut response, "X-ClickHouse-Summary", &summary(&statistics));
    }
    response
}

/// Sets a header; a value that no header can carry (a query id with a line end) is left out.
fn insert(response: &mut Response, name: &'static str, value: &str) {
    let name = HeaderName::from_bytes(name.as_bytes());
    if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
        response.headers_mut().insert(name, value);
    }
}

fn summary(statistics: &Statistics) -> String {
    serde_json::json!({
        "read_rows": statistics.read_rows.to_string(),
        "read_bytes": statistics.read_bytes.to_string(),
        "written_rows": statistics.written_rows.to_string(),
        "written_bytes": statistics.written_bytes.to_string(),
        "total_rows_to_read": "0",
        "result_rows": statistics.result_rows.to_string(),
        "result_bytes": statistics.result_bytes.to_string(),
        "elapsed_ns": Duration::try_from_secs_f64(statistics.seconds)
            .unwrap_or_default()
            .as_nanos()
            .to_string(),
    })
    .to_string()
}

fn media_type(format: &str) -> &'static str {
    match format {
        "JSONEachRow" | "JSONLines" | "NDJSON" => "application/x-ndjson; charset=UTF-8",
        json if json.starts_with("JSON") => "application/json; charset=UTF-8",
        csv if csv.starts_with("CSV") => "text/csv; charset=UTF-8",
        tsv if tsv.starts_with("TabSeparated") || tsv.starts_with("TSV") => {
            "text/tab-separated-values; charset=UTF-8"
        }
        binary if binary.starts_with("RowBinary") => "application/octet-stream",
        "Native" | "Parquet" | "Arrow" | "ArrowStream" | "MsgPack" => "application/octet-stream",
        _ => "text/plain; charset=UTF-8",
    }
}

/// Sixteen small letters that no client could have put into its data on purpose.
fn exception_tag() -> String {
    uuid::Uuid::new_v4().as_bytes().iter().map(|byte| char::from(b'a' + byte % 26)).collect()
}
