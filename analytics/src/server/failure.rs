//! An error as ClickHouse's HTTP interface shows it: a code in a header, a text, and a status that follows the code.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode};

use crate::foreign::EngineError;

use super::statement::LexicalError;

/// What the endpoint itself refuses, by ClickHouse's names for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    BadArguments,
    NotImplemented,
    SyntaxError,
    ReadOnly,
    TooManyQueries,
    NetworkError,
    CannotDecompress,
    SessionNotFound,
    SessionIsLocked,
    AccessDenied,
    AuthenticationFailed,
    QueryIsTooLarge,
    Stopping,
    NotFound,
}

impl Reason {
    fn code_and_name(self) -> (u32, &'static str) {
        match self {
            Self::BadArguments => (36, "BAD_ARGUMENTS"),
            Self::NotImplemented => (48, "NOT_IMPLEMENTED"),
            Self::SyntaxError => (62, "SYNTAX_ERROR"),
            Self::ReadOnly => (164, "READONLY"),
            Self::TooManyQueries => (202, "TOO_MANY_SIMULTANEOUS_QUERIES"),
            Self::NetworkError => (210, "NETWORK_ERROR"),
            Self::CannotDecompress => (271, "CANNOT_DECOMPRESS"),
            Self::SessionNotFound => (372, "SESSION_NOT_FOUND"),
            Self::SessionIsLocked => (373, "SESSION_IS_LOCKED"),
            Self::AccessDenied => (497, "ACCESS_DENIED"),
            Self::AuthenticationFailed => (516, "AUTHENTICATION_FAILED"),
            Self::QueryIsTooLarge => (261, "QUERY_IS_TOO_LARGE"),
            Self::Stopping => (236, "ABORTED"),
            Self::NotFound => (404, "NOT_FOUND"),
        }
    }
}

/// An error on its way to the client.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    pub(crate) code: u32,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(reason: Reason, text: impl std::fmt::Display) -> Self {
        let (code, name) = reason.code_and_name();
        Self { code, message: format!("Code: {code}. DB::Exception: {text}. ({name})") }
    }

    fn status(&self) -> StatusCode {
        match self.code {
            194 => StatusCode::UNAUTHORIZED,
            192 | 193 | 497 | 516 => StatusCode::FORBIDDEN,
            46 | 47 | 50 | 56 | 60 | 63 | 73 | 81 | 115 | 404 => StatusCode::NOT_FOUND,
            261 => StatusCode::PAYLOAD_TOO_LARGE,
            48 => StatusCode::NOT_IMPLEMENTED,
            202 | 236 => StatusCode::SERVICE_UNAVAILABLE,
            159 => StatusCode::REQUEST_TIMEOUT,
            6 | 16 | 20 | 26 | 27 | 33 | 36 | 38 | 41 | 42 | 43 | 44 | 53 | 62 | 70 | 72 | 117
            | 130 | 131 | 271 | 372 | 373 | 456 | 457 => StatusCode::BAD_REQUEST,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The answer when nothing of another answer has been sent.
    pub(crate) fn response(&self) -> Response {
        let mut response = Response::new(Body::from(format!("{}\n", self.message)));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert("X-ClickHouse-Exception-Code", HeaderValue::from(self.code));
        headers.insert(
            http::header::CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=UTF-8"),
        );
        response
    }

    /// The end of an answer that fails on its way: one chunk that clients know by the tag in the headers.
    pub(crate) fn last_chunk(&self, tag: &str) -> String {
        let message = format!("{}\n", self.message);
        let length = message.len();
        format!("\r\n__exception__\r\n{tag}\r\n{message}{length} {tag}\r\n__exception__\r\n")
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        Self { code: error.code, message: error.message }
    }
}

impl From<LexicalError> for Failure {
    fn from(error: LexicalError) -> Self {
        Self::new(Reason::SyntaxError, format_args!("Syntax error: {error}"))
    }
}
