//! `annals projection`: how the views stand, their rebuild and their verification.

use std::time::Duration;

use annals_core::Position;
use annals_replay::{RebuildPhase, RebuildProgress, ReplaySource};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::arguments::{ProjectionVerb, ProjectionWorkArguments, Server, Shape};
use super::super::error::CliError;
use super::super::exit::Done;
use super::super::open::{Missing, with_engine};
use super::super::output::{Output, note};
use super::super::progress;
use super::super::remote::{Remote, RemoteError};
use super::super::render::{self, Projections, Rebuilt, Verified};
use crate::config::Config;
use crate::engine::{Engine, Parts};

/// How long a server is asked to wait for the end of its work before it is asked again, in milliseconds.
const WAIT_MS: u64 = 10_000;
/// How long the views may take to catch up before they are verified.
const CATCH_UP_WITHIN: Duration = Duration::from_mins(10);

pub(super) async fn projection(config: &Config, verb: ProjectionVerb) -> Result<Done, CliError> {
    match verb {
        ProjectionVerb::List(arguments) => {
            list(config, None, arguments.shape, &arguments.server).await
        }
        ProjectionVerb::Status(arguments) => {
            list(config, arguments.name, arguments.shape, &arguments.server).await
        }
        ProjectionVerb::Rebuild(arguments) => rebuild(config, arguments).await,
        ProjectionVerb::Verify(arguments) => verify(config, arguments).await,
    }
}

async fn list(
    config: &Config,
    name: Option<String>,
    shape: Shape,
    server: &Server,
) -> Result<Done, CliError> {
    let mut told = if let Some(address) = &server.server {
        statuses(&Remote::new(address, config)?).await?
    } else {
        let told = with_engine(config, Parts::Views, Missing::Refuse, async |engine| {
            let projections = engine.views.as_ref().map(|views| views.workers.status());
            let head = engine.store.head().map(|head| head.0);
            Ok(Projections { projections: projections.unwrap_or_default(), head })
        });
        told.await?
    };
    if let Some(name) = name {
        let known: Vec<String> = told.projections.iter().map(|view| view.name.clone()).collect();
        told.projections.retain(|view| view.name == name);
        if told.projections.is_empty() {
            return Err(CliError::UnknownProjection { name, known: known.join(", ") });
        }
    }
    Output::new(shape.json).answer(&told, render::statuses)?;
    Ok(Done::Well)
}

async fn statuses(remote: &Remote) -> Result<Projections, CliError> {
    Ok(remote.get(&["v1", "projections"], &[]).await?)
}

async fn rebuild(config: &Config, arguments: ProjectionWorkArguments) -> Result<Done, CliError> {
    let told = match &arguments.server.server {
        Some(address) => {
            let remote = Remote::new(address, config)?;
            let mut told = Rebuilt::default();
            for name in names(&remote, &arguments).await? {
                told = told.and(work(&remote, &name, "rebuild").await?);
            }
            told
        }
        None => rebuild_here(config, &arguments.names).await?,
    };
    Output::new(arguments.shape.json).answer(&told, render::rebuilt)?;
    Ok(Done::Well)
}

async fn rebuild_here(config: &Config, names: &[String]) -> Result<Rebuilt, CliError> {
    let report = with_engine(config, Parts::Views, Missing::Refuse, async |engine| {
        let source = source(engine);
        let bar = progress::bar("reading history", positions(&source), "events");
        let on_progress = |at: RebuildProgress| {
            let phase = match at.phase {
                RebuildPhase::Scan => "reading history",
                RebuildPhase::Load => "loading rows",
                RebuildPhase::CatchUp => "catching up",
                RebuildPhase::Swap => "swapping in",
            };
            bar.set_message(match at.projection {
                Some(name) => format!("{phase}: {name}"),
                None => phase.to_owned(),
            });
            bar.set_position(at.position.map_or(0, |position| position.0 + 1));
        };
        let report = Box::pin(annals_replay::rebuild(&source, names, on_progress)).await;
        bar.finish_and_clear();
        Ok(report?)
    });
    same(&report.await?)
}

