//! Any server that speaks the KurrentDB gRPC protocol as an event store, through the `eventstore` crate. Appends go out in
//! the order in which they are given, over one call; a broken connection is made again and what was under way is repeated
//! with the same event ids, which write nothing twice. What the protocol cannot say is refused: an append over several
//! streams, and a condition by types and tags. Positions are the server's own and have gaps.

mod connection;
mod error;
mod events;
mod head;
mod known;
mod metadata;
mod queue;
mod reader;
mod subscription;
mod writer;

use std::str::FromStr;
use std::sync::Arc;

use annals_core::{
    Append, AppendError, Appended, Batch, Direction, EventStore, PerWrite, Position, ReadError,
    ReadQuery, Revision, Start, StoreIdentity, StreamName,
};
use futures::future::BoxFuture;
use futures::stream::{BoxStream, StreamExt};
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use uuid::Uuid;

pub use connection::{Address, AddressError};
pub use error::ConnectError;
pub(crate) use metadata::normal;

use connection::Connection;
use head::Head;
use queue::Queue;

/// An event store on a server.
pub struct KurrentStore {
    connection: Arc<Connection>,
    head: Arc<Head>,
    queue: Queue,
    identity: Mutex<StoreIdentity>,
    running: Mutex<Option<Running>>,
}

/// What runs while the store is open.
struct Running {
    writer: JoinHandle<()>,
    tail: JoinHandle<()>,
}

impl KurrentStore {
    /// Connects, and learns where the log ends and which store it is. Must be called within a tokio runtime, which
    /// also runs what goes on beside: the sender of appends, and the watch on the end of the log.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(address: &Address) -> Result<Arc<KurrentStore>, ConnectError> {
        let connection = Arc::new(Connection::new(address)?);
        let failed = |source| ConnectError::Unreachable { hosts: address.hosts(), source };
        let head = Arc::new(Head::new(reader::last_position(&connection).await.map_err(failed)?));
        let (queue, requests) = Queue::new();
        let writer = writer::Writer::new(Arc::clone(&connection), Arc::clone(&head), requests);
        let writer = tokio::spawn(writer.run());
        let tail = tokio::spawn(head::follow(Arc::clone(&connection), Arc::clone(&head)));
        let store = Arc::new(KurrentStore {
            connection,
            head,
            queue,
            identity: Mutex::new(StoreIdentity { id: Uuid::nil(), epoch: 0 }),
            running: Mutex::new(Some(Running { writer, tail })),
        });
        store.learn_identity().await.map_err(failed)?;
        Ok(store)
    }

    /// Learns which store this is, once its first schema is published. The protocol names no store that would stay the
    /// same when a server is started again, so a store is known by the first event of its stream of schemas: id, place
    /// and time, of which the last two are each server's own. Nothing is written for it.
    ///
    /// # Errors
    /// [`ReadError`]; an empty store is none: it has no identity yet.
    pub async fn learn_identity(&self) -> Result<(), ReadError> {
        let schemas =
            StreamName::new(annals_core::codec::SCHEMAS_STREAM).expect("a valid constant");
        let mut batches = self.read(ReadQuery::stream(schemas).limit(1));
        while let Some(batch) = batches.next().await {
            if let Some(first) = batch?.events.first() {
                let text = format!("{}\n{}\n{}", first.id, first.position, first.time.0);
                let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes());
                *self.identity.lock() = StoreIdentity { id, epoch: 1 };
                break;
            }
        }
        Ok(())
    }

    /// Takes no more appends and waits until what was given is answered. Subscriptions end by being dropped.
    pub async fn close(&self) {
        self.queue.close();
        let running = self.running.lock().take();
        let Some(running) = running else { return };
        running.tail.abort();
        if let Err(error) = running.writer.await {
            tracing::error!(%error, "the sender of appends ended unexpectedly");
        }
    }
}

impl Drop for KurrentStore {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(running) = self.running.lock().take() {
            // The writer ends by itself once it has answered what it was given.
            running.tail.abort();
        }
    }
}

impl EventStore for KurrentStore {
    fn append(&self, append: Append) -> BoxFuture<'static, Result<Appended, AppendError>> {
        let Append { mut writes, condition } = append;
        let answer = match (condition, writes.len()) {
            (Some(_), _) => Err(AppendError::Malformed(
                "a condition by types and tags cannot be asked of a server over the KurrentDB protocol; expect a \
                 revision of one stream, or use the embedded store"
                    .to_owned(),
            )),
            (None, 0) => {
                let nothing = Appended { position: None, revisions: PerWrite::new() };
                return Box::pin(async move { Ok(nothing) });
            }
            (None, 1) => self.queue.push(writes.remove(0)),
            (None, count) => Err(AppendError::Malformed(format!(
                "an append over {count} streams cannot be sent over the KurrentDB protocol; append to one stream, or \
                 use the embedded store"
            ))),
        };
        Box::pin(async move {
            answer?.await.unwrap_or_else(|_| {
                Err(AppendError::Unknown("the sender of appends stopped unexpectedly".to_owned()))
            })
        })
    }

    fn read(&self, query: ReadQuery) -> BoxStream<'static, Result<Batch, ReadError>> {
        match query.check() {
            Ok(()) => reader::read(Arc::clone(&self.connection), Arc::clone(&self.head), query),
            Err(error) => futures::stream::iter([Err(error)]).boxed(),
        }
    }

    fn subscribe(&self, query: ReadQuery) -> BoxStream<'static, Result<Batch, ReadError>> {
        // What was acknowledged before this call is not what comes from now on.
        let start = match (query.start, self.head()) {
            (Start::End, Some(head)) => Start::After(head),
            (Start::End, None) => Start::Edge,
            (start, _) => start,
        };
        let query = ReadQuery { direction: Direction::Forwards, limit: None, start, ..query };
        match query.check() {
            Ok(()) => {
                subscription::subscribe(Arc::clone(&self.connection), Arc::clone(&self.head), query)
            }
            Err(error) => futures::stream::iter([Err(error)]).boxed(),
        }
    }

    fn stream_head(
        &self,
        stream: &StreamName,
    ) -> BoxFuture<'static, Result<Option<Revision>, ReadError>> {
        let (connection, stream) = (Arc::clone(&self.connection), stream.clone());
        Box::pin(async move { reader::last_revision(&connection, &stream).await })
    }

    fn head(&self) -> Option<Position> {
        self.head.position()
    }

    fn identity(&self) -> StoreIdentity {
        *self.identity.lock()
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        Address::parse(text)
    }
}
