//! `annals store`: the log itself.

use super::super::arguments::StoreInfoArguments;
use super::super::error::CliError;
use super::super::exit::Done;
use super::super::open::{Missing, with_engine};
use super::super::output::Output;
use super::super::render::{self, StoreInfo};
use crate::config::Config;
use crate::engine::Parts;

pub(super) async fn info(config: &Config, arguments: StoreInfoArguments) -> Result<Done, CliError> {
    let folder = config.data_folder.join("log").display().to_string();
    let info = with_engine(config, Parts::Log, Missing::Refuse, async |engine| {
        let (identity, stats) = (engine.store.identity(), engine.log.stats());
        Ok(StoreInfo {
            folder,
            id: identity.id,
            epoch: identity.epoch,
            head: engine.store.head().map(|head| head.0),
            events: stats.events,
            streams: stats.streams,
            segments: stats.segments,
            bytes: stats.bytes,
        })
    });
    Output::new(arguments.shape.json).answer(&info.await?, render::store_info)?;
    Ok(Done::Well)
}
