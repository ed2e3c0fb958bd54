//! The arguments of `annals events`.

use annals_core::store::ExpectedRevision;
use annals_core::{EventType, Position, Revision, StreamName, Timestamp};
use clap::{Args, Subcommand};

use super::{Server, Shape};

#[derive(Debug, Subcommand)]
pub(crate) enum EventsVerb {
    /// Read events, from the whole log or one stream
    #[command(after_help = "\
Examples:  annals events read --stream account-A001
           annals events read --type trading.OrderFilled --backwards --limit 5
           annals events read --from-time 2018-01-01T00:10:00Z --json | jq .data")]
    Read(ReadArguments),
    /// Follow events as they are written; Ctrl-C ends it
    #[command(after_help = "\
Only a running server's log grows, so this is most often asked of one.

Example:  annals events tail --type trading. --server http://127.0.0.1:2113")]
    Tail(TailArguments),
    /// Append one event of your own, with a JSON payload; its answer is one JSON object
    #[command(after_help = "\
Events of the contexts that Annals knows follow from commands and are refused here.

Example:  annals events append --stream note-1 --type note.Taken --json '{\"text\": \"look at this\"}'")]
    Append(AppendArguments),
}

/// Which events.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Which {
    /// Of this stream only
    #[arg(long, value_name = "NAME", value_parser = stream)]
    pub(crate) stream: Option<StreamName>,
    /// Only types that begin with this
    #[arg(long = "type", value_name = "PREFIX")]
    pub(crate) event_type: Option<String>,
    /// System streams ($…) too
    #[arg(long)]
    pub(crate) system: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ReadArguments {
    #[command(flatten)]
    pub(crate) which: Which,
    #[command(flatten)]
    pub(crate) from: From,
    /// From younger to older
    #[arg(long)]
    pub(crate) backwards: bool,
    /// How many events at most; 0 is all
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) limit: u64,
    #[command(flatten)]
    pub(crate) shape: Shape,
    #[command(flatten)]
    pub(crate) server: Server,
}

/// Where to begin; the event named is included.
#[derive(Clone, Copy, Debug, Default, Args)]
#[group(multiple = false)]
#[allow(clippy::struct_field_names, reason = "the fields' names are the flags'")]
pub(crate) struct From {
    /// Begin at this position of the log
    #[arg(long, value_name = "N", value_parser = position)]
    pub(crate) from_position: Option<Position>,
    /// Begin at this revision of the stream
    #[arg(long, value_name = "N", value_parser = revision, requires = "stream")]
    pub(crate) from_revision: Option<Revision>,
    /// Begin at this time, such as 2018-01-01T00:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) from_time: Option<Timestamp>,
}

#[derive(Debug, Args)]
pub(crate) struct TailArguments {
    #[command(flatten)]
    pub(crate) which: Which,
    /// Begin at this position instead of at the end
    #[arg(long, value_name = "N", value_parser = position)]
    pub(crate) from_position: Option<Position>,
    #[command(flatten)]
    pub(crate) shape: Shape,
    #[command(flatten)]
    pub(crate) server: Server,
}

#[derive(Debug, Args)]
pub(crate) struct AppendArguments {
    /// The stream
    #[arg(long, value_name = "NAME", value_parser = stream)]
    pub(crate) stream: StreamName,
    /// The event's type, context.Name
    #[arg(long = "type", value_name = "TYPE", value_parser = event_type)]
    pub(crate) event_type: EventType,
    /// The payload; - reads it from standard input
    #[arg(long, value_name = "JSON")]
    pub(crate) json: String,
    /// What must be so: any, none (no such stream yet), exists, or the stream's last revision
    #[arg(long, value_name = "REVISION", default_value = "any")]
    pub(crate) expected: Expected,
    /// The event's id: the same id again writes nothing
    #[arg(long, value_name = "UUID")]
    pub(crate) id: Option<uuid::Uuid>,
}

/// An expected revision as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expected(pub(crate) ExpectedRevision);

impl std::str::FromStr for Expected {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Expected, &'static str> {
        match text {
            "any" => Ok(Expected(ExpectedRevision::Any)),
            "none" => Ok(Expected(ExpectedRevision::NoStream)),
            "exists" => Ok(Expected(ExpectedRevision::Exists)),
            number => number
                .parse()
                .map(|number| Expected(ExpectedRevision::Exact(Revision(number))))
                .map_err(|_| "right would be any, none, exists or a number"),
        }
    }
}

pub(super) fn stream(text: &str) -> Result<StreamName, annals_core::event::InvalidName> {
    StreamName::new(text)
}

fn event_type(text: &str) -> Result<EventType, annals_core::event::InvalidName> {
    EventType::new(text)
}

pub(super) fn position(text: &str) -> Result<Position, std::num::ParseIntError> {
    text.parse().map(Position)
}

pub(super) fn revision(text: &str) -> Result<Revision, std::num::ParseIntError> {
    text.parse().map(Revision)
}

pub(super) fn time(text: &str) -> Result<Timestamp, &'static str> {
    Timestamp::parse(text).map_err(|_| "right would be RFC 3339, such as 2018-01-01T00:00:02.61Z")
}
