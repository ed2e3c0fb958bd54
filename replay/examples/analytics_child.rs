//! The analytics child as a program of its own: what the tests of this crate run ClickHouse with.

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    arguments: annals_analytics::child::Arguments,
}

fn main() -> ExitCode {
    annals_analytics::child::run(Command::parse().arguments)
}
