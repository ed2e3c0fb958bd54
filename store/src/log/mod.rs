//! The embedded log. In layers: `format` knows the bytes, `segments` and `scan` the files, `index`
//! what stands where; `encoder` and `writer` append, `reader` and `subscription` read, `recovery`
//! opens. docs/log-format.md describes the files. Nothing here knows what an event means.

mod absent;
mod address;
mod backup;
mod batches;
mod checkpoints;
mod encoder;
mod error;
mod format;
mod index;
mod live;
mod names;
mod open;
mod open_files;
mod options;
mod prepared;
mod preparer;
mod queue;
mod reader;
mod reading;
mod recovery;
mod repair;
mod restore;
mod scan;
#[cfg(schedules)]
#[cfg(test)]
mod schedules;
mod segments;
mod shared;
mod subscription;
mod sync;
mod tail;
#[cfg(not(schedules))]
#[cfg(test)]
mod tests;
mod tree;
mod verify;
mod writer;

use std::path::Path;
use std::sync::Arc;

use annals_core::disk::{Disk, DiskLock};
use annals_core::{
    Append, AppendError, Appended, Batch, Clock, EventStore, Position, Random, ReadError,
    ReadQuery, Revision, Start, StoreIdentity, StreamName,
};
use futures::future::BoxFuture;
use futures::stream::{BoxStream, StreamExt};
use tokio::sync::{oneshot, watch};

pub use backup::{Backup, BackupError, backup};
pub use error::{Damage, Flaw, OpenError};
pub use options::{APPEND_BYTES_MAX, EVENT_BYTES_MAX, LogOptions};
pub use repair::{Repaired, Replaced, repair};
pub use restore::{Restored, Upto, restore};
pub use verify::{Verified, verify, verify_with};

use prepared::Prepared;
use queue::{Begin, Request};
use shared::Shared;
use sync::thread::JoinHandle;
use sync::{Handle, Mutex, yield_now};

/// The embedded event log. Streams of reads and subscriptions outlive it: they end with an error
/// once it is closed.
pub struct Log {
    shared: Arc<Shared>,
    running: Mutex<Option<Running>>,
}

/// What runs while a log is open.
struct Running {
    writer: JoinHandle<()>,
    encoder: JoinHandle<()>,
    preparer: JoinHandle<()>,
    live: JoinHandle<()>,
    #[allow(dead_code, reason = "held for its drop")]
    lock: Box<dyn DiskLock>,
}

/// What a log holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Durable events.
    pub events: u64,
    /// Segment files.
    pub segments: u64,
    /// Bytes of the segments that hold headers, events and commits.
    pub bytes: u64,
    /// Streams that have an event.
    pub streams: u64,
}

