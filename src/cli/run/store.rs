//! `annals store`: the log itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use annals_core::clock::SystemClock;
use annals_core::disk::{Disk, RealDisk};
use annals_core::{ReadQuery, Timestamp};
use annals_store::log::{self, OpenError, Upto};
use futures::StreamExt;
use indicatif::ProgressBar;

use super::super::arguments::{
    StoreBackupArguments, StoreInfoArguments, StoreRepairArguments, StoreRestoreArguments,
    StoreVerb, StoreVerifyArguments,
};
use super::super::error::CliError;
use super::super::exit::Done;
use super::super::open::{Missing, with_engine};
use super::super::output::Output;
use super::super::progress;
use super::super::render::{self, BackupMade, LogRepaired, LogRestored, LogVerified, StoreInfo};
use super::copy;
use crate::config::Config;
use crate::engine::{Engine, Parts};

pub(super) async fn store(config: &Config, verb: StoreVerb) -> Result<Done, CliError> {
    if let Some(verb) = of_files(&verb).filter(|_| !config.store.is_embedded()) {
        return Err(CliError::ServersOwn { verb });
    }
    match verb {
        StoreVerb::Copy(arguments) => copy::copy(config, arguments).await,
        StoreVerb::Info(arguments) => info(config, arguments).await,
        // These read and write whole folders, and nothing else goes on beside them. They can be killed at any moment.
        StoreVerb::Verify(arguments) => blocking(|| verify(config, &arguments)),
        StoreVerb::Backup(arguments) => blocking(|| backup(config, &arguments)),
        StoreVerb::Restore(arguments) => blocking(|| restore(config, &arguments)),
        StoreVerb::Repair(arguments) => blocking(|| repair(config, &arguments)),
    }
}

/// The name of a verb that works on the files of a log.
fn of_files(verb: &StoreVerb) -> Option<&'static str> {
    match verb {
        StoreVerb::Info(_) => Some("info"),
        StoreVerb::Verify(_) => Some("verify"),
        StoreVerb::Backup(_) => Some("backup"),
        StoreVerb::Restore(_) => Some("restore"),
        StoreVerb::Repair(_) => Some("repair"),
        StoreVerb::Copy(_) => None,
    }
}

fn blocking(work: impl FnOnce() -> Result<Done, CliError>) -> Result<Done, CliError> {
    tokio::task::block_in_place(work)
}

/// The folder of the log, which must be there.
fn log_folder(config: &Config) -> Result<PathBuf, CliError> {
    let folder = config.data_folder.join("log");
    if folder.is_dir() { Ok(folder) } else { Err(no_log(config)) }
}

fn no_log(config: &Config) -> CliError {
    CliError::NoLog { folder: config.data_folder.clone() }
}

/// Shows bytes on a bar whose length comes with them.
fn shown(bar: &ProgressBar) -> impl FnMut(u64, u64) {
    let bar = bar.clone();
    move |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    }
}

async fn info(config: &Config, arguments: StoreInfoArguments) -> Result<Done, CliError> {
    let folder = config.data_folder.join("log");
    let info = with_engine(config, Parts::Log, Missing::Refuse, async |engine| {
        let log = engine.log.as_ref().expect("a server's store was refused above");
        let (identity, stats) = (engine.store.identity(), log.stats());
        let (index_files, index_bytes) = index_files(&folder)?;
        Ok(StoreInfo {
            folder: folder.display().to_string(),
            id: identity.id,
            epoch: identity.epoch,
            head: engine.store.head().map(|head| head.0),
            events: stats.events,
            first_time: time_of(engine, ReadQuery::all()).await?,
            last_time: time_of(engine, ReadQuery::all().backwards()).await?,
            streams: stats.streams,
            segments: stats.segments,
            bytes: stats.bytes,
            index_files,
            index_bytes,
        })
    });
    Output::new(arguments.shape.json).answer(&info.await?, render::store_info)?;
    Ok(Done::Well)
}

