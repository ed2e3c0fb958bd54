//! The index of one segment as a verification makes it, to be held against the segment's file: in flat lists, without a
//! list or a name of its own for a term, and with room that serves the next segment again. It cannot be asked anything.

use std::hash::BuildHasher;

use annals_core::{EventType, Metadata, StreamName};
use bytes::Bytes;
use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};
use uuid::Uuid;

use super::build::{self, Record};
use super::hash::{Hashes, Term};
use super::ids::entry;
use crate::log::error::{Flaw, ScanError};
use crate::log::format::frame::EventFrame;
use crate::log::format::index::IndexHeader;
use crate::log::recovery::Gathering;
use crate::log::scan::Found;

/// A kind of term, as [`Term`] has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Stream,
    Type,
    Tag,
}

/// What is known of a term.
struct Known {
    /// Of its kind and text, for the table.
    hash: u64,
    /// Of a stream: the revision of its first event here.
    first_revision: u64,
    kind: Kind,
    /// Its number among the terms.
    term: u32,
    /// Where its text begins and ends.
    text: (u32, u32),
    /// How many events it has.
    count: u32,
}

/// The index of one segment. Events have numbers in it, from 0.
pub(crate) struct Draft {
    hashes: Hashes,
    offsets: Vec<u32>,
    /// The kept half of the hash of each id above, the event's number below.
    ids: Vec<u64>,
    terms: HashTable<Known>,
    hasher: DefaultHashBuilder,
    /// The texts of the terms, one behind the other.
    texts: String,
    /// The numbers of the terms that the events have, each with the event's number; in the order of the events.
    mentions: Vec<(u32, u32)>,
    /// Room for the numbers of the events, term by term.
    numbers: Vec<u32>,
    streams_begun: u32,
    /// Whether every revision followed on its stream's last one.
    follows: bool,
}

impl Draft {
    /// An empty one, for a segment of that store.
    pub(crate) fn new(store: Uuid) -> Draft {
        Draft {
            hashes: Hashes::of(store),
            offsets: Vec::new(),
            ids: Vec::new(),
            terms: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            texts: String::new(),
            mentions: Vec::new(),
            numbers: Vec::new(),
            streams_begun: 0,
            follows: true,
        }
    }

    /// Makes it empty, for another segment.
    pub(crate) fn clear(&mut self) {
        self.offsets.clear();
        self.ids.clear();
        self.terms.clear();
        self.texts.clear();
        self.mentions.clear();
        self.streams_begun = 0;
        self.follows = true;
    }

    /// The index file of the segment, byte for byte; of the segment are number, salt and end.
    pub(crate) fn file(
        &mut self,
        store: Uuid,
        segment: (u32, u32, u32),
        first_position: u64,
        chain: [u8; 32],
    ) -> Vec<u8> {
        self.ids.sort_unstable();
        let ends = self.sort_mentions();
        let records = self.terms.iter().map(|known| {
            let text = self.text(known);
            let (term, first_revision) = match known.kind {
                Kind::Stream => (Term::Stream(text), Some(known.first_revision)),
                Kind::Type => (Term::Type(text), None),
                Kind::Tag => (Term::Tag(text), None),
            };
            let end = ends[known.term as usize];
            let numbers = &self.numbers[end - known.count as usize..end];
            Record { hash: self.hashes.term(term), term, first_revision, numbers }
        });
        let events = number_of(&self.offsets);
        let numbers = (first_position, events, self.streams_begun);
        let header = IndexHeader::new(store, segment, numbers, chain);
        build::file(records.collect(), &self.offsets, &self.ids, header)
    }

    /// Puts the numbers of the events term by term; answers where those of each term end.
    fn sort_mentions(&mut self) -> Vec<usize> {
        let mut places = vec![0; self.terms.len()];
        for known in &self.terms {
            places[known.term as usize] = known.count as usize;
        }
        let mut next = 0;
        for place in &mut places {
            next += std::mem::replace(place, next);
        }
        self.numbers.resize(next, 0);
        for (term, number) in &self.mentions {
            let place = &mut places[*term as usize];
            self.numbers[*place] = *number;
            *place += 1;
        }
        places
    }

    fn text(&self, known: &Known) -> &str {
        &self.texts[known.text.0 as usize..known.text.1 as usize]
    }

    /// Notes that the event of that number has a term; answers what is known of the term. Nothing where the bytes are no
    /// such text.
    fn mention(&mut self, kind: Kind, text: &[u8], number: u32) -> Option<&mut Known> {
        let hash = self.hasher.hash_one((kind, text));
        let terms = self.terms.len();
        let texts = self.texts.as_bytes();
        let is = |known: &Known| {
            let same = known.hash == hash && known.kind == kind;
            same && texts[known.text.0 as usize..known.text.1 as usize] == *text
        };
        let known = match self.terms.entry(hash, is, |known| known.hash) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(room) => {
                let text = checked(kind, text)?;
                let start = self.texts.len();
                self.texts.push_str(text);
                let small = |number| u32::try_from(number).expect("smaller than a segment");
                let text = (small(start), small(self.texts.len()));
                let term = small(terms);
                let known = Known { hash, first_revision: 0, kind, term, text, count: 0 };
                room.insert(known).into_mut()
            }
        };
        known.count += 1;
        self.mentions.push((known.term, number));
        Some(known)
    }
}

/// The text of a term of that kind; nothing where the bytes are none.
fn checked(kind: Kind, text: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(text).ok()?;
    let sound = match kind {
        Kind::Stream => StreamName::new(text).is_ok(),
        Kind::Type => EventType::new(text).is_ok(),
        Kind::Tag => true,
    };
    sound.then_some(text)
}

impl Gathering for Draft {
    fn event(&mut self, block: &Bytes, found: &Found, event: &EventFrame) -> Result<(), Flaw> {
        let bytes = &block[found.start..found.start + found.length];
        let number = number_of(&self.offsets);
        let revision = event.coordinates.revision;
        let stream = self.mention(Kind::Stream, &bytes[event.stream.clone()], number);
        let stream = stream.ok_or(Flaw::Fields)?;
        if stream.count == 1 {
            stream.first_revision = revision;
        }
        let place = revision.checked_sub(stream.first_revision);
        let follows = place == Some(u64::from(stream.count - 1));
        self.follows &= follows;
        let event_type = self.mention(Kind::Type, &bytes[event.event_type.clone()], number);
        event_type.ok_or(Flaw::Fields)?;
        for tag in Metadata::tags_in(&bytes[event.metadata.clone()]) {
            self.mention(Kind::Tag, tag.as_bytes(), number);
        }
        self.offsets.push(found.offset);
        let identity = self.hashes.id(event.id, &bytes[event.stream.clone()]);
        self.ids.push(entry(identity, number));
        self.streams_begun += u32::from(revision == 0);
        Ok(())
    }

    fn commit(&mut self) -> Result<bool, ScanError> {
        Ok(self.follows)
    }
}

/// How many events there are.
fn number_of(offsets: &[u32]) -> u32 {
    u32::try_from(offsets.len()).expect("a segment holds fewer")
}
