//! Events and their coordinates. An event never changes once recorded; its payload is opaque bytes here (codec.rs
//! gives it meaning), so that the store, the relay and the debugger handle every domain alike.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::codec::SchemaFingerprint;
use crate::metadata::Metadata;

/// The longest stream name and event type accepted, in bytes.
pub const NAME_BYTES_MAX: usize = 1024;

/// Identifies one event for ever; a UUID version 7 when Annals makes it, any UUID when a client brings it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(pub Uuid);

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The name of a stream, `category-id`: the part before the first `-` is its category.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StreamName(Arc<str>);

/// The type of an event, `context.Name`, which is also the full name of its Avro schema.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EventType(Arc<str>);

/// A stream name or event type that is empty, too long, or holds a control character.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {name:?} is not valid: {why}")]
pub struct InvalidName {
    /// What the name was to be: `stream name` or `event type`.
    pub what: &'static str,
    /// The name as given, cut to 64 characters.
    pub name: String,
    /// The rule that it breaks.
    pub why: &'static str,
}

fn checked(what: &'static str, name: &str) -> Result<Arc<str>, InvalidName> {
    let why = if name.is_empty() {
        "it is empty"
    } else if name.len() > NAME_BYTES_MAX {
        "it is longer than 1024 bytes"
    } else if name.chars().any(char::is_control) {
        "it holds a control character"
    } else {
        return Ok(Arc::from(name));
    };
    Err(InvalidName { what, name: name.chars().take(64).collect(), why })
}

impl StreamName {
    /// Checks and wraps a stream name.
    ///
    /// # Errors
    /// [`InvalidName`] when it is empty, longer than [`NAME_BYTES_MAX`] or holds a control character.
    pub fn new(name: impl AsRef<str>) -> Result<StreamName, InvalidName> {
        checked("stream name", name.as_ref()).map(StreamName)
    }

    /// The stream of one thing in a category: `category-id`.
    ///
    /// # Errors
    /// As [`StreamName::new`].
    pub fn of(category: &str, id: impl fmt::Display) -> Result<StreamName, InvalidName> {
        StreamName::new(format!("{category}-{id}"))
    }

    /// The part before the first `-`, or the whole name where there is none.
    pub fn category(&self) -> &str {
        self.0.split('-').next().unwrap_or(&self.0)
    }

    /// The part after the first `-`, or nothing where there is none.
    pub fn id(&self) -> &str {
        self.0.split_once('-').map_or("", |(_, id)| id)
    }

    /// System streams begin with `$` and are not shown to domain readers.
    pub fn is_system(&self) -> bool {
        self.0.starts_with('$')
    }
}

impl EventType {
    /// Checks and wraps an event type.
    ///
    /// # Errors
    /// [`InvalidName`], as for a stream name.
    pub fn new(name: impl AsRef<str>) -> Result<EventType, InvalidName> {
        checked("event type", name.as_ref()).map(EventType)
    }

    /// The context: the part before the first `.`, or nothing where there is none.
    pub fn context(&self) -> &str {
        self.0.split_once('.').map_or("", |(context, _)| context)
    }

    /// The name within its context: the part after the first `.`.
    pub fn name(&self) -> &str {
        self.0.split_once('.').map_or(&self.0, |(_, name)| name)
    }
}

macro_rules! text {
    ($type:ident) => {
        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl TryFrom<String> for $type {
            type Error = InvalidName;
            fn try_from(name: String) -> Result<$type, InvalidName> {
                $type::new(name)
            }
        }
        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0.as_ref().to_owned()
            }
        }
        impl std::borrow::Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}
text!(StreamName);
text!(EventType);

/// The number of an event in its stream: 0, 1, 2, … without a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);

/// The place of an event in the whole log. Positions only grow; the embedded log counts 0, 1, 2, …, other stores may
/// leave gaps, so code compares positions and never does arithmetic on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An event on its way into the store, which gives it its revision, position and time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// Its identity in its stream; appending the same ids to it again writes nothing.
    pub id: EventId,
    /// Its type.
    pub event_type: EventType,
    /// The writer schema of `data`, or [`SchemaFingerprint::NONE`] for bytes that Annals did not encode.
    pub schema: SchemaFingerprint,
    /// [`Metadata::encode`]d.
    pub metadata: Bytes,
    /// The payload.
    pub data: Bytes,
}

/// An event as the store keeps it. Cloning is cheap: names and bytes are shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedEvent {
    /// Its identity.
    pub id: EventId,
    /// The stream it belongs to.
    pub stream: StreamName,
    /// Its number in that stream.
    pub revision: Revision,
    /// Its place in the whole log.
    pub position: Position,
    /// Its type.
    pub event_type: EventType,
    /// When the store accepted it; never before an earlier event of the same stream.
    pub time: Timestamp,
    /// The writer schema of `data`.
    pub schema: SchemaFingerprint,
    /// [`Metadata::encode`]d; see [`RecordedEvent::metadata`].
    pub metadata: Bytes,
    /// The payload.
    pub data: Bytes,
}

impl RecordedEvent {
    /// The decoded metadata; what cannot be decoded (another writer's bytes) is empty but for `custom`.
    pub fn metadata(&self) -> Metadata {
        Metadata::decode(&self.metadata)
    }
}

/// A decoded domain event with the coordinates a projection may use.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded<E> {
    /// The stream it belongs to.
    pub stream: StreamName,
    /// Its number in that stream.
    pub revision: Revision,
    /// Its place in the whole log.
    pub position: Position,
    /// When the store accepted it.
    pub time: Timestamp,
    /// What happened.
    pub event: E,
}
