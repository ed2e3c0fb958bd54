//! `annals events`: read, follow and append.

use annals_core::{
    Append, Direction, EventId, Filter, NewEvent, Position, ReadQuery, Revision, SchemaFingerprint,
    Source as From, Start, StreamName, StreamWrite,
};
use bytes::Bytes;
use futures::StreamExt;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::super::arguments::{AppendArguments, EventsVerb, ReadArguments, TailArguments, Which};
use super::super::error::CliError;
use super::super::exit::Done;
use super::super::open::{Missing, Source, with_engine, with_source};
use super::super::output::{Output, note};
use super::super::remote::Remote;
use super::super::render;
use super::command::json_argument;
use crate::codec::{EventView, check_foreign};
use crate::config::Config;
use crate::engine::{Engine, Parts};

/// How many events a server is asked for at once.
const PAGE_EVENTS: u64 = 500;
/// How often a server is asked for new events.
const POLL_EVERY: std::time::Duration = std::time::Duration::from_millis(300);

pub(super) async fn events(config: &Config, verb: EventsVerb) -> Result<Done, CliError> {
    match verb {
        EventsVerb::Read(arguments) => read(config, arguments).await?,
        EventsVerb::Tail(arguments) => tail(config, arguments).await?,
        EventsVerb::Append(arguments) => append(config, arguments).await?,
    }
    Ok(Done::Well)
}

fn show(output: &mut Output, event: &EventView) -> Result<(), CliError> {
    if output.json {
        return output.json_line(event);
    }
    let line = render::event_line(event, output.look);
    output.line(&line)
}

async fn read(config: &Config, arguments: ReadArguments) -> Result<(), CliError> {
    let mut output = Output::new(arguments.shape.json);
    with_source(config, &arguments.server, async |source| match source {
        Source::Local(engine) => read_log(engine, &arguments, &mut output).await,
        Source::Remote(remote) => read_server(remote, &arguments, &mut output).await,
    })
    .await
}

async fn read_log(
    engine: &Engine,
    arguments: &ReadArguments,
    output: &mut Output,
) -> Result<(), CliError> {
    let from = arguments.from;
    let start = from
        .from_position
        .map(Start::Position)
        .or(from.from_revision.map(Start::Revision))
        .or(from.from_time.map(Start::Time))
        .unwrap_or(Start::Edge);
    let mut query = query(&arguments.which).from(start);
    if arguments.backwards {
        query.direction = Direction::Backwards;
    }
    query.limit = (arguments.limit > 0).then_some(arguments.limit);
    let mut shown = 0_u64;
    let mut batches = engine.store.read(query);
    while let Some(batch) = batches.next().await {
        for event in batch?.events.iter() {
            show(output, &EventView::of(event, &engine.schemas))?;
            shown += 1;
        }
        output.flush()?;
    }
    match &arguments.which.stream {
        Some(stream) if shown == 0 => known(engine, stream).await,
        Some(_) | None => Ok(()),
    }
}

/// Tells a stream without an event, which a wrong name most often is, from one of which nothing was asked for.
async fn known(engine: &Engine, stream: &StreamName) -> Result<(), CliError> {
    let mut batches = engine.store.read(ReadQuery::stream(stream.clone()).limit(1));
    while let Some(batch) = batches.next().await {
        if !batch?.events.is_empty() {
            return Ok(());
        }
    }
    Err(CliError::UnknownStream { stream: stream.clone() })
}

fn query(which: &Which) -> ReadQuery {
    let source = which.stream.clone().map_or(From::All, From::Stream);
    let filter = Filter {
        type_prefixes: which.event_type.clone().into_iter().collect(),
        no_system: !which.system && which.stream.is_none(),
        ..Filter::default()
    };
    ReadQuery { source, filter, ..ReadQuery::all() }
}

/// A page of a server's events.
#[derive(Deserialize)]
struct Page {
    events: Vec<EventView>,
    #[serde(default)]
    next_from_revision: Option<Revision>,
    #[serde(default)]
    next_from_position: Option<Position>,
    #[serde(default)]
    head: Option<Position>,
}

/// A stream is read by revision where that is enough; everything else is read from the whole log.
async fn read_server(
    remote: &Remote,
    arguments: &ReadArguments,
    output: &mut Output,
) -> Result<(), CliError> {
    if arguments.from.from_time.is_some() {
        let why = "a server is asked by --from-position or --from-revision".to_owned();
        return Err(CliError::Argument { argument: "--from-time", why });
    }
    let mut left = if arguments.limit == 0 { u64::MAX } else { arguments.limit };
    let mut revision = arguments.from.from_revision;
    let mut position = arguments.from.from_position;
    let by_stream = arguments.which.stream.as_ref().filter(|_| position.is_none());
    while left > 0 {
        let backwards = ("backwards", arguments.backwards.to_string());
        let page: Page = if let Some(stream) = by_stream {
            let mut query = vec![backwards, ("limit", PAGE_EVENTS.to_string())];
            query.extend(revision.map(|revision| ("from_revision", revision.to_string())));
            remote.get(&["v1", "streams", stream.as_str()], &query).await?
        } else {
            let mut query = log_query(&arguments.which, position);
            query.push(backwards);
            remote.get(&["v1", "events"], &query).await?
        };
        for event in page.events.iter().filter(|event| wanted(&arguments.which, event)) {
            if left == 0 {
                break;
            }
            show(output, event)?;
            left -= 1;
        }
        output.flush()?;
        (revision, position) = (page.next_from_revision, page.next_from_position);
        if revision.is_none() && position.is_none() {
            break;
        }
    }
    Ok(())
}

