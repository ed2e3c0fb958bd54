//! Where a verb's data comes from: the data folder, opened in this process, or a running server.

use super::arguments::Server;
use super::error::CliError;
use super::remote::Remote;
use super::signals::stop_asked;
use crate::config::Config;
use crate::engine::{Engine, Parts};

/// Where the data is.
pub(super) enum Source {
    /// In the data folder, which this process has open.
    Local(Box<Engine>),
    /// With a running server.
    Remote(Remote),
}

/// Whether a log that is not there yet is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// It is made.
    Make,
    /// It is an error: there would be nothing to look at.
    Refuse,
}

/// Opens the source, has `work` done with it, and closes it again, whatever came of it.
pub(super) async fn with_source<T>(
    config: &Config,
    server: &Server,
    work: impl AsyncFnOnce(&Source) -> Result<T, CliError>,
) -> Result<T, CliError> {
    let source = match &server.server {
        Some(address) => Source::Remote(Remote::new(address, config)?),
        None => Source::Local(Box::new(open(config, Parts::Log, Missing::Refuse).await?)),
    };
    let done = unless_stopped(work(&source)).await;
    if let Source::Local(engine) = source {
        engine.stop().await;
    }
    done
}

/// Opens the engine on the data folder, has `work` done with it, and stops it, whatever came of it.
pub(super) async fn with_engine<T>(
    config: &Config,
    parts: Parts,
    missing: Missing,
    work: impl AsyncFnOnce(&Engine) -> Result<T, CliError>,
) -> Result<T, CliError> {
    let engine = open(config, parts, missing).await?;
    let done = unless_stopped(work(&engine)).await;
    engine.stop().await;
    done
}

async fn open(config: &Config, parts: Parts, missing: Missing) -> Result<Engine, CliError> {
    let in_folder = config.store.is_embedded();
    if missing == Missing::Refuse && in_folder && !config.data_folder.join("log").is_dir() {
        return Err(CliError::NoLog { folder: config.data_folder.clone() });
    }
    Ok(Engine::open(config, parts).await?)
}

/// The work, unless the program is asked to stop before it ends.
pub(super) async fn unless_stopped<T>(
    work: impl Future<Output = Result<T, CliError>>,
) -> Result<T, CliError> {
    tokio::select! {
        done = work => done,
        () = stop_asked() => Err(CliError::Stopped),
    }
}
