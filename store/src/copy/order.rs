//! The appends of a copy: in the order of the source, each stream's events behind those before, many under way at once.

use annals_core::codec::SCHEMAS_STREAM;
use annals_core::{
    Append, AppendError, Appended, EventStore, ExpectedRevision, NewEvent, Revision, StreamName,
    StreamWrite,
};
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, StreamExt};
use hashbrown::HashMap;

use super::CopyError;

/// Events of one stream that follow each other go into one append, up to so many,
const APPEND_EVENTS_MAX: usize = 256;
/// and up to so many bytes.
const APPEND_BYTES_MAX: usize = 256 << 10;
/// Appends under way at most,
const UNDER_WAY_MAX: usize = 2048;
/// and bytes of them.
const UNDER_WAY_BYTES_MAX: usize = 16 << 20;

type UnderWay = BoxFuture<'static, (StreamName, usize, Result<Appended, AppendError>)>;

/// The appends to one store.
pub(super) struct InOrder<'a> {
    to: &'a dyn EventStore,
    gathered: Option<Gathered>,
    later: Vec<Gathered>,
    /// Where each stream stands among those.
    places: HashMap<StreamName, usize>,
    under_way: FuturesOrdered<UnderWay>,
    bytes: usize,
}

/// Events of one stream that go into one append.
struct Gathered {
    stream: StreamName,
    expected: ExpectedRevision,
    /// The number in the stream that the next event has.
    next: u64,
    bytes: usize,
    events: Vec<NewEvent>,
}

impl Gathered {
    fn new(stream: StreamName, number: u64) -> Gathered {
        // In that very place: a server may hold an id twice in a stream.
        let expected = ExpectedRevision::Behind(number.checked_sub(1).map(Revision));
        Gathered { stream, expected, next: number, bytes: 0, events: Vec::new() }
    }

    fn push(&mut self, event: NewEvent) {
        self.next += 1;
        self.bytes += event.data.len() + event.metadata.len() + event.event_type.as_str().len();
        self.events.push(event);
    }
}

impl<'a> InOrder<'a> {
    pub(super) fn new(to: &'a dyn EventStore) -> InOrder<'a> {
        InOrder {
            to,
            gathered: None,
            later: Vec::new(),
            places: HashMap::new(),
            under_way: FuturesOrdered::new(),
            bytes: 0,
        }
    }

    /// Appends the event that has this number in its stream.
    pub(super) async fn append(
        &mut self,
        stream: StreamName,
        number: u64,
        event: NewEvent,
    ) -> Result<(), CopyError> {
        let fits = self.gathered.as_ref().is_some_and(|gathered| {
            gathered.stream == stream
                && gathered.next == number
                && gathered.events.len() < APPEND_EVENTS_MAX
                && gathered.bytes < APPEND_BYTES_MAX
        });
        if !fits {
            self.send_gathered().await?;
        }
        self.gathered.get_or_insert_with(|| Gathered::new(stream, number)).push(event);
        Ok(())
    }

    /// Appends a schema, wherever its stream is.
    pub(super) async fn schema(&mut self, event: NewEvent) -> Result<(), CopyError> {
        self.send_gathered().await?;
        let stream = StreamName::new(SCHEMAS_STREAM).expect("a valid constant");
        let mut schema = Gathered { expected: ExpectedRevision::Any, ..Gathered::new(stream, 0) };
        schema.push(event);
        self.send(schema).await
    }

    /// Keeps the event, to append it with the others of its stream when all else is appended.
    pub(super) fn later(&mut self, stream: StreamName, number: u64, event: NewEvent) {
        let place = *self.places.entry(stream).or_insert_with_key(|stream| {
            self.later.push(Gathered::new(stream.clone(), number));
            self.later.len() - 1
        });
        self.later[place].push(event);
    }

    /// Appends what is left and waits for all.
    pub(super) async fn finish(mut self) -> Result<(), CopyError> {
        self.send_gathered().await?;
        for later in std::mem::take(&mut self.later) {
            self.send(later).await?;
        }
        while !self.under_way.is_empty() {
            self.wait_for_one().await?;
        }
        Ok(())
    }

    async fn send_gathered(&mut self) -> Result<(), CopyError> {
        match self.gathered.take() {
            Some(gathered) => self.send(gathered).await,
            None => Ok(()),
        }
    }

    async fn send(&mut self, gathered: Gathered) -> Result<(), CopyError> {
        let Gathered { stream, expected, bytes, events, .. } = gathered;
        while self.under_way.len() >= UNDER_WAY_MAX
            || (self.bytes + bytes > UNDER_WAY_BYTES_MAX && !self.under_way.is_empty())
        {
            self.wait_for_one().await?;
        }
        self.bytes += bytes;
        let append = Append::to(StreamWrite { stream: stream.clone(), expected, events });
        let answer = self.to.append(append);
        self.under_way.push_back(answer.map(move |answer| (stream, bytes, answer)).boxed());
        Ok(())
    }

    async fn wait_for_one(&mut self) -> Result<(), CopyError> {
        let Some((stream, bytes, answer)) = self.under_way.next().await else { return Ok(()) };
        self.bytes -= bytes;
        answer.map(|_| ()).map_err(|source| CopyError::Append { stream, source })
    }
}
