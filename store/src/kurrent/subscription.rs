//! A subscription: the server catches up and goes on live, and a call that breaks is made again behind the last event that
//! it has shown, so that none is missed or doubled. It reads no faster than its consumer does, and leaves out here what a
//! filter leaves out, so that it always knows how far it has come.

use std::sync::Arc;
use std::time::Duration;

use annals_core::{Batch, Position, ReadError, ReadQuery, RecordedEvent, Revision, Source, Start};
use eventstore::{
    StreamPosition, SubscribeToAllOptions, SubscribeToStreamOptions, Subscription,
    SubscriptionEvent,
};
use futures::stream::{BoxStream, Stream, StreamExt};

use super::connection::{Connection, Patience};
use super::error::{Failure, failure, read_error};
use super::events::{place_of, received};
use super::head::Head;
use super::reader::{self, BATCH_EVENTS};

/// How long a subscription that does not come through is tried again.
const PATIENCE: Duration = Duration::from_mins(1);

/// One thing that a subscription tells.
enum Told {
    Event(RecordedEvent),
    /// Everything up to here was shown, and it is the end for now.
    CaughtUp(Option<Position>),
    FellBehind,
}

/// A subscription under way, not filtered.
struct Following {
    connection: Arc<Connection>,
    head: Arc<Head>,
    source: Source,
    /// The event that the next call begins behind.
    behind: Option<Place>,
    /// The end of the log when the call was made.
    end: Option<Position>,
    open: Option<(u64, Subscription)>,
    patience: Patience,
}

/// An event to begin behind.
#[derive(Clone, Copy)]
enum Place {
    Position(Position),
    Revision(Revision),
}

impl Following {
    fn new(connection: Arc<Connection>, head: Arc<Head>, query: &ReadQuery) -> Following {
        let behind = match (&query.source, query.start) {
            (Source::All, Start::After(position)) => Some(Place::Position(position)),
            (Source::Stream(_), Start::Revision(Revision(from))) => {
                from.checked_sub(1).map(|before| Place::Revision(Revision(before)))
            }
            // Of the others, what comes before is left out.
            (Source::All | Source::Stream(_), _) => None,
        };
        let (source, patience) = (query.source.clone(), Patience::within(PATIENCE));
        Following { connection, head, source, behind, end: None, open: None, patience }
    }

    async fn next(&mut self) -> Result<Told, ReadError> {
        loop {
            let error = match self.step().await {
                Ok(Some(told)) => {
                    self.patience.renew();
                    return Ok(told);
                }
                Ok(None) => continue,
                Err(Broken::Read(error)) => return Err(error),
                Err(Broken::Call(error)) => error,
            };
            let number = self.open.take().map_or_else(|| self.connection.client().0, |open| open.0);
            tracing::debug!(%error, "a subscription broke");
            if let Failure::Passing = failure(&error) {
                self.connection.failed(number, &error);
                if self.patience.pause().await {
                    continue;
                }
            }
            let stream = match &self.source {
                Source::All => None,
                Source::Stream(stream) => Some(stream),
            };
            return Err(read_error("live events", stream, error));
        }
    }

    async fn step(&mut self) -> Result<Option<Told>, Broken> {
        if self.open.is_none() {
            // First the end, then the call: what it shows before it has caught up reaches there at least.
            self.end = reader::last_position(&self.connection).await.map_err(Broken::Read)?;
            if let Some(end) = self.end {
                self.head.saw(end);
            }
            let (number, client) = self.connection.client();
            self.open = Some((number, call(&client, &self.source, self.behind).await));
        }
        let (_, open) = self.open.as_mut().expect("it was opened above");
        let told = open.next_subscription_event().await.map_err(Broken::Call)?;
        Ok(match told {
            SubscriptionEvent::EventAppeared(event) => {
                let event = received(event).map_err(Broken::Read)?;
                self.behind = Some(match self.source {
                    Source::All => Place::Position(event.position),
                    Source::Stream(_) => Place::Revision(event.revision),
                });
                self.head.saw(event.position);
                Some(Told::Event(event))
            }
            SubscriptionEvent::CaughtUp => Some(Told::CaughtUp(self.end)),
            SubscriptionEvent::FellBehind => Some(Told::FellBehind),
            SubscriptionEvent::Confirmed(_)
            | SubscriptionEvent::Checkpoint(_)
            | SubscriptionEvent::FirstStreamPosition(_)
            | SubscriptionEvent::LastStreamPosition(_)
            | SubscriptionEvent::LastAllPosition(_) => None,
        })
    }
}

