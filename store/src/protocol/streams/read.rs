//! Reads that end. Responses are made one at a time, as the client takes them; what is held for it is a batch of the store.

use std::sync::Arc;

use annals_core::{
    Batch, Direction, Position, ReadError, ReadQuery, RecordedEvent, Revision, Start, StreamName,
};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tokio::sync::OwnedSemaphorePermit;
use tonic::Status;

use super::links::is_link;
use super::options::{Beginning, LogRead, StreamRead, View};
use crate::protocol::access::{Caller, Right};
use crate::protocol::errors::ProtocolError;
use crate::protocol::events::EventMessage;
use crate::protocol::names::{identifier, is_hidden, original_of, whole_log};
use crate::protocol::service::Protocol;
use crate::protocol::wire::v1::streams::ReadResp;
use crate::protocol::wire::v1::streams::read_resp::read_event::Position as WirePosition;
use crate::protocol::wire::v1::streams::read_resp::{Content, ReadEvent, StreamNotFound};

/// What answers a read.
pub(super) type Responses = BoxStream<'static, Result<ReadResp, Status>>;

/// A response of this content.
pub(super) fn response(content: Content) -> ReadResp {
    ReadResp { content: Some(content) }
}

/// Who reads what.
#[derive(Clone)]
pub(super) struct Reader {
    pub(super) caller: Caller,
    /// The stream, or the whole log.
    pub(super) source: StreamName,
}

impl Reader {
    /// Whether they may.
    pub(super) async fn check(&self, protocol: &Protocol) -> Result<(), ProtocolError> {
        protocol.may(&self.caller, Right::Read, &self.source).await
    }
}

/// Batches of the store, event by event.
pub(super) struct Cursor {
    pub(super) protocol: Arc<Protocol>,
    /// None behind their end.
    batches: Option<BoxStream<'static, Result<Batch, ReadError>>>,
    events: Arc<Vec<RecordedEvent>>,
    place: usize,
    view: View,
    reader: Reader,
    /// Held as long as the client reads.
    _permit: OwnedSemaphorePermit,
}

impl Cursor {
    /// Before the first of these batches.
    pub(super) fn new(
        protocol: Arc<Protocol>,
        batches: BoxStream<'static, Result<Batch, ReadError>>,
        view: View,
        reader: Reader,
    ) -> Result<Cursor, ProtocolError> {
        let permit = protocol.open()?;
        // Who looks for a first event may have come to the end.
        let batches = batches.fuse().boxed();
        let (batches, events) = (Some(batches), Arc::default());
        Ok(Cursor { protocol, batches, events, place: 0, view, reader, _permit: permit })
    }

    /// The next event of the batch; nothing behind its last one.
    pub(super) fn peek(&self) -> Option<&RecordedEvent> {
        self.events.get(self.place)
    }

    /// Passes over the event.
    pub(super) fn skip(&mut self) {
        self.place += 1;
    }

    /// Fetches the next batch; how far it reaches, and whether nothing waits behind it. A right that was taken away
    /// meanwhile ends the reading.
    pub(super) async fn fetch(
        &mut self,
    ) -> Option<Result<(Option<Position>, bool), ProtocolError>> {
        let batch = match self.batches.as_mut()?.next().await {
            Some(Ok(batch)) => batch,
            Some(Err(error)) => return Some(Err(error.into())),
            None => {
                self.batches = None;
                return None;
            }
        };
        if let Err(denied) = self.reader.check(&self.protocol).await {
            return Some(Err(denied));
        }
        (self.events, self.place) = (batch.events, 0);
        Some(Ok((batch.through, batch.caught_up)))
    }

    /// The event that comes next, as a response.
    pub(super) async fn take(&mut self) -> Result<ReadResp, ProtocolError> {
        let View { form, resolve_links } = self.view;
        let event = &self.events[self.place];
        let message = EventMessage::of(&self.events, self.place, form);
        let position = event.position.0;
        let (message, link) = if resolve_links && is_link(event) {
            let event = event.clone();
            let linked = self.protocol.linked_for(&self.reader.caller, &event).await?;
            (linked.map(|linked| EventMessage::one(linked, form)), Some(message))
        } else {
            (Some(message), None)
        };
        self.place += 1;
        let position = Some(WirePosition::CommitPosition(position));
        Ok(response(Content::Event(ReadEvent { event: message, link, position })))
    }
}

/// A read of one stream.
struct StreamReading {
    cursor: Cursor,
    /// Told before the first event, and with the last message.
    first: Option<u64>,
    last: Option<u64>,
    is_done: bool,
}

/// Reads a stream.
///
/// # Errors
/// [`ProtocolError::AccessDenied`], [`ProtocolError::StreamDeleted`] where it has ended for ever, and where it could not be
/// read.
pub(super) async fn read_stream(
    protocol: Arc<Protocol>,
    caller: Caller,
    read: StreamRead,
) -> Result<Responses, ProtocolError> {
    let reader = Reader { caller, source: read.stream.clone() };
    reader.check(&protocol).await?;
    let state = protocol.check_readable(&read.stream).await?;
    let head = protocol.parts.store.stream_head(&read.stream).await?;
    let Some(last) = head.filter(|_| !state.is_deleted) else {
        return Ok(stream::iter([Ok(not_found(&read.stream))]).boxed());
    };
    let is_metastream = original_of(&read.stream).is_some();
    let query =
        ReadQuery { direction: read.direction, ..ReadQuery::stream(read.stream).limit(read.count) };
    let forwards = read.direction == Direction::Forwards;
    let (query, begins) = match (read.from, forwards) {
        // The metadata is what the last event says, and some clients look for it here.
        (Beginning::Start, true) if is_metastream => {
            (query.from(Start::Revision(last)), Some(last.0))
        }
        (Beginning::Start, true) => (query, Some(0)),
        (Beginning::Start, false) => (query.from(Start::Revision(Revision(0))), None),
        (Beginning::At(at), true) => (query.from(Start::Revision(at)), Some(at.0)),
        (Beginning::At(at), false) => (query.from(Start::Revision(at)), None),
        (Beginning::End, true) => (query.limit(0), None),
        (Beginning::End, false) => (query, None),
    };
    let batches = protocol.parts.store.read(query);
    let mut cursor = Cursor::new(protocol, batches, read.view, reader)?;
    let mut first = None;
    if let Some(begins) = begins.filter(|_| read.with_ends && read.count > 0) {
        fetch_some(&mut cursor).await?;
        first = first_told(begins, cursor.peek(), last);
    }
    let last = read.with_ends.then_some(last.0);
    let reading = StreamReading { cursor, first, last, is_done: false };
    Ok(stream::unfold(Box::new(reading), |mut reading| async move {
        let next = reading.next().await?;
        Some((next, reading))
    })
    .boxed())
}

