//! What is known of the log without reading it: each stream's events, each event id, and landmarks
//! from which a position or a time is found. It may hold events that are not durable yet; readers
//! stop at the durable end.

use annals_core::{EventId, EventType, Revision, StreamName, Timestamp};
use hashbrown::hash_table::HashTable;
use hashbrown::{DefaultHashBuilder, HashMap, HashSet};
use std::hash::BuildHasher;

use super::address::Address;

/// At most one landmark in that many bytes of a segment.
const LANDMARK_BYTES: u32 = 32 << 10;

/// A frame that a search can begin at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Landmark {
    pub(crate) address: Address,
    pub(crate) position: u64,
    pub(crate) time: Timestamp,
}

/// A stream's events.
#[derive(Default)]
struct Events {
    /// Their packed addresses, by revision.
    addresses: Vec<u64>,
    last_id: Option<EventId>,
}

/// The index of a log.
#[derive(Default)]
pub(crate) struct Index {
    streams: HashMap<StreamName, Events>,
    types: HashSet<EventType>,
    /// Ids as their hash and where the event stands; two ids may share a hash, so a find is held
    /// against the event.
    ids: HashTable<(u64, u64)>,
    hasher: DefaultHashBuilder,
    landmarks: Vec<Landmark>,
}

impl Index {
    /// The last revision of a stream, and that event's id.
    pub(crate) fn head(&self, stream: &StreamName) -> Option<(Revision, EventId)> {
        let events = self.streams.get(stream)?;
        let last = events.addresses.len().checked_sub(1)?;
        Some((Revision(last as u64), events.last_id?))
    }

    /// How many streams there are.
    pub(crate) fn stream_count(&self) -> usize {
        self.streams.len()
    }

    /// Makes room for that many events.
    pub(crate) fn reserve(&mut self, events: u64) {
        self.ids.reserve(usize::try_from(events).unwrap_or(0), |(hash, _)| *hash);
    }

    /// Where events that may have this id stand.
    pub(crate) fn candidates(&self, id: EventId) -> impl Iterator<Item = Address> {
        let hash = self.hasher.hash_one(id);
        self.ids
            .iter_hash(hash)
            .filter(move |(other, _)| *other == hash)
            .map(|(_, address)| Address::unpack(*address))
    }

    /// Adds the next events of a stream, in order.
    pub(crate) fn add(
        &mut self,
        stream: &StreamName,
        events: impl IntoIterator<Item = (EventId, Landmark)>,
    ) {
        let entry = match self.streams.get_mut(stream) {
            Some(entry) => entry,
            None => self.streams.entry(stream.clone()).or_default(),
        };
        for (id, at) in events {
            let packed = at.address.pack();
            entry.addresses.push(packed);
            entry.last_id = Some(id);
            let hash = self.hasher.hash_one(id);
            self.ids.insert_unique(hash, (hash, packed), |(hash, _)| *hash);
            let fresh = self.landmarks.last().is_none_or(|last| {
                last.address.segment != at.address.segment
                    || at.address.offset - last.address.offset >= LANDMARK_BYTES
            });
            if fresh {
                self.landmarks.push(at);
            }
        }
    }

    /// The name as the index keeps it, so that it is shared.
    pub(crate) fn stream_name(&self, name: &str) -> Option<StreamName> {
        self.streams.get_key_value(name).map(|(name, _)| name.clone())
    }

    /// The type as the index keeps it.
    pub(crate) fn event_type(&self, name: &str) -> Option<EventType> {
        self.types.get(name).cloned()
    }

    /// Keeps a type.
    pub(crate) fn add_type(&mut self, event_type: &EventType) {
        if !self.types.contains(event_type) {
            self.types.insert(event_type.clone());
        }
    }

    /// The packed addresses of a stream's events before `end`.
    pub(crate) fn stream(&self, stream: &StreamName, end: Address) -> &[u64] {
        let events = self.streams.get(stream).map_or(&[][..], |events| &events.addresses[..]);
        &events[..events.partition_point(|address| *address < end.pack())]
    }

    /// The last landmark for which `before` holds, when it holds for all before it.
    pub(crate) fn landmark(&self, before: impl Fn(&Landmark) -> bool) -> Option<Landmark> {
        let count = self.landmarks.partition_point(before);
        count.checked_sub(1).map(|last| self.landmarks[last])
    }
}
