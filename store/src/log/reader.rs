//! Reads: the whole log or one stream, in either direction, up to an end that is fixed when the
//! read begins. Each call gives one batch; it blocks, so callers run it on a blocking thread.

use std::ops::Range;
use std::sync::Arc;

use annals_core::{
    Batch, Direction, Filter, Position, ReadError, ReadQuery, RecordedEvent, Retention, Revision,
    Source, Start, StreamName, Timestamp,
};
use bytes::Bytes;

use super::address::Address;
use super::error::{Damage, Flaw, ScanError};
use super::format::frame::{EventFrame, Frame};
use super::index::{FIRST_OFFSET, Index, Part, StreamRun};
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
/// Events of a stretch of a read backwards.
const STRETCH_EVENTS: u64 = 128;

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
        let event_type = event.event_type.as_str();
        self.admits(&event.stream, event_type)
            && self.filter.query.matches(event_type, &event.metadata)
    }
}

/// A read under way.
pub(crate) struct Read {
    shared: Arc<Shared>,
    names: Names,
    wanted: Wanted,
    direction: Direction,
    /// The end of the log for this read.
    end: Durable,
    left: u64,
    place: Place,
}

enum Place {
    /// The whole log, forwards from an address.
    Forwards { at: Address, scan: Option<FrameScan> },
    /// The whole log, backwards: everything before a position.
    Backwards { before: u64 },
    /// One stream: its revisions that are left.
    Stream { runs: Vec<StreamRun>, left: Range<u64>, loaded: Option<Loaded> },
    /// What the indexes say of a query: the positions that are left, and of one part the numbers of the matching events.
    Query { left: Range<u64>, loaded: Option<Loaded> },
}

/// The numbers of some events of one part.
struct Loaded {
    part: Part,
    /// The revision of the first number, where they are of a stream.
    first_revision: u64,
    numbers: Vec<u32>,
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
        let direction = query.direction;
        let place = Place::Backwards { before: 0 };
        let mut read = Read { shared, names, wanted, direction, end, left, place };
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
            Place::Query { .. } => self.next_of_query()?,
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

    /// Whether there is nothing more to fetch.
    pub(crate) fn is_done(&self) -> bool {
        self.left == 0
            || match &self.place {
                Place::Forwards { at, .. } => *at >= self.end.end,
                Place::Backwards { before } => *before == 0,
                Place::Stream { left, .. } | Place::Query { left, .. } => left.is_empty(),
            }
    }

    /// What closes a read: its end, unless it stopped at its limit.
    pub(crate) fn last_batch(&self) -> Option<Batch> {
        let through = self.end.events.checked_sub(1).map(Position);
        (self.left > 0).then_some(Batch { events: Vec::new(), through, caught_up: true })
    }

    fn find(&mut self, query: &ReadQuery) -> Result<Place, ReadError> {
        let forwards = query.direction == Direction::Forwards;
        // Forwards this is the first position to read, backwards the first one not to read.
        let end = self.end.events;
        let bound =
            match (query.start, forwards) {
                (Start::Edge | Start::Revision(_), true) => 0,
                (Start::Edge | Start::Revision(_) | Start::End, _) => end,
                (Start::Position(Position(start)), true)
                | (Start::After(Position(start)), false) => start.min(end),
                (Start::Position(Position(start)), false)
                | (Start::After(Position(start)), true) => start.saturating_add(1).min(end),
                (Start::Time(start), true) => self.search(|time| time < start)?,
                (Start::Time(start), false) => self.search(|time| time <= start)?,
            };
        let left = if forwards { bound..end } else { 0..bound };
        match &query.source {
            Source::Stream(stream) => self.find_in_stream(stream, query.start, left),
            Source::All if !self.wanted.filter.query.is_all() => {
                Ok(Place::Query { left, loaded: None })
            }
            Source::All if forwards => Ok(Place::Forwards { at: self.address(bound)?, scan: None }),
            Source::All => Ok(Place::Backwards { before: bound }),
        }
    }

    fn find_in_stream(
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

    /// Where the event of a position stands; the end of the log for the position behind the last one.
    fn address(&self, position: u64) -> Result<Address, ScanError> {
        if position >= self.end.events {
            Ok(self.end.end)
        } else {
            self.shared.index.address(position)
        }
    }

    /// The position of the first event for whose time `before` does not hold; the end where it holds for all.
    fn search(&self, before: impl Fn(Timestamp) -> bool) -> Result<u64, ScanError> {
        let (mut low, mut high) = (0, self.end.events);
        while low < high {
            let middle = low + (high - low) / 2;
            let address = self.shared.index.address(middle)?;
            let (_, event) = self.shared.segments.frame_at(address)?;
            if before(event.coordinates.time) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// A scan from `at` to the end of its segment, or to `before`.
    fn scan(&self, at: Address, before: Address) -> Result<FrameScan, ScanError> {
        let end = (at.segment == before.segment).then_some(before.offset);
        self.shared.segments.scan(at, end)
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
        let Place::Backwards { before } = self.place else { return Ok(None) };
        let parts = self.shared.index.parts();
        let mut events = Vec::new();
        let (mut at, mut bytes) = (before, 0);
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(BATCH_EVENTS);
        while at > 0 && events.len() < wanted && bytes < BATCH_BYTES {
            // A stretch of one segment, read forwards.
            let first = Index::part_of(&parts, at - 1).first_position();
            let from = first.max(at.saturating_sub(STRETCH_EVENTS));
            let (start, end) = (self.address(from)?, self.address(at)?);
            let mut part = Gathered::default();
            let mut scan = self.scan(start, end)?;
            while let Some(found) = scan.next()? {
                part.look(&self.wanted, &mut self.names, &scan, &found)?;
            }
            bytes += part.bytes;
            events.extend(part.batch().events.into_iter().rev());
            at = from;
        }
        self.place = Place::Backwards { before: at };
        let through = Some(Position(at));
        Ok((at < before).then_some(Batch { events, through, caught_up: false }))
    }

    fn next_of_stream(&mut self) -> Result<Option<Batch>, ReadError> {
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

    fn next_of_query(&mut self) -> Result<Option<Batch>, ReadError> {
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
            batch.events.reverse();
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
        if !wanted.admits(stream, event_type)
            || !wanted.filter.query.matches(event_type, name(&event.metadata))
        {
            return Ok(());
        }
        let event = build(block, start, event, names).ok_or(Flaw::Fields)?;
        self.matched_bytes += (event.metadata.len() + event.data.len()) as u64;
        self.events.push(event);
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
