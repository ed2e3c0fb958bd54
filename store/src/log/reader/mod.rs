//! Reads: the whole log or one stream, in either direction, up to an end that is fixed when the
//! read begins. Each call gives one batch; it blocks, so callers run it on a blocking thread.

mod gathered;
mod indexed;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use annals_core::{
    Batch, Direction, Filter, Position, ReadError, ReadQuery, RecordedEvent, Source, Start,
    StreamName, Timestamp,
};

use crate::log::address::Address;
use crate::log::error::{Flaw, ScanError};
use crate::log::index::{FIRST_OFFSET, Index, StreamRun};
use crate::log::names::Names;
use crate::log::scan::FrameScan;
use crate::log::shared::{Durable, Shared};

use gathered::Gathered;
pub(crate) use gathered::build;
use indexed::{Matches, RunOfPart};

/// Events per batch.
pub(crate) const BATCH_EVENTS: usize = 1024;
/// Bytes looked at per batch.
const BATCH_BYTES: u64 = 1 << 20;
/// Events of a stretch of a read backwards.
const STRETCH_EVENTS: u64 = 128;
/// How long regular expressions are matched for one batch. A client's expression is input: what takes longer goes on in the
/// next batch, and waits for its turn among others of its kind before.
pub(crate) const TURN: Duration = Duration::from_millis(20);

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
    is_costly: bool,
}

enum Place {
    /// The whole log, forwards from an address.
    Forwards { at: Address, scan: Option<FrameScan> },
    /// The whole log, backwards: everything before a position.
    Backwards { before: u64 },
    /// One stream: its revisions that are left.
    Stream { runs: Vec<StreamRun>, left: Range<u64>, loaded: Option<RunOfPart> },
    /// What the indexes say of a query: the positions that are left, and the matching events of one part.
    Query { left: Range<u64>, loaded: Option<Matches> },
}

impl Read {
    /// Begins a read that ends at `end`. The query is one that `check_query` passed.
    pub(crate) fn begin(
        shared: Arc<Shared>,
        query: &ReadQuery,
        end: Durable,
    ) -> Result<Read, ReadError> {
        let wanted = Wanted::of(query);
        let names = Names::new(Arc::clone(&shared.index), wanted.stream.clone());
        let left = query.limit.unwrap_or(u64::MAX);
        let direction = query.direction;
        let place = Place::Backwards { before: 0 };
        let mut read =
            Read { shared, names, wanted, direction, end, left, place, is_costly: false };
        read.place = read.find(query)?;
        Ok(read)
    }

    /// The log that it reads.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
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
            Arc::make_mut(&mut batch.events).truncate(left);
            batch.through = batch.events.last().map(|event| event.position);
        }
        self.left -= batch.events.len() as u64;
        Ok(Some(batch))
    }

    /// Whether the last batch took its whole turn: the next one waits for a place first.
    pub(crate) fn is_costly(&self) -> bool {
        self.is_costly
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
        (self.left > 0).then_some(Batch { events: Arc::default(), through, caught_up: true })
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
        self.is_costly = gathered.took_its_turn();
        Ok(gathered.through.map(|_| gathered.batch()))
    }

    fn next_backwards(&mut self) -> Result<Option<Batch>, ReadError> {
        let Place::Backwards { before } = self.place else { return Ok(None) };
        let parts = self.shared.index.parts();
        let mut events = Vec::new();
        let (mut at, mut bytes, mut matching) = (before, 0, Duration::ZERO);
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(BATCH_EVENTS);
        while at > 0 && events.len() < wanted && bytes < BATCH_BYTES && matching < TURN {
            // A stretch of one segment, read forwards.
            let first = Index::part_of(&parts, at - 1).first_position();
            let from = first.max(at.saturating_sub(STRETCH_EVENTS));
            let (start, end) = (self.address(from)?, self.address(at)?);
            let mut part = Gathered::default();
            let mut scan = self.scan(start, end)?;
            while let Some(found) = scan.next()? {
                part.look(&self.wanted, &mut self.names, &scan, &found)?;
            }
            if !scan.is_at_end() {
                return Err(ScanError::from(scan.damage(Flaw::Missing)).into());
            }
            bytes += part.bytes;
            matching += part.matching;
            events.extend(part.events().into_iter().rev());
            at = from;
        }
        self.place = Place::Backwards { before: at };
        self.is_costly = matching >= TURN;
        let through = Some(Position(at));
        Ok((at < before).then_some(Batch { events: Arc::new(events), through, caught_up: false }))
    }
}
