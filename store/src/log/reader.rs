//! Reads: the whole log or one stream, in either direction, up to an end that is fixed when the
//! read begins. Each call gives one batch; it blocks, so callers run it on a blocking thread.

use std::sync::Arc;

use annals_core::{
    Batch, Direction, Filter, Position, ReadError, ReadQuery, RecordedEvent, Revision, Source,
    Start, StreamName, Timestamp,
};
use bytes::Bytes;

use super::address::Address;
use super::error::{Damage, Flaw, ScanError};
use super::format::HEADER_BYTES;
use super::format::frame::{EventFrame, Frame};
use super::index::Landmark;
use super::names::Names;
use super::scan::{Found, FrameScan};
use super::shared::{Durable, Shared};

/// Events per batch.
pub(crate) const BATCH_EVENTS: usize = 1024;
/// Bytes looked at per batch.
const BATCH_BYTES: u64 = 1 << 20;
/// Bytes of a stream read that are fetched at once, and the most that may lie between two events
/// for that.
const SPAN_BYTES: u32 = 256 << 10;
const GAP_BYTES: u32 = 4 << 10;

/// Where the frames of a segment begin.
#[allow(clippy::cast_possible_truncation, reason = "it is 4096")]
const FIRST_OFFSET: u32 = HEADER_BYTES as u32;

/// Builds an event from its frame, which begins at `start` of `block`. Nothing where a name is no
/// name.
pub(crate) fn build(
    block: &Bytes,
    start: usize,
    frame: &EventFrame,
    names: &mut Names,
) -> Option<RecordedEvent> {
    let at = |range: &std::ops::Range<usize>| start + range.start..start + range.end;
    let shared = |range: &std::ops::Range<usize>| {
        if range.is_empty() { Bytes::new() } else { block.slice(at(range)) }
    };
    Some(RecordedEvent {
        id: frame.id,
        stream: names.stream(&block[at(&frame.stream)])?.clone(),
        revision: Revision(frame.coordinates.revision),
        position: Position(frame.coordinates.position),
        event_type: names.event_type(&block[at(&frame.event_type)])?.clone(),
        time: frame.coordinates.time,
        schema: frame.schema,
        metadata: shared(&frame.metadata),
        data: shared(&frame.data),
    })
}

/// Whether an event is wanted: what the filter says, and which stream.
pub(crate) struct Wanted {
    pub(crate) filter: Filter,
    pub(crate) stream: Option<StreamName>,
}

impl Wanted {
    pub(crate) fn of(query: &ReadQuery) -> Wanted {
        let stream = match &query.source {
            Source::All => None,
            Source::Stream(stream) => Some(stream.clone()),
        };
        Wanted { filter: query.filter.clone(), stream }
    }

    fn admits(&self, stream: &StreamName, event_type: &str) -> bool {
        self.stream.as_ref().is_none_or(|wanted| wanted == stream)
            && self.filter.admits(stream.as_str(), event_type)
    }

    pub(crate) fn matches(&self, event: &RecordedEvent) -> bool {
        self.admits(&event.stream, event.event_type.as_str())
            && (self.filter.tags.is_empty() || self.filter.matches(event))
    }
}

/// A read under way.
pub(crate) struct Read {
    shared: Arc<Shared>,
    names: Names,
    wanted: Wanted,
    /// The end of the log for this read.
    end: Durable,
    left: u64,
    place: Place,
}

enum Place {
    /// The whole log, forwards from an address.
    Forwards { at: Address, scan: Option<FrameScan> },
    /// The whole log, backwards: everything before an address.
    Backwards { before: Address },
    /// One stream: the packed addresses that are left, in the order of reading.
    Stream { direction: Direction, from: usize, to: usize },
}

impl Read {
    /// Begins a read that ends at `end`. The query is one that `check_query` passed.
    pub(crate) fn begin(
        shared: Arc<Shared>,
        query: &ReadQuery,
        end: Durable,
    ) -> Result<Read, ReadError> {
        let names = Names::new(Arc::clone(&shared.index));
        let wanted = Wanted::of(query);
        let left = query.limit.unwrap_or(u64::MAX);
        let place = Place::Backwards { before: end.end };
        let mut read = Read { shared, names, wanted, end, left, place };
        read.place = read.find(query)?;
        Ok(read)
    }

    /// The next events; nothing at the end.
    pub(crate) fn next_batch(&mut self) -> Result<Option<Batch>, ReadError> {
        if self.left == 0 {
            return Ok(None);
        }
        let batch = match &mut self.place {
            Place::Forwards { .. } => self.next_forwards()?,
            Place::Backwards { .. } => self.next_backwards()?,
            Place::Stream { .. } => self.next_of_stream()?,
        };
        let Some(mut batch) = batch else { return Ok(None) };
        if let Ok(left) = usize::try_from(self.left)
            && batch.events.len() >= left
        {
            batch.events.truncate(left);
            batch.through = batch.events.last().map(|event| event.position);
        }
        self.left -= batch.events.len() as u64;
        Ok(Some(batch))
    }

