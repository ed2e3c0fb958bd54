//! Time travel over REST: the state of a stream or a row at any past moment, its history, and what
//! differs between two moments.

use std::sync::Arc;

use annals_core::{Revision, chain};
use annals_replay::travel::{Keep, Point, Subject, TravelError, Window};
use axum::Json;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};

use super::parameters::{Parameters, stream_name};
use super::problem::Problem;
use super::state::ApiState;

/// What is looked at: `stream=NAME`, or `read_model=NAME&key=KEY`.
fn subject(parameters: &mut Parameters) -> Result<Subject, Problem> {
    let stream = parameters.text("stream");
    match (stream, parameters.text("read_model"), parameters.text("key")) {
        (Some(stream), None, None) => Ok(Subject::stream(stream_name(&stream)?)),
        (None, Some(read_model), Some(key)) => Ok(Subject::row(read_model, key)),
        (_, _, _) => {
            let detail = "right would be stream=NAME, or read_model=NAME&key=KEY";
            Err(Problem::malformed("wrong-subject", detail))
        }
    }
}

/// A moment: at a revision, position or time; now where nothing is said.
fn point(
    parameters: &mut Parameters,
    [revision, position, time]: [&'static str; 3],
) -> Result<Point, Problem> {
    let given =
        (parameters.number(revision)?, parameters.position(position)?, parameters.time(time)?);
    match given {
        (None, None, None) => Ok(Point::Now),
        (Some(number), None, None) => Ok(Point::Revision(Revision(number))),
        (None, Some(number), None) => Ok(Point::Position(number)),
        (None, None, Some(moment)) => Ok(Point::Time(moment)),
        (_, _, _) => {
            let detail = format!("right would be one of {revision}, {position} and {time}");
            Err(Problem::malformed("wrong-moment", detail))
        }
    }
}

const AT: [&str; 3] = ["at_revision", "at_position", "at_time"];
const FROM: [&str; 3] = ["from_revision", "from_position", "from_time"];
const TO: [&str; 3] = ["to_revision", "to_position", "to_time"];

fn problem(error: &TravelError) -> Problem {
    let code = match error {
        TravelError::UnknownReadModel { .. } => "unknown-read-model",
        TravelError::UnknownStream { .. } => "unknown-stream",
        TravelError::UnknownKey { .. } => "unknown-row",
        TravelError::NoSuchRevision { .. } => "unknown-revision",
        TravelError::NoSuchPosition { .. } => "unknown-position",
        TravelError::Undecodable { .. } | TravelError::Unshowable { .. } => "undecodable",
        TravelError::Read { .. } => "read",
    };
    tracing::debug!(error = chain(error), "time travel ended early");
    Problem::of(error.family(), code, error)
}

/// Bounds the work by the query timeout.
async fn bounded<T>(
    state: &ApiState,
    work: impl Future<Output = Result<T, TravelError>>,
) -> Result<T, Problem> {
    if let Ok(done) = tokio::time::timeout(state.limits.query_timeout(), work).await {
        return done.map_err(|error| problem(&error));
    }
    let detail = "folding the history took too long; `annals debug` has no such bound";
    Err(Problem::unavailable("timeout", detail))
}

/// `GET /v1/debug/state`.
pub(super) async fn state(
    State(state): State<Arc<ApiState>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let mut parameters = Parameters::of(query.as_deref())?;
    let (subject, at) = (subject(&mut parameters)?, point(&mut parameters, AT)?);
    parameters.end()?;
    let found = bounded(&state, state.parts.travel.state(&subject, at)).await?;
    Ok(Json(found).into_response())
}

/// `GET /v1/debug/history`.
pub(super) async fn history(
    State(state): State<Arc<ApiState>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let mut parameters = Parameters::of(query.as_deref())?;
    let subject = subject(&mut parameters)?;
    let window = Window {
        from: parameters.position("from_position")?,
        to: point(&mut parameters, AT)?,
        limit: state.page_bounds().limit(parameters.number("limit")?)? as usize,
        keep: if parameters.truth("youngest")? { Keep::Youngest } else { Keep::Oldest },
    };
    parameters.end()?;
    let found = bounded(&state, state.parts.travel.history(&subject, window)).await?;
    Ok(Json(found).into_response())
}

/// `GET /v1/debug/diff`.
pub(super) async fn diff(
    State(state): State<Arc<ApiState>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let mut parameters = Parameters::of(query.as_deref())?;
    let subject = subject(&mut parameters)?;
    let from = point(&mut parameters, FROM)?;
    if from == Point::Now {
        let detail = format!("right would be one of {}", FROM.join(", "));
        return Err(Problem::malformed("wrong-moment", detail));
    }
    let to = point(&mut parameters, TO)?;
    parameters.end()?;
    let found = bounded(&state, state.parts.travel.diff(&subject, from, to)).await?;
    Ok(Json(found).into_response())
}
