//! The event store in memory: for tests, and the model that the embedded log is held against. It keeps every promise
//! of the trait but durability.

use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::{BoxStream, StreamExt};
use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::watch;
use uuid::Uuid;

use crate::append::{AppendHead, AppendView, Checked, check_append};
use crate::clock::{Clock, Timestamp};
use crate::event::{EventId, Position, RecordedEvent, Revision, StreamName};
use crate::feed::Batch;
use crate::query::{Direction, ReadQuery, Source, Start};
use crate::retention::Retention;
use crate::store::{
    Append, AppendError, Appended, Condition, EventStore, PerWrite, ReadError, StoreIdentity,
};

/// Events per batch of a read.
const BATCH_EVENTS: usize = 1024;

/// An event store in memory; clones share it.
#[derive(Clone)]
pub struct MemoryStore {
    log: Arc<Mutex<Log>>,
    clock: Arc<dyn Clock>,
    identity: StoreIdentity,
    grown: watch::Sender<usize>,
}

#[derive(Default)]
struct Log {
    events: Vec<RecordedEvent>,
    /// Each stream's positions, by revision.
    streams: HashMap<StreamName, Vec<Position>>,
    ids: HashMap<(StreamName, EventId), Position>,
    last_time: Option<Timestamp>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new(clock: impl Clock) -> MemoryStore {
        let identity = StoreIdentity { id: Uuid::from_u128(1), epoch: 1 };
        MemoryStore {
            log: Arc::default(),
            clock: Arc::new(clock),
            identity,
            grown: watch::Sender::new(0),
        }
    }

    /// Every event, in order.
    pub fn events(&self) -> Vec<RecordedEvent> {
        self.log.lock().events.clone()
    }
}

impl Log {
    /// The first revision that a read shows.
    fn first_shown(&self, source: &Source, now: Timestamp) -> Revision {
        let Source::Stream(stream) = source else { return Revision(0) };
        let of_stream = |stream: &StreamName| self.streams.get(stream).map_or(&[][..], |all| all);
        let at =
            |position: &Position| &self.events[usize::try_from(position.0).expect("in memory")];
        let metadata = Retention::stream_of(stream).and_then(|name| of_stream(&name).last());
        let Some(metadata) = metadata else { return Revision(0) };
        let positions = of_stream(stream);
        let older = |revision: u64, since| {
            let revision = usize::try_from(revision).expect("in memory");
            Ok::<_, std::convert::Infallible>(at(&positions[revision]).time < since)
        };
        let count = positions.len() as u64;
        match Retention::parse(&at(metadata).data).first_shown(count, now, older) {
            Ok(first) => Revision(first),
            Err(never) => match never {},
        }
    }
}

/// The view that an append is checked against.
struct View<'a>(&'a Log);

impl View<'_> {
    fn of(&self, position: Position) -> &RecordedEvent {
        &self.0.events[usize::try_from(position.0).expect("the event is in memory")]
    }
}

impl AppendView for View<'_> {
    fn head(&self, stream: &StreamName) -> Result<Option<Revision>, AppendError> {
        let positions = self.0.streams.get(stream).map_or(0, Vec::len);
        Ok(positions.checked_sub(1).map(|last| Revision(last as u64)))
    }

    fn event_at(
        &self,
        stream: &StreamName,
        revision: Revision,
    ) -> Result<Option<(EventId, Position)>, AppendError> {
        let place = usize::try_from(revision.0).ok();
        let position = place.and_then(|place| self.0.streams.get(stream)?.get(place).copied());
        Ok(position.map(|position| (self.of(position).id, position)))
    }

    fn known(
        &self,
        stream: &StreamName,
        id: EventId,
    ) -> Result<Option<(Revision, Position)>, AppendError> {
        let position = self.0.ids.get(&(stream.clone(), id));
        Ok(position.map(|position| (self.of(*position).revision, *position)))
    }

    fn excluded(&self, condition: &Condition) -> Result<Option<Position>, AppendError> {
        let counts = |event: &&RecordedEvent| {
            condition.after.is_none_or(|after| event.position > after)
                && condition
                    .fail_if_events_match
                    .matches(event.event_type.as_str(), &event.metadata)
        };
        Ok(self.0.events.iter().rev().find(counts).map(|event| event.position))
    }
}

