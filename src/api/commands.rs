//! Commands, for REST and gRPC alike. A command is carried out in a task of its own: a caller who
//! goes away, or whom the timeout tells to come again, never leaves one half done.

use std::sync::Arc;

use annals_core::executor::Envelope;
use annals_core::{Family, chain};
use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};
use tracing::Instrument;
use uuid::Uuid;

use super::problem::Problem;
use super::state::ApiState;
use crate::router::{RouterAnswer, RouterError};

/// The longest idempotency key, in bytes.
const KEY_BYTES_MAX: usize = 255;

/// The id of the command that an idempotency key names: the key itself where it is a UUID, else its
/// UUID version 5.
///
/// # Errors
/// A problem where the key is empty or too long.
pub(super) fn command_id(key: Option<&str>) -> Result<Uuid, Problem> {
    let Some(key) = key else { return Ok(Uuid::now_v7()) };
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err(Problem::malformed(
            "wrong-idempotency-key",
            format!("the idempotency key has {} bytes; right would be 1 to 255", key.len()),
        ));
    }
    let namespace = || Uuid::new_v5(&Uuid::NAMESPACE_URL, b"urn:annals:idempotency-key");
    Ok(Uuid::parse_str(key).unwrap_or_else(|_| Uuid::new_v5(&namespace(), key.as_bytes())))
}

/// The W3C trace context of a request, where it is one: `00-` trace id `-` span id `-` flags, in
/// hexadecimal.
pub(super) fn traceparent(value: Option<&str>) -> Option<String> {
    let value = value?;
    let parts: Vec<&str> = value.split('-').collect();
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    let hexadecimal = |part: &&str| {
        part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let well_formed = lengths == [2, 32, 16, 2] && parts.iter().all(hexadecimal);
    (well_formed && parts[0] != "ff").then(|| value.to_owned())
}

/// Reads a JSON object.
///
/// # Errors
/// A problem with line and column.
pub(super) fn object(body: &[u8]) -> Result<Value, Problem> {
    let value: Value = serde_json::from_slice(body).map_err(|error| {
        Problem::malformed("malformed-json", format!("the body is not JSON: {error}"))
            .with("line", error.line())
            .with("column", error.column())
    })?;
    if value.is_object() {
        return Ok(value);
    }
    let detail = "the body is JSON, but not an object; right would be the command's fields, {…}";
    Err(Problem::malformed("malformed-json", detail))
}

/// Carries out one command.
///
/// # Errors
/// The command's problem; after the timeout its outcome is not known, and the same id tells it.
pub(super) async fn execute(
    state: &ApiState,
    context: String,
    name: String,
    fields: Value,
    envelope: Envelope,
) -> Result<RouterAnswer, Problem> {
    let (router, command) = (Arc::clone(&state.domain()?.router), envelope.command);
    let started = std::time::Instant::now();
    let task = async move { router.execute(&context, &name, fields, envelope).await };
    let task = tokio::spawn(task.in_current_span());
    let limit = state.limits.command_timeout();
    let outcome = tokio::time::timeout(limit, task).await;
    metrics::histogram!("annals_command_seconds").record(started.elapsed().as_secs_f64());
    let Ok(joined) = outcome else {
        let detail = format!(
            "the command was not durable after {} ms; its outcome is not known, and the same id \
             tells it",
            limit.as_millis()
        );
        return Err(Problem::unavailable("timeout", detail).with("command_id", command.to_string()));
    };
    match joined {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(problem(&error)),
        Err(broken) => {
            tracing::error!(%broken, "a command's task broke");
            let detail = "the server made a mistake; it is logged under this request's id";
            let problem = Problem::unavailable("bug", detail);
            Err(problem.http(StatusCode::INTERNAL_SERVER_ERROR))
        }
    }
}

fn problem(error: &RouterError) -> Problem {
    let family = error.family();
    if matches!(family, Family::Damage | Family::Unavailable) {
        tracing::warn!(error = chain(error), "a command failed");
    }
    Problem::of(family, error.code(), error)
}

/// Takes the body of a request as JSON text.
///
/// # Errors
/// A problem: another media type, or too large.
pub(super) fn json_body(
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
    bytes_max: usize,
) -> Result<Bytes, Problem> {
    // Browsers send other types across sites without asking; this one they must ask for.
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = media_type.unwrap_or("").split(';').next().unwrap_or("").trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        let detail = format!("the body is {essence:?}; right would be application/json");
        let problem = Problem::malformed("unsupported-media-type", detail);
        return Err(problem.http(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
    body.map_err(|rejection| {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            let detail = format!("the body is larger than {bytes_max} bytes");
            let problem = Problem::malformed("body-too-large", detail);
            return problem.http(StatusCode::PAYLOAD_TOO_LARGE).with("bytes_max", bytes_max);
        }
        Problem::malformed("broken-body", "the body broke off")
    })
}

/// `POST /v1/commands/{context}/{name}`.
pub(super) async fn post(
    State(state): State<Arc<ApiState>>,
    Path((context, name)): Path<(String, String)>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let body = json_body(&headers, body, state.limits.request_bytes_max)?;
    let key = headers.get("idempotency-key").map(|key| {
        key.to_str().map_err(|_| {
            let detail = "the idempotency key is not visible ASCII";
            Problem::malformed("wrong-idempotency-key", detail)
        })
    });
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let envelope = Envelope {
        correlation: text("x-correlation-id").and_then(|id| Uuid::parse_str(id).ok()),
        traceparent: traceparent(text("traceparent")),
        ..Envelope::new(command_id(key.transpose()?)?)
    };
    let answer = execute(&state, context, name, object(&body)?, envelope).await?;
    let status = if answer.position.is_some() { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(answer)).into_response())
}

/// `GET /v1/commands`.
pub(super) async fn list(State(state): State<Arc<ApiState>>) -> Result<Json<Value>, Problem> {
    Ok(Json(json!({ "commands": state.domain()?.router.commands() })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_one_command() {
        let id = |key: &str| command_id(Some(key)).expect("a right key");
        let uuid = "67e55044-10b1-426f-9247-bb680e5fe0c8";
        assert_eq!(id(uuid).to_string(), uuid);
        assert_eq!(id("order 7"), id("order 7"));
        assert_eq!(id("order 7").to_string(), "d0a22083-5669-599f-a513-e05ced4185b5");
        assert_ne!(id("order 7"), id("order 8"));
        assert!(command_id(Some("")).is_err() && command_id(Some(&"k".repeat(256))).is_err());
        assert_ne!(command_id(None), command_id(None));
    }

    #[test]
    fn only_a_well_formed_trace_context_is_kept() {
        let right = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(traceparent(Some(right)).as_deref(), Some(right));
        for wrong in ["", "00-4bf9-00f0-01", &right.to_uppercase(), &format!("{right}-x")] {
            assert_eq!(traceparent(Some(wrong)), None, "{wrong}");
        }
    }

    #[test]
    fn a_body_that_is_no_object_is_told_with_its_place() {
        let problem = object(b"{\n  \"a\": }").expect_err("no JSON");
        assert_eq!(problem.members["line"], 2);
        assert_eq!(problem.members["column"], 8);
        assert_eq!(object(b"[1]").expect_err("no object").code, "malformed-json");
        assert!(object(b"{}").is_ok());
    }
}
