//! Reads that the indexes lead: one stream, or what matches a query by type and tag.

use std::ops::Range;
use std::sync::Arc;

use annals_core::{Batch, Direction, Position, ReadError, Retention, Revision, Start, StreamName};
use bytes::Bytes;

use super::gathered::Gathered;
use super::{BATCH_EVENTS, Place, Read};
use crate::log::address::Address;
use crate::log::error::{Damage, Flaw, ScanError};
use crate::log::index::{Index, Part, StreamRun};

/// Bytes of a stream read that are fetched at once, and the most that may lie between two events
/// for that.
const SPAN_BYTES: u32 = 256 << 10;
const GAP_BYTES: u32 = 4 << 10;

/// The numbers of some events of one part.
pub(super) struct Loaded {
    part: Part,
    /// The revision of the first number, where they are of a stream.
    first_revision: u64,
    numbers: Vec<u32>,
}

impl Read {
    pub(super) fn find_in_stream(
        &self,
        stream: &StreamName,
        start: Start,
        positions: Range<u64>,
    ) -> Result<Place, ReadError> {
        let index = &self.shared.index;
        let runs = index.runs(stream, self.end.events)?;
        let count = runs.last().map_or(0, |last| last.run.first_revision + last.run.count);
        let forwards = self.direction == Direction::Forwards;
        let left = match (start, forwards) {
            (Start::Revision(Revision(start)), true) => start.min(count)..count,
            (Start::Revision(Revision(start)), false) => 0..start.saturating_add(1).min(count),
            (Start::Edge | Start::End, _) => 0..count,
            (Start::Position(_) | Start::After(_) | Start::Time(_), _) => {
                let bound = if forwards { positions.start } else { positions.end };
                let mut before = 0;
                for StreamRun { part, run } in &runs {
                    if part.first_position() < bound {
                        before =
                            run.first_revision + index.run_before(part, stream, *run, bound)?;
                    }
                }
                if forwards { before..count } else { 0..before }
            }
        };
        let shown = self.first_shown(stream, count, &runs)?;
        let left = left.start.max(shown)..left.end.max(shown);
        Ok(Place::Stream { runs, left, loaded: None })
    }

    /// The first revision of a stream that is shown, of `count`.
    fn first_shown(
        &self,
        stream: &StreamName,
        count: u64,
        runs: &[StreamRun],
    ) -> Result<u64, ScanError> {
        let index = &self.shared.index;
        let Some(metadata) = Retention::stream_of(stream) else { return Ok(0) };
        let of_metadata = index.runs(&metadata, self.end.events)?;
        let Some(StreamRun { part, run }) = of_metadata.last() else { return Ok(0) };
        let frame = |part, stream: &StreamName, place| {
            let numbers = index.stream_numbers(part, stream, place..place + 1)?;
            self.shared.segments.frame_at(index.addresses(part, &numbers)?[0])
        };
        let (bytes, event) = frame(part, &metadata, run.count - 1)?;
        let older = |revision: u64, since| {
            let place = runs.partition_point(|run| run.run.first_revision <= revision);
            let StreamRun { part, run } = &runs[place - 1];
            let (_, event) = frame(part, stream, revision - run.first_revision)?;
            Ok::<_, ScanError>(event.coordinates.time < since)
        };
        let retention = Retention::parse(&bytes[event.data]);
        retention.first_shown(count, self.shared.clock.now(), older)
    }

    pub(super) fn next_of_stream(&mut self) -> Result<Option<Batch>, ReadError> {
        let Place::Stream { runs, left, loaded } = &mut self.place else { return Ok(None) };
        let Some(stream) = self.wanted.stream.clone() else { return Ok(None) };
        let forwards = self.direction == Direction::Forwards;
        let Some(next) = next_of(left, forwards) else { return Ok(None) };
        let place = runs.partition_point(|run| run.run.first_revision <= next);
        let StreamRun { part, run } = &runs[place - 1];
        // As many of this part as make a batch.
        let most = self.left.min(BATCH_EVENTS as u64);
        let of_part = run.first_revision..run.first_revision + run.count;
        let revisions = stretch(left, &of_part, most, forwards);
        let numbers = match loaded {
            Some(loaded) if loaded.first_revision == run.first_revision => loaded.cut(&revisions),
            _ => {
                // Of a part in a file all numbers are read at once, of one in memory those that are asked for.
                let whole = matches!(part, Part::File(_));
                let first_revision = if whole { run.first_revision } else { revisions.start };
                let upto = if whole { of_part.end } else { revisions.end };
                let places = first_revision - run.first_revision..upto - run.first_revision;
                let numbers = self.shared.index.stream_numbers(part, &stream, places)?;
                let found = Loaded { part: part.clone(), first_revision, numbers };
                let cut = found.cut(&revisions);
                *loaded = whole.then_some(found);
                cut
            }
        };
        let addresses = self.shared.index.addresses(part, &numbers)?;
        if forwards {
            left.start = revisions.end;
        } else {
            left.end = revisions.start;
        }
        self.gather(&addresses).map(Some)
    }

