//! An error as the interfaces tell it: `application/problem+json` (RFC 9457) on REST, a status with
//! the same problem in its metadata on gRPC.

use std::borrow::Cow;
use std::error::Error;

use annals_core::{Family, chain};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};
use tonic::metadata::{MetadataValue, errors::InvalidMetadataValue};

use super::status;

/// The media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// An error on its way to the caller.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// Its family, which gives the status.
    pub family: Family,
    /// A stable name for programs, finer than the family.
    pub code: Cow<'static, str>,
    /// What was wrong, where, and what would be right.
    pub detail: String,
    /// A more exact HTTP status of the same class, where HTTP has one (413, 415, …).
    pub http: Option<StatusCode>,
    /// When to try again, in seconds.
    pub retry_after: Option<u32>,
    /// Further members for programs.
    pub members: Box<Map<String, Value>>,
}

impl Problem {
    /// A problem of a family.
    pub fn new(
        family: Family,
        code: impl Into<Cow<'static, str>>,
        detail: impl Into<String>,
    ) -> Problem {
        let retry_after = match family {
            Family::TooMuch | Family::Unavailable => Some(1),
            Family::Malformed
            | Family::Unauthenticated
            | Family::Denied
            | Family::NotFound
            | Family::Refusal
            | Family::Conflict
            | Family::Damage => None,
        };
        let (code, detail) = (code.into(), detail.into());
        Problem { family, code, detail, http: None, retry_after, members: Box::default() }
    }

    /// A request that is wrong in itself.
    pub fn malformed(code: &'static str, detail: impl Into<String>) -> Problem {
        Problem::new(Family::Malformed, code, detail)
    }

    /// Something that is not there.
    pub fn not_found(code: &'static str, detail: impl Into<String>) -> Problem {
        Problem::new(Family::NotFound, code, detail)
    }

    /// A fault that passes.
    pub fn unavailable(code: &'static str, detail: impl Into<String>) -> Problem {
        Problem::new(Family::Unavailable, code, detail)
    }

    /// The same from an error and its causes.
    pub fn of(family: Family, code: impl Into<Cow<'static, str>>, error: &dyn Error) -> Problem {
        Problem::new(family, code, chain(error))
    }

    /// The same with a further member.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Problem {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// The same with a more exact HTTP status.
    pub fn http(self, status: StatusCode) -> Problem {
        Problem { http: Some(status), ..self }
    }

    /// As JSON, with the HTTP status.
    pub fn to_json(&self) -> Value {
        let status = status::of(self.family);
        let mut problem = json!({
            "type": format!("urn:annals:problem:{}", status.name),
            "title": status.title,
            "status": self.http.unwrap_or(status.http).as_u16(),
            "detail": self.detail,
            "code": self.code,
        });
        if let Some(object) = problem.as_object_mut() {
            object.extend((*self.members).clone());
        }
        problem
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.http.unwrap_or(status::of(self.family).http);
        let mut response = (status, self.to_json().to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.family == Family::Unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<Problem> for tonic::Status {
    fn from(problem: Problem) -> tonic::Status {
        let mut status = tonic::Status::new(status::of(problem.family).grpc, &problem.detail);
        let code: Result<_, InvalidMetadataValue> = MetadataValue::try_from(&*problem.code);
        if let Ok(code) = code {
            status.metadata_mut().insert("annals-code", code);
        }
        let whole = MetadataValue::from_bytes(problem.to_json().to_string().as_bytes());
        status.metadata_mut().insert_bin("annals-problem-bin", whole);
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rest_and_grpc_tell_the_same() {
        let problem = Problem::new(Family::Refusal, "refused", "account A1 holds 5, not 7");
        let status = tonic::Status::from(problem.clone());
        let bytes = status.metadata().get_bin("annals-problem-bin").expect("the whole problem");
        let told: Value = serde_json::from_slice(&bytes.to_bytes().expect("base64")).expect("JSON");
        assert_eq!(told, problem.to_json());
        assert_eq!(status.code(), tonic::Code::FailedPrecondition);
        assert_eq!(problem.clone().into_response().status(), StatusCode::UNPROCESSABLE_ENTITY);
        insta::assert_snapshot!(problem.to_json());
    }

    #[test]
    fn a_fault_that_passes_says_when_to_try_again() {
        let response = Problem::unavailable("late", "not there yet").into_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        assert_eq!(response.headers()[header::CONTENT_TYPE], MEDIA_TYPE);
    }
}
