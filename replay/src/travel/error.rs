//! Why a question about the past has no answer.

use annals_core::{DecodeError, Family, Position, ReadError, Revision, RowKey, StreamName};

use super::point::Subject;

/// Why a question about the past has no answer.
#[derive(Debug, thiserror::Error)]
pub enum TravelError {
    /// No read model of this name.
    #[error("no read model is named {name:?}; there are {known}", known = listed(known))]
    UnknownReadModel {
        /// The name asked for.
        name: String,
        /// Those that are registered.
        known: Vec<&'static str>,
    },
    /// No event stands in this stream.
    #[error("stream {stream} has no event")]
    UnknownStream {
        /// The stream.
        stream: StreamName,
    },
    /// No event ever touched this row.
    #[error("no event ever touched a row {key:?} of {read_model}")]
    UnknownKey {
        /// The read model.
        read_model: String,
        /// The key asked for.
        key: RowKey,
    },
    /// The subject has fewer events.
    #[error("{subject} has no revision {asked}; its last one is {last}")]
    NoSuchRevision {
        /// What was looked at.
        subject: Subject,
        /// The revision asked for.
        asked: Revision,
        /// The last one there is.
        last: Revision,
    },
    /// The log is shorter.
    #[error("the log has no position {asked}; {end}", end = end_of(*head))]
    NoSuchPosition {
        /// The position asked for.
        asked: Position,
        /// The last one there is.
        head: Option<Position>,
    },
    /// An event on the way does not decode.
    #[error("{subject} cannot be folded")]
    Undecodable {
        /// What was looked at.
        subject: Subject,
        /// The event, and what is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// The state has no JSON form: a fault of the domain's types.
    #[error("the state of {subject} cannot be shown as JSON")]
    Unshowable {
        /// What was looked at.
        subject: Subject,
        /// What the serialiser said.
        #[source]
        source: serde_json::Error,
    },
    /// The store could not be read.
    #[error("the history of {subject} could not be read")]
    Read {
        /// What was looked at.
        subject: Subject,
        /// The cause.
        #[source]
        source: ReadError,
    },
}

impl TravelError {
    /// The family of this error.
    pub fn family(&self) -> Family {
        match self {
            TravelError::UnknownReadModel { .. }
            | TravelError::UnknownStream { .. }
            | TravelError::UnknownKey { .. }
            | TravelError::NoSuchRevision { .. }
            | TravelError::NoSuchPosition { .. } => Family::NotFound,
            TravelError::Undecodable { .. } | TravelError::Unshowable { .. } => Family::Damage,
            TravelError::Read { source, .. } => source.family(),
        }
    }
}

fn listed(names: &[&'static str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn end_of(head: Option<Position>) -> String {
    head.map_or_else(
        || "it is empty".to_owned(),
        |head| format!("its last event is at position {head}"),
    )
}
