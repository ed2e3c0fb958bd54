//! What can be said on the command line. These structures hold no logic; `run` gives them their meaning.

mod debug;
mod events;
mod store;

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::config::Flags;

pub(super) use debug::{DebugVerb, DiffArguments, HistoryArguments, StateArguments, Target};
pub(super) use events::{AppendArguments, EventsVerb, ReadArguments, TailArguments, Which};
pub(super) use store::{
    StoreBackupArguments, StoreCopyArguments, StoreInfoArguments, StoreRepairArguments,
    StoreRestoreArguments, StoreVerb, StoreVerifyArguments,
};

const AFTER_HELP: &str = "\
Exit codes: 0 done · 1 a check found differences · 2 the request is wrong · 3 not signed in or not allowed
            4 refused, or not there · 5 someone else wrote first · 6 too much, or no room · 7 a fault that
            passes: try again · 8 stored bytes are damaged

Begin with:  annals demo
             annals serve";

/// Annals: an event-sourced CQRS engine. Commands become events, events become views, and every view can be thrown
/// away, rebuilt, verified and debugged.
#[derive(Debug, Parser)]
#[command(name = "annals", version, after_help = AFTER_HELP, max_term_width = 100)]
pub struct Arguments {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) verb: Verb,
}

/// What every verb takes.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Global {
    /// A configuration file in TOML, as docs/annals.toml [environment: `ANNALS_CONFIG`]
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// The folder that holds the log and everything else [environment: `ANNALS_DATA_FOLDER`; default: .annals]
    #[arg(long, global = true, value_name = "DIR")]
    pub(super) data: Option<PathBuf>,
    /// The event store: embedded, or esdb://HOST:PORT?tls=false of a server [environment: `ANNALS_STORE`]
    #[arg(long, global = true, value_name = "STORE")]
    pub(super) store: Option<String>,
    /// How log lines on standard error look [environment: `ANNALS_LOG_FORMAT`]
    #[arg(long, global = true, value_name = "FORMAT")]
    pub(super) log_format: Option<Format>,
    /// Log more: -v what happens, -vv every step
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(super) verbose: u8,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Serve the gRPC, REST and KurrentDB interfaces, and keep the views up to date
    #[command(after_help = "\
Prints one line, `ready HOST:PORT`, once it answers; stops cleanly on SIGTERM or Ctrl-C.

Example:  annals serve --data ./shop --address 127.0.0.1:2113")]
    Serve(ServeArguments),
    /// See the whole path on real trades: import, trade, catch up, rebuild, verify, debug
    #[command(after_help = "\
Run again on the same --data it adds nothing and shows the same totals.

Example:  annals demo --trades trades.csv.zst --json")]
    Demo(DemoArguments),
    /// Bring data in
    #[command(subcommand)]
    Import(ImportVerb),
    /// Give a command; its answer is one JSON object
    #[command(after_help = "\
The answer names the stream, its revision, the position to wait for in queries, and the events.

Examples:  annals command trading open-account --json '{\"account\": \"A001\"}'
           annals command trading deposit --json - < deposit.json")]
    Command(CommandArguments),
    /// Read, follow or append events
    #[command(subcommand)]
    Events(EventsVerb),
    /// Look at the views, rebuild them, verify them against history
    #[command(subcommand)]
    Projection(ProjectionVerb),
    /// Travel in time: the state of a stream or a row at any moment, and what made it
    #[command(subcommand)]
    Debug(DebugVerb),
    /// Look at the log itself, verify it, back it up, restore it, repair it, copy it
    #[command(subcommand)]
    Store(StoreVerb),
    /// Look at the schemas that events were written with
    #[command(subcommand)]
    Schema(SchemaVerb),
}

/// Where the data is.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Server {
    /// Ask a running server instead of opening --data; its key is read from `ANNALS_API_KEY`
    #[arg(long, value_name = "URL")]
    pub(super) server: Option<String>,
}

