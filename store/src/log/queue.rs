//! The bounded queue of appends that wait for the writer. An append has its place when `push`
//! returns.

use std::collections::VecDeque;

use annals_core::{AppendError, Appended};
use tokio::sync::oneshot;

use super::prepared::Prepared;
use super::sync::{Condvar, Mutex};

/// From how many waiting bytes on the encoder works beside a sync; less waits for the writer, which
/// saves a switch. Schedules get there with small appends.
const BACKLOG_BYTES: usize = if cfg!(schedules) { 1 << 10 } else { 32 << 10 };

/// Where the answer to an append goes.
pub(crate) type Reply = oneshot::Sender<Result<Appended, AppendError>>;

/// An append that waits.
pub(crate) struct Request {
    pub(crate) append: Prepared,
    pub(crate) reply: Reply,
}

/// When a writer that has nothing to do begins with what is pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// At once.
    Now,
    /// When [`Queue::begin`] is called, or as much waits as is worth a write.
    Told,
}

/// Whether the writer is to begin with what waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Beginning {
    #[default]
    NotYet,
    /// Somebody has undertaken to say so.
    Promised,
    Now,
}

#[derive(Default)]
struct Incoming {
    requests: VecDeque<Request>,
    fresh_bytes: usize,
    waiting_appends: usize,
    waiting_bytes: usize,
    writer_waits: bool,
    beginning: Beginning,
    /// The encoder has put something into the open batch since the writer last looked.
    encoded: bool,
    closed: bool,
    refused: Option<String>,
}

/// The queue.
pub(crate) struct Queue {
    appends_max: usize,
    bytes_max: usize,
    incoming: Mutex<Incoming>,
    writer: Condvar,
    encoder: Condvar,
}

impl Queue {
    pub(crate) fn new(appends_max: usize, bytes_max: usize) -> Queue {
        let incoming = Mutex::default();
        let (writer, encoder) = (Condvar::new(), Condvar::new());
        Queue { appends_max, bytes_max, incoming, writer, encoder }
    }

    /// Puts an append in its place. True where the caller must call [`Queue::begin`] soon.
    ///
    /// # Errors
    /// [`AppendError::TooMuch`] where too many wait, [`AppendError::ReadOnly`] where the log takes
    /// no more.
    pub(crate) fn push(&self, request: Request, begin: Begin) -> Result<bool, AppendError> {
        let mut incoming = self.incoming.lock();
        if let Some(reason) = &incoming.refused {
            return Err(AppendError::ReadOnly(reason.clone()));
        }
        if incoming.closed {
            return Err(AppendError::ReadOnly("it was closed".to_owned()));
        }
        let appends = incoming.waiting_appends;
        // One append alone always fits.
        let full = appends >= self.appends_max
            || (appends > 0 && incoming.waiting_bytes + request.append.bytes > self.bytes_max);
        if full {
            let text = format!(
                "{appends} appends of {} bytes wait already; try again when some are done",
                incoming.waiting_bytes
            );
            return Err(AppendError::TooMuch(text));
        }
        incoming.waiting_appends += 1;
        incoming.waiting_bytes += request.append.bytes;
        incoming.fresh_bytes += request.append.bytes;
        incoming.requests.push_back(request);
        let backlog = incoming.fresh_bytes >= BACKLOG_BYTES;
        if begin == Begin::Told && !backlog {
            let promise = incoming.beginning == Beginning::NotYet;
            if promise {
                incoming.beginning = Beginning::Promised;
            }
            return Ok(promise);
        }
        incoming.beginning = Beginning::Now;
        if std::mem::take(&mut incoming.writer_waits) {
            drop(incoming);
            self.writer.notify_one();
        } else if backlog {
            drop(incoming);
            self.encoder.notify_one();
        }
        Ok(false)
    }

    /// The writer begins with what waits.
    pub(crate) fn begin(&self) {
        let mut incoming = self.incoming.lock();
        if incoming.requests.is_empty() {
            incoming.beginning = Beginning::NotYet;
            return;
        }
        incoming.beginning = Beginning::Now;
        if std::mem::take(&mut incoming.writer_waits) {
            drop(incoming);
            self.writer.notify_one();
        }
    }

    /// Moves all that wait to the end of `waiting`.
    pub(crate) fn take(&self, waiting: &mut VecDeque<Request>) {
        let mut incoming = self.incoming.lock();
        incoming.fresh_bytes = 0;
        incoming.beginning = Beginning::NotYet;
        waiting.append(&mut incoming.requests);
    }

    /// Makes room: that many appends and bytes wait no more.
    pub(crate) fn release(&self, appends: usize, bytes: usize) {
        let mut incoming = self.incoming.lock();
        incoming.waiting_appends -= appends;
        incoming.waiting_bytes -= bytes;
    }

    /// The writer waits for something to do. False once the queue is closed and empty.
    pub(crate) fn wait_for_work(&self) -> bool {
        let mut incoming = self.incoming.lock();
        loop {
            let ending = incoming.closed || incoming.refused.is_some();
            let begin = incoming.beginning == Beginning::Now || ending;
            if (begin && !incoming.requests.is_empty()) || std::mem::take(&mut incoming.encoded) {
                incoming.writer_waits = false;
                return true;
            }
            if ending {
                return false;
            }
            incoming.writer_waits = true;
            self.writer.wait(&mut incoming);
        }
    }

    /// The encoder waits until there is enough to do beside a sync. False once the queue is closed.
    pub(crate) fn wait_for_backlog(&self) -> bool {
        let mut incoming = self.incoming.lock();
        loop {
            if incoming.closed || incoming.refused.is_some() {
                return false;
            }
            if !incoming.writer_waits && incoming.fresh_bytes >= BACKLOG_BYTES {
                return true;
            }
            self.encoder.wait(&mut incoming);
        }
    }

    /// The encoder has put something into the open batch.
    pub(crate) fn encoded(&self) {
        let mut incoming = self.incoming.lock();
        incoming.encoded = true;
        if std::mem::take(&mut incoming.writer_waits) {
            self.writer.notify_one();
        }
    }

    /// Takes no more appends; those that wait are still written.
    pub(crate) fn close(&self) {
        self.incoming.lock().closed = true;
        self.writer.notify_all();
        self.encoder.notify_all();
    }

    /// Takes no more appends and refuses those that wait.
    pub(crate) fn refuse_all(&self, reason: &str) {
        let mut incoming = self.incoming.lock();
        incoming.refused.get_or_insert_with(|| reason.to_owned());
        let requests = std::mem::take(&mut incoming.requests);
        incoming.waiting_appends -= requests.len();
        incoming.waiting_bytes -=
            requests.iter().map(|request| request.append.bytes).sum::<usize>();
        drop(incoming);
        self.writer.notify_all();
        self.encoder.notify_all();
        for request in requests {
            answer(request.reply, Err(AppendError::ReadOnly(reason.to_owned())));
        }
    }
}

/// Answers an append; nobody listens any more where the caller has gone.
pub(crate) fn answer(reply: Reply, result: Result<Appended, AppendError>) {
    drop(reply.send(result));
}