/// How many revisions from the beginning are looked at before the client is told where the stream begins.
const PAGE: u64 = 32;

/// What the client is told of the stream's first event, where its read began before it or behind the last one.
fn first_told(begins: u64, found: Option<&RecordedEvent>, last: Revision) -> Option<u64> {
    let first = match found {
        Some(found) if found.revision.0 < begins.saturating_add(PAGE) => return None,
        Some(found) => found.revision.0,
        None => last.0 + 1,
    };
    (first != begins).then_some(first)
}

/// Fetches until there is an event, or the end.
async fn fetch_some(cursor: &mut Cursor) -> Result<(), ProtocolError> {
    while cursor.peek().is_none() {
        match cursor.fetch().await {
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error),
            None => break,
        }
    }
    Ok(())
}

fn not_found(stream: &StreamName) -> ReadResp {
    let stream_identifier = Some(identifier(stream));
    response(Content::StreamNotFound(StreamNotFound { stream_identifier }))
}

impl StreamReading {
    async fn next(&mut self) -> Option<Result<ReadResp, Status>> {
        if let Some(first) = self.first.take() {
            return Some(Ok(response(Content::FirstStreamPosition(first))));
        }
        loop {
            if self.is_done {
                return None;
            }
            if let Some(event) = self.cursor.peek() {
                // What was appended since is read too.
                self.last = self.last.map(|last| last.max(event.revision.0));
                return Some(self.cursor.take().await.map_err(|error| self.end(error)));
            }
            match self.cursor.fetch().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Some(Err(self.end(error))),
                None => {
                    self.is_done = true;
                    return self.last.map(|last| Ok(response(Content::LastStreamPosition(last))));
                }
            }
        }
    }

    fn end(&mut self, error: ProtocolError) -> Status {
        self.is_done = true;
        error.into()
    }
}

/// A read of the whole log.
struct LogReading {
    cursor: Cursor,
    query: ReadQuery,
    left: u64,
    /// Where the last event stood.
    at: Option<Position>,
    /// Events that counted for the store and are not shown.
    hidden: u64,
    is_done: bool,
}

/// Reads the whole log.
///
/// # Errors
/// [`ProtocolError::AccessDenied`], and where too many read.
pub(super) async fn read_log(
    protocol: Arc<Protocol>,
    caller: Caller,
    read: LogRead,
) -> Result<Responses, ProtocolError> {
    let reader = Reader { caller, source: whole_log() };
    reader.check(&protocol).await?;
    let query = ReadQuery {
        direction: read.direction,
        ..ReadQuery::all().filtered(read.filter).limit(read.count)
    };
    let query = match (read.from, read.direction) {
        (Beginning::Start, Direction::Forwards) | (Beginning::End, Direction::Backwards) => query,
        (Beginning::Start, Direction::Backwards) | (Beginning::End, Direction::Forwards) => {
            query.limit(0)
        }
        // Forwards with the event there, backwards without it.
        (Beginning::At(at), Direction::Forwards) => query.from(Start::Position(at)),
        (Beginning::At(at), Direction::Backwards) => query.from(Start::After(at)),
    };
    let left = query.limit.unwrap_or(0);
    let batches = protocol.parts.store.read(query.clone());
    let cursor = Cursor::new(protocol, batches, read.view, reader)?;
    let reading = LogReading { cursor, query, left, at: None, hidden: 0, is_done: false };
    Ok(stream::unfold(Box::new(reading), |mut reading| async move {
        let next = reading.next().await?;
        Some((next, reading))
    })
    .boxed())
}

impl LogReading {
    async fn next(&mut self) -> Option<Result<ReadResp, Status>> {
        while !self.is_done && self.left > 0 {
            if let Some(event) = self.cursor.peek() {
                self.at = Some(event.position);
                if is_hidden(event, true) {
                    self.hidden += 1;
                    self.cursor.skip();
                    continue;
                }
                self.left -= 1;
                return Some(self.cursor.take().await.map_err(|error| self.end(error)));
            }
            match self.cursor.fetch().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Some(Err(self.end(error))),
                None => match self.at {
                    // The store stopped at the limit, which what is not shown counted for.
                    Some(at) if self.hidden > 0 => {
                        self.hidden = 0;
                        let query = self.query.clone().from(Start::After(at)).limit(self.left);
                        self.cursor.batches = Some(self.cursor.protocol.parts.store.read(query));
                    }
                    Some(_) | None => return None,
                },
            }
        }
        None
    }

    fn end(&mut self, error: ProtocolError) -> Status {
        self.is_done = true;
        error.into()
    }
}
