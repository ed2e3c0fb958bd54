//! The index of one segment in memory: of the active one, and of a sealed one until its file is written. It may hold
//! events that are not durable yet; readers stop at the durable end.

use annals_core::{EventId, EventType, Position, Revision, StreamName};
use hashbrown::HashMap;

use super::hash::Term;
use super::ids::Ids;

/// What the index is told of an event.
pub(crate) struct Entry<'a> {
    /// Where its frame begins in the segment.
    pub(crate) offset: u32,
    pub(crate) id: EventId,
    /// The kept half of the id's hash.
    pub(crate) id_hash: u32,
    pub(crate) stream: &'a StreamName,
    pub(crate) revision: Revision,
    pub(crate) event_type: &'a str,
    pub(crate) tags: &'a [&'a str],
}

/// A stream's events in one segment.
pub(crate) struct StreamEvents {
    /// The revision of the first of them.
    pub(crate) first_revision: u64,
    pub(crate) last_id: EventId,
    pub(crate) numbers: Vec<u32>,
}

/// The index of one segment. Events have numbers in it, from 0.
pub(crate) struct MemoryPart {
    pub(crate) segment: u32,
    pub(crate) first_position: u64,
    pub(crate) offsets: Vec<u32>,
    pub(crate) ids: Ids,
    pub(crate) streams: HashMap<StreamName, StreamEvents>,
    pub(crate) types: HashMap<EventType, Vec<u32>>,
    pub(crate) tags: HashMap<Box<str>, Vec<u32>>,
    pub(crate) streams_begun: u32,
}

impl MemoryPart {
    pub(crate) fn new(segment: u32, first_position: u64) -> MemoryPart {
        MemoryPart {
            segment,
            first_position,
            offsets: Vec::new(),
            ids: Ids::default(),
            streams: HashMap::new(),
            types: HashMap::new(),
            tags: HashMap::new(),
            streams_begun: 0,
        }
    }

    /// How many events it holds.
    pub(crate) fn events(&self) -> u32 {
        u32::try_from(self.offsets.len()).expect("a segment holds fewer")
    }

    /// Adds the next event of the segment.
    pub(crate) fn add(&mut self, entry: &Entry<'_>) {
        let number = self.events();
        self.offsets.push(entry.offset);
        self.ids.add(entry.id_hash, number);
        self.streams_begun += u32::from(entry.revision == Revision(0));
        if let Some(events) = self.streams.get_mut(entry.stream) {
            events.numbers.push(number);
            events.last_id = entry.id;
        } else {
            let (first_revision, last_id) = (entry.revision.0, entry.id);
            let events = StreamEvents { first_revision, last_id, numbers: vec![number] };
            self.streams.insert(entry.stream.clone(), events);
        }
        if let Some(numbers) = self.types.get_mut(entry.event_type) {
            numbers.push(number);
        } else {
            let event_type = EventType::new(entry.event_type).expect("it is one");
            self.types.insert(event_type, vec![number]);
        }
        for tag in entry.tags {
            match self.tags.get_mut(*tag) {
                Some(numbers) => numbers.push(number),
                None => drop(self.tags.insert(Box::from(*tag), vec![number])),
            }
        }
    }

    /// A stream's last event.
    pub(crate) fn last_of(&self, stream: &StreamName) -> Option<(Revision, EventId, Position)> {
        let events = self.streams.get(stream)?;
        let number = events.numbers.last()?;
        let revision = Revision(events.first_revision + events.numbers.len() as u64 - 1);
        Some((revision, events.last_id, Position(self.first_position + u64::from(*number))))
    }

    /// The numbers of a term's events, in order.
    pub(crate) fn numbers(&self, term: Term<'_>) -> &[u32] {
        let numbers = match term {
            Term::Stream(name) => self.streams.get(name).map(|events| &events.numbers),
            Term::Type(name) => self.types.get(name),
            Term::Tag(tag) => self.tags.get(tag),
        };
        numbers.map_or(&[], |numbers| numbers)
    }
}
