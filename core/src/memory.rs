//! The event store in memory: for tests, and the model that the embedded log is held against. It keeps every promise
//! of the trait but durability.

use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::{BoxStream, StreamExt};
use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::watch;
use uuid::Uuid;

use crate::clock::{Clock, Timestamp};
use crate::event::{EventId, Position, RecordedEvent, Revision, StreamName};
use crate::feed::Batch;
use crate::store::{
    Append, AppendError, Appended, Direction, EventStore, ExpectedRevision, ReadError, ReadQuery,
    Source, Start, StoreIdentity,
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
    heads: HashMap<StreamName, (Revision, EventId)>,
    ids: HashMap<EventId, Position>,
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

/// Checks one append against the store's state and answers a repeated one: the rule is the same for every store.
///
/// `head` tells a stream's last revision and event id, `known` an event id's place. `Ok(Some(…))` answers a repetition.
///
/// # Errors
/// [`AppendError::Malformed`] and [`AppendError::Conflict`].
pub fn check_append(
    append: &Append,
    head: impl Fn(&StreamName) -> Option<(Revision, EventId)>,
    known: impl Fn(EventId) -> Option<(StreamName, Revision, Position)>,
) -> Result<Option<Appended>, AppendError> {
    let mut streams = hashbrown::HashSet::with_capacity(append.writes.len());
    let mut ids = hashbrown::HashSet::new();
    for write in &append.writes {
        if !streams.insert(&write.stream) {
            let text = format!("stream {} occurs twice in one append", write.stream);
            return Err(AppendError::Malformed(text));
        }
        if let Some(twice) = write.events.iter().find(|event| !ids.insert(event.id)) {
            let text = format!("event id {} occurs twice in one append", twice.id);
            return Err(AppendError::Malformed(text));
        }
    }
    let all =
        || append.writes.iter().flat_map(|write| write.events.iter().map(move |e| (write, e)));
    let mut found = 0_usize;
    let mut last = None;
    for (write, event) in all() {
        if let Some((stream, _, position)) = known(event.id) {
            if stream != write.stream {
                let text = format!("event id {} already stands in stream {stream}", event.id);
                return Err(AppendError::Malformed(text));
            }
            found += 1;
            last = last.max(Some(position));
        }
    }
    if found > 0 && found < ids.len() {
        let text = "some of its event ids are stored already and others are not".to_owned();
        return Err(AppendError::Malformed(text));
    }
    if found > 0 {
        let last_of = |events: &[crate::NewEvent]| {
            events.last().and_then(|event| known(event.id)).map(|(_, revision, _)| revision)
        };
        let revisions = append.writes.iter().map(|write| last_of(&write.events)).collect();
        return Ok(Some(Appended { position: last, revisions }));
    }
    for write in &append.writes {
        let actual = head(&write.stream);
        let holds = match write.expected {
            ExpectedRevision::Any => true,
            ExpectedRevision::NoStream => actual.is_none(),
            ExpectedRevision::Exists => actual.is_some(),
            ExpectedRevision::Exact(revision) => actual.map(|last| last.0) == Some(revision),
            ExpectedRevision::Follows(revision, id) => actual == Some((revision, id)),
        };
        if !holds {
            let (stream, expected) = (write.stream.clone(), write.expected);
            let actual = actual.map(|last| last.0);
            return Err(AppendError::Conflict { stream, expected, actual });
        }
    }
    Ok(None)
}

impl MemoryStore {
    fn append_now(&self, append: Append) -> Result<Appended, AppendError> {
        let mut log = self.log.lock();
        let known = |id| {
            let position = *log.ids.get(&id)?;
            let event = &log.events[usize::try_from(position.0).ok()?];
            Some((event.stream.clone(), event.revision, position))
        };
        if let Some(answer) = check_append(&append, |s| log.heads.get(s).copied(), known)? {
            return Ok(answer);
        }
        let time = self.clock.now().max(log.last_time.unwrap_or(Timestamp(i64::MIN)));
        log.last_time = Some(time);
        let mut answer = Appended { position: None, revisions: Vec::new() };
        for write in append.writes {
            for event in write.events {
                let position = Position(log.events.len() as u64);
                let next =
                    log.heads.get(&write.stream).map_or(Revision(0), |last| Revision(last.0.0 + 1));
                log.heads.insert(write.stream.clone(), (next, event.id));
                log.ids.insert(event.id, position);
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
            answer.revisions.push(log.heads.get(&write.stream).map(|last| last.0));
        }
        self.grown.send_replace(log.events.len());
        Ok(answer)
    }
}

/// Whether a read of this query, forwards or backwards, begins at or after this event.
fn begun(query: &ReadQuery, event: &RecordedEvent) -> bool {
    let forwards = query.direction == Direction::Forwards;
    match query.start {
        Start::Edge => true,
        Start::End => false,
        Start::Revision(start) if forwards => event.revision >= start,
        Start::Revision(start) => event.revision <= start,
        Start::Position(start) if forwards => event.position >= start,
        Start::Position(start) => event.position <= start,
        Start::After(start) if forwards => event.position > start,
        Start::After(start) => event.position < start,
        Start::Time(start) if forwards => event.time >= start,
        Start::Time(start) => event.time <= start,
    }
}

/// Whether a query makes sense, the same for every store.
///
/// # Errors
/// [`ReadError::Malformed`].
pub fn check_query(query: &ReadQuery) -> Result<(), ReadError> {
    match (&query.source, query.start) {
        (Source::All, Start::Revision(_)) => {
            Err(ReadError::Malformed("a revision starts a read of one stream only".to_owned()))
        }
        (_, Start::End) => {
            Err(ReadError::Malformed("only a subscription starts at the end".to_owned()))
        }
        (
            Source::All | Source::Stream(_),
            Start::Edge | Start::Position(_) | Start::After(_) | Start::Time(_),
        )
        | (Source::Stream(_), Start::Revision(_)) => Ok(()),
    }
}

fn of_source(query: &ReadQuery, event: &RecordedEvent) -> bool {
    match &query.source {
        Source::All => true,
        Source::Stream(stream) => event.stream == *stream,
    }
}

impl EventStore for MemoryStore {
    fn append(&self, append: Append) -> BoxFuture<'static, Result<Appended, AppendError>> {
        let result = self.append_now(append);
        Box::pin(async move { result })
    }

    fn read(&self, query: ReadQuery) -> BoxStream<'static, Result<Batch, ReadError>> {
        if let Err(error) = check_query(&query) {
            return futures::stream::iter([Err(error)]).boxed();
        }
        let log = self.log.lock();
        let wanted = |e: &&RecordedEvent| {
            of_source(&query, e) && begun(&query, e) && query.filter.matches(e)
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
                events: chunk.to_vec(),
                through: chunk.last().map(|event| event.position),
                caught_up: false,
            })
            .collect();
        batches.push(Batch { events: Vec::new(), through: end, caught_up: true });
        futures::stream::iter(batches.into_iter().map(Ok)).boxed()
    }

    fn subscribe(&self, query: ReadQuery) -> BoxStream<'static, Result<Batch, ReadError>> {
        let query = ReadQuery { direction: Direction::Forwards, limit: None, ..query };
        let store = self.clone();
        let seen = if query.start == Start::End { store.log.lock().events.len() } else { 0 };
        let query = if query.start == Start::End { query.from(Start::Edge) } else { query };
        if let Err(error) = check_query(&query) {
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
                let wanted = |e: &&RecordedEvent| {
                    of_source(&query, e) && begun(&query, e) && query.filter.matches(e)
                };
                let events = fresh.iter().filter(wanted).cloned().collect();
                let through = log.events.last().map(|event| event.position);
                (Batch { events, through, caught_up: true }, log.events.len())
            };
            Some((Ok(batch), (store, query, now, grown, false)))
        })
        .boxed()
    }

    fn head(&self) -> Option<Position> {
        self.log.lock().events.last().map(|event| event.position)
    }

    fn identity(&self) -> StoreIdentity {
        self.identity
    }
}
