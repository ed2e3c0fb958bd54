//! `annals-bench peers`: Annals as a log server beside UmaDB and a PostgreSQL table of events, on the same machine,
//! disk and cores, over the network interface that each has. Every system commits durably; what it acknowledged is
//! counted by reading it back.

mod annals;
pub(crate) mod load;
mod postgres;
mod report;
pub(crate) mod server;
mod umadb;
pub(crate) mod work;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;

use self::annals::Annals;
use self::load::{Caller, Timing};
use self::postgres::Postgres;
use self::report::{Conditions, Measured};
use self::umadb::Umadb;
use self::work::{Load, Work};
use crate::BenchError;
use crate::figure::rate;
use crate::machine::Machine;

pub(crate) use self::report::Report;

/// What is run against what.
#[derive(Debug, clap::Args)]
pub(crate) struct PeerArguments {
    /// The `umadb` program; without it UmaDB is left out, and said so
    #[arg(long, value_name = "FILE")]
    umadb: Option<PathBuf>,
    /// Seconds of load that do not count
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    warm_up: f64,
    /// Seconds of load that count
    #[arg(long, value_name = "SECONDS", default_value_t = 3.0)]
    seconds: f64,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum System {
    /// Ours.
    Annals,
    /// UmaDB.
    Umadb,
    /// A table in PostgreSQL.
    Postgres,
}

impl System {
    /// For people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            System::Annals => "Annals",
            System::Umadb => "UmaDB",
            System::Postgres => "PostgreSQL",
        }
    }
}

/// A server that takes events.
pub(crate) trait Peer: Sized {
    /// Which.
    const SYSTEM: System;
    /// A connection that appends.
    type Caller: Caller;

    /// Starts it on an empty folder.
    fn start(program: &Path, folder: &Path) -> impl Future<Output = Result<Self, PeerError>>;
    /// Its version and what of its settings matters.
    fn version(&mut self) -> impl Future<Output = Result<String, PeerError>>;
    /// Connects the callers of a load.
    fn callers(&self, load: Load) -> impl Future<Output = Result<Vec<Self::Caller>, PeerError>>;
    /// Reads every event, in order, and tells how many there are.
    fn read_all(&mut self) -> impl Future<Output = Result<u64, PeerError>>;
    /// Stops it and tells how many bytes its events and their indexes take.
    fn stop(self) -> impl Future<Output = Result<u64, PeerError>>;
}

/// Why a system could not be measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerError {
    /// The machine would not do it.
    #[error("{attempt} failed")]
    Machine {
        attempt: String,
        #[source]
        source: std::io::Error,
    },
    /// A server did not come up.
    #[error("{program} did not get ready; its last words:\n{output}", program = program.display())]
    NotReady { program: PathBuf, output: String },
    /// A server did not stop.
    #[error("process {process} does not stop")]
    StillThere { process: u32 },
    /// A server cannot be reached.
    #[error("connecting failed")]
    Connect(#[source] tonic::transport::Error),
    /// A call failed.
    #[error("{attempt} failed")]
    Call {
        attempt: &'static str,
        #[source]
        source: Box<tonic::Status>,
    },
    /// A call through Annals' own client failed.
    #[error("{attempt} failed")]
    Client {
        attempt: &'static str,
        #[source]
        source: Box<annals_client::ClientError>,
    },
    /// A call through KurrentDB's client failed.
    #[error("{attempt} failed")]
    Kurrent {
        attempt: &'static str,
        #[source]
        source: Box<eventstore::Error>,
    },
    /// PostgreSQL did not come up.
    #[error("PostgreSQL does not run")]
    PostgresServer(#[source] annals_workers::PostgresServerError),
    /// PostgreSQL answered with an error.
    #[error("{attempt} failed")]
    Database {
        attempt: &'static str,
        #[source]
        source: sqlx::Error,
    },
    /// Something else was read than was acknowledged.
    #[error("{system:?} acknowledged {acknowledged} events and holds {found}")]
    Lost { system: System, acknowledged: u64, found: u64 },
}

impl PeerError {
    fn machine(attempt: impl Into<String>) -> impl FnOnce(std::io::Error) -> PeerError {
        let attempt = attempt.into();
        move |source| PeerError::Machine { attempt, source }
    }

    pub(crate) fn call(attempt: &'static str) -> impl FnOnce(tonic::Status) -> PeerError {
        move |source| PeerError::Call { attempt, source: Box::new(source) }
    }

    fn client(attempt: &'static str) -> impl FnOnce(annals_client::ClientError) -> PeerError {
        move |source| PeerError::Client { attempt, source: Box::new(source) }
    }

    fn database(attempt: &'static str) -> impl FnOnce(sqlx::Error) -> PeerError {
        move |source| PeerError::Database { attempt, source }
    }
}

/// Everything that measuring takes, and what it has given.
struct Bench<'a> {
    arguments: &'a PeerArguments,
    annals: &'a Path,
    folder: &'a Path,
    timing: Timing,
    versions: BTreeMap<System, String>,
    measured: Measured,
}

