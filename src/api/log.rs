//! The log over REST: one stream, or all of it, in pages of events as people read them.

use std::sync::Arc;

use annals_core::{
    Direction, EventStore, Filter, ReadError, ReadQuery, RecordedEvent, Revision, Start, chain,
};
use axum::Json;
use axum::extract::{Path, RawQuery, State};
use futures::StreamExt;
use serde_json::{Value, json};

use super::parameters::{Parameters, stream_name};
use super::problem::Problem;
use super::state::ApiState;
use crate::codec::EventView;

/// Events of a query, `limit` at most, and the one after them where there is one: where the next
/// page begins.
async fn page(
    store: &dyn EventStore,
    query: ReadQuery,
    limit: u32,
) -> Result<(Vec<RecordedEvent>, Option<RecordedEvent>), Problem> {
    let mut batches = store.read(query.limit(u64::from(limit) + 1));
    let mut events = Vec::new();
    while let Some(batch) = batches.next().await {
        let batch = batch.map_err(|error| read_problem(&error))?;
        events.extend(Arc::unwrap_or_clone(batch.events));
    }
    let next = (events.len() > limit as usize).then(|| events.pop()).flatten();
    Ok((events, next))
}

/// What a failed read means to the caller.
pub(super) fn read_problem(error: &ReadError) -> Problem {
    tracing::warn!(error = chain(error), "the log could not be read");
    Problem::of(error.family(), "read", error)
}

fn direction(backwards: bool) -> Direction {
    if backwards { Direction::Backwards } else { Direction::Forwards }
}

async fn shown(state: &ApiState, events: &[RecordedEvent]) -> Vec<EventView> {
    let mut shown = Vec::with_capacity(events.len());
    for event in events {
        state.know_schema(event).await;
        shown.push(EventView::of(event, &state.parts.schemas));
    }
    shown
}

/// `GET /v1/streams/{stream}`.
pub(super) async fn stream(
    State(state): State<Arc<ApiState>>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, Problem> {
    let mut parameters = Parameters::of(query.as_deref())?;
    let from = parameters.number("from_revision")?;
    let backwards = parameters.truth("backwards")?;
    let limit = state.page_bounds().limit(parameters.number("limit")?)?;
    parameters.end()?;
    let name = stream_name(&name)?;
    let start = from.map_or(Start::Edge, |from| Start::Revision(Revision(from)));
    let whole = ReadQuery::stream(name.clone());
    let query = ReadQuery { direction: direction(backwards), start, ..whole.clone() };
    let (events, next) = page(&*state.parts.store, query, limit).await?;
    if events.is_empty() && page(&*state.parts.store, whole, 1).await?.0.is_empty() {
        let detail = format!("stream {name} has no event");
        return Err(Problem::not_found("unknown-stream", detail));
    }
    Ok(Json(json!({
        "stream": name,
        "events": shown(&state, &events).await,
        "next_from_revision": next.map(|event| event.revision),
    })))
}

/// `GET /v1/events`.
pub(super) async fn events(
    State(state): State<Arc<ApiState>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, Problem> {
    let mut parameters = Parameters::of(query.as_deref())?;
    let from = parameters.position("from_position")?;
    let backwards = parameters.truth("backwards")?;
    let prefix = |text: Option<String>| text.into_iter().filter(|text| !text.is_empty()).collect();
    let filter = Filter {
        type_prefixes: prefix(parameters.text("type_prefix")),
        stream_prefixes: prefix(parameters.text("stream_prefix")),
        no_system: !parameters.truth("with_system")?,
        ..Filter::default()
    };
    let limit = state.page_bounds().limit(parameters.number("limit")?)?;
    parameters.end()?;
    let start = from.map_or(Start::Edge, Start::Position);
    let all = ReadQuery::all().filtered(filter);
    let query = ReadQuery { direction: direction(backwards), start, ..all };
    let (events, next) = page(&*state.parts.store, query, limit).await?;
    Ok(Json(json!({
        "events": shown(&state, &events).await,
        "next_from_position": next.map(|event| event.position),
        "head": state.parts.store.head(),
    })))
}