/// Makes the call that begins behind that event.
async fn call(client: &eventstore::Client, source: &Source, behind: Option<Place>) -> Subscription {
    match (source, behind) {
        (Source::All, Some(Place::Position(position))) => {
            let place = StreamPosition::Position(place_of(position));
            client.subscribe_to_all(&SubscribeToAllOptions::default().position(place)).await
        }
        (Source::All, _) => client.subscribe_to_all(&SubscribeToAllOptions::default()).await,
        (Source::Stream(stream), behind) => {
            let place = match behind {
                Some(Place::Revision(Revision(revision))) => StreamPosition::Position(revision),
                Some(Place::Position(_)) | None => StreamPosition::Start,
            };
            let options = SubscribeToStreamOptions::default().start_from(place);
            client.subscribe_to_stream(stream.as_str(), &options).await
        }
    }
}

/// Why a step failed.
enum Broken {
    /// The subscription's own call.
    Call(eventstore::Error),
    /// Something that was tried again already, or need not be.
    Read(ReadError),
}

fn told(following: Following) -> impl Stream<Item = Result<Told, ReadError>> + Send {
    futures::stream::unfold(Some(following), |following| async {
        let mut following = following?;
        match following.next().await {
            Ok(told) => Some((Ok(told), Some(following))),
            Err(error) => Some((Err(error), None)),
        }
    })
}

/// Reads from the query's start and goes on live.
pub(super) fn subscribe(
    connection: Arc<Connection>,
    head: Arc<Head>,
    query: ReadQuery,
) -> BoxStream<'static, Result<Batch, ReadError>> {
    let following = Following::new(connection, Arc::clone(&head), &query);
    let chunks = told(following).boxed().ready_chunks(BATCH_EVENTS);
    let shown = Shown { query, head, through: None, live: false };
    futures::stream::unfold((chunks, Some(shown)), |(mut chunks, shown)| async {
        let mut shown = shown?;
        let chunk = chunks.next().await?;
        let full = chunk.len() == BATCH_EVENTS;
        let (batch, error) = shown.batch(chunk, full);
        let shown = if error.is_some() { None } else { Some(shown) };
        let items = [Some(Ok(batch)), error.map(Err)];
        Some((futures::stream::iter(items.into_iter().flatten()), (chunks, shown)))
    })
    .flatten()
    .fuse()
    .boxed()
}

/// What was shown so far.
struct Shown {
    query: ReadQuery,
    head: Arc<Head>,
    through: Option<Position>,
    live: bool,
}

impl Shown {
    fn batch(
        &mut self,
        chunk: Vec<Result<Told, ReadError>>,
        full: bool,
    ) -> (Batch, Option<ReadError>) {
        let (mut events, mut failed) = (Vec::with_capacity(chunk.len()), None);
        for told in chunk {
            match told {
                Ok(Told::Event(event)) => {
                    self.through = self.through.max(Some(event.position));
                    if self.query.reaches(&event) && self.query.filter.matches(&event) {
                        events.push(event);
                    }
                }
                Ok(Told::CaughtUp(end)) => {
                    self.through = self.through.max(end);
                    self.live = true;
                }
                Ok(Told::FellBehind) => self.live = false,
                Err(error) => failed = Some(error),
            }
        }
        let at_end = self.live || (self.through.is_some() && self.through >= self.head.position());
        let caught_up = at_end && !full && failed.is_none();
        (Batch { events: Arc::new(events), through: self.through, caught_up }, failed)
    }
}
