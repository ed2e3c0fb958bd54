//! `annals-bench`: the measurements that published figures come from. Each is a file of its own, taken three times and
//! given as median with the lowest and the highest, beside the machine, the file system, what a sync costs and how
//! large an event is. It refuses tmpfs, on which durability costs nothing and figures mean nothing.

mod append;
mod end_to_end;
mod figure;
mod log;
mod machine;
mod read;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use serde::Serialize;

use figure::Figure;
use machine::Machine;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measure Annals on this machine.
#[derive(Debug, Parser)]
#[command(name = "annals-bench", version)]
struct Arguments {
    /// Where to write; must be on a real disk. A folder of its own is made there and deleted at the end
    #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
    data: PathBuf,
    /// The trades for the end-to-end measurement; without them it is left out, and said so
    #[arg(long, value_name = "FILE")]
    trades: Option<PathBuf>,
    /// The `annals` program for the end-to-end measurement; by default the one beside this program
    #[arg(long, value_name = "FILE")]
    annals: Option<PathBuf>,
    /// Only measurements whose name holds this
    #[arg(long, value_name = "WORD")]
    only: Option<String>,
    /// How often each measurement is taken
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Print one JSON object and nothing else
    #[arg(long)]
    json: bool,
}

/// Everything that is printed.
#[derive(Serialize)]
struct Report {
    machine: Machine,
    figures: Vec<Figure>,
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
    match measure(&arguments) {
        Ok(report) if arguments.json => {
            println!("{}", serde_json::to_string(&report).expect("plain data"));
            ExitCode::SUCCESS
        }
        Ok(report) => {
            println!("{}\n{}", report.machine, figure::table(&report.figures));
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

#[allow(clippy::print_stderr, reason = "a command line program tells how far it is")]
fn measure(arguments: &Arguments) -> Result<Report, BenchError> {
    let folder = tempfile::Builder::new()
        .prefix("annals-bench-")
        .tempdir_in(&arguments.data)
        .map_err(BenchError::of(format!("making a folder in {}", arguments.data.display())))?;
    machine::refuse_memory(folder.path())?;
    let machine = Machine::look(folder.path())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(BenchError::of("starting the threads"))?;
    let wanted = |name: &str| arguments.only.as_ref().is_none_or(|word| name.contains(word));
    let mut figures = Vec::new();
    for (name, measurement) in [append::ALL, read::ALL].concat() {
        if wanted(name) {
            eprintln!("annals-bench: {name}");
            figures.push(measurement(&runtime, folder.path(), arguments.runs)?);
        }
    }
    if wanted(end_to_end::NAME) {
        eprintln!("annals-bench: {}", end_to_end::NAME);
        match &arguments.trades {
            Some(trades) => {
                let program = arguments.annals.as_deref();
                figures.extend(end_to_end::measure(
                    program,
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