/// When the first event that is read was recorded.
async fn time_of(engine: &Engine, query: ReadQuery) -> Result<Option<Timestamp>, CliError> {
    let mut batches = engine.store.read(query.limit(1));
    let batch = batches.next().await.transpose()?;
    Ok(batch.and_then(|batch| batch.events.first().map(|event| event.time)))
}

/// How many index files there are, and their bytes.
fn index_files(folder: &Path) -> Result<(u64, u64), CliError> {
    let fault = |attempt| {
        move |source| CliError::Log(OpenError::Disk { attempt, path: folder.to_owned(), source })
    };
    let names = RealDisk.list(folder).map_err(fault("listing"))?;
    let (mut count, mut bytes) = (0, 0);
    let is_index = |name: &&String| Path::new(name).extension().is_some_and(|end| end == "index");
    for name in names.iter().filter(is_index) {
        let file = RealDisk.open(&folder.join(name)).map_err(fault("opening a file in"))?;
        count += 1;
        bytes += file.length().map_err(fault("reading a file in"))?;
    }
    Ok((count, bytes))
}

fn verify(config: &Config, arguments: &StoreVerifyArguments) -> Result<Done, CliError> {
    let folder = log_folder(config)?;
    let begun = Instant::now();
    let bar = progress::bar("verifying the log", 0, "bytes");
    let first = arguments.from.map_or(0, |from| from.0);
    let last = arguments.to.map_or(u64::MAX, |to| to.0);
    let found = log::verify(Arc::new(RealDisk), &folder, (first, last), shown(&bar));
    bar.finish_and_clear();
    let (name, seconds) = (folder.display().to_string(), begun.elapsed().as_secs_f64());
    let found = match found {
        Ok(found) => LogVerified::new(name, &found, seconds),
        Err(OpenError::Damage(damage)) => LogVerified::unreadable(name, &damage),
        Err(OpenError::NoLog { .. }) => return Err(no_log(config)),
        Err(error) => return Err(error.into()),
    };
    Output::new(arguments.shape.json).answer(&found, render::log_verified)?;
    Ok(if found.sound { Done::Well } else { Done::Damaged })
}

fn backup(config: &Config, arguments: &StoreBackupArguments) -> Result<Done, CliError> {
    let folder = log_folder(config)?;
    let begun = Instant::now();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let bar = progress::bar("copying and verifying", 0, "bytes");
    let made = log::backup(&disk, &folder, &arguments.to, &SystemClock, shown(&bar));
    bar.finish_and_clear();
    let seconds = begun.elapsed().as_secs_f64();
    let made = BackupMade::new(arguments.to.display().to_string(), &made?, seconds);
    Output::new(arguments.shape.json).answer(&made, render::backup_made)?;
    Ok(Done::Well)
}

fn restore(config: &Config, arguments: &StoreRestoreArguments) -> Result<Done, CliError> {
    let folder = config.data_folder.join("log");
    let begun = Instant::now();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let bar = progress::bar("verifying and restoring", 0, "bytes");
    let upto = arguments.to.unwrap_or(Upto::Everything);
    let done = log::restore(&disk, &arguments.from, &folder, upto, shown(&bar));
    bar.finish_and_clear();
    let seconds = begun.elapsed().as_secs_f64();
    let done = LogRestored::new(folder.display().to_string(), &done?, seconds);
    Output::new(arguments.shape.json).answer(&done, render::log_restored)?;
    Ok(Done::Well)
}

fn repair(config: &Config, arguments: &StoreRepairArguments) -> Result<Done, CliError> {
    let folder = log_folder(config)?;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let bar = progress::bar("reading the log", 0, "bytes");
    let done = log::repair(&disk, &folder, &arguments.from, shown(&bar));
    bar.finish_and_clear();
    let done = LogRepaired::new(folder.display().to_string(), &done?);
    Output::new(arguments.shape.json).answer(&done, render::log_repaired)?;
    Ok(Done::Well)
}
