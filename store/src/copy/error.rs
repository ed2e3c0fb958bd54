//! Why a copy ended.

use std::fmt;

use annals_core::{AppendError, Family, ReadError, StreamName};

/// One of the two stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one that is copied.
    From,
    /// The one that it is copied into.
    To,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::From => "source",
            Side::To => "target",
        })
    }
}

/// Why a copy ended. What was appended stays.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A store cannot be read.
    #[error("the {side} cannot be read")]
    Read {
        /// Which.
        side: Side,
        /// The cause.
        #[source]
        source: ReadError,
    },
    /// The target takes no event.
    #[error("an event of stream {stream} cannot be appended to the target")]
    Append {
        /// The stream.
        stream: StreamName,
        /// The cause.
        #[source]
        source: AppendError,
    },
    /// The target holds something else in the same place.
    #[error(
        "the first {events} events of stream {stream} are not the same in the target as in the source"
    )]
    Differs {
        /// The stream.
        stream: StreamName,
        /// How many.
        events: u64,
    },
    /// The target's stream is longer or shorter than the source's.
    #[error("stream {stream} has {found} events in the target, {expected} in the source")]
    Counts {
        /// The stream.
        stream: StreamName,
        /// In the source.
        expected: u64,
        /// In the target.
        found: u64,
    },
    /// A schema is not in the target.
    #[error("the target lacks a schema of the source")]
    Schema,
}

impl CopyError {
    /// The family of this error.
    pub fn family(&self) -> Family {
        match self {
            CopyError::Read { source, .. } => source.family(),
            CopyError::Append { source, .. } => source.family(),
            CopyError::Differs { .. } | CopyError::Counts { .. } | CopyError::Schema => {
                Family::Conflict
            }
        }
    }
}
