//! One segment's index, wherever it is.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use annals_core::{EventQuery, StreamName};

use super::SharedPart;
use super::file::{FilePart, Run};
use super::hash::{Key, Term};
use super::query::Lists;
use crate::log::error::ScanError;

/// One segment's index.
#[derive(Clone)]
pub(crate) enum Part {
    /// In memory.
    Memory(SharedPart),
    /// In a file.
    File(Arc<FilePart>),
}

impl Part {
    pub(crate) fn segment(&self) -> u32 {
        match self {
            Part::Memory(part) => part.read().segment,
            Part::File(part) => part.header.segment,
        }
    }

    pub(crate) fn first_position(&self) -> u64 {
        match self {
            Part::Memory(part) => part.read().first_position,
            Part::File(part) => part.header.first_position,
        }
    }

    pub(crate) fn events(&self) -> u32 {
        match self {
            Part::Memory(part) => part.read().events(),
            Part::File(part) => part.header.events,
        }
    }

    pub(crate) fn streams_begun(&self) -> u32 {
        match self {
            Part::Memory(part) => part.read().streams_begun,
            Part::File(part) => part.header.streams_begun,
        }
    }

    /// The stream's events in it; `key` is the stream's.
    pub(crate) fn run(&self, stream: &StreamName, key: Key<'_>) -> Result<Option<Run>, ScanError> {
        match self {
            Part::Memory(part) => Ok(part.read().streams.get(stream).map(|events| Run {
                first_revision: events.first_revision,
                count: events.numbers.len() as u64,
            })),
            Part::File(part) => part.run(key),
        }
    }

    /// Where a stream's events begin in the segment, by their places in its run.
    pub(crate) fn stream_offsets(
        &self,
        stream: &StreamName,
        places: Range<u64>,
    ) -> Result<Vec<u32>, ScanError> {
        let place = |place: u64| usize::try_from(place).unwrap_or(usize::MAX);
        let cut = |list: &[u32]| {
            let to = place(places.end).min(list.len());
            place(places.start).min(to)..to
        };
        match self {
            Part::Memory(part) => {
                let part = part.read();
                let numbers = part.numbers(Term::Stream(stream.as_str()));
                let numbers = &numbers[cut(numbers)];
                Ok(numbers.iter().map(|number| part.offsets[*number as usize]).collect())
            }
            Part::File(part) => {
                let mut offsets = part.stream_offsets(stream.as_str())?;
                let cut = cut(&offsets);
                offsets.truncate(cut.end);
                offsets.drain(..cut.start);
                Ok(offsets)
            }
        }
    }

    /// The numbers of events whose id may have this half of a hash.
    pub(crate) fn candidates(&self, id: u32) -> Result<Vec<u32>, ScanError> {
        match self {
            Part::Memory(part) => Ok(part.read().ids.numbers(id).collect()),
            Part::File(part) => part.candidates(id),
        }
    }

    /// Every kept half of an id's hash.
    pub(crate) fn ids(&self) -> Result<Vec<u32>, ScanError> {
        match self {
            Part::Memory(part) => Ok(part.read().ids.hashes().collect()),
            Part::File(part) => part.ids(),
        }
    }

    /// Where the events of these numbers begin in the segment; the numbers are sorted.
    pub(crate) fn offsets(&self, numbers: &[u32]) -> Result<Vec<u32>, ScanError> {
        match self {
            Part::Memory(part) => {
                let part = part.read();
                Ok(numbers.iter().map(|number| part.offsets[*number as usize]).collect())
            }
            Part::File(part) => part.offsets(numbers),
        }
    }

    /// The last event that matches, of a number not below `from`.
    pub(crate) fn last_match(
        &self,
        query: &EventQuery,
        from: u32,
    ) -> Result<Option<u32>, ScanError> {
        if query.is_all() {
            return Ok(self.events().checked_sub(1).filter(|last| *last >= from));
        }
        match self {
            Part::Memory(part) => {
                let part = part.read();
                Ok(in_memory(query, |term| part.numbers(term)).last(from))
            }
            Part::File(part) => Ok(in_file(query, part)?.last(from)),
        }
    }

    /// The events that match, in the range.
    pub(crate) fn matching(
        &self,
        query: &EventQuery,
        range: Range<u32>,
    ) -> Result<Vec<u32>, ScanError> {
        if query.is_all() {
            return Ok((range.start..range.end.min(self.events())).collect());
        }
        match self {
            Part::Memory(part) => {
                let part = part.read();
                Ok(in_memory(query, |term| part.numbers(term)).all(range))
            }
            Part::File(part) => Ok(in_file(query, part)?.all(range)),
        }
    }
}

fn in_memory<'a>(query: &EventQuery, numbers: impl Fn(Term<'_>) -> &'a [u32]) -> Lists<'a> {
    let lists =
        Lists::of(query, |term| Ok::<_, std::convert::Infallible>(Cow::Borrowed(numbers(term))));
    match lists {
        Ok(lists) => lists,
        Err(never) => match never {},
    }
}

fn in_file(query: &EventQuery, part: &FilePart) -> Result<Lists<'static>, ScanError> {
    Lists::of(query, |term| Ok(Cow::Owned(part.numbers(term)?)))
}
