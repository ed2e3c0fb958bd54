//! Projections over REST: how they stand, and work on them. A rebuild or verification can outlast
//! any request, so it runs by itself, one at a time for each projection; a request waits for its
//! end as long as it likes, and is told where to ask again.

use std::sync::Arc;
use std::time::Duration;

use annals_core::{Family, chain};
use annals_replay::{ReplaySource, rebuild as rebuild_projections, verify as verify_projections};
use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::parameters::Parameters;
use super::problem::Problem;
use super::state::ApiState;

/// What is done with a projection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WorkKind {
    /// Its rows are folded from history again.
    Rebuild,
    /// Its rows are compared with what history gives.
    Verify,
}

impl WorkKind {
    fn name(self) -> &'static str {
        match self {
            WorkKind::Rebuild => "rebuild",
            WorkKind::Verify => "verify",
        }
    }
}

/// How the work ended: its report, or its problem; nothing while it goes on.
type Outcome = Option<Result<Value, Problem>>;

/// A piece of work that runs or ran.
pub(super) struct Work {
    kind: WorkKind,
    outcome: watch::Receiver<Outcome>,
}

impl Work {
    /// As the caller sees it.
    fn shown(&self, projection: &str) -> Value {
        let mut shown = json!({"projection": projection, "kind": self.kind.name()});
        match &*self.outcome.borrow() {
            None => shown["state"] = Value::from("running"),
            Some(Ok(report)) => {
                shown["state"] = Value::from("done");
                shown["report"] = report.clone();
            }
            Some(Err(problem)) => {
                shown["state"] = Value::from("failed");
                shown["problem"] = problem.to_json();
            }
        }
        shown
    }
}

/// Begins the work, unless other work on this projection goes on.
fn begin(
    state: &ApiState,
    projection: &str,
    kind: WorkKind,
) -> Result<watch::Receiver<Outcome>, Problem> {
    let source = state.replay_source()?;
    let mut works = state.work.lock();
    if let Some(earlier) = works.get(projection).filter(|work| work.outcome.borrow().is_none()) {
        let detail = format!("a {} of {projection} goes on; wait for its end", earlier.kind.name());
        return Err(Problem::new(Family::Conflict, "work-goes-on", detail));
    }
    let (tell, outcome) = watch::channel(None);
    works.insert(projection.to_owned(), Work { kind, outcome: outcome.clone() });
    let work = work(source, projection.to_owned(), kind);
    // It goes on when the request has ended.
    tokio::spawn(async move { tell.send_replace(Some(work.await)) });
    Ok(outcome)
}

/// The work itself. Folding is work for the processor, so it has a thread of its own.
async fn work(source: ReplaySource, name: String, kind: WorkKind) -> Result<Value, Problem> {
    let threads = tokio::runtime::Handle::current();
    let folding = move || {
        let names = [name];
        threads.block_on(async {
            match kind {
                WorkKind::Rebuild => {
                    rebuild_projections(&source, &names, |_| {}).await.map(json_of)
                }
                WorkKind::Verify => {
                    verify_projections(&source, &names, |_, _| {}).await.map(json_of)
                }
            }
        })
    };
    match tokio::task::spawn_blocking(folding).await {
        Ok(Ok(report)) => report,
        Ok(Err(error)) => {
            tracing::warn!(error = chain(&error), "work on a projection failed");
            Err(Problem::of(error.family(), "replay", &error))
        }
        Err(broken) => {
            tracing::error!(%broken, "work on a projection broke");
            let problem = Problem::unavailable("bug", "the server made a mistake; it is logged");
            Err(problem.http(StatusCode::INTERNAL_SERVER_ERROR))
        }
    }
}

fn json_of<R: serde::Serialize>(report: R) -> Result<Value, Problem> {
    serde_json::to_value(report).map_err(|error| {
        tracing::error!(%error, "a report has no JSON form");
        Problem::unavailable("bug", "the work ended, but its report cannot be shown")
    })
}

async fn run(
    state: Arc<ApiState>,
    name: String,
    kind: WorkKind,
    query: Option<String>,
) -> Result<Response, Problem> {
    let mut parameters = Parameters::of(query.as_deref())?;
    let asked = parameters.number("wait_ms")?.map(Duration::from_millis);
    parameters.end()?;
    let wait = asked.unwrap_or(state.limits.query_timeout()).min(state.limits.query_timeout());
    known(&state, &name)?;
    let mut outcome = begin(&state, &name, kind)?;
    let ended = outcome.wait_for(Option::is_some);
    let ended = match tokio::time::timeout(wait, ended).await {
        Ok(Ok(ended)) => ended.clone(),
        Ok(Err(_)) | Err(_) => None,
    };
    if let Some(Err(problem)) = ended {
        return Err(problem);
    }
    let status = if ended.is_some() { StatusCode::OK } else { StatusCode::ACCEPTED };
    let mut response = (status, shown(&state, &name)?).into_response();
    if status == StatusCode::ACCEPTED
        && let Ok(place) = HeaderValue::from_str(&format!("/v1/projections/{name}/work"))
    {
        response.headers_mut().insert(header::LOCATION, place);
    }
    Ok(response)
}

fn known(state: &ApiState, name: &str) -> Result<(), Problem> {
    let names = state.domain()?.catalogue.names();
    if names.contains(&name) {
        return Ok(());
    }
    let detail = format!("there is no projection {name:?}; there are {}", names.join(", "));
    Err(Problem::not_found("unknown-projection", detail).with("known", names))
}

fn shown(state: &ApiState, name: &str) -> Result<Json<Value>, Problem> {
    let works = state.work.lock();
    works.get(name).map(|work| Json(work.shown(name))).ok_or_else(|| {
        let detail = format!("nobody has asked for work on {name} since the server started");
        Problem::not_found("no-work", detail)
    })
}

/// `GET /v1/projections`.
pub(super) async fn list(State(state): State<Arc<ApiState>>) -> Result<Json<Value>, Problem> {
    let (projections, head) = (state.domain()?.workers.status(), state.parts.store.head());
    Ok(Json(json!({ "projections": projections, "head": head })))
}

/// `POST /v1/projections/{name}/rebuild`.
pub(super) async fn rebuild(
    State(state): State<Arc<ApiState>>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    run(state, name, WorkKind::Rebuild, query).await
}

/// `POST /v1/projections/{name}/verify`.
pub(super) async fn verify(
    State(state): State<Arc<ApiState>>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    run(state, name, WorkKind::Verify, query).await
}

/// `GET /v1/projections/{name}/work`.
pub(super) async fn last_work(
    State(state): State<Arc<ApiState>>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    known(&state, &name)?;
    shown(&state, &name)
}
