//! The analytics child on its own, for the tests of this crate and for running the endpoint by hand.

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(about = "The ClickHouse HTTP endpoint over libchdb")]
struct Command {
    #[command(flatten)]
    arguments: annals_analytics::child::Arguments,
}

fn main() -> ExitCode {
    annals_analytics::child::run(Command::parse().arguments)
}
