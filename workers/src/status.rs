//! How a projection stands, for people and for the APIs.

use annals_core::Position;
use serde::{Deserialize, Serialize};

/// What a projection writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProjectionKind {
    /// Rows in PostgreSQL.
    ReadModel,
    /// Facts in ClickHouse.
    Facts,
}

impl ProjectionKind {
    /// As it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            ProjectionKind::ReadModel => "read-model",
            ProjectionKind::Facts => "facts",
        }
    }
}

/// What a projection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProjectionState {
    /// It follows the log, or no worker of this process has touched it yet.
    Running,
    /// It cannot go past an event, or its checkpoint is not of this log; the reason says which.
    Failed,
    /// Its stored version is not the one of this program: it waits for a rebuild.
    NeedsRebuild,
    /// Its database does not answer; it tries again.
    Retrying,
    /// It was stopped.
    Stopped,
    /// It has no database to write to.
    Off,
}

impl ProjectionState {
    /// As it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            ProjectionState::Running => "running",
            ProjectionState::Failed => "failed",
            ProjectionState::NeedsRebuild => "needs-rebuild",
            ProjectionState::Retrying => "retrying",
            ProjectionState::Stopped => "stopped",
            ProjectionState::Off => "off",
        }
    }

    /// From its stored form; unknown text of a later version reads as running.
    pub fn from_stored(text: &str) -> ProjectionState {
        match text {
            "failed" => ProjectionState::Failed,
            "needs-rebuild" => ProjectionState::NeedsRebuild,
            _ => ProjectionState::Running,
        }
    }
}

/// How a projection stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectionStatus {
    /// Its name.
    pub name: String,
    /// What it writes to.
    pub kind: ProjectionKind,
    /// The version of this program's code.
    pub version: u32,
    /// The generation that readers see.
    pub generation: u32,
    /// Everything up to here is in its rows; nothing before the first event.
    pub position: Option<Position>,
    /// What it is doing.
    pub state: ProjectionState,
    /// Why, where it does not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Positions between it and the end of the log; exact where positions have no gaps.
    pub lag: u64,
}

/// Positions between `position` and `head`.
pub fn lag(head: Option<Position>, position: Option<Position>) -> u64 {
    let count = |position: Option<Position>| position.map_or(0, |position| position.0 + 1);
    count(head).saturating_sub(count(position))
}
