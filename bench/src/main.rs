//! `annals-bench`: the measurements that published figures come from. Each is a file of its own, taken three times and
//! given as median with the lowest and the highest, beside the machine, the file system, what a sync costs and how
//! large an event is. It refuses tmpfs, on which durability costs nothing and figures mean nothing.

mod append;
mod end_to_end;
mod figure;
mod kurrent;
mod log;
mod machine;
mod peers;
mod read;

use std::fmt;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde::Serialize;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use figure::Figure;
use machine::Machine;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measure Annals on this machine.
#[derive(Debug, Parser)]
#[command(name = "annals-bench", version)]
struct Arguments {
    /// Where to write; must be on a real disk. A folder of its own is made there and deleted at the end
    #[arg(long, global = true, value_name = "DIR", default_value = "/var/tmp")]
    data: PathBuf,
    /// The trades for the end-to-end measurement; without them it is left out, and said so
    #[arg(long, value_name = "FILE")]
    trades: Option<PathBuf>,
    /// The `annals` program, where one is run; by default the one beside this program
    #[arg(long, global = true, value_name = "FILE")]
    annals: Option<PathBuf>,
    /// Only measurements whose name holds this
    #[arg(long, global = true, value_name = "WORD")]
    only: Option<String>,
    /// How often each measurement is taken
    #[arg(long, global = true, value_name = "N", default_value_t = 3)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Print one JSON object and nothing else
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Option<Verb>,
}

/// What else can be measured.
#[derive(Debug, Subcommand)]
enum Verb {
    /// Annals' log server beside UmaDB and a PostgreSQL table of events
    Peers(peers::PeerArguments),
}

/// Everything that is printed.
#[derive(Serialize)]
struct Report {
    machine: Machine,
    figures: Vec<Figure>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.machine, figure::table(&self.figures))
    }
}

/// Why a measurement could not be taken.
#[derive(Debug, thiserror::Error)]
enum BenchError {
    /// The folder is on a file system that keeps nothing.
    #[error(
        "{folder} is on {kind}, where durability costs nothing: name a folder on a real disk with --data"
    )]
    NotADisk { folder: PathBuf, kind: String },
    /// The machine would not do it.
    #[error("{attempt} failed")]
    Machine {
        attempt: String,
        #[source]
        source: std::io::Error,
    },
    /// The log could not be opened.
    #[error("opening the log failed")]
    Open(#[from] annals_store::OpenError),
    /// An append failed.
    #[error("appending failed")]
    Append(#[from] annals_core::AppendError),
    /// A read failed.
    #[error("reading failed")]
    Read(#[from] annals_core::ReadError),
    /// A system that Annals is compared with, or Annals beside it, could not be measured.
    #[error("comparing failed")]
    Peer(#[from] peers::PeerError),
    /// A copy from one store to another failed.
    #[error("annals store copy failed: {0}")]
    Copy(String),
    /// The demo failed or said what cannot be read.
    #[error("annals demo did not give its figures: {0}")]
    Demo(String),
}

impl BenchError {
    fn of(attempt: impl Into<String>) -> impl FnOnce(std::io::Error) -> BenchError {
        let attempt = attempt.into();
        move |source| BenchError::Machine { attempt, source }
    }
}

#[allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line program prints")]
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let report = match &arguments.verb {
        None => measure(&arguments).map(|report| printed(&arguments, &report)),
        Some(Verb::Peers(peers)) => {
            compare(&arguments, peers).map(|report| printed(&arguments, &report))
        }
    };
    match report {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprint!("annals-bench: {error}");
            let mut cause = std::error::Error::source(&error);
            while let Some(next) = cause {
                eprint!(": {next}");
                cause = next.source();
            }
            eprintln!();
            ExitCode::FAILURE
        }
    }
}

/// As JSON or for people.
fn printed(arguments: &Arguments, report: &(impl Serialize + fmt::Display)) -> String {
    if arguments.json {
        serde_json::to_string(report).expect("plain data")
    } else {
        report.to_string()
    }
}

/// A folder on a real disk, and that many threads.
fn workplace(arguments: &Arguments, threads: usize) -> Result<(TempDir, Runtime), BenchError> {
    let folder = tempfile::Builder::new()
        .prefix("annals-bench-")
        // PostgreSQL runs as another user where this is run as root, and has to get to its folder.
        .permissions(Permissions::from_mode(0o711))
        .tempdir_in(&arguments.data)
        .map_err(BenchError::of(format!("making a folder in {}", arguments.data.display())))?;
    machine::refuse_memory(folder.path())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .map_err(BenchError::of("starting the threads"))?;
    Ok((folder, runtime))
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The `annals` program to run: as named, or that in the folder of this one.
fn program(arguments: &Arguments) -> Result<PathBuf, BenchError> {
    if let Some(program) = &arguments.annals {
        return Ok(program.clone());
    }
    let own = std::env::current_exe().map_err(BenchError::of("finding this program"))?;
    Ok(own.with_file_name("annals"))
}

fn compare(
    arguments: &Arguments,
    peers: &peers::PeerArguments,
) -> Result<peers::Report, BenchError> {
    // The clients of every system have half of the processors, its server the other half.
    let (folder, runtime) = workplace(arguments, (processors() / 2).max(1))?;
    let wanted = |name: &str| arguments.only.as_ref().is_none_or(|word| name.contains(word));
    let annals = program(arguments)?;
    runtime.block_on(peers::measure(peers, &annals, folder.path(), arguments.runs, wanted))
}

#[allow(clippy::print_stderr, reason = "a command line program tells how far it is")]
fn measure(arguments: &Arguments) -> Result<Report, BenchError> {
    let (folder, runtime) = workplace(arguments, processors())?;
    let machine = Machine::look(folder.path())?;
    let wanted = |name: &str| arguments.only.as_ref().is_none_or(|word| name.contains(word));
    let mut figures = Vec::new();
    for (name, measurement) in [append::ALL, read::ALL].concat() {
        if wanted(name) {
            eprintln!("annals-bench: {name}");
            figures.push(measurement(&runtime, folder.path(), arguments.runs)?);
        }
    }
    let kurrent = program(arguments)?;
    figures.extend(kurrent::measure(&runtime, &kurrent, folder.path(), arguments.runs, |name| {
        let is_wanted = wanted(name);
        if is_wanted {
            eprintln!("annals-bench: {name}");
        }
        is_wanted
    })?);
    if wanted(end_to_end::NAME) {
        eprintln!("annals-bench: {}", end_to_end::NAME);
        match &arguments.trades {
            Some(trades) => {
                let program = program(arguments)?;
                figures.extend(end_to_end::measure(
                    &program,
                    trades,
                    folder.path(),
                    arguments.runs,
                )?);
            }
            None => eprintln!("annals-bench: not run: end to end needs --trades FILE"),
        }
    }
    Ok(Report { machine, figures })
}
