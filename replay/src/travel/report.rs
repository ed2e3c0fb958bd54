//! The answers, as they are shown and serialised.

use annals_core::Timestamp;
use annals_core::{EventId, EventType, Metadata, Position, RecordedEvent, Revision, StreamName};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::changes::FieldChange;
use super::point::Subject;

/// What folded the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FoldKind {
    /// The decider of the stream's category.
    Decider,
    /// The read model's projection.
    ReadModel,
    /// Nothing: no decider is registered for the stream's category, so there are only its events.
    Events,
}

/// Where an event stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Its place in the whole log.
    pub position: Position,
    /// Its stream.
    pub stream: StreamName,
    /// Its number in that stream.
    pub revision: Revision,
    /// When the store accepted it.
    pub time: Timestamp,
    /// Its type.
    #[serde(rename = "type")]
    pub event_type: EventType,
    /// Its identity.
    pub id: EventId,
}

impl Place {
    /// Where this event stands.
    pub fn of(event: &RecordedEvent) -> Place {
        Place {
            position: event.position,
            stream: event.stream.clone(),
            revision: event.revision,
            time: event.time,
            event_type: event.event_type.clone(),
            id: event.id,
        }
    }
}

/// A subject at one point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// What was looked at.
    #[serde(flatten)]
    pub subject: Subject,
    /// What folded the state.
    pub fold: FoldKind,
    /// How many events made it.
    pub events: u64,
    /// The last of them; none where the subject did not exist yet.
    pub last: Option<Place>,
    /// The state; none where the subject did not exist (any more), or nothing folds it.
    pub state: Option<Value>,
}

/// One event of a subject's history and what it changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Its number among the events of the subject, from 0; of a stream, its revision.
    pub number: Revision,
    /// Where it stands.
    #[serde(flatten)]
    pub place: Place,
    /// Who and what led to it.
    pub metadata: Metadata,
    /// The event as people read it.
    pub event: Value,
    /// The fields it changed; empty also where nothing folds the subject.
    pub changes: Vec<FieldChange>,
}

/// A part of a subject's history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// What was looked at.
    #[serde(flatten)]
    pub subject: Subject,
    /// What folded the states.
    pub fold: FoldKind,
    /// The events, oldest first.
    pub changes: Vec<Change>,
    /// Where the part after this one begins; none where nothing follows within what was asked for.
    pub next: Option<Position>,
}

/// A subject at two points, and what differs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// What was looked at.
    #[serde(flatten)]
    pub subject: Subject,
    /// The one point.
    pub from: Snapshot,
    /// The other point; it may be the earlier one.
    pub to: Snapshot,
    /// How the state at `from` becomes the state at `to`.
    pub changes: Vec<FieldChange>,
}