/// How the answer looks.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(super) struct Shape {
    /// Print JSON and nothing else
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ServeArguments {
    /// Where to listen [environment: `ANNALS_ADDRESS`; default: 127.0.0.1:2113]
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) address: Option<String>,
    /// What this process does: all, or store, which is the log alone [environment: `ANNALS_ROLE`]
    #[arg(long)]
    pub(super) role: Option<String>,
    /// How events reach the views: embedded or kafka [environment: `ANNALS_FANOUT`]
    #[arg(long)]
    pub(super) fanout: Option<String>,
    /// Listen also on other than loopback addresses without an API key, or with users but without TLS
    #[arg(long)]
    pub(super) insecure: bool,
    /// Serve users alone, each within its rights; the first start prints the password of the user admin
    #[arg(long)]
    pub(super) secured: bool,
    /// What to log: error, warn, info, debug, trace, or directives [environment: `ANNALS_LOG_LEVEL`]
    #[arg(long, value_name = "LEVEL")]
    pub(super) log_level: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct DemoArguments {
    /// The trades: CSV with timestamp (ms), price and size (USD, negative = the seller took), .zst too
    #[arg(long, value_name = "FILE")]
    pub(super) trades: Option<PathBuf>,
    /// How events reach the views: embedded or kafka
    #[arg(long)]
    pub(super) fanout: Option<String>,
    #[command(flatten)]
    pub(super) shape: Shape,
}

#[derive(Debug, Subcommand)]
pub(super) enum ImportVerb {
    /// Record the trades of a CSV file, by commands
    #[command(after_help = "\
The header names timestamp (ms since 1970), price and size (USD, negative = the seller took). A line that
does not fit is told with line and column, and nothing of its batch is imported. What is in the log already
is not imported again.

Example:  annals import trades bitmex.csv.zst")]
    Trades(ImportTradesArguments),
}

#[derive(Debug, Args)]
pub(super) struct ImportTradesArguments {
    /// The file; .zst is unpacked on the way
    pub(super) file: PathBuf,
    /// The instrument that was traded
    #[arg(long, value_name = "NAME", default_value = "XBTUSD")]
    pub(super) instrument: String,
    #[command(flatten)]
    pub(super) shape: Shape,
}

#[derive(Debug, Args)]
pub(super) struct CommandArguments {
    /// The context, such as trading
    pub(super) context: String,
    /// The command, such as place-order
    pub(super) name: String,
    /// Its fields as a JSON object; - reads them from standard input
    #[arg(long, value_name = "JSON")]
    pub(super) json: String,
    /// The command's id: the same id again gives the first answer
    #[arg(long, value_name = "UUID")]
    pub(super) id: Option<uuid::Uuid>,
    #[command(flatten)]
    pub(super) server: Server,
}

#[derive(Debug, Subcommand)]
pub(super) enum ProjectionVerb {
    /// Every view: version, position, how far it is behind
    #[command(after_help = "Example:  annals projection list --json")]
    List(ProjectionListArguments),
    /// How one view, or each, stands
    #[command(after_help = "Example:  annals projection status trading_orders")]
    Status(ProjectionNameArguments),
    /// Fold views from the whole of history into new tables and swap them in
    #[command(after_help = "\
Readers see the old table until the new one is complete; both are never mixed.

Examples:  annals projection rebuild trading_orders
           annals projection rebuild --all")]
    Rebuild(ProjectionWorkArguments),
    /// Fold views from history and compare each row with the live table
    #[command(after_help = "\
Exits with 1 where a row differs; the answer then names rows and both values.

Examples:  annals projection verify trading_orders
           annals projection verify --all --json")]
    Verify(ProjectionWorkArguments),
}

#[derive(Debug, Args)]
pub(super) struct ProjectionListArguments {
    #[command(flatten)]
    pub(super) shape: Shape,
    #[command(flatten)]
    pub(super) server: Server,
}

#[derive(Debug, Args)]
pub(super) struct ProjectionNameArguments {
    /// The view's name; every one where none is said
    pub(super) name: Option<String>,
    #[command(flatten)]
    pub(super) shape: Shape,
    #[command(flatten)]
    pub(super) server: Server,
}

