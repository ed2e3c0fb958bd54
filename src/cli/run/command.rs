//! `annals command`: one command, its answer as one JSON object.

use annals_core::executor::Envelope;
use serde_json::Value;
use uuid::Uuid;

use super::super::arguments::CommandArguments;
use super::super::error::CliError;
use super::super::exit::Done;
use super::super::open::{Missing, with_engine};
use super::super::output::Output;
use super::super::remote::Remote;
use crate::config::Config;
use crate::engine::Parts;

pub(super) async fn command(
    config: &Config,
    arguments: CommandArguments,
) -> Result<Done, CliError> {
    let fields = json_argument(&arguments.json)?;
    if !fields.is_object() {
        let why =
            "it is JSON, but not an object; right would be the command's fields, {…}".to_owned();
        return Err(CliError::Argument { argument: "--json", why });
    }
    let CommandArguments { context, name, .. } = &arguments;
    let answer: Value = if let Some(address) = &arguments.server.server {
        let remote = Remote::new(address, config)?;
        remote.post(&["v1", "commands", context, name], arguments.id, &fields).await?
    } else {
        let envelope = Envelope::new(arguments.id.unwrap_or_else(Uuid::now_v7));
        let answer = with_engine(config, Parts::Log, Missing::Make, async |engine| {
            Ok(engine.router.execute(context, name, fields, envelope).await?)
        });
        serde_json::to_value(answer.await?).map_err(|error| CliError::Output(error.into()))?
    };
    Output::new(true).json(&answer)?;
    Ok(Done::Well)
}

/// The JSON of an argument, or of standard input where the argument is `-`.
pub(super) fn json_argument(argument: &str) -> Result<Value, CliError> {
    let text = if argument == "-" {
        std::io::read_to_string(std::io::stdin()).map_err(CliError::Input)?
    } else {
        argument.to_owned()
    };
    serde_json::from_str(&text).map_err(|source| CliError::Json { argument: "--json", source })
}