fn log_query(which: &Which, from: Option<Position>) -> Vec<(&'static str, String)> {
    let mut query = vec![("limit", PAGE_EVENTS.to_string())];
    query.extend(from.map(|from| ("from_position", from.to_string())));
    query.extend(which.event_type.clone().map(|prefix| ("type_prefix", prefix)));
    query.extend(which.stream.as_ref().map(|stream| ("stream_prefix", stream.to_string())));
    let system = which.system || which.stream.is_some();
    query.push(("with_system", system.to_string()));
    query
}

/// What the server's own filters do not say exactly.
fn wanted(which: &Which, event: &EventView) -> bool {
    let stream = which.stream.as_ref().is_none_or(|stream| *stream == event.stream);
    let prefix = which.event_type.as_deref().unwrap_or("");
    stream && event.event_type.as_str().starts_with(prefix)
}

async fn tail(config: &Config, arguments: TailArguments) -> Result<(), CliError> {
    let mut output = Output::new(arguments.shape.json);
    let followed = with_source(config, &arguments.server, async |source| {
        follow(source, &arguments, &mut output).await
    })
    .await;
    match followed {
        // Ctrl-C is how following ends.
        Err(CliError::Stopped) => Ok(()),
        followed => followed,
    }
}

async fn follow(
    source: &Source,
    arguments: &TailArguments,
    output: &mut Output,
) -> Result<(), CliError> {
    match source {
        Source::Local(engine) => {
            if engine.log.is_some() {
                note(
                    "nothing else can write to this folder meanwhile; --server follows a running server",
                );
            }
            let start = arguments.from_position.map_or(Start::End, Start::Position);
            let mut batches = engine.store.subscribe(query(&arguments.which).from(start));
            while let Some(batch) = batches.next().await {
                for event in batch?.events.iter() {
                    show(output, &EventView::of(event, &engine.schemas))?;
                }
                output.flush()?;
            }
            Ok(())
        }
        Source::Remote(remote) => poll(remote, arguments, output).await,
    }
}

async fn poll(
    remote: &Remote,
    arguments: &TailArguments,
    output: &mut Output,
) -> Result<(), CliError> {
    let mut from = if let Some(from) = arguments.from_position {
        from
    } else {
        let query = [("limit", "1".to_owned()), ("backwards", "true".to_owned())];
        let page: Page = remote.get(&["v1", "events"], &query).await?;
        page.head.map_or(Position(0), after)
    };
    loop {
        let query = log_query(&arguments.which, Some(from));
        let page: Page = remote.get(&["v1", "events"], &query).await?;
        for event in page.events.iter().filter(|event| wanted(&arguments.which, event)) {
            show(output, event)?;
        }
        output.flush()?;
        if let Some(next) = page.next_from_position {
            from = next;
        } else {
            // The head may be younger than the page, so only what was shown is passed.
            from = page.events.last().map_or(from, |event| after(event.position));
            tokio::time::sleep(POLL_EVERY).await;
        }
    }
}

/// The least position that is behind this one.
fn after(position: Position) -> Position {
    Position(position.0.saturating_add(1))
}

async fn append(config: &Config, arguments: AppendArguments) -> Result<(), CliError> {
    check_foreign(&arguments.stream, &arguments.event_type)?;
    let payload = json_argument(&arguments.json)?;
    let id = arguments.id.unwrap_or_else(Uuid::now_v7);
    let event = NewEvent {
        id: EventId(id),
        event_type: arguments.event_type,
        schema: SchemaFingerprint::NONE,
        metadata: Bytes::new(),
        data: Bytes::from(payload.to_string()),
    };
    let stream = arguments.stream;
    let write =
        StreamWrite { stream: stream.clone(), expected: arguments.expected.0, events: vec![event] };
    let appended = with_engine(config, Parts::Log, Missing::Make, async |engine| {
        engine.store.append(Append::to(write)).await.map_err(CliError::Append)
    });
    let appended = appended.await?;
    let revision = appended.revisions.first().copied().flatten();
    Output::new(true).json(&json!({
        "stream": stream,
        "revision": revision,
        "position": appended.position,
        "id": id,
    }))
}