    /// What closes a read: its end, unless it stopped at its limit.
    pub(crate) fn last_batch(&self) -> Option<Batch> {
        let through = self.end.events.checked_sub(1).map(Position);
        (self.left > 0).then_some(Batch { events: Vec::new(), through, caught_up: true })
    }

    fn find(&mut self, query: &ReadQuery) -> Result<Place, ReadError> {
        let forwards = query.direction == Direction::Forwards;
        // Forwards this is the first address to read, backwards the first one not to read.
        let bound = match (query.start, forwards) {
            (Start::Edge | Start::Revision(_), true) => self.locate(|_, _| false)?,
            (Start::Edge | Start::Revision(_) | Start::End, _) => self.end.end,
            (Start::Position(Position(start)), true) | (Start::After(Position(start)), false) => {
                self.locate(|position, _| position < start)?
            }
            (Start::Position(Position(start)), false) | (Start::After(Position(start)), true) => {
                self.locate(|position, _| position <= start)?
            }
            (Start::Time(start), true) => self.locate(|_, time| time < start)?,
            (Start::Time(start), false) => self.locate(|_, time| time <= start)?,
        };
        let Source::Stream(stream) = &query.source else {
            return Ok(if forwards {
                Place::Forwards { at: bound, scan: None }
            } else {
                Place::Backwards { before: bound }
            });
        };
        let index = self.shared.index.read();
        let all = index.stream(stream, self.end.end);
        let revision = match query.start {
            Start::Revision(Revision(start)) => usize::try_from(start).unwrap_or(usize::MAX),
            Start::Edge | Start::Position(_) | Start::After(_) | Start::Time(_) | Start::End => {
                let count = all.partition_point(|address| *address < bound.pack());
                if forwards { count } else { count.wrapping_sub(1) }
            }
        };
        let (from, to) = if forwards {
            (revision.min(all.len()), all.len())
        } else {
            (0, revision.wrapping_add(1).min(all.len()))
        };
        Ok(Place::Stream { direction: query.direction, from, to })
    }

    /// The address of the first event for which `before` does not hold; the end where it holds for
    /// all.
    fn locate(&self, before: impl Fn(u64, Timestamp) -> bool) -> Result<Address, ReadError> {
        let held = |landmark: &Landmark| {
            landmark.address < self.end.end && before(landmark.position, landmark.time)
        };
        let landmark = self.shared.index.read().landmark(held);
        let Some(landmark) = landmark else {
            let first = Address { segment: 1, offset: FIRST_OFFSET };
            return Ok(first.min(self.end.end));
        };
        let mut at = landmark.address;
        loop {
            if at >= self.end.end {
                return Ok(self.end.end);
            }
            let mut scan = self.scan(at, self.end.end)?;
            while let Some(found) = scan.next()? {
                if let Frame::Event(event) = &found.frame
                    && !before(event.coordinates.position, event.coordinates.time)
                {
                    return Ok(Address { offset: found.offset, ..at });
                }
            }
            at = Address { segment: at.segment + 1, offset: FIRST_OFFSET };
        }
    }

    /// A scan from `at` to the end of its segment, or to `before`.
    fn scan(&self, at: Address, before: Address) -> Result<FrameScan, ScanError> {
        let segment = self.shared.segments.get(at.segment);
        let end = if at.segment == before.segment { before.offset } else { segment.end() };
        let file = self
            .shared
            .segments
            .file(&segment)
            .map_err(|source| ScanError::Disk { path: segment.path.clone(), source })?;
        let believe = self.shared.segments.believe_checksums;
        let range = (at.offset, end);
        Ok(FrameScan::new(file, segment.path.clone(), segment.frames, believe, range))
    }

    fn next_forwards(&mut self) -> Result<Option<Batch>, ReadError> {
        let Place::Forwards { at, scan } = &mut self.place else { return Ok(None) };
        let (mut at, mut scan) = (*at, scan.take());
        let mut gathered = Gathered::default();
        let wanted = self.left.min(BATCH_EVENTS as u64);
        while at < self.end.end && !gathered.is_full(wanted) {
            let mut current = match scan.take() {
                Some(scan) => scan,
                None => self.scan(at, self.end.end)?,
            };
            match current.next()? {
                Some(found) => {
                    at.offset = current.offset();
                    gathered.look(&self.wanted, &mut self.names, &current, &found)?;
                    scan = Some(current);
                }
                None if !current.is_at_end() => {
                    return Err(ScanError::from(current.damage(Flaw::Missing)).into());
                }
                None => at = Address { segment: at.segment + 1, offset: FIRST_OFFSET },
            }
        }
        self.place = Place::Forwards { at, scan };
        Ok(gathered.through.map(|_| gathered.batch()))
    }

