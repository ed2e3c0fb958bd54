//! `annals schema`: the writer schemas in the log.

use annals_core::DomainEvent;
use annals_events::{MarketEvent, TradingEvent};

use super::super::arguments::SchemaListArguments;
use super::super::error::CliError;
use super::super::exit::Done;
use super::super::open::{Missing, with_engine};
use super::super::output::Output;
use super::super::render::{self, SchemaInfo};
use crate::config::Config;
use crate::engine::Parts;

pub(super) async fn list(
    config: &Config,
    arguments: SchemaListArguments,
) -> Result<Done, CliError> {
    let written = [MarketEvent::schemas(), TradingEvent::schemas()].concat();
    let schemas = with_engine(config, Parts::Log, Missing::Refuse, async |engine| {
        let info = |schema: annals_core::EventSchema| SchemaInfo {
            event_type: schema.event_type.to_string(),
            fingerprint: format!("{:016x}", schema.fingerprint.0),
            current: written.iter().any(|own| own.fingerprint == schema.fingerprint),
            // The log takes whatever JSON a schema event holds; text that is none is shown as text.
            schema: serde_json::from_str(&schema.text)
                .unwrap_or_else(|_| serde_json::Value::from(&*schema.text)),
        };
        Ok(engine.schemas.all().into_iter().map(info).collect::<Vec<_>>())
    });
    let look = |schemas: &Vec<SchemaInfo>, look| render::schemas(schemas, look);
    Output::new(arguments.shape.json).answer(&schemas.await?, look)?;
    Ok(Done::Well)
}
