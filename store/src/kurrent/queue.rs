//! The appends that wait for the sender, in the order in which they were given. Their number and bytes are bounded: a full
//! queue says so at once.

use std::sync::Arc;

use annals_core::{AppendError, Appended, ExpectedRevision, StreamWrite};
use hashbrown::HashSet;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// How many appends may wait or be under way.
const APPENDS_MAX: usize = 65_536;
/// How many bytes of them.
const BYTES_MAX: usize = 64 << 20;
/// The largest event that can be read back: the crate takes messages of 4 MiB, in which names stand too.
pub(super) const EVENT_BYTES_MAX: usize = (4 << 20) - (16 << 10);

/// The answer to an append.
pub(super) type Answer = Result<Appended, AppendError>;

/// One append on its way.
pub(super) struct Request {
    pub(super) write: StreamWrite,
    pub(super) bytes: usize,
    reply: oneshot::Sender<Answer>,
    _room: [OwnedSemaphorePermit; 2],
}

impl Request {
    /// Answers; whoever asked may have gone.
    pub(super) fn answer(self, answer: Answer) {
        self.reply.send(answer).ok();
    }
}

/// The giving end.
pub(super) struct Queue {
    requests: Mutex<Option<mpsc::UnboundedSender<Request>>>,
    appends: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

impl Queue {
    pub(super) fn new() -> (Queue, mpsc::UnboundedReceiver<Request>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let queue = Queue {
            requests: Mutex::new(Some(sender)),
            appends: Arc::new(Semaphore::new(APPENDS_MAX)),
            bytes: Arc::new(Semaphore::new(BYTES_MAX)),
        };
        (queue, receiver)
    }

    /// Takes no more.
    pub(super) fn close(&self) {
        self.requests.lock().take();
    }

    /// Gives one append its place in the order.
    pub(super) fn push(
        &self,
        write: StreamWrite,
    ) -> Result<oneshot::Receiver<Answer>, AppendError> {
        let bytes = check(&write)?;
        let full = |what: &str| {
            AppendError::TooMuch(format!("{what} wait for the server; give the next ones later"))
        };
        let place = Arc::clone(&self.appends).try_acquire_owned();
        let place = place.map_err(|_| full(&format!("{APPENDS_MAX} appends")))?;
        let count = u32::try_from(bytes.min(BYTES_MAX)).expect("the bound fits");
        let room = Arc::clone(&self.bytes).try_acquire_many_owned(count);
        let room = room.map_err(|_| full(&format!("{BYTES_MAX} bytes of appends")))?;
        let (reply, answer) = oneshot::channel();
        let request = Request { write, bytes, reply, _room: [place, room] };
        let requests = self.requests.lock();
        let sent = requests.as_ref().is_some_and(|requests| requests.send(request).is_ok());
        if sent { Ok(answer) } else { Err(AppendError::ReadOnly("it was closed".to_owned())) }
    }
}

/// The bytes of a write that can be sent.
fn check(write: &StreamWrite) -> Result<usize, AppendError> {
    let mut ids = HashSet::with_capacity(write.events.len());
    let mut bytes = 0;
    for event in &write.events {
        // A place tells events apart that have the same id.
        let by_id = !matches!(write.expected, ExpectedRevision::Behind(_));
        if by_id && !ids.insert(event.id) {
            let text =
                format!("event id {} occurs twice in the events for {}", event.id, write.stream);
            return Err(AppendError::Malformed(text));
        }
        let size = event.data.len() + event.metadata.len() + event.event_type.as_str().len();
        if size > EVENT_BYTES_MAX {
            return Err(AppendError::Malformed(format!(
                "event {} has {size} bytes, and over the KurrentDB protocol {EVENT_BYTES_MAX} can be read back; make it \
                 smaller, or use the embedded store",
                event.id
            )));
        }
        bytes += size;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use annals_core::{EventId, EventType, NewEvent, SchemaFingerprint, StreamName};
    use bytes::Bytes;
    use uuid::Uuid;

    fn write(ids: &[u128], bytes: usize) -> StreamWrite {
        let event = |id: &u128| NewEvent {
            id: EventId(Uuid::from_u128(*id)),
            event_type: EventType::new("test.Happened").expect("a valid name"),
            schema: SchemaFingerprint::NONE,
            metadata: Bytes::new(),
            data: vec![0; bytes].into(),
        };
        let stream = StreamName::new("s-1").expect("a valid name");
        let events = ids.iter().map(event).collect();
        StreamWrite { stream, expected: ExpectedRevision::Any, events }
    }

    #[test]
    fn a_full_queue_says_so_and_room_comes_back_with_the_answer() {
        let (queue, mut requests) = Queue::new();
        let sixteen = || write(&[1, 2, 3, 4], EVENT_BYTES_MAX - 100);
        for _ in 0..4 {
            queue.push(sixteen()).expect("room");
        }
        assert!(matches!(queue.push(sixteen()), Err(AppendError::TooMuch(_))));
        let request = requests.try_recv().expect("it was given");
        request.answer(Err(AppendError::Unknown("a test".to_owned())));
        queue.push(sixteen()).expect("room again");
    }

    #[test]
    fn what_could_not_be_read_back_is_refused() {
        let (queue, _requests) = Queue::new();
        let malformed = |write| matches!(queue.push(write), Err(AppendError::Malformed(_)));
        assert!(malformed(write(&[1], EVENT_BYTES_MAX + 1)));
        assert!(malformed(write(&[1, 1], 1)));
        assert!(queue.push(write(&[1, 2], 1)).is_ok());
    }

    #[test]
    fn a_closed_queue_takes_nothing() {
        let (queue, _requests) = Queue::new();
        queue.close();
        assert!(matches!(queue.push(write(&[1], 1)), Err(AppendError::ReadOnly(_))));
    }
}
