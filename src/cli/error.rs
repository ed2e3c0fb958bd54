//! Everything that can go wrong on the command line, and what to do next. The text of the parts' own errors is not
//! repeated here; this adds only what the command line knows.

use std::io;
use std::path::PathBuf;

use annals_core::{AppendError, Family, ReadError, StreamName};
use annals_replay::ReplayError;
use annals_replay::travel::TravelError;
use annals_store::copy::CopyError;
use annals_store::kurrent::ConnectError;
use annals_store::log::{BackupError, OpenError};
use annals_store::protocol::access::UsersError;

use super::remote::RemoteError;
use crate::api::ServeError;
use crate::codec::ForeignError;
use crate::config::ConfigError;
use crate::demo::DemoError;
use crate::engine::EngineError;
use crate::import::ImportError;
use crate::router::RouterError;
use crate::telemetry::TelemetryError;

/// Why a verb did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Logs or metrics cannot be set up.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// The runtime cannot be started.
    #[error("the runtime cannot be started")]
    Runtime(#[source] io::Error),
    /// The engine does not start.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// There is nothing to look at.
    #[error("there is no log in {}", folder.display())]
    NoLog {
        /// The data folder.
        folder: PathBuf,
    },
    /// A running server does not do what it was asked.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The server does not start.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The users cannot be read or made.
    #[error(transparent)]
    Users(#[from] UsersError),
    /// The command was not carried out.
    #[error(transparent)]
    Command(#[from] RouterError),
    /// The past has no answer.
    #[error(transparent)]
    Travel(#[from] TravelError),
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The event was not appended.
    #[error("the event was not appended")]
    Append(#[source] AppendError),
    /// The event is not one to append by hand.
    #[error(transparent)]
    Foreign(#[from] ForeignError),
    /// No event stands in the stream.
    #[error("stream {stream} has no event")]
    UnknownStream {
        /// The stream.
        stream: StreamName,
    },
    /// No view of this name.
    #[error("no view is named {name:?}; there are {known}")]
    UnknownProjection {
        /// The name asked for.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// The demo ended early.
    #[error(transparent)]
    Demo(#[from] DemoError),
    /// The demo has nothing to import.
    #[error("there is no file of trades")]
    NoTrades,
    /// An argument does not fit.
    #[error("{argument} does not fit: {why}")]
    Argument {
        /// The argument, as it is written.
        argument: &'static str,
        /// What is wrong and what would be right.
        why: String,
    },
    /// An argument that should be JSON is not.
    #[error("{argument} is not JSON")]
    Json {
        /// The argument, as it is written.
        argument: &'static str,
        /// The parser's error, with line and column.
        #[source]
        source: serde_json::Error,
    },
    /// The file was not imported.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// A rebuild or verification did not end well.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The log cannot be verified.
    #[error(transparent)]
    Log(#[from] OpenError),
    /// A backup, a restore or a repair did not end well.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// A store was not copied.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// The server of a store cannot be used.
    #[error(transparent)]
    Server(#[from] ConnectError),
    /// The verb is about files that a server keeps itself.
    #[error(
        "`annals store {verb}` works on the files of a log, and the store is a server, which keeps its own"
    )]
    ServersOwn {
        /// The verb.
        verb: &'static str,
    },
    /// The log takes no writes any more.
    #[error("the log takes no writes any more: {reason}")]
    Poisoned {
        /// What happened to it.
        reason: String,
    },
    /// Ctrl-C or SIGTERM came before the end.
    #[error("stopped before the end")]
    Stopped,
    /// Standard input cannot be read.
    #[error("standard input cannot be read")]
    Input(#[source] io::Error),
    /// Standard output cannot be written.
    #[error("standard output cannot be written")]
    Output(#[source] io::Error),
}

impl CliError {
    /// The family of this error.
    pub(super) fn family(&self) -> Family {
        match self {
            CliError::Config(error) => error.family(),
            CliError::Telemetry(error) => error.family(),
            CliError::Engine(error) => error.family(),
            CliError::Remote(error) => error.family(),
            CliError::Serve(error) => error.family(),
            CliError::Users(error) => error.family(),
            CliError::Command(error) => error.family(),
            CliError::Travel(error) => error.family(),
            CliError::Read(error) => error.family(),
            CliError::Append(error) => error.family(),
            CliError::Foreign(error) => error.family(),
            CliError::Import(error) => error.family(),
            CliError::Replay(error) => error.family(),
            CliError::Demo(error) => error.family(),
            CliError::Log(error) => error.family(),
            CliError::Backup(error) => error.family(),
            CliError::Copy(error) => error.family(),
            CliError::Server(error) => error.family(),
            CliError::NoLog { .. }
            | CliError::UnknownStream { .. }
            | CliError::UnknownProjection { .. } => Family::NotFound,
            CliError::Argument { .. }
            | CliError::Json { .. }
            | CliError::NoTrades
            | CliError::ServersOwn { .. } => Family::Malformed,
            CliError::Runtime(_)
            | CliError::Input(_)
            | CliError::Output(_)
            | CliError::Poisoned { .. }
            | CliError::Stopped => Family::Unavailable,
        }
    }

    /// Whether standard output was closed by whoever read it.
    pub(super) fn is_closed_output(&self) -> bool {
        match self {
            CliError::Output(error) => error.kind() == io::ErrorKind::BrokenPipe,
            CliError::Config(_)
            | CliError::Telemetry(_)
            | CliError::Runtime(_)
            | CliError::Engine(_)
            | CliError::NoLog { .. }
            | CliError::Remote(_)
            | CliError::Serve(_)
            | CliError::Users(_)
            | CliError::Command(_)
            | CliError::Travel(_)
            | CliError::Read(_)
            | CliError::Append(_)
            | CliError::Foreign(_)
            | CliError::UnknownStream { .. }
            | CliError::Argument { .. }
            | CliError::Json { .. }
            | CliError::Import(_)
            | CliError::UnknownProjection { .. }
            | CliError::Demo(_)
            | CliError::NoTrades
            | CliError::Replay(_)
            | CliError::Log(_)
            | CliError::Backup(_)
            | CliError::Copy(_)
            | CliError::Server(_)
            | CliError::ServersOwn { .. }
            | CliError::Poisoned { .. }
            | CliError::Stopped
            | CliError::Input(_) => false,
        }
    }

    /// What to do next, where the command line knows.
    pub(super) fn hint(&self) -> Option<String> {
        let hint = self.own_hint().or(match self.family() {
            Family::Damage => {
                Some("stop writing, keep a copy of the folder, and look at the place named")
            }
            Family::TooMuch | Family::Unavailable => Some("try again"),
            Family::Malformed
            | Family::Unauthenticated
            | Family::Denied
            | Family::NotFound
            | Family::Refusal
            | Family::Conflict => None,
        });
        hint.map(str::to_owned)
    }

    fn own_hint(&self) -> Option<&'static str> {
        if let CliError::Backup(error) = self {
            return backup_hint(error);
        }
        if let CliError::Log(OpenError::Locked { .. }) = self {
            return Some(STOP_FIRST);
        }
        if let CliError::Engine(EngineError::Log(OpenError::Locked { .. })) = self {
            return Some(
                "another annals has it open; to ask a running server, add --server http://HOST:PORT",
            );
        }
        if let CliError::NoLog { .. } = self {
            return Some(
                "say where it is with --data DIR; `annals demo` and `annals serve` make a new one",
            );
        }
        if let CliError::ServersOwn { .. } = self {
            return Some(
                "use the server's own tools; `annals store copy` brings its events into a data folder",
            );
        }
        if let CliError::Copy(CopyError::Differs { .. } | CopyError::Counts { .. }) = self {
            return Some("copy into a store of its own, or remove what else writes to the target");
        }
        if let CliError::NoTrades = self {
            return Some("name one with --trades FILE; `make demo` fetches a million trades");
        }
        if let CliError::Remote(RemoteError::Unreachable { .. }) = self {
            return Some("start one with `annals serve`, or leave --server away");
        }
        if let CliError::Remote(RemoteError::Problem { family: Family::Unauthenticated, .. }) = self
        {
            return Some("set ANNALS_API_KEY to the server's key");
        }
        if let CliError::Travel(TravelError::UnknownStream { .. })
        | CliError::UnknownStream { .. } = self
        {
            return Some("`annals events read` shows which streams there are");
        }
        if let CliError::Foreign(_) = self {
            return Some("use `annals command CONTEXT NAME --json '{…}'`");
        }
        if let CliError::Append(AppendError::Conflict { .. }) = self {
            return Some("look at the stream, then try again with --expected and its revision");
        }
        if let CliError::Append(AppendError::Unknown(_)) = self {
            return Some("try again with the same --id");
        }
        None
    }
}

const STOP_FIRST: &str = "stop what has it open; a backup of a log can be made beside a server";

fn backup_hint(error: &BackupError) -> Option<&'static str> {
    match error {
        BackupError::Open(OpenError::Locked { .. }) => Some(STOP_FIRST),
        BackupError::Open(_) => None,
        BackupError::Log(_) => Some(
            "`annals store verify` tells all that is damaged, `annals store repair --from BACKUP` repairs it",
        ),
        BackupError::Backup(_) => Some("use another backup; this one was not changed"),
        BackupError::NoBackup { .. } => Some("`annals store backup --to FOLDER` makes one"),
        BackupError::Occupied { .. } => Some("give a folder that is empty or not there yet"),
        BackupError::Foreign { .. } | BackupError::Diverged { .. } => {
            Some("give another folder; this backup holds a history that this log does not have")
        }
        BackupError::BeyondPosition { .. }
        | BackupError::BeyondTime { .. }
        | BackupError::BeforeTime { .. } => {
            Some("without --to, everything in the backup is restored")
        }
        BackupError::Unproven(_) | BackupError::Lost { .. } => Some(
            "nothing was changed; `annals store restore --from BACKUP --data DIR` makes a log of what the backup holds",
        ),
    }
}
