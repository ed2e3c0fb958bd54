//! `annals import trades`: a file of trades becomes events, by commands.

use annals_commands::Market;
use annals_commands::names::Instrument;

use super::super::arguments::ImportTradesArguments;
use super::super::error::CliError;
use super::super::exit::Done;
use super::super::open::{Missing, with_engine};
use super::super::output::Output;
use super::super::{progress, render};
use crate::config::Config;
use crate::engine::Parts;

pub(super) async fn trades(
    config: &Config,
    arguments: ImportTradesArguments,
) -> Result<Done, CliError> {
    let instrument = Instrument::new(&arguments.instrument)
        .map_err(|error| CliError::Argument { argument: "--instrument", why: error.to_string() })?;
    let counter = progress::counter("importing", "trades");
    let imported = with_engine(config, Parts::Log, Missing::Make, async |engine| {
        let market = engine.router.executor::<Market>().expect("the engine registers it");
        let imported = crate::import::trades(&market, &arguments.file, &instrument, |trades| {
            counter.set_position(trades);
        });
        Ok(imported.await?)
    })
    .await;
    counter.finish_and_clear();
    Output::new(arguments.shape.json).answer(&imported?, render::imported)?;
    Ok(Done::Well)
}
