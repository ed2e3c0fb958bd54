//! The command line: one verb, one file under `run`. Arguments are read in `arguments`, answers become text in
//! `render`, errors become exit codes in `exit`; each of these knows nothing of the others' work.
//!
//! Standard output holds the answer and nothing else: with `--json` one JSON value, or one a line for events. Notes,
//! progress and errors go to standard error.

mod arguments;
mod error;
mod exit;
mod open;
mod output;
mod progress;
mod remote;
mod render;
mod run;
mod signals;

use std::process::ExitCode;

use clap::Parser;

pub use arguments::Arguments;

/// The hidden verb that runs the analytics engine.
const ANALYTICS_CHILD: &str = "analytics-child";

/// Runs the program: reads the arguments, carries out the verb, tells what went wrong.
pub fn main() -> ExitCode {
    let mut words = std::env::args_os();
    if words.nth(1).is_some_and(|verb| verb == ANALYTICS_CHILD) {
        let words = std::iter::once(ANALYTICS_CHILD.into()).chain(words);
        // Before any thread is started: the child changes its working folder and environment.
        return annals_analytics::child::run(arguments::ChildArguments::parse_from(words).child);
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        // Help and version are no errors: clap knows where each goes and with which code.
        Err(error) => error.exit(),
    };
    match run::run(arguments) {
        Ok(done) => done.code(),
        Err(error) => exit::report(&error),
    }
}
