//! `annals-torture`: tortures of the log that need more than `cargo test` may ask of a machine. It says "not run", with an
//! exit code of its own, where the machine does not give what it needs, and never counts that as passed.

mod power;

use std::path::PathBuf;
use std::process::ExitCode;

use annals_torture::appends::{self, Failure};
use clap::{Parser, Subcommand};
use tokio::io::AsyncReadExt;

use power::PowerError;

/// Something that was acknowledged is lost, or the log shows what it must not.
const VIOLATED: u8 = 1;
/// The harness itself could not go on.
const FAULT: u8 = 2;
/// Nothing was run, as other test programs say it too.
const NOT_RUN: u8 = 77;

/// Torture the log.
#[derive(Debug, Parser)]
#[command(name = "annals-torture", version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Cut the power under a log on a real ext4 at recorded writes and flushes, and see what is there afterwards
    Power(power::Options),
    /// Append to the log in a folder until standard input ends; tells what was acknowledged. `power` starts it
    #[command(hide = true)]
    Append(Append),
}

#[derive(Debug, clap::Args)]
struct Append {
    folder: PathBuf,
    #[arg(long)]
    first: u64,
    #[arg(long)]
    flying: usize,
    #[arg(long)]
    segment_bytes: u64,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn append(arguments: &Append) -> Result<(), Failure> {
    let log = appends::open(&arguments.folder, arguments.segment_bytes)?;
    let mut nothing = Vec::new();
    let mut input = tokio::io::stdin();
    let failure = tokio::select! {
        failure = appends::append_without_end(&log, arguments.first, arguments.flying) => Err(failure),
        _ = input.read_to_end(&mut nothing) => Ok(()),
    };
    log.close();
    failure
}

#[allow(clippy::print_stderr, reason = "a command line program prints")]
fn tell(error: &dyn std::error::Error) {
    eprint!("annals-torture: {error}");
    let mut cause = error.source();
    while let Some(next) = cause {
        eprint!(": {next}");
        cause = next.source();
    }
    eprintln!();
}

#[allow(clippy::print_stdout, reason = "a command line program prints")]
fn main() -> ExitCode {
    match Arguments::parse().verb {
        Verb::Append(arguments) => match append(&arguments) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                tell(&failure);
                ExitCode::from(VIOLATED)
            }
        },
        Verb::Power(options) => match power::run(&options) {
            Ok(tally) => {
                println!("{tally}");
                ExitCode::SUCCESS
            }
            Err(error) => {
                tell(&error);
                ExitCode::from(match error {
                    PowerError::Violated { .. } => VIOLATED,
                    PowerError::NotRun { .. } => NOT_RUN,
                    PowerError::Program { .. }
                    | PowerError::Machine { .. }
                    | PowerError::NotExt4 { .. }
                    | PowerError::Child { .. }
                    | PowerError::Idle { .. } => FAULT,
                })
            }
        },
    }
}
