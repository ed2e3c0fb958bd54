//! `annals debug`: state, history and difference of a stream or of a view's row.

use annals_core::{Position, StreamName};
use annals_replay::travel::{Difference, History, Keep, Point, Snapshot, Subject, Window};

use super::super::arguments::{DebugVerb, DiffArguments, HistoryArguments, StateArguments, Target};
use super::super::error::CliError;
use super::super::exit::Done;
use super::super::open::{Source, with_source};
use super::super::output::Output;
use super::super::progress;
use super::super::remote::Remote;
use super::super::render;
use crate::config::Config;

/// How many events of a history a server is asked for at once.
const PAGE_EVENTS: usize = 500;

type Query = Vec<(&'static str, String)>;

pub(super) async fn debug(config: &Config, verb: DebugVerb) -> Result<Done, CliError> {
    match verb {
        DebugVerb::State(arguments) => state(config, arguments).await?,
        DebugVerb::History(arguments) => history(config, arguments).await?,
        DebugVerb::Diff(arguments) => diff(config, arguments).await?,
    }
    Ok(Done::Well)
}

async fn state(config: &Config, arguments: StateArguments) -> Result<(), CliError> {
    let (subject, at) = (subject(&arguments.target)?, arguments.at.point());
    let working = progress::spinner(format!("folding {subject}"));
    let found = with_source(config, &arguments.server, async |source| match source {
        Source::Local(engine) => Ok(engine.travel.state(&subject, at).await?),
        Source::Remote(remote) => {
            let mut query = subject_query(&subject);
            query.extend(point_query(at, ["at_revision", "at_position", "at_time"]));
            Ok(remote.get::<Snapshot>(&["v1", "debug", "state"], &query).await?)
        }
    })
    .await;
    working.finish_and_clear();
    Output::new(arguments.shape.json).answer(&found?, render::snapshot)
}

async fn history(config: &Config, arguments: HistoryArguments) -> Result<(), CliError> {
    let subject = subject(&arguments.target)?;
    let window = Window {
        from: arguments.from_position,
        to: arguments.until,
        limit: arguments.last.unwrap_or(arguments.limit),
        keep: if arguments.last.is_some() { Keep::Youngest } else { Keep::Oldest },
    };
    let working = progress::spinner(format!("folding {subject}"));
    let found = with_source(config, &arguments.server, async |source| match source {
        Source::Local(engine) => Ok(engine.travel.history(&subject, window).await?),
        Source::Remote(remote) => remote_history(remote, &subject, window).await,
    })
    .await;
    working.finish_and_clear();
    Output::new(arguments.shape.json).answer(&found?, render::history)
}

/// A server gives a long history in parts.
async fn remote_history(
    remote: &Remote,
    subject: &Subject,
    window: Window,
) -> Result<History, CliError> {
    let path = ["v1", "debug", "history"];
    let query = |from: Option<Position>, limit: usize| {
        let mut query = subject_query(subject);
        query.extend(from.map(|from| ("from_position", from.to_string())));
        query.extend(point_query(window.to, ["at_revision", "at_position", "at_time"]));
        query.push(("limit", limit.to_string()));
        query.push(("youngest", (window.keep == Keep::Youngest).to_string()));
        query
    };
    if window.keep == Keep::Youngest {
        return Ok(remote.get(&path, &query(window.from, window.limit)).await?);
    }
    let first = query(window.from, window.limit.min(PAGE_EVENTS));
    let mut history: History = remote.get(&path, &first).await?;
    while let Some(next) = history.next
        && history.changes.len() < window.limit
    {
        let limit = (window.limit - history.changes.len()).min(PAGE_EVENTS);
        let more: History = remote.get(&path, &query(Some(next), limit)).await?;
        history.changes.extend(more.changes);
        history.next = more.next;
    }
    Ok(history)
}

async fn diff(config: &Config, arguments: DiffArguments) -> Result<(), CliError> {
    let (subject, from, to) = (subject(&arguments.target)?, arguments.from, arguments.to);
    let working = progress::spinner(format!("folding {subject}"));
    let found = with_source(config, &arguments.server, async |source| match source {
        Source::Local(engine) => Ok(engine.travel.diff(&subject, from, to).await?),
        Source::Remote(remote) => {
            let mut query = subject_query(&subject);
            query.extend(point_query(from, ["from_revision", "from_position", "from_time"]));
            query.extend(point_query(to, ["to_revision", "to_position", "to_time"]));
            Ok(remote.get::<Difference>(&["v1", "debug", "diff"], &query).await?)
        }
    })
    .await;
    working.finish_and_clear();
    Output::new(arguments.shape.json).answer(&found?, render::difference)
}

/// One word is a stream, two are a view and a key.
fn subject(target: &Target) -> Result<Subject, CliError> {
    if let Some(key) = &target.key {
        return Ok(Subject::row(&target.subject, key));
    }
    let wrong = |why| CliError::Argument { argument: "STREAM", why };
    let stream = StreamName::new(&target.subject).map_err(|error| wrong(error.to_string()))?;
    if crate::codec::folds().read_models().any(|model| model.name == target.subject) {
        return Err(wrong(format!("{stream} is a view; right would be {stream} KEY")));
    }
    Ok(Subject::stream(stream))
}

fn subject_query(subject: &Subject) -> Query {
    match subject {
        Subject::Stream { stream } => vec![("stream", stream.to_string())],
        Subject::Row { read_model, key } => {
            vec![("read_model", read_model.clone()), ("key", key.clone())]
        }
    }
}

fn point_query(
    point: Point,
    [revision, position, time]: [&'static str; 3],
) -> Option<(&'static str, String)> {
    match point {
        Point::Now => None,
        Point::Revision(at) => Some((revision, at.to_string())),
        Point::Position(at) => Some((position, at.to_string())),
        Point::Time(at) => Some((time, at.to_string())),
    }
}