    pub(super) fn next_of_query(&mut self) -> Result<Option<Batch>, ReadError> {
        let Place::Query { left, loaded } = &mut self.place else { return Ok(None) };
        let forwards = self.direction == Direction::Forwards;
        let Some(next) = next_of(left, forwards) else { return Ok(None) };
        let index = &self.shared.index;
        let part = match loaded {
            Some(loaded) => loaded.part.clone(),
            None => Index::part_of(&index.parts(), next).clone(),
        };
        let first = part.first_position();
        if loaded.is_none() {
            let numbers = index.matching(&part, &self.wanted.filter.query, left.clone())?;
            *loaded = Some(Loaded { part: part.clone(), first_revision: 0, numbers });
        }
        let numbers = &mut loaded.as_mut().expect("it was just loaded").numbers;
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(BATCH_EVENTS);
        let rest = numbers.len().saturating_sub(most);
        let of_batch: Vec<u32> = if forwards {
            numbers.drain(..numbers.len().min(most)).collect()
        } else {
            numbers.drain(rest..).collect()
        };
        // Everything of the part is looked at when its last match is.
        let done = numbers.is_empty();
        let end = (first + u64::from(part.events())).min(left.end);
        if forwards {
            let last = of_batch.last().map_or(left.start, |last| first + u64::from(*last) + 1);
            left.start = if done { end } else { last };
        } else {
            let lowest = of_batch.first().map_or(left.end, |lowest| first + u64::from(*lowest));
            left.end = if done { first.max(left.start) } else { lowest };
        }
        let through = if forwards { left.start.checked_sub(1) } else { Some(left.end) };
        if done {
            *loaded = None;
        }
        let addresses = index.addresses(&part, &of_batch)?;
        let batch = self.gather(&addresses)?;
        Ok(Some(Batch { through: through.map(Position), ..batch }))
    }

    /// The events at these addresses of one segment, in the direction of the read.
    fn gather(&mut self, mut addresses: &[Address]) -> Result<Batch, ReadError> {
        let mut gathered = Gathered::default();
        while !addresses.is_empty() {
            let (close, rest) = addresses.split_at(span_of(addresses));
            self.gather_span(close, &mut gathered)?;
            addresses = rest;
        }
        let first = gathered.first;
        let mut batch = gathered.batch();
        if self.direction == Direction::Backwards {
            Arc::make_mut(&mut batch.events).reverse();
            batch.through = first;
        }
        Ok(batch)
    }

    /// Gathers the events at these addresses, which lie close together.
    fn gather_span(&mut self, close: &[Address], gathered: &mut Gathered) -> Result<(), ReadError> {
        if let [address] = close {
            let (bytes, event) = self.shared.segments.frame_at(*address)?;
            gathered.bytes += bytes.len() as u64;
            let block = Bytes::from(bytes);
            return gathered.add(&self.wanted, &mut self.names, &block, 0, &event).map_err(
                |flaw| {
                    let path = self.shared.segments.path(address.segment);
                    let offset = u64::from(address.offset);
                    ScanError::from(Damage { file: path, offset, position: None, flaw }).into()
                },
            );
        }
        let (Some(first), Some(last)) = (close.first(), close.last()) else { return Ok(()) };
        let mut scan = self.scan(*first, self.end.end)?;
        while scan.offset() <= last.offset {
            let Some(found) = scan.next()? else {
                return Err(ScanError::from(scan.damage(Flaw::Missing)).into());
            };
            gathered.look(&self.wanted, &mut self.names, &scan, &found)?;
        }
        Ok(())
    }
}

impl Loaded {
    fn cut(&self, revisions: &Range<u64>) -> Vec<u32> {
        let place =
            |revision: u64| usize::try_from(revision - self.first_revision).unwrap_or(usize::MAX);
        self.numbers.get(place(revisions.start)..place(revisions.end)).unwrap_or_default().to_vec()
    }
}

/// The next of what is left.
fn next_of(left: &Range<u64>, forwards: bool) -> Option<u64> {
    (!left.is_empty()).then(|| if forwards { left.start } else { left.end - 1 })
}

/// At most `most` of what is left within `bounds`, at the end that is read next.
fn stretch(left: &Range<u64>, bounds: &Range<u64>, most: u64, forwards: bool) -> Range<u64> {
    let (start, end) = (left.start.max(bounds.start), left.end.min(bounds.end));
    if forwards { start..end.min(start + most) } else { start.max(end.saturating_sub(most))..end }
}

/// How many of the addresses, from the first on, are best read at once.
fn span_of(addresses: &[Address]) -> usize {
    let first = addresses[0];
    let close = addresses.windows(2).take_while(|pair| {
        pair[1].segment == first.segment
            && pair[1].offset - pair[0].offset <= GAP_BYTES
            && pair[1].offset - first.offset <= SPAN_BYTES
    });
    1 + close.count()
}
