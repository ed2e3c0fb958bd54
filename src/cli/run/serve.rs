//! `annals serve`: every interface on one port, until Ctrl-C, SIGTERM, or a log that takes no writes any more.

use std::io::{self, Write as _};
use std::sync::Arc;

use annals_core::clock::SystemClock;
use annals_core::random::SystemRandom;
use annals_store::protocol::access::{Users, generated_password};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::super::error::CliError;
use super::super::exit::Done;
use super::super::output::Output;
use super::super::signals::stop_asked;
use crate::api::{self, ApiState};
use crate::config::{Config, Role, unknown_variables};
use crate::engine::{Engine, Parts};
use crate::exchange::RunningExchange;
use crate::telemetry::Metrics;

pub(super) async fn serve(config: &Config) -> Result<Done, CliError> {
    for name in unknown_variables() {
        tracing::warn!(name, "this environment variable names no field of the configuration");
    }
    let metrics = Metrics::start()?;
    // The address first: a port that is taken is told at once, not after the databases have started.
    let listening = api::listen(config).await?;
    let parts = if config.role == Role::Store { Parts::Log } else { Parts::Views };
    let engine = tokio::select! {
        opened = Engine::open(config, parts) => opened?,
        () = stop_asked() => return Ok(Done::Well),
    };
    // A server looks after its log itself.
    let poisoned =
        engine.log.as_ref().map_or_else(|| watch::channel(None).1, |log| log.watch_poison());
    let exchange = (parts == Parts::Views).then(|| {
        let accounts = engine.router.executor().expect("accounts are registered");
        RunningExchange::start(Arc::clone(&engine.store), engine.schemas.clone(), accounts)
    });
    let served = match users(config, &engine).await {
        Ok(users) => answer(config, &engine, metrics, (listening, users), poisoned).await,
        Err(error) => Err(error),
    };
    tracing::info!("stopping");
    if let Some(exchange) = exchange {
        exchange.stop().await;
    }
    engine.stop().await;
    served.map(|()| Done::Well)
}

async fn answer(
    config: &Config,
    engine: &Engine,
    metrics: Metrics,
    (listening, users): (api::Listening, Option<Arc<Users>>),
    mut poisoned: tokio::sync::watch::Receiver<Option<Arc<str>>>,
) -> Result<(), CliError> {
    let address = listening.address().map_err(CliError::Runtime)?;
    let state = ApiState::new(served(engine, metrics, users), config, address);
    let broken = Mutex::new(None);
    let shutdown = async {
        tokio::select! {
            () = stop_asked() => {}
            // The sender lives as long as the log, which outlives this; a server has none.
            Ok(reason) = poisoned.wait_for(Option::is_some) => {
                broken.lock().clone_from(&reason);
            }
        }
    };
    // Connections are taken from here on; they are answered as soon as the loop below runs.
    Output::new(false).text(&format!("ready {address}"))?;
    tracing::info!(%address, "ready");
    api::serve(state, listening, shutdown).await?;
    match broken.into_inner() {
        Some(reason) => Err(CliError::Poisoned { reason: reason.to_string() }),
        None => Ok(()),
    }
}

/// Who may sign in; nothing where nobody must. Where there never was a user, the first ones are made, and the password of
/// `admin` is told before they are: a password that was not seen would be of no use.
async fn users(config: &Config, engine: &Engine) -> Result<Option<Arc<Users>>, CliError> {
    if !config.secured {
        return Ok(None);
    }
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
    let users = Users::open(Arc::clone(&engine.store), clock, random).await?;
    if users.are_none().await? {
        let password = generated_password()?;
        let mut stderr = io::stderr().lock();
        writeln!(stderr, "The password of the user admin, shown this once: {password}")
            .and_then(|()| stderr.flush())
            .map_err(CliError::Output)?;
        drop(stderr);
        users.make_first(&password).await?;
        tracing::info!("the users admin and ops were made");
    }
    Ok(Some(users))
}

/// What the interfaces work with.
fn served(engine: &Engine, metrics: Metrics, users: Option<Arc<Users>>) -> api::Parts {
    let domain = engine.views.as_ref().map(|views| api::Domain {
        router: Arc::clone(&engine.router),
        catalogue: Arc::clone(&engine.catalogue),
        workers: Arc::clone(&views.workers),
        pool: views.pool.clone(),
        analytics: views.analytics.clone(),
    });
    let log = engine.log.clone();
    api::Parts {
        store: Arc::clone(&engine.store),
        store_fault: Box::new(move || log.as_ref()?.poisoned().map(|reason| reason.to_string())),
        schemas: engine.schemas.clone(),
        travel: engine.travel.clone(),
        metrics: Some(metrics),
        domain,
        users,
    }
}
