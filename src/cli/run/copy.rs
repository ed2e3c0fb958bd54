//! `annals store copy`: the events of one store into another, each a data folder or a server.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use annals_core::clock::SystemClock;
use annals_core::disk::RealDisk;
use annals_core::random::SystemRandom;
use annals_core::{EventStore, Position};
use annals_store::copy::{self, Phase};
use annals_store::kurrent::{Address, KurrentStore};
use annals_store::log::{Log, LogOptions};

use super::super::arguments::StoreCopyArguments;
use super::super::error::CliError;
use super::super::exit::Done;
use super::super::open::unless_stopped;
use super::super::output::Output;
use super::super::progress;
use super::super::render::{self, StoreCopied};
use crate::config::Config;

/// One of the two stores, open.
enum Opened {
    Folder(Arc<Log>),
    Server(Arc<KurrentStore>),
}

impl Opened {
    fn store(&self) -> &dyn EventStore {
        match self {
            Opened::Folder(log) => &**log,
            Opened::Server(server) => &**server,
        }
    }

    async fn close(self) {
        match self {
            Opened::Server(server) => server.close().await,
            Opened::Folder(log) => {
                if let Err(error) = tokio::task::spawn_blocking(move || log.close()).await {
                    tracing::error!(%error, "closing the log was cut off");
                }
            }
        }
    }
}

pub(super) async fn copy(config: &Config, arguments: StoreCopyArguments) -> Result<Done, CliError> {
    let begun = Instant::now();
    if arguments.from == arguments.to {
        let why = "it is the same as FROM; right would be another store".to_owned();
        return Err(CliError::Argument { argument: "TO", why });
    }
    let from = open(config, "FROM", &arguments.from, false).await?;
    let to = match open(config, "TO", &arguments.to, true).await {
        Ok(to) => to,
        Err(error) => {
            from.close().await;
            return Err(error);
        }
    };
    let bar = progress::bar("", 0, "positions");
    let told = |phase, at: Option<Position>, end: Option<Position>| {
        let doing = match phase {
            Phase::Looking => "reading the target",
            Phase::Copying => "copying",
            Phase::Verifying => "verifying the target",
        };
        if bar.message() != doing {
            bar.set_message(doing);
        }
        bar.set_length(end.map_or(0, |end| end.0));
        bar.set_position(at.map_or(0, |at| at.0));
    };
    let copied =
        unless_stopped(async { Ok(copy::copy(from.store(), to.store(), told).await?) }).await;
    bar.finish_and_clear();
    from.close().await;
    to.close().await;
    let copied = StoreCopied::new(&copied?, begun.elapsed().as_secs_f64());
    Output::new(arguments.shape.json).answer(&copied, render::store_copied)?;
    Ok(Done::Well)
}

/// Opens a data folder or a server; a folder that is not there is made where that is asked for.
async fn open(
    config: &Config,
    argument: &'static str,
    text: &str,
    make: bool,
) -> Result<Opened, CliError> {
    if Address::is_one(text) {
        let address = text.parse::<Address>();
        let address =
            address.map_err(|error| CliError::Argument { argument, why: error.to_string() })?;
        return Ok(Opened::Server(KurrentStore::connect(&address).await?));
    }
    let folder = Path::new(text).join("log");
    if !make && !folder.is_dir() {
        return Err(CliError::NoLog { folder: Path::new(text).to_owned() });
    }
    let options = LogOptions { segment_bytes: config.segment_bytes, ..LogOptions::default() };
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
    let open = move || Log::open(Arc::new(RealDisk), folder, clock, random, options);
    let log = tokio::task::spawn_blocking(open).await.map_err(|_| CliError::Stopped)?;
    Ok(Opened::Folder(log?))
}
