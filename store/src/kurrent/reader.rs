//! Reads. A broken connection is made again and the read goes on behind the last event it has seen. What the protocol
//! cannot say, of a query's start or filter, is left out here.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use annals_core::{
    Batch, Direction, EventId, Position, ReadError, ReadQuery, RecordedEvent, Revision, Source,
    Start, StreamName,
};
use eventstore::{ReadAllOptions, ReadEvent, ReadStream, ReadStreamOptions, StreamPosition};
use futures::stream::{BoxStream, Stream, StreamExt};

use super::connection::{Connection, Patience};
use super::error::{Failure, failure, read_error};
use super::events::{place_of, received};
use super::head::Head;

/// Events in a batch at most.
pub(super) const BATCH_EVENTS: usize = 1024;
/// How long a read that does not come through is tried again.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where a call begins, in the protocol's own terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The whole log, forwards: at this position or behind it.
    AllFrom(Option<Position>),
    /// The whole log, backwards: before this position, or from the end.
    AllBefore(Option<Position>),
    /// A stream, forwards.
    StreamFrom(Revision),
    /// A stream, backwards: this revision and those before, or from the last.
    StreamBack(Option<Revision>),
}

/// A read under way, in the order of the protocol, not filtered.
struct Reading {
    connection: Arc<Connection>,
    stream: Option<StreamName>,
    /// Where the next call begins; nothing where no event is left.
    place: Option<Place>,
    /// The last event seen, which a new call may show again.
    last: Option<Position>,
    limit: u64,
    open: Option<(u64, ReadStream)>,
    patience: Patience,
}

/// What a call gives.
enum Next {
    Event(RecordedEvent),
    End,
}

impl Reading {
    fn new(
        connection: &Arc<Connection>,
        stream: Option<StreamName>,
        place: Option<Place>,
        limit: u64,
    ) -> Reading {
        Reading {
            connection: Arc::clone(connection),
            stream,
            place,
            last: None,
            limit,
            open: None,
            patience: Patience::within(PATIENCE),
        }
    }

    fn attempt(&self) -> String {
        self.stream.as_ref().map_or("the log".to_owned(), |stream| format!("stream {stream}"))
    }

    /// The next event; ends with nothing.
    async fn next(&mut self) -> Result<Next, ReadError> {
        loop {
            let Some(place) = self.place.filter(|_| self.limit > 0) else { return Ok(Next::End) };
            let error = match self.step(place).await {
                Ok(Some(event)) => {
                    self.patience.renew();
                    let event = received(event)?;
                    let again = self.last == Some(event.position);
                    self.pass(&event);
                    if again {
                        continue;
                    }
                    self.limit -= 1;
                    return Ok(Next::Event(event));
                }
                Ok(None) => {
                    self.place = None;
                    return Ok(Next::End);
                }
                Err(error) => error,
            };
            let number = self.open.take().map_or_else(|| self.connection.client().0, |open| open.0);
            match failure(&error) {
                Failure::NotFound if self.stream.is_some() => return Ok(Next::End),
                Failure::Passing => {
                    self.connection.failed(number, &error);
                    if self.patience.pause().await {
                        continue;
                    }
                }
                Failure::Conflict(_)
                | Failure::Deleted
                | Failure::Denied
                | Failure::NotFound
                | Failure::Refused(_)
                | Failure::Full(_) => {}
            }
            return Err(read_error(&self.attempt(), self.stream.as_ref(), error));
        }
    }

    async fn step(
        &mut self,
        place: Place,
    ) -> Result<Option<eventstore::ResolvedEvent>, eventstore::Error> {
        if self.open.is_none() {
            let (number, client) = self.connection.client();
            let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
            let opened = match (&self.stream, place) {
                (Some(stream), place) => {
                    let options = stream_options(place).max_count(limit);
                    client.read_stream(stream.as_str(), &options).await?
                }
                (None, place) => {
                    // One more: a call that begins again shows its first event twice.
                    let limit = limit.saturating_add(usize::from(self.last.is_some()));
                    client.read_all(&all_options(place).max_count(limit)).await?
                }
            };
            self.open = Some((number, opened));
        }
        let (_, open) = self.open.as_mut().expect("it was opened above");
        open.next().await
    }

    /// A new call would begin behind this event.
    fn pass(&mut self, event: &RecordedEvent) {
        self.last = Some(event.position);
        self.place = match self.place {
            Some(Place::AllFrom(_)) => Some(Place::AllFrom(Some(event.position))),
            Some(Place::AllBefore(_)) => Some(Place::AllBefore(Some(event.position))),
            Some(Place::StreamFrom(_)) => {
                Some(Place::StreamFrom(Revision(event.revision.0.saturating_add(1))))
            }
            Some(Place::StreamBack(_)) => event
                .revision
                .0
                .checked_sub(1)
                .map(|before| Place::StreamBack(Some(Revision(before)))),
            None => None,
        };
    }
}

