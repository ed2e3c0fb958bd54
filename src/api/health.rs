//! Whether this process lives, and whether it can be of use now.

use std::sync::Arc;

use annals_workers::ProjectionState;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde_json::json;

use super::problem::Problem;
use super::state::ApiState;

/// `GET /health/live`.
pub(super) async fn live() -> StatusCode {
    StatusCode::NO_CONTENT
}

/// `GET /health/ready`.
pub(super) async fn ready(State(state): State<Arc<ApiState>>) -> Result<StatusCode, Problem> {
    let mut reasons = Vec::new();
    if state.stopping.is_cancelled() {
        reasons.push(json!({"part": "server", "reason": "it is stopping"}));
    }
    if let Some(reason) = (state.parts.store_fault)() {
        reasons.push(json!({"part": "store", "reason": reason}));
    }
    if let Ok(read_models) = state.read_models()
        && let Err(problem) = read_models.ping().await
    {
        reasons.push(json!({"part": "postgres", "reason": problem.detail}));
    }
    let projections = state.domain().map(|domain| domain.workers.status()).unwrap_or_default();
    for status in projections {
        let stands = match status.state {
            ProjectionState::Running | ProjectionState::Off => None,
            ProjectionState::Failed
            | ProjectionState::NeedsRebuild
            | ProjectionState::Retrying
            | ProjectionState::Stopped => Some(status.reason.unwrap_or_default()),
        };
        let late = status.lag > state.limits.ready_lag_max;
        let part = format!("projection {}", status.name);
        if let Some(reason) = stands {
            let state = status.state.as_str();
            reasons.push(json!({"part": part, "state": state, "reason": reason}));
        } else if late && status.state == ProjectionState::Running {
            reasons.push(json!({"part": part, "reason": "it lags", "lag": status.lag}));
        }
    }
    if reasons.is_empty() {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(Problem::unavailable("not-ready", "not everything works").with("reasons", reasons))
}

/// `GET /metrics`.
pub(super) async fn metrics(State(state): State<Arc<ApiState>>) -> Response {
    let text = state.parts.metrics.as_ref().map(crate::telemetry::Metrics::render);
    let media_type = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (media_type, text.unwrap_or_default()).into_response()
}
