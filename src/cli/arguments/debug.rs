//! The arguments of `annals debug`.

use annals_core::{Position, Revision, Timestamp};
use annals_replay::travel::Point;
use clap::{Args, Subcommand};

use super::events::{position, revision, time};
use super::{Server, Shape};

#[derive(Debug, Subcommand)]
pub(crate) enum DebugVerb {
    /// The state of a stream, or of a view's row, as it was at a moment
    #[command(after_help = "\
A row's revision is the number of the event among those that made the row, counted from 0.

Examples:  annals debug state account-A001
           annals debug state account-A001 --revision 3
           annals debug state trading_accounts A001 --position 120000
           annals debug state trading_orders A001-7 --time 2018-01-01T00:10:00Z --json")]
    State(StateArguments),
    /// What made a stream, or a view's row: each event and the fields it changed
    #[command(after_help = "\
Examples:  annals debug history account-A001 --last 5
           annals debug history trading_accounts A001 --from-position 5000 --limit 20 --json")]
    History(HistoryArguments),
    /// What differs between two moments of a stream or a view's row
    #[command(after_help = "\
A moment is now, revision:N, position:N or a time in RFC 3339.

Examples:  annals debug diff account-A001 --from revision:3
           annals debug diff trading_accounts A001 --from 2018-01-01T00:00:00Z --to position:9000")]
    Diff(DiffArguments),
}

/// What is looked at.
#[derive(Clone, Debug, Args)]
pub(crate) struct Target {
    /// A stream, such as account-A001, or a view, such as `trading_accounts`
    #[arg(value_name = "STREAM|VIEW")]
    pub(crate) subject: String,
    /// The key of the view's row
    pub(crate) key: Option<String>,
}

/// A moment.
#[derive(Clone, Copy, Debug, Default, Args)]
#[group(multiple = false)]
pub(crate) struct At {
    /// After the event of this revision
    #[arg(long, value_name = "N", value_parser = revision)]
    pub(crate) revision: Option<Revision>,
    /// After the event at this position of the log
    #[arg(long, value_name = "N", value_parser = position)]
    pub(crate) position: Option<Position>,
    /// At this time, such as 2018-01-01T00:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) time: Option<Timestamp>,
}

#[derive(Debug, Args)]
pub(crate) struct StateArguments {
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) at: At,
    #[command(flatten)]
    pub(crate) shape: Shape,
    #[command(flatten)]
    pub(crate) server: Server,
}

#[derive(Debug, Args)]
pub(crate) struct HistoryArguments {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Not before this position of the log
    #[arg(long, value_name = "N", value_parser = position)]
    pub(crate) from_position: Option<Position>,
    /// Not after this moment: now, revision:N, position:N or a time
    #[arg(long, value_name = "MOMENT", default_value = "now")]
    pub(crate) until: Point,
    /// The first N events
    #[arg(long, value_name = "N", conflicts_with = "last", default_value_t = 100)]
    pub(crate) limit: usize,
    /// The last N events instead
    #[arg(long, value_name = "N")]
    pub(crate) last: Option<usize>,
    #[command(flatten)]
    pub(crate) shape: Shape,
    #[command(flatten)]
    pub(crate) server: Server,
}

#[derive(Debug, Args)]
pub(crate) struct DiffArguments {
    #[command(flatten)]
    pub(crate) target: Target,
    /// The one moment: revision:N, position:N or a time
    #[arg(long, value_name = "MOMENT")]
    pub(crate) from: Point,
    /// The other moment
    #[arg(long, value_name = "MOMENT", default_value = "now")]
    pub(crate) to: Point,
    #[command(flatten)]
    pub(crate) shape: Shape,
    #[command(flatten)]
    pub(crate) server: Server,
}

impl At {
    /// The moment; now where none is said.
    pub(crate) fn point(self) -> Point {
        let revision = self.revision.map(Point::Revision);
        let position = self.position.map(Point::Position);
        revision.or(position).or(self.time.map(Point::Time)).unwrap_or(Point::Now)
    }
}
