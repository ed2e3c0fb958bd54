//! The index of one segment in memory: of the active one, and of a sealed one until its file is written. It may hold
//! events that are not durable yet; readers stop at the durable end.

use annals_core::{EventId, EventType, Position, Revision, StreamName};
use hashbrown::HashMap;
use uuid::Uuid;

use super::hash::Term;
use super::ids::Ids;

/// What the index is told of an event.
pub(crate) struct Entry<'a> {
    /// Where its frame begins in the segment.
    pub(crate) offset: u32,
    pub(crate) id: EventId,
    /// The kept half of the id's hash.
    pub(crate) id_hash: u32,
    pub(crate) event_type: &'a str,
    pub(crate) tags: Vec<&'a str>,
}

/// A stream's events in one segment.
pub(crate) struct StreamEvents {
    /// The revision of the first of them.
    pub(crate) first_revision: u64,
    pub(crate) last_id: EventId,
    pub(crate) numbers: Vec<u32>,
}

impl StreamEvents {
    /// None yet, from that revision on.
    fn begin(first: Revision) -> StreamEvents {
        let last_id = EventId(Uuid::nil());
        StreamEvents { first_revision: first.0, last_id, numbers: Vec::new() }
    }
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

    /// Adds the next events of the segment: one or more of a stream, of which the first has that revision.
    pub(crate) fn add<'a>(
        &mut self,
        stream: &StreamName,
        first: Revision,
        entries: impl IntoIterator<Item = Entry<'a>>,
    ) {
        let next = self.events();
        if !self.streams.contains_key(stream) {
            self.streams.insert(stream.clone(), StreamEvents::begin(first));
        }
        let events = self.streams.get_mut(stream).expect("it is there now");
        self.streams_begun += u32::from(first == Revision(0));
        // Events that come together are mostly of one type.
        let mut of_type: Option<(&str, &mut Vec<u32>)> = None;
        for (number, entry) in (next..).zip(entries) {
            self.offsets.push(entry.offset);
            self.ids.add(entry.id_hash, number);
            events.numbers.push(number);
            events.last_id = entry.id;
            match &mut of_type {
                Some((event_type, numbers)) if *event_type == entry.event_type => {
                    numbers.push(number);
                }
                _ => {
                    let numbers = numbers_of(&mut self.types, entry.event_type);
                    numbers.push(number);
                    of_type = Some((entry.event_type, numbers));
                }
            }
            for tag in entry.tags {
                match self.tags.get_mut(tag) {
                    Some(numbers) => numbers.push(number),
                    None => drop(self.tags.insert(Box::from(tag), vec![number])),
                }
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

fn numbers_of<'a>(types: &'a mut HashMap<EventType, Vec<u32>>, name: &str) -> &'a mut Vec<u32> {
    if !types.contains_key(name) {
        types.insert(EventType::new(name).expect("it is one"), Vec::new());
    }
    types.get_mut(name).expect("it is there now")
}

#[cfg(not(schedules))]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_several_types_that_come_together_stand_each_with_its_own() {
        let stream = StreamName::new("note-1").expect("a valid name");
        let entry = |event_type: &'static str| Entry {
            offset: 64,
            id: EventId(Uuid::nil()),
            id_hash: 0,
            event_type,
            tags: Vec::new(),
        };
        let mut part = MemoryPart::new(1, 0);
        part.add(&stream, Revision(0), ["a.B", "a.B", "a.C", "a.B"].map(entry));
        part.add(&stream, Revision(4), ["a.C"].map(entry));
        assert_eq!(part.numbers(Term::Type("a.B")), [0, 1, 3]);
        assert_eq!(part.numbers(Term::Type("a.C")), [2, 4]);
        assert_eq!(part.numbers(Term::Stream("note-1")), [0, 1, 2, 3, 4]);
        assert_eq!((part.streams_begun, part.streams["note-1"].first_revision), (1, 0));
    }
}
