//! Read models over REST.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue};

use super::parameters::Parameters;
use super::problem::Problem;
use super::read_models::{PageRequest, Wait};
use super::state::ApiState;

/// The header that tells how far an answer reaches.
const POSITION: HeaderName = HeaderName::from_static("x-annals-position");

fn with_position(mut response: Response, position: Option<u64>) -> Response {
    if let Some(position) = position {
        response.headers_mut().insert(POSITION, HeaderValue::from(position));
    }
    response
}

/// `GET /v1/{read_model}`.
pub(super) async fn list(
    State(state): State<Arc<ApiState>>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let model = state.read_models()?.model(&name).await?;
    let query = query.as_deref().unwrap_or("");
    let request = PageRequest::from_query(&model, state.page_bounds(), query)?;
    let page = state.read_models()?.page(&model, &request).await?;
    let position = page.position;
    Ok(with_position(Json(page).into_response(), position))
}

/// `GET /v1/{read_model}/{key}`.
pub(super) async fn get(
    State(state): State<Arc<ApiState>>,
    Path((name, key)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let mut parameters = Parameters::of(query.as_deref())?;
    let wait = Wait {
        not_before: parameters.number("not_before_position")?,
        timeout_ms: parameters.number("timeout_ms")?,
    };
    let model = state.read_models()?.model(&name).await?;
    parameters.end()?;
    let found = state.read_models()?.row(&model, &key, wait).await?;
    Ok(with_position(Json(found.item).into_response(), found.position))
}
