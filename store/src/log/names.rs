//! The names that a reader met, so that each event shares its names with others instead of owning a
//! copy.

use std::sync::Arc;

use annals_core::{EventType, StreamName};
use hashbrown::HashSet;

use super::index::Index;

/// How many names a reader keeps.
const NAMES_MAX: usize = 16_384;

/// The names of one reader.
pub(crate) struct Names {
    index: Arc<Index>,
    streams: HashSet<StreamName>,
    types: HashSet<EventType>,
    last_stream: Option<StreamName>,
    last_type: Option<EventType>,
}

impl Names {
    /// Those of a reader, who will meet that stream first, if one is given.
    pub(crate) fn new(index: Arc<Index>, stream: Option<StreamName>) -> Names {
        let (streams, types) = (HashSet::new(), HashSet::new());
        Names { index, streams, types, last_stream: stream, last_type: None }
    }

    /// The stream's name; nothing where the bytes are no name.
    pub(crate) fn stream(&mut self, bytes: &[u8]) -> Option<&StreamName> {
        if self.last_stream.as_ref().is_none_or(|last| last.as_str().as_bytes() != bytes) {
            let name = std::str::from_utf8(bytes).ok()?;
            self.last_stream = Some(match self.streams.get(name) {
                Some(known) => known.clone(),
                None => self.meet_stream(name)?,
            });
        }
        self.last_stream.as_ref()
    }

    /// The event type; nothing where the bytes are no name.
    pub(crate) fn event_type(&mut self, bytes: &[u8]) -> Option<&EventType> {
        if self.last_type.as_ref().is_none_or(|last| last.as_str().as_bytes() != bytes) {
            let name = std::str::from_utf8(bytes).ok()?;
            self.last_type = Some(match self.types.get(name) {
                Some(known) => known.clone(),
                None => self.meet_type(name)?,
            });
        }
        self.last_type.as_ref()
    }

    fn meet_stream(&mut self, name: &str) -> Option<StreamName> {
        if self.streams.len() >= NAMES_MAX {
            self.streams.clear();
        }
        let shared = self.index.stream_name(name);
        let shared = shared.or_else(|| StreamName::new(name).ok())?;
        self.streams.insert(shared.clone());
        Some(shared)
    }

    fn meet_type(&mut self, name: &str) -> Option<EventType> {
        if self.types.len() >= NAMES_MAX {
            self.types.clear();
        }
        let shared = self.index.event_type(name);
        let shared = shared.or_else(|| EventType::new(name).ok())?;
        self.types.insert(shared.clone());
        Some(shared)
    }
}