fn all_options(place: Place) -> ReadAllOptions {
    let at = |position: Position| StreamPosition::Position(place_of(position));
    let options = ReadAllOptions::default();
    match place {
        Place::AllBefore(before) => {
            options.backwards().position(before.map_or(StreamPosition::End, at))
        }
        Place::AllFrom(from) => options.forwards().position(from.map_or(StreamPosition::Start, at)),
        Place::StreamFrom(_) | Place::StreamBack(_) => options,
    }
}

fn stream_options(place: Place) -> ReadStreamOptions {
    let at = |Revision(revision): Revision| StreamPosition::Position(revision);
    let options = ReadStreamOptions::default();
    match place {
        Place::StreamBack(from) => {
            options.backwards().position(from.map_or(StreamPosition::End, at))
        }
        Place::StreamFrom(from) => options.forwards().position(at(from)),
        Place::AllFrom(_) | Place::AllBefore(_) => options,
    }
}

/// Every event from there on, one after the other.
fn events(reading: Reading) -> impl Stream<Item = Result<RecordedEvent, ReadError>> + Send {
    futures::stream::unfold(Some(reading), |reading| async {
        let mut reading = reading?;
        match reading.next().await {
            Ok(Next::Event(event)) => Some((Ok(event), Some(reading))),
            Ok(Next::End) => None,
            Err(error) => Some((Err(error), None)),
        }
    })
}

/// The events that a query may mean, in its direction: its start is applied as far as the protocol can.
fn of_query(
    connection: &Arc<Connection>,
    query: &ReadQuery,
    limit: u64,
) -> BoxStream<'static, Result<RecordedEvent, ReadError>> {
    let (stream, forwards) = match &query.source {
        Source::All => (None, query.direction == Direction::Forwards),
        Source::Stream(stream) => (Some(stream.clone()), query.direction == Direction::Forwards),
    };
    let place = match (&stream, forwards, query.start) {
        (None, true, Start::Position(from) | Start::After(from)) => Place::AllFrom(Some(from)),
        (None, true, _) => Place::AllFrom(None),
        (None, false, Start::Position(before) | Start::After(before)) => {
            Place::AllBefore(Some(before))
        }
        (None, false, _) => Place::AllBefore(None),
        (Some(_), true, Start::Revision(from)) => Place::StreamFrom(from),
        (Some(_), true, _) => Place::StreamFrom(Revision(0)),
        (Some(_), false, Start::Revision(from)) => Place::StreamBack(Some(from)),
        (Some(_), false, _) => Place::StreamBack(None),
    };
    let main = events(Reading::new(connection, stream.clone(), Some(place), limit));
    let (None, false, Start::Position(at)) = (&stream, forwards, query.start) else {
        return main.boxed();
    };
    // Backwards, the protocol leaves out the position that it begins at: that one is read by itself.
    let first = events(Reading::new(connection, None, Some(Place::AllFrom(Some(at))), 1));
    let is_it = move |event: &Result<RecordedEvent, ReadError>| {
        let it = event.as_ref().map_or(true, |event| event.position == at);
        futures::future::ready(it)
    };
    first.filter(is_it).chain(main).boxed()
}

/// Reads what the log holds now.
pub(super) fn read(
    connection: Arc<Connection>,
    head: Arc<Head>,
    query: ReadQuery,
) -> BoxStream<'static, Result<Batch, ReadError>> {
    let begin = async move {
        let end = last_position(&connection).await?;
        if let Some(end) = end {
            head.saw(end);
        }
        Ok::<_, ReadError>(Under::new(&connection, query, end))
    };
    futures::stream::once(begin)
        .flat_map(|begun| match begun {
            Ok(under) => under.batches().boxed(),
            Err(error) => futures::stream::iter([Err(error)]).boxed(),
        })
        .fuse()
        .boxed()
}

/// A read of which the end is known.
struct Under {
    events: futures::stream::ReadyChunks<BoxStream<'static, Result<RecordedEvent, ReadError>>>,
    query: ReadQuery,
    left: u64,
    end: Option<Position>,
    failed: VecDeque<ReadError>,
    done: bool,
}