    fn next_backwards(&mut self) -> Result<Option<Batch>, ReadError> {
        let mut events = Vec::new();
        let mut through = None;
        let mut bytes = 0;
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(BATCH_EVENTS);
        while events.len() < wanted && bytes < BATCH_BYTES {
            let Place::Backwards { before } = self.place else { break };
            let found = self.shared.index.read().landmark(|landmark| landmark.address < before);
            let Some(landmark) = found else { break };
            let mut part = Gathered::default();
            let mut scan = self.scan(landmark.address, before)?;
            while let Some(found) = scan.next()? {
                part.look(&self.wanted, &mut self.names, &scan, &found)?;
            }
            bytes += part.bytes;
            events.extend(part.batch().events.into_iter().rev());
            through = Some(Position(landmark.position));
            self.place = Place::Backwards { before: landmark.address };
        }
        Ok(through.map(|_| Batch { events, through, caught_up: false }))
    }

    fn next_of_stream(&mut self) -> Result<Option<Batch>, ReadError> {
        let Place::Stream { direction, from, to } = self.place else { return Ok(None) };
        let Some(stream) = self.wanted.stream.clone() else { return Ok(None) };
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let count = (to - from).min(BATCH_EVENTS).min(left);
        if count == 0 {
            return Ok(None);
        }
        let (first, rest) = match direction {
            Direction::Forwards => (from, (from + count, to)),
            Direction::Backwards => (to - count, (from, to - count)),
        };
        let index = self.shared.index.read();
        let all = index.stream(&stream, self.end.end);
        let addresses: Vec<_> =
            all[first..first + count].iter().map(|packed| Address::unpack(*packed)).collect();
        drop(index);
        let mut gathered = Gathered::default();
        let mut addresses = &addresses[..];
        while !addresses.is_empty() {
            let (close, rest) = addresses.split_at(span_of(addresses));
            self.gather_span(close, &mut gathered)?;
            addresses = rest;
        }
        self.place = Place::Stream { direction, from: rest.0, to: rest.1 };
        let first_position = gathered.first;
        let mut batch = gathered.batch();
        if direction == Direction::Backwards {
            batch.events.reverse();
            batch.through = first_position;
        }
        Ok(Some(batch))
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

/// A batch on its way.
#[derive(Default)]
struct Gathered {
    events: Vec<RecordedEvent>,
    /// The first and the last position looked at.
    first: Option<Position>,
    through: Option<Position>,
    bytes: u64,
    matched_bytes: u64,
}

impl Gathered {
    fn is_full(&self, wanted: u64) -> bool {
        let much = if self.events.is_empty() { 4 * BATCH_BYTES } else { BATCH_BYTES };
        self.events.len() as u64 >= wanted || self.bytes >= much
    }

    fn look(
        &mut self,
        wanted: &Wanted,
        names: &mut Names,
        scan: &FrameScan,
        found: &Found,
    ) -> Result<(), ScanError> {
        self.bytes += found.length as u64;
        let Frame::Event(event) = &found.frame else { return Ok(()) };
        self.add(wanted, names, scan.block(), found.start, event).map_err(|flaw| {
            let position = Some(event.coordinates.position);
            Damage { offset: u64::from(found.offset), position, ..scan.damage(flaw) }.into()
        })
    }

    fn add(
        &mut self,
        wanted: &Wanted,
        names: &mut Names,
        block: &Bytes,
        start: usize,
        event: &EventFrame,
    ) -> Result<(), Flaw> {
        self.through = Some(Position(event.coordinates.position));
        self.first = self.first.or(self.through);
        let name = |range: &std::ops::Range<usize>| &block[start + range.start..start + range.end];
        let stream = names.stream(name(&event.stream)).ok_or(Flaw::Fields)?;
        let event_type = std::str::from_utf8(name(&event.event_type)).map_err(|_| Flaw::Fields)?;
        if !wanted.admits(stream, event_type) {
            return Ok(());
        }
        let event = build(block, start, event, names).ok_or(Flaw::Fields)?;
        if wanted.filter.tags.is_empty() || wanted.filter.matches(&event) {
            self.matched_bytes += (event.metadata.len() + event.data.len()) as u64;
            self.events.push(event);
        }
        Ok(())
    }

    fn batch(mut self) -> Batch {
        // A few events must not keep the whole of a large block in memory.
        if self.matched_bytes * 4 < self.bytes {
            for event in &mut self.events {
                event.metadata = Bytes::copy_from_slice(&event.metadata);
                event.data = Bytes::copy_from_slice(&event.data);
            }
        }
        Batch { events: self.events, through: self.through, caught_up: false }
    }
}
