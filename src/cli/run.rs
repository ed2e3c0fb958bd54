//! The verbs. Each reads its arguments, does its work over the engine or a server, and prints its answer.

mod command;
mod copy;
mod debug;
mod demo;
mod events;
mod import;
mod projection;
mod schema;
mod serve;
mod store;

use super::arguments::{Arguments, Global, ImportVerb, SchemaVerb, ServeArguments, Verb};
use super::error::CliError;
use super::exit::Done;
use crate::config::{Config, Flags, Role};
use crate::telemetry;

/// Carries out what the command line asks for.
pub(super) fn run(arguments: Arguments) -> Result<Done, CliError> {
    let Arguments { global, verb } = arguments;
    let config = configuration(&global, &verb)?;
    telemetry::start_logs(&config.log)?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if config.role == Role::Store {
        runtime.worker_threads(log_server_threads());
    }
    let runtime = runtime.enable_all().build().map_err(CliError::Runtime)?;
    runtime.block_on(carry_out(&config, verb))
}

/// The threads of a server of the log alone: one less than there are processors, because the log's writer has its own. A
/// hand-over between threads costs more than an append, so one thread too many halves what the server takes.
fn log_server_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |processors| (processors.get() - 1).max(1))
}

async fn carry_out(config: &Config, verb: Verb) -> Result<Done, CliError> {
    match verb {
        Verb::Serve(_) => serve::serve(config).await,
        Verb::Demo(arguments) => Box::pin(demo::demo(config, arguments)).await,
        Verb::Import(ImportVerb::Trades(arguments)) => import::trades(config, arguments).await,
        Verb::Command(arguments) => command::command(config, arguments).await,
        Verb::Events(verb) => events::events(config, verb).await,
        Verb::Projection(verb) => Box::pin(projection::projection(config, verb)).await,
        Verb::Debug(verb) => debug::debug(config, verb).await,
        Verb::Store(verb) => store::store(config, verb).await,
        Verb::Schema(SchemaVerb::List(arguments)) => schema::list(config, arguments).await,
    }
}

/// The configuration, with what the verb's own flags set.
fn configuration(global: &Global, verb: &Verb) -> Result<Config, CliError> {
    let flags = match verb {
        Verb::Serve(arguments) => with_serve(global.flags(), arguments),
        Verb::Demo(arguments) => Flags { fanout: arguments.fanout.clone(), ..global.flags() },
        Verb::Import(_)
        | Verb::Command(_)
        | Verb::Events(_)
        | Verb::Projection(_)
        | Verb::Debug(_)
        | Verb::Store(_)
        | Verb::Schema(_) => global.flags(),
    };
    let mut config = Config::load(&flags)?;
    config.log.level = level(global.verbose, verb, config.log.level);
    Ok(config)
}

fn with_serve(flags: Flags, arguments: &ServeArguments) -> Flags {
    Flags {
        address: arguments.address.clone(),
        role: arguments.role.clone(),
        fanout: arguments.fanout.clone(),
        insecure: arguments.insecure,
        secured: arguments.secured,
        log_level: arguments.log_level.clone(),
        ..flags
    }
}

/// What is logged: a server logs what is configured, other verbs only what matters, unless asked for more.
fn level(verbose: u8, verb: &Verb, configured: String) -> String {
    match (verbose, verb) {
        (0, Verb::Serve(_)) => configured,
        (0, _) if configured == Config::default().log.level => "warn".to_owned(),
        (0, _) => configured,
        (1, _) => "info".to_owned(),
        (_, _) => "debug".to_owned(),
    }
}