impl Under {
    fn new(connection: &Arc<Connection>, query: ReadQuery, end: Option<Position>) -> Under {
        let left = query.limit.unwrap_or(u64::MAX);
        // A server counts before what is left out here.
        let exact = query.filter == annals_core::Filter::default()
            && matches!(query.start, Start::Edge | Start::Revision(_));
        let limit = if exact { left } else { u64::MAX };
        let events = of_query(connection, &query, limit).ready_chunks(BATCH_EVENTS);
        Under { events, query, left, end, failed: VecDeque::new(), done: false }
    }

    fn batches(self) -> impl Stream<Item = Result<Batch, ReadError>> + Send {
        futures::stream::unfold(self, |mut under| async {
            if let Some(error) = under.failed.pop_front() {
                under.done = true;
                return Some((Err(error), under));
            }
            if under.done {
                return None;
            }
            let Some(chunk) = under.events.next().await.filter(|_| under.left > 0) else {
                under.done = true;
                let last = Batch { events: Arc::default(), through: under.end, caught_up: true };
                return Some((Ok(last), under));
            };
            let batch = under.taken(chunk);
            Some((Ok(batch), under))
        })
    }

    fn taken(&mut self, chunk: Vec<Result<RecordedEvent, ReadError>>) -> Batch {
        let forwards = self.query.direction == Direction::Forwards;
        let mut batch = Batch::default();
        let mut taken = Vec::with_capacity(chunk.len());
        for event in chunk {
            let event = match event {
                Ok(event) => event,
                Err(error) => {
                    self.failed.push_back(error);
                    break;
                }
            };
            if self.left == 0 || (forwards && Some(event.position) > self.end) {
                self.left = 0; // What came after the call is not read.
                break;
            }
            if forwards {
                batch.through = Some(event.position);
            }
            if self.query.reaches(&event) && self.query.filter.matches(&event) {
                self.left -= 1;
                taken.push(event);
            }
        }
        if !forwards {
            batch.through = taken.last().map(|event| event.position);
        }
        batch.events = Arc::new(taken);
        batch
    }
}

/// One event at most, by a call of its own.
async fn one(mut reading: Reading) -> Result<Option<RecordedEvent>, ReadError> {
    match reading.next().await? {
        Next::Event(event) => Ok(Some(event)),
        Next::End => Ok(None),
    }
}

/// The position of the last event of the log.
pub(super) async fn last_position(
    connection: &Arc<Connection>,
) -> Result<Option<Position>, ReadError> {
    let reading = Reading::new(connection, None, Some(Place::AllBefore(None)), 1);
    Ok(one(reading).await?.map(|event| event.position))
}

/// The id of the stream's event of that revision, where a read shows it.
pub(super) async fn id_at(
    connection: &Arc<Connection>,
    stream: &StreamName,
    revision: Revision,
) -> Result<Option<EventId>, ReadError> {
    let place = Some(Place::StreamBack(Some(revision)));
    let event = one(Reading::new(connection, Some(stream.clone()), place, 1)).await?;
    Ok(event.filter(|event| event.revision == revision).map(|event| event.id))
}

/// The revision of the stream's last event, whether a read shows it or not.
pub(super) async fn last_revision(
    connection: &Arc<Connection>,
    stream: &StreamName,
) -> Result<Option<Revision>, ReadError> {
    let mut patience = Patience::within(PATIENCE);
    loop {
        let (number, client) = connection.client();
        let error = match last_of(&client, stream).await {
            Ok(last) => return Ok(last),
            Err(error) => error,
        };
        match failure(&error) {
            Failure::NotFound => return Ok(None),
            Failure::Passing => {
                connection.failed(number, &error);
                if patience.pause().await {
                    continue;
                }
            }
            Failure::Conflict(_)
            | Failure::Deleted
            | Failure::Denied
            | Failure::Refused(_)
            | Failure::Full(_) => {}
        }
        return Err(read_error(&format!("stream {stream}"), Some(stream), error));
    }
}

async fn last_of(
    client: &eventstore::Client,
    stream: &StreamName,
) -> Result<Option<Revision>, eventstore::Error> {
    let options = stream_options(Place::StreamBack(None)).max_count(1);
    let mut events = client.read_stream(stream.as_str(), &options).await?;
    let mut last = None;
    while let Some(event) = events.next_read_event().await? {
        match event {
            ReadEvent::Event(event) => {
                last = last.max(Some(Revision(event.get_original_event().revision)));
            }
            ReadEvent::LastStreamPosition(revision) => last = last.max(Some(Revision(revision))),
            ReadEvent::FirstStreamPosition(_) | ReadEvent::LastAllStreamPosition(_) => {}
        }
    }
    Ok(last)
}