#[derive(Debug, Args)]
pub(super) struct ProjectionWorkArguments {
    /// The views' names
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub(super) names: Vec<String>,
    /// Every view
    #[arg(long)]
    pub(super) all: bool,
    #[command(flatten)]
    pub(super) shape: Shape,
    #[command(flatten)]
    pub(super) server: Server,
}

#[derive(Debug, Subcommand)]
pub(super) enum SchemaVerb {
    /// Every schema in the log, with the one that this version writes marked
    #[command(after_help = "Example:  annals schema list --json")]
    List(SchemaListArguments),
}

#[derive(Debug, Args)]
pub(super) struct SchemaListArguments {
    #[command(flatten)]
    pub(super) shape: Shape,
}

/// The analytics engine over libchdb. The supervisor starts it by the hidden verb `analytics-child`, which is read by
/// itself and first of all: its arguments are its own.
#[derive(Debug, Parser)]
#[command(name = "annals analytics-child")]
pub(super) struct ChildArguments {
    #[command(flatten)]
    pub(super) child: annals_analytics::child::Arguments,
}

impl Global {
    /// What the configuration takes from them.
    pub(super) fn flags(&self) -> Flags {
        let log_format = self.log_format.map(|format| match format {
            Format::Text => "text".to_owned(),
            Format::Json => "json".to_owned(),
        });
        let (config, data, store) = (self.config.clone(), self.data.clone(), self.store.clone());
        Flags { config, data, store, log_format, ..Flags::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_names_that_scripts_rely_on_are_there() {
        let lines = [
            "serve --data d --address 127.0.0.1:0 --store embedded --fanout kafka --insecure",
            "serve --data d --secured --insecure",
            "serve --config annals.toml --role all --log-format json -v",
            "demo --data d --trades t.csv --json --fanout kafka",
            "demo --store esdb://127.0.0.1:2113?tls=false",
            "events read --store esdb://127.0.0.1:2113?tls=false --json",
            "store copy d esdb://127.0.0.1:2113?tls=false --json",
            "import trades t.csv.zst --data d --json",
            "command trading deposit --json {} --data d",
            "--data d command trading deposit --json {} --server http://127.0.0.1:2113",
            "events read --stream account-A001 --from-revision 3 --limit 5 --backwards --json",
            "events read --from-position 9 --type trading. --server http://127.0.0.1:2113",
            "events read --from-time 2018-01-01T00:00:00Z",
            "events tail --stream account-A001 --json",
            "events append --stream note-1 --type note.Taken --json {} --expected none",
            "projection list --json",
            "projection status trading_orders",
            "projection rebuild --all",
            "projection verify trading_orders trading_accounts --json",
            "debug state account-A001 --revision 3",
            "debug state trading_accounts A001 --time 2018-01-01T00:00:00Z --json",
            "debug history trading_accounts A001 --last 5",
            "debug history account-A001 --from-position 7 --limit 5 --until revision:9",
            "debug diff account-A001 --from revision:1 --to position:99",
            "store info --json",
            "store verify --from 5 --to 9 --data d --json",
            "store backup --to b --data d --json",
            "store restore --from b --data d --to 120000",
            "store restore --from b --to 2018-01-01T00:00:00Z --json",
            "store repair --from b --json",
            "schema list",
        ];
        for line in lines {
            let words = std::iter::once("annals").chain(line.split(' '));
            if let Err(error) = Arguments::try_parse_from(words) {
                panic!("{line}: {error}");
            }
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let lines = [
            "",
            "projection rebuild",
            "projection rebuild trading_orders --all",
            "events read --from-position 1 --from-revision 1 --stream s",
            "events read --from-revision 1",
            "debug state account-A001 --revision 1 --position 2",
            "debug history account-A001 --last 5 --limit 5",
            "debug diff account-A001",
            "events append --stream note-1 --type note.Taken --json {} --expected later",
            "serve --log-format xml",
            "store backup",
            "store restore --from b --to yesterday",
            "store repair",
        ];
        for line in lines {
            let words = std::iter::once("annals").chain(line.split(' ').filter(|w| !w.is_empty()));
            let error = Arguments::try_parse_from(words).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
