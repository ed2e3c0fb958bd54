//! What a rebuild and a verification work on, and what can go wrong in them.

use std::sync::Arc;

use annals_core::{EventStore, Family, ReadError, Schemas};
use annals_workers::decoding::FoldError;
use annals_workers::schema::SetupError;
use annals_workers::{Catalogue, ClickHouse, ClickHouseError};
use sqlx::PgPool;

/// The log, what it means, and the databases that hold what was folded from it.
#[derive(Clone)]
pub struct ReplaySource {
    /// The log.
    pub store: Arc<dyn EventStore>,
    /// Its writer schemas.
    pub schemas: Schemas,
    /// The projections.
    pub catalogue: Catalogue,
    /// PostgreSQL.
    pub pool: PgPool,
    /// ClickHouse, where there is one.
    pub analytics: Option<ClickHouse>,
}

impl std::fmt::Debug for ReplaySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReplaySource")
            .field("names", &self.catalogue.names())
            .finish_non_exhaustive()
    }
}

/// Why a rebuild or a verification did not end well. What readers see is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// No projection of this name.
    #[error("no projection is named {name:?}; there are {}", known.join(", "))]
    UnknownProjection {
        /// The name asked for.
        name: String,
        /// Those that there are.
        known: Vec<&'static str>,
    },
    /// Facts need ClickHouse.
    #[error("the facts {name} need ClickHouse, and there is none")]
    NoClickHouse {
        /// The facts.
        name: &'static str,
    },
    /// Somebody else rebuilds or verifies the same projection.
    #[error("another rebuild or verification of {name} is at work")]
    Busy {
        /// The projection.
        name: &'static str,
    },
    /// The projection has no checkpoint: nothing was ever set up.
    #[error("projection {name} is not registered; start the workers once")]
    NotRegistered {
        /// The projection.
        name: &'static str,
    },
    /// The rows are of another version or another log, so that comparing them with this history says nothing.
    #[error("projection {name} cannot be verified: {reason}")]
    NotComparable {
        /// The projection.
        name: &'static str,
        /// Why.
        reason: String,
    },
    /// The log could not be read.
    #[error("reading the log failed")]
    Read(#[from] ReadError),
    /// An event could not be folded.
    #[error("projection {name} cannot be folded")]
    Fold {
        /// The projection.
        name: &'static str,
        /// The event and the cause.
        #[source]
        source: FoldError,
    },
    /// A database could not be prepared.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// ClickHouse did not do what was asked.
    #[error("{attempt} failed")]
    ClickHouse {
        /// What was being done.
        attempt: String,
        /// The cause.
        #[source]
        source: ClickHouseError,
    },
}

impl ReplayError {
    /// The family of this error.
    pub fn family(&self) -> Family {
        match self {
            ReplayError::UnknownProjection { .. } | ReplayError::NotRegistered { .. } => {
                Family::NotFound
            }
            ReplayError::NoClickHouse { .. } => Family::Unavailable,
            ReplayError::Busy { .. } | ReplayError::NotComparable { .. } => Family::Conflict,
            ReplayError::Read(error) => error.family(),
            ReplayError::Fold { source, .. } => source.family(),
            ReplayError::Setup(error) => error.family(),
            ReplayError::ClickHouse { source, .. } => source.family(),
        }
    }
}

/// Adds what was being attempted to a PostgreSQL error.
pub(crate) fn postgres(attempt: impl Into<String>) -> impl FnOnce(sqlx::Error) -> ReplayError {
    let attempt = attempt.into();
    move |source| ReplayError::Setup(SetupError::Postgres { attempt, source })
}

/// Adds what was being attempted to a ClickHouse error.
pub(crate) fn clickhouse(
    attempt: impl Into<String>,
) -> impl FnOnce(ClickHouseError) -> ReplayError {
    let attempt = attempt.into();
    move |source| ReplayError::ClickHouse { attempt, source }
}