impl MemoryStore {
    fn append_now(&self, append: Append) -> Result<Appended, AppendError> {
        let mut log = self.log.lock();
        if let Checked::Repeated(answer) = check_append(&AppendHead::from(&append), &View(&log))? {
            return Ok(answer);
        }
        let time = self.clock.now().max(log.last_time.unwrap_or(Timestamp(i64::MIN)));
        log.last_time = Some(time);
        let mut answer = Appended { position: None, revisions: PerWrite::new() };
        for write in append.writes {
            for event in write.events {
                let position = Position(log.events.len() as u64);
                let of_stream = log.streams.entry(write.stream.clone()).or_default();
                let next = Revision(of_stream.len() as u64);
                of_stream.push(position);
                log.ids.insert((write.stream.clone(), event.id), position);
                log.events.push(RecordedEvent {
                    id: event.id,
                    stream: write.stream.clone(),
                    revision: next,
                    position,
                    event_type: event.event_type,
                    time,
                    schema: event.schema,
                    metadata: event.metadata,
                    data: event.data,
                });
                answer.position = Some(position);
            }
            answer.revisions.push(View(&log).head(&write.stream)?);
        }
        self.grown.send_replace(log.events.len());
        Ok(answer)
    }
}

impl EventStore for MemoryStore {
    fn append(&self, append: Append) -> BoxFuture<'static, Result<Appended, AppendError>> {
        let result = self.append_now(append);
        Box::pin(async move { result })
    }

    fn read(&self, query: ReadQuery) -> BoxStream<'static, Result<Batch, ReadError>> {
        if let Err(error) = query.check() {
            return futures::stream::iter([Err(error)]).boxed();
        }
        let log = self.log.lock();
        let first_shown = log.first_shown(&query.source, self.clock.now());
        let wanted = |e: &&RecordedEvent| {
            query.reaches(e) && e.revision >= first_shown && query.filter.matches(e)
        };
        let limit = query.limit.map_or(usize::MAX, |l| usize::try_from(l).unwrap_or(usize::MAX));
        let events: Vec<_> = match query.direction {
            Direction::Forwards => log.events.iter().filter(wanted).take(limit).cloned().collect(),
            Direction::Backwards => {
                log.events.iter().rev().filter(wanted).take(limit).cloned().collect()
            }
        };
        let end = log.events.last().map(|event| event.position);
        let mut batches: Vec<_> = events
            .chunks(BATCH_EVENTS)
            .map(|chunk| Batch {
                events: Arc::new(chunk.to_vec()),
                through: chunk.last().map(|event| event.position),
                caught_up: false,
            })
            .collect();
        batches.push(Batch { events: Arc::default(), through: end, caught_up: true });
        futures::stream::iter(batches.into_iter().map(Ok)).boxed()
    }

    fn subscribe(&self, query: ReadQuery) -> BoxStream<'static, Result<Batch, ReadError>> {
        let query = ReadQuery { direction: Direction::Forwards, limit: None, ..query };
        let store = self.clone();
        let seen = if query.start == Start::End { store.log.lock().events.len() } else { 0 };
        let query = if query.start == Start::End { query.from(Start::Edge) } else { query };
        if let Err(error) = query.check() {
            return futures::stream::iter([Err(error)]).boxed();
        }
        let grown = store.grown.subscribe();
        futures::stream::unfold((store, query, seen, grown, true), |state| async move {
            let (store, query, seen, mut grown, first) = state;
            if !first || store.log.lock().events.len() == seen {
                // The sender lives in `store`, so this never fails.
                grown.wait_for(|length| *length > seen).await.ok()?;
            }
            let (batch, now) = {
                let log = store.log.lock();
                let fresh = &log.events[seen..];
                // What comes live is shown.
                let shown = if first {
                    log.first_shown(&query.source, store.clock.now())
                } else {
                    Revision(0)
                };
                let wanted = |e: &&RecordedEvent| {
                    query.reaches(e) && e.revision >= shown && query.filter.matches(e)
                };
                let events = Arc::new(fresh.iter().filter(wanted).cloned().collect());
                let through = log.events.last().map(|event| event.position);
                (Batch { events, through, caught_up: true }, log.events.len())
            };
            Some((Ok(batch), (store, query, now, grown, false)))
        })
        .boxed()
    }

    fn stream_head(
        &self,
        stream: &StreamName,
    ) -> BoxFuture<'static, Result<Option<Revision>, ReadError>> {
        let count = self.log.lock().streams.get(stream).map_or(0, Vec::len);
        Box::pin(async move { Ok(count.checked_sub(1).map(|last| Revision(last as u64))) })
    }

    fn head(&self) -> Option<Position> {
        self.log.lock().events.last().map(|event| event.position)
    }

    fn identity(&self) -> StoreIdentity {
        self.identity
    }
}
