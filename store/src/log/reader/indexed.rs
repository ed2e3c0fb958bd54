//! Reads that the indexes lead: one stream, or what matches a query by type and tag.

use std::ops::Range;
use std::sync::Arc;

use annals_core::{Batch, Direction, Position, ReadError, Retention, Revision, Start, StreamName};
use bytes::Bytes;

use super::gathered::Gathered;
use super::{BATCH_EVENTS, Place, Read};
use crate::log::address::Address;
use crate::log::error::{Flaw, ScanError};
use crate::log::index::{Index, Part, StreamRun};

/// Bytes of a stream read that are fetched at once, and the most that may lie between two events
/// for that.
const SPAN_BYTES: u32 = 256 << 10;
const GAP_BYTES: u32 = 4 << 10;
/// Frames that are read one by one into one block at most.
const APART_MAX: usize = 64;

/// Where the events of a stream stand in one part, from a revision on.
pub(super) struct RunOfPart {
    first_revision: u64,
    addresses: Vec<Address>,
}

/// The numbers of the events of one part that match a query.
pub(super) struct Matches {
    part: Part,
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
        let metadata = Retention::stream_of(stream);
        index.fetch([Some(stream), metadata.as_ref()].into_iter().flatten());
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
        let shown = match &metadata {
            Some(metadata) => self.first_shown(stream, metadata, count, &runs)?,
            None => 0,
        };
        let left = left.start.max(shown)..left.end.max(shown);
        Ok(Place::Stream { runs, left, loaded: None })
    }

    /// The first revision of a stream that is shown, of `count`, as its metadata has it.
    fn first_shown(
        &self,
        stream: &StreamName,
        metadata: &StreamName,
        count: u64,
        runs: &[StreamRun],
    ) -> Result<u64, ScanError> {
        let index = &self.shared.index;
        let of_metadata = index.runs(metadata, self.end.events)?;
        let Some(StreamRun { part, run }) = of_metadata.last() else { return Ok(0) };
        let frame = |part, stream: &StreamName, place| {
            let addresses = index.stream_addresses(part, stream, place..place + 1)?;
            self.shared.segments.frame_at(addresses[0])
        };
        let (bytes, event) = frame(part, metadata, run.count - 1)?;
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
        let held = loaded.as_ref().filter(|held| held.first_revision == run.first_revision);
        let addresses = if let Some(held) = held {
            held.cut(&revisions)
        } else {
            // Of a part in a file all are read at once, of one in memory those that are asked for.
            let whole = matches!(part, Part::File(_));
            let from = if whole { &of_part } else { &revisions };
            let places = from.start - run.first_revision..from.end - run.first_revision;
            let addresses = self.shared.index.stream_addresses(part, &stream, places)?;
            let found = RunOfPart { first_revision: from.start, addresses };
            let cut = found.cut(&revisions);
            *loaded = whole.then_some(found);
            cut
        };
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
            *loaded = Some(Matches { part: part.clone(), numbers });
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
            let (close, mut rest) = addresses.split_at(span_of(addresses));
            if close.len() > 1 {
                self.gather_span(close, &mut gathered)?;
            } else {
                let apart = apart(addresses);
                rest = &addresses[apart..];
                self.gather_apart(&addresses[..apart], &mut gathered)?;
            }
            addresses = rest;
        }
        self.is_costly = gathered.took_its_turn();
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

    /// Gathers the events at these addresses, each of which lies far from the others: frame by frame, into one block that
    /// they share.
    fn gather_apart(
        &mut self,
        apart: &[Address],
        gathered: &mut Gathered,
    ) -> Result<(), ReadError> {
        let Some(first) = apart.first() else { return Ok(()) };
        let frames = self.shared.segments.frames(first.segment)?;
        let (mut bytes, mut events) = (Vec::new(), Vec::with_capacity(apart.len()));
        for address in apart {
            let start = bytes.len();
            events.push((start, frames.read(address.offset, &mut bytes)?));
        }
        gathered.bytes += bytes.len() as u64;
        let block = Bytes::from(bytes);
        for ((start, event), address) in events.iter().zip(apart) {
            let added = gathered.add(&self.wanted, &mut self.names, &block, *start, event);
            added.map_err(|flaw| ScanError::from(frames.damage(address.offset, flaw)))?;
        }
        Ok(())
    }
}

impl RunOfPart {
    fn cut(&self, revisions: &Range<u64>) -> Vec<Address> {
        let place =
            |revision: u64| usize::try_from(revision - self.first_revision).unwrap_or(usize::MAX);
        let cut = self.addresses.get(place(revisions.start)..place(revisions.end));
        cut.unwrap_or_default().to_vec()
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

/// How many of the addresses, from the first on, are best read one by one and kept in one block.
fn apart(addresses: &[Address]) -> usize {
    let far = |place: &usize| span_of(&addresses[*place..]) == 1;
    (0..addresses.len().min(APART_MAX)).take_while(far).count()
}
