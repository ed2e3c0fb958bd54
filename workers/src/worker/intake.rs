//! What waits in the feed, taken in pieces as large as is useful: at the live edge one event, behind it thousands.

use std::collections::VecDeque;
use std::sync::Arc;

use annals_core::feed::FeedError;
use annals_core::{Batch, Feed, Position, RecordedEvent};
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Batches read ahead while the database is at work.
const BATCHES_AHEAD: usize = 32;

/// A feed that is read ahead by a task of its own.
pub(super) struct Intake {
    receiver: mpsc::Receiver<Result<Batch, FeedError>>,
    task: JoinHandle<()>,
    held: VecDeque<Batch>,
    failed: Option<FeedError>,
}

impl Drop for Intake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Intake {
    pub(super) fn new(
        feed: &dyn Feed,
        context: &'static str,
        group: &str,
        after: Option<Position>,
    ) -> Intake {
        let mut stream = feed.follow(context, group, after);
        let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
        let task = tokio::spawn(async move {
            while let Some(batch) = stream.next().await {
                if sender.send(batch).await.is_err() {
                    return;
                }
            }
        });
        Intake { receiver, task, held: VecDeque::new(), failed: None }
    }

    /// The next events: waits for the first batch, and adds those that are there already, up to about `events_max`.
    /// Nothing when the feed has ended. May be dropped and called again without losing anything.
    pub(super) async fn next(&mut self, events_max: usize) -> Option<Result<Batch, FeedError>> {
        if self.held.is_empty() {
            if let Some(error) = self.failed.take() {
                return Some(Err(error));
            }
            match self.receiver.recv().await? {
                Ok(batch) => self.held.push_back(batch),
                Err(error) => return Some(Err(error)),
            }
        }
        let mut held: usize = self.held.iter().map(|batch| batch.events.len()).sum();
        while held < events_max && self.failed.is_none() {
            match self.receiver.try_recv() {
                Ok(Ok(batch)) => {
                    held += batch.events.len();
                    self.held.push_back(batch);
                }
                Ok(Err(error)) => self.failed = Some(error),
                Err(mpsc::error::TryRecvError::Empty | mpsc::error::TryRecvError::Disconnected) => {
                    break;
                }
            }
        }
        Some(Ok(self.merged(events_max)))
    }

    fn merged(&mut self, events_max: usize) -> Batch {
        let mut merged = Batch::default();
        while let Some(mut batch) = self.held.pop_front() {
            let room = events_max.max(1) - merged.events.len();
            if batch.events.len() > room {
                let rest = Arc::make_mut(&mut batch.events).split_off(room);
                append(&mut merged.events, batch.events);
                merged.through =
                    merged.events.last().map(|event| event.position).max(merged.through);
                merged.caught_up = false;
                self.held.push_front(Batch { events: Arc::new(rest), ..batch });
                return merged;
            }
            append(&mut merged.events, batch.events);
            let last = merged.events.last().map(|event| event.position);
            merged.through = merged.through.max(batch.through).max(last);
            merged.caught_up = batch.caught_up;
        }
        merged
    }

    /// Gives back what was taken too much.
    pub(super) fn put_back(&mut self, batch: Batch) {
        self.held.push_front(batch);
    }
}

/// Adds events behind others.
fn append(events: &mut Arc<Vec<RecordedEvent>>, more: Arc<Vec<RecordedEvent>>) {
    if events.is_empty() {
        *events = more;
    } else {
        Arc::make_mut(events).extend(Arc::unwrap_or_clone(more));
    }
}