async fn verify(config: &Config, arguments: ProjectionWorkArguments) -> Result<Done, CliError> {
    let told = match &arguments.server.server {
        Some(address) => {
            let remote = Remote::new(address, config)?;
            let mut told = Verified::default();
            for name in names(&remote, &arguments).await? {
                told = told.and(work(&remote, &name, "verify").await?);
            }
            told
        }
        None => verify_here(config, &arguments.names).await?,
    };
    Output::new(arguments.shape.json).answer(&told, render::verified)?;
    Ok(if told.mismatches == 0 { Done::Well } else { Done::Differences })
}

async fn verify_here(config: &Config, names: &[String]) -> Result<Verified, CliError> {
    let report = with_engine(config, Parts::Views, Missing::Refuse, async |engine| {
        catch_up(engine).await;
        let source = source(engine);
        let bar = progress::bar("folding history", positions(&source), "events");
        let on_progress = |_, position: Position| bar.set_position(position.0 + 1);
        let report = Box::pin(annals_replay::verify(&source, names, on_progress)).await;
        bar.finish_and_clear();
        Ok(report?)
    });
    same(&report.await?)
}

/// Waits until the views hold what the log holds; one that cannot get there is verified as far as it got.
async fn catch_up(engine: &Engine) {
    let (Some(views), Some(head)) = (&engine.views, engine.store.head()) else { return };
    let bar = progress::spinner("the views catch up");
    let caught_up = views.workers.wait_for_all(head, CATCH_UP_WITHIN).await;
    bar.finish_and_clear();
    if let Err(error) = caught_up {
        note(&format!("{error}; it is verified as far as it got"));
    }
}

/// What a rebuild or verification works on, of an engine that was opened with its views.
fn source(engine: &Engine) -> ReplaySource {
    let views = engine.views.as_ref().expect("the engine was opened with its views");
    ReplaySource {
        store: engine.store.clone(),
        schemas: engine.schemas.clone(),
        catalogue: (*engine.catalogue).clone(),
        pool: views.pool.clone(),
        analytics: views.analytics.clone(),
    }
}

/// How far a pass over the whole log goes.
fn positions(source: &ReplaySource) -> u64 {
    source.store.head().map_or(0, |head| head.0 + 1)
}

/// A report in the form in which it is shown, whoever made it.
fn same<T: DeserializeOwned>(report: &impl Serialize) -> Result<T, CliError> {
    let value = serde_json::to_value(report).and_then(serde_json::from_value);
    value.map_err(|error| CliError::Output(error.into()))
}

async fn names(
    remote: &Remote,
    arguments: &ProjectionWorkArguments,
) -> Result<Vec<String>, CliError> {
    if !arguments.all {
        return Ok(arguments.names.clone());
    }
    let told = statuses(remote).await?;
    Ok(told.projections.into_iter().map(|view| view.name).collect())
}

/// A piece of work of a server.
#[derive(Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
enum Work {
    Running,
    Done { report: Value },
    Failed { problem: Value },
}

/// Has a server do its work on one view, and waits for the end.
async fn work<T: DeserializeOwned>(remote: &Remote, name: &str, kind: &str) -> Result<T, CliError> {
    let working = progress::spinner(format!("{kind} of {name}"));
    let mut told: Work = remote.post(&["v1", "projections", name, kind], None, &json!({})).await?;
    while let Work::Running = told {
        let pause = std::time::Duration::from_millis(WAIT_MS / 20);
        tokio::time::sleep(pause).await;
        told = remote.get(&["v1", "projections", name, "work"], &[]).await?;
    }
    working.finish_and_clear();
    match told {
        Work::Done { report } => same(&report),
        Work::Failed { problem } => Err(RemoteError::of_problem(&problem).into()),
        Work::Running => unreachable!("the loop ends with the work"),
    }
}