impl Log {
    /// Opens the log in the folder `dir`, and makes a new one where there is none. Blocks while it
    /// reads the segments.
    ///
    /// # Errors
    /// [`OpenError`]; where damage was found, nothing is changed on the disk.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: impl AsRef<Path>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        options: LogOptions,
    ) -> Result<Arc<Log>, OpenError> {
        open::open(disk, dir.as_ref(), clock, random, options).map(Arc::new)
    }

    /// Takes no more appends, makes durable what is queued, and lets go of the folder. Blocks until
    /// then. Dropping the log does the same.
    pub fn close(&self) {
        let Some(running) = self.running.lock().take() else { return };
        self.shared.queue.close();
        let writer = running.writer.join();
        let encoder = running.encoder.join();
        self.shared.preparer.stop();
        let preparer = running.preparer.join();
        self.shared.durable.send_modify(|durable| durable.closed = true);
        self.shared.live.stop();
        let live = running.live.join();
        if writer.is_err() || encoder.is_err() || preparer.is_err() || live.is_err() {
            tracing::error!("a thread of the log ended unexpectedly");
        }
        self.shared.files.close();
    }

    /// Why the log takes no more writes, once a write or sync has failed. The process should then
    /// end with a code other than 0 and start again.
    pub fn poisoned(&self) -> Option<Arc<str>> {
        self.shared.poison_reason()
    }

    /// The same to wait on: `wait_for(Option::is_some)`.
    pub fn watch_poison(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.shared.poisoned.subscribe()
    }

    /// What the log holds.
    pub fn stats(&self) -> LogStats {
        let durable = *self.shared.durable.borrow();
        LogStats {
            events: durable.events,
            segments: self.shared.segments.len() as u64,
            bytes: self.shared.segments.bytes(durable.end),
            streams: self.shared.index.streams(),
        }
    }

    /// The root of the Merkle tree over the first `size` events, as RFC 6962 (section 2.1) builds it; the leaf of an
    /// event is what its frame holds behind the first 24 bytes (docs/log-format.md). Blocks while it reads.
    ///
    /// # Errors
    /// [`ReadError::Malformed`] where the log has fewer events; else the disk's.
    pub fn tree_root(&self, size: u64) -> Result<[u8; 32], ReadError> {
        let events = self.shared.durable.borrow().events;
        if size > events {
            let text = format!("a tree over {size} events was asked for, the log has {events}");
            return Err(ReadError::Malformed(text));
        }
        Ok(self.shared.tree.root(size)?)
    }

    fn enqueue(
        &self,
        append: Append,
    ) -> Result<oneshot::Receiver<Result<Appended, AppendError>>, AppendError> {
        let (most, hashes) = (self.shared.options.append_bytes_max(), self.shared.index.hashes());
        let append = Prepared::of(append, most, hashes)?;
        let (reply, answer) = oneshot::channel();
        let runtime = self.shared.options.gather.then(Handle::try_current).and_then(Result::ok);
        let begin = if runtime.is_some() { Begin::Told } else { Begin::Now };
        let tell = self.shared.queue.push(Request { append, reply }, begin)?;
        if let Some(runtime) = runtime.filter(|_| tell) {
            let promise = Promise(Arc::clone(&self.shared));
            runtime.spawn(async move {
                let _kept_at_the_end = promise;
                // Until every other task that was ready has had its turn.
                yield_now().await;
            });
        }
        Ok(answer)
    }
}

/// The promise that the writer is told to begin. It is kept even where the task that was to keep it never runs.
struct Promise(Arc<Shared>);

impl Drop for Promise {
    fn drop(&mut self) {
        if !self.0.options.sabotage().forget_promise {
            self.0.queue.begin();
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.close();
    }
}

impl EventStore for Log {
    fn append(&self, append: Append) -> BoxFuture<'static, Result<Appended, AppendError>> {
        let queued = self.enqueue(append);
        Box::pin(async move {
            queued?.await.unwrap_or_else(|_| {
                Err(AppendError::Unknown("the writer stopped unexpectedly".to_owned()))
            })
        })
    }

    fn read(&self, query: ReadQuery) -> BoxStream<'static, Result<Batch, ReadError>> {
        match query.check() {
            Ok(()) => reading::read(Arc::clone(&self.shared), query),
            Err(error) => futures::stream::iter([Err(error)]).boxed(),
        }
    }

    fn subscribe(&self, query: ReadQuery) -> BoxStream<'static, Result<Batch, ReadError>> {
        let start = if query.start == Start::End { Start::Edge } else { query.start };
        match query.clone().from(start).check() {
            Ok(()) => reading::subscribe(Arc::clone(&self.shared), query),
            Err(error) => futures::stream::iter([Err(error)]).boxed(),
        }
    }

    fn stream_head(
        &self,
        stream: &StreamName,
    ) -> BoxFuture<'static, Result<Option<Revision>, ReadError>> {
        let (shared, stream) = (Arc::clone(&self.shared), stream.clone());
        Box::pin(reading::stream_head(shared, stream))
    }

    fn head(&self) -> Option<Position> {
        self.shared.durable.borrow().events.checked_sub(1).map(Position)
    }

    fn identity(&self) -> StoreIdentity {
        self.shared.identity
    }
}
