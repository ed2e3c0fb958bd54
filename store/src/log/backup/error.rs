//! Why a backup, a restore or a repair did not do what it was asked.

use std::path::PathBuf;

use annals_core::{Family, Position, Timestamp};
use uuid::Uuid;

use crate::log::error::{Damage, OpenError, ScanError};

/// Why a backup, a restore or a repair did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The disk failed, a folder is in use, or there is no log.
    #[error(transparent)]
    Open(OpenError),
    /// The log is damaged; the backup stays as it was.
    #[error("the log is damaged")]
    Log(#[source] Damage),
    /// The backup is damaged, or not complete.
    #[error("the backup cannot be used")]
    Backup(#[source] Damage),
    /// There is no backup.
    #[error("{} holds no backup", directory.display())]
    NoBackup {
        /// The folder.
        directory: PathBuf,
    },
    /// Something else is there.
    #[error("{} is not empty: it holds {name}", directory.display())]
    Occupied {
        /// The folder.
        directory: PathBuf,
        /// A file in it.
        name: String,
    },
    /// The backup is of another store.
    #[error("the backup is of store {backup}, the log is store {log}")]
    Foreign {
        /// The store in the backup.
        backup: Uuid,
        /// The store in the log's folder.
        log: Uuid,
    },
    /// The backup holds a history that the log does not have.
    #[error("the backup holds another history than the log from segment {segment} on")]
    Diverged {
        /// The first segment that differs.
        segment: u32,
    },
    /// The backup does not reach that position.
    #[error("the backup ends before position {wanted}: it holds {events} events")]
    BeyondPosition {
        /// The last event wanted.
        wanted: Position,
        /// How many events the backup holds.
        events: u64,
    },
    /// The backup was begun before that time.
    #[error("the backup was begun at {begun}, so it does not tell what was recorded by {wanted}")]
    BeyondTime {
        /// The time wanted.
        wanted: Timestamp,
        /// When the backup was begun.
        begun: Timestamp,
    },
    /// No event is that old.
    #[error("no event of the backup was recorded by {wanted}")]
    BeforeTime {
        /// The time wanted.
        wanted: Timestamp,
    },
    /// Nothing proves that the backup's bytes are those that stood there; nothing was changed.
    #[error("the backup does not prove what stood there")]
    Unproven(#[source] Damage),
    /// A repair would lose what was acknowledged; nothing was changed.
    #[error("{}", lost(*from, *upto))]
    Lost {
        /// The position of the first event that would be lost.
        from: u64,
        /// The position behind the last one that is known of.
        upto: Option<u64>,
        /// The damage that the backup does not reach.
        #[source]
        damage: Damage,
    },
}

fn lost(from: u64, upto: Option<u64>) -> String {
    match upto {
        Some(upto) if upto > from => {
            let last = upto - 1;
            format!("the backup does not reach the events at positions {from} to {last}")
        }
        Some(_) | None => format!("the backup does not reach the events from position {from} on"),
    }
}

impl BackupError {
    /// The family of this error.
    pub fn family(&self) -> Family {
        match self {
            BackupError::Open(error) => error.family(),
            BackupError::Log(_)
            | BackupError::Backup(_)
            | BackupError::Unproven(_)
            | BackupError::Lost { .. } => Family::Damage,
            BackupError::NoBackup { .. }
            | BackupError::BeyondPosition { .. }
            | BackupError::BeyondTime { .. }
            | BackupError::BeforeTime { .. } => Family::NotFound,
            BackupError::Occupied { .. }
            | BackupError::Foreign { .. }
            | BackupError::Diverged { .. } => Family::Refusal,
        }
    }
}

/// Damage that is met outside of a backup is the log's.
impl From<OpenError> for BackupError {
    fn from(error: OpenError) -> BackupError {
        match error {
            OpenError::Damage(damage) => BackupError::Log(damage),
            error @ (OpenError::Locked { .. }
            | OpenError::NoLog { .. }
            | OpenError::Disk { .. }
            | OpenError::SegmentSize { .. }) => BackupError::Open(error),
        }
    }
}

impl From<ScanError> for BackupError {
    fn from(error: ScanError) -> BackupError {
        OpenError::from(error).into()
    }
}

/// The same, of a file in the backup.
pub(crate) fn in_backup(error: impl Into<BackupError>) -> BackupError {
    let error = error.into();
    if let BackupError::Log(damage) = error { BackupError::Backup(damage) } else { error }
}