/// Measures every system `runs` times, taking turns, so that a slow minute of the machine meets all of them.
pub(crate) async fn measure(
    arguments: &PeerArguments,
    annals: &Path,
    folder: &Path,
    runs: u32,
    wanted: impl Fn(&str) -> bool,
) -> Result<Report, BenchError> {
    let load_average_before = server::load_average();
    let machine = Machine::look(folder)?;
    let timing = Timing {
        warm_up: Duration::from_secs_f64(arguments.warm_up),
        counted: Duration::from_secs_f64(arguments.seconds),
    };
    let (versions, measured) = Default::default();
    let mut bench = Bench { arguments, annals, folder, timing, versions, measured };
    for run in 1..=runs {
        for work in Work::LOADS.into_iter().filter(|work| wanted(work.name())) {
            bench.turn(work, run).await?;
        }
    }
    let conditions = Conditions {
        machine,
        load_average_before,
        load_average_after: server::load_average(),
        versions: bench.versions,
        runs,
        warm_up_seconds: arguments.warm_up,
        counted_seconds: arguments.seconds,
    };
    Ok(Report::of(conditions, bench.measured))
}

impl Bench<'_> {
    #[allow(clippy::print_stderr, reason = "a command line program tells how far it is")]
    async fn turn(&mut self, work: Work, run: u32) -> Result<(), PeerError> {
        eprintln!("annals-bench: run {run}: {}", work.name());
        self.session::<Annals>(self.annals, work).await?;
        match &self.arguments.umadb {
            Some(program) => self.session::<Umadb>(program, work).await?,
            None if run == 1 => eprintln!("annals-bench: not run: UmaDB needs --umadb FILE"),
            None => {}
        }
        self.session::<Postgres>(Path::new("postgres"), work).await
    }

    /// One load on a server of its own, and what is measured after it.
    async fn session<P: Peer>(&mut self, program: &Path, work: Work) -> Result<(), PeerError> {
        let Some(load) = work.load().filter(|_| work.suits(P::SYSTEM)) else { return Ok(()) };
        let folder = self.folder.join("peer");
        std::fs::create_dir_all(&folder).map_err(PeerError::machine("making a folder"))?;
        let mut peer = P::start(program, &folder).await?;
        self.versions.insert(P::SYSTEM, peer.version().await?);
        let callers = peer.callers(load).await?;
        let calls = load::drive(callers, self.timing).await?;
        let found = peer.read_all().await?;
        if found != calls.acknowledged {
            let acknowledged = calls.acknowledged;
            return Err(PeerError::Lost { system: P::SYSTEM, acknowledged, found });
        }
        self.add(work, P::SYSTEM, rate(calls.counted, self.timing.counted));
        self.measured.entry((work, P::SYSTEM)).or_default().calls.extend(calls.took);
        if work == Work::Hundred && Work::ReadAll.suits(P::SYSTEM) {
            self.read(&mut peer).await?;
        }
        let bytes = peer.stop().await?;
        if work == Work::Hundred {
            self.add(Work::Bytes, P::SYSTEM, each(bytes, found));
        }
        std::fs::remove_dir_all(&folder).map_err(PeerError::machine("deleting a folder"))
    }

    /// Reads all again and again, for as long as a load counts.
    async fn read<P: Peer>(&mut self, peer: &mut P) -> Result<(), PeerError> {
        let start = Instant::now();
        let mut events = 0;
        while start.elapsed() < self.timing.counted {
            events += peer.read_all().await?;
        }
        self.add(Work::ReadAll, P::SYSTEM, rate(events, start.elapsed()));
        Ok(())
    }

    fn add(&mut self, work: Work, system: System, value: f64) {
        self.measured.entry((work, system)).or_default().values.push(value);
    }
}

fn each(bytes: u64, events: u64) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
    let (bytes, events) = (bytes as f64, events as f64);
    bytes / events.max(1.0)
}
