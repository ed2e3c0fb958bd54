//! A subscription: from the disk until the tail in memory reaches, then from the tail. What it
//! delivered last is one number, the position behind it, so there is no seam where an event could
//! be missed or doubled; a slow one falls back to the disk. It holds no thread while its consumer
//! is busy.

use std::sync::Arc;
use std::time::Instant;

use annals_core::{
    Batch, Direction, Position, ReadError, ReadQuery, RecordedEvent, Revision, Start, Timestamp,
};

use super::reader::{Read, TURN, Wanted};
use super::shared::{Durable, Shared};
use super::sync::{
    Handle, JoinHandle, RuntimeFlavor, block_in_place, spawn_blocking, watch, yield_now,
};

/// The log was closed under a subscription.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the log was closed")]
pub(crate) struct Closed;

/// A subscription under way.
pub(crate) struct Subscription {
    shared: Arc<Shared>,
    wakes: watch::Receiver<()>,
    query: ReadQuery,
    wanted: Arc<Wanted>,
    /// The position behind the last one looked at.
    next: u64,
    /// Nothing was delivered yet.
    fresh: bool,
    reading: Option<Box<Reading>>,
    /// The last batch took its whole turn: the next one waits for a place first.
    is_costly: bool,
}

/// A read from the disk up to a position.
struct Reading {
    read: Read,
    end: u64,
}

impl Subscription {
    /// Begins at the query's start; `Start::End` means behind what is durable now.
    pub(crate) fn new(shared: Arc<Shared>, query: ReadQuery) -> Subscription {
        let wakes = shared.live.subscribe();
        let now = *shared.durable.borrow();
        let next = match query.start {
            Start::Position(Position(start)) => start.min(now.events),
            Start::After(Position(start)) => start.saturating_add(1).min(now.events),
            Start::End => now.events,
            Start::Edge | Start::Revision(_) | Start::Time(_) => 0,
        };
        let wanted = Arc::new(Wanted::of(&query));
        let (fresh, reading, is_costly) = (true, None, false);
        Subscription { shared, wakes, query, wanted, next, fresh, reading, is_costly }
    }

    /// Waits for the next batch.
    pub(crate) async fn next_batch(&mut self) -> Result<Batch, ReadError> {
        loop {
            // First, so that what becomes durable from here on wakes again.
            self.wakes.mark_unchanged();
            let now = *self.shared.durable.borrow();
            if self.next < now.events {
                if let Some(batch) = self.step(now).await? {
                    self.fresh = false;
                    return Ok(batch);
                }
                continue;
            }
            if std::mem::take(&mut self.fresh) && now.events > 0 {
                let through = Some(Position(now.events - 1));
                return Ok(Batch { events: Arc::default(), through, caught_up: true });
            }
            if now.closed || self.wakes.changed().await.is_err() {
                let attempt = "live events".to_owned();
                return Err(ReadError::Fault { attempt, source: Arc::new(Closed) });
            }
        }
    }

    async fn step(&mut self, now: Durable) -> Result<Option<Batch>, ReadError> {
        let shared = Arc::clone(&self.shared);
        let place = if self.is_costly { shared.costly.acquire().await.ok() } else { None };
        if self.reading.is_none()
            && let Some(batch) = self.next_of_tail(now).await?
        {
            return Ok(Some(batch));
        }
        let reading = self.reading.take();
        let (shared, query) = (Arc::clone(&self.shared), self.disk_query());
        let step = move || {
            let mut reading = if let Some(reading) = reading {
                reading
            } else {
                let read = Read::begin(shared, &query, now)?;
                Box::new(Reading { read, end: now.events })
            };
            let batch = reading.read.next_batch()?;
            Ok((reading, batch))
        };
        let (reading, batch) = blocking(step).await?;
        drop(place);
        self.is_costly = reading.read.is_costly();
        if batch.as_ref().is_some_and(|batch| batch.events.is_empty()) {
            // Whoever is shown nothing of a long log may have gone meanwhile.
            yield_now().await;
        }
        let Some(mut batch) = batch else {
            // The read is at its end: everything before that was looked at.
            self.next = reading.end;
            let through = reading.end.checked_sub(1).map(Position);
            let caught_up = self.next >= self.shared.durable.borrow().events;
            return Ok(Some(Batch { events: Arc::default(), through, caught_up }));
        };
        if let Some(Position(through)) = batch.through {
            self.next = self.next.max(through + 1);
        }
        // The read began where this subscription is, which may be before its start.
        if !batch.events.iter().all(|event| self.has_begun(event)) {
            Arc::make_mut(&mut batch.events).retain(|event| self.has_begun(event));
        }
        let caught_up = self.next >= self.shared.durable.borrow().events;
        if self.next < reading.end {
            self.reading = Some(reading);
        }
        Ok(Some(Batch { caught_up, ..batch }))
    }

    /// The query for what comes next from the disk.
    fn disk_query(&self) -> ReadQuery {
        let start = match self.query.start {
            // These say more than a position, and nothing was looked at yet.
            start @ (Start::Revision(_) | Start::Time(_)) if self.next == 0 => start,
            Start::Edge
            | Start::Revision(_)
            | Start::Position(_)
            | Start::After(_)
            | Start::Time(_)
            | Start::End => Start::Position(Position(self.next)),
        };
        let query = self.query.clone();
        ReadQuery { direction: Direction::Forwards, limit: None, start, ..query }
    }

    async fn next_of_tail(&mut self, now: Durable) -> Result<Option<Batch>, ReadError> {
        let stretch = self.shared.tail.stretch(self.next, &self.shared.index);
        let Some(stretch) = stretch else { return Ok(None) };
        let end = stretch.end();
        if self.wanted.filter.has_pattern() {
            return self.match_tail(stretch.events, end, now).await.map(Some);
        }
        let is_wanted =
            |event: &&RecordedEvent| self.has_begun(event) && self.wanted.matches(event);
        let count = stretch.events.iter().filter(is_wanted).count();
        let events = if count == stretch.events.len() {
            stretch.events
        } else {
            Arc::new(stretch.events.iter().filter(is_wanted).cloned().collect())
        };
        self.next = end;
        let caught_up = end >= now.events;
        Ok(Some(Batch { events, through: end.checked_sub(1).map(Position), caught_up }))
    }

    /// What a regular expression finds in events that end before a position, as far as one turn goes.
    async fn match_tail(
        &mut self,
        events: Arc<Vec<RecordedEvent>>,
        end: u64,
        now: Durable,
    ) -> Result<Batch, ReadError> {
        let (wanted, start) = (Arc::clone(&self.wanted), self.query.start);
        let step = move || {
            let (began, mut found, mut seen) = (Instant::now(), Vec::new(), 0);
            for event in events.iter() {
                seen += 1;
                if has_begun(start, event) && wanted.matches(event) {
                    found.push(event.clone());
                }
                if began.elapsed() >= TURN {
                    break;
                }
            }
            Ok((found, events.len() as u64 - seen))
        };
        let (found, left) = blocking(step).await?;
        self.next = end - left;
        self.is_costly = left > 0;
        if self.is_costly {
            yield_now().await;
        }
        let caught_up = self.next >= now.events;
        let through = self.next.checked_sub(1).map(Position);
        Ok(Batch { events: Arc::new(found), through, caught_up })
    }

    fn has_begun(&self, event: &RecordedEvent) -> bool {
        has_begun(self.query.start, event)
    }
}

fn has_begun(start: Start, event: &RecordedEvent) -> bool {
    match start {
        Start::Revision(Revision(start)) => event.revision.0 >= start,
        Start::Time(Timestamp(start)) => event.time.0 >= start,
        Start::Position(start) => event.position >= start,
        Start::After(start) => event.position > start,
        Start::Edge | Start::End => true,
    }
}

/// Runs a step of a read where it may block: on this thread, if its other tasks can go on elsewhere, or on one for that.
pub(crate) async fn blocking<T: Send + 'static>(
    step: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
) -> Result<T, ReadError> {
    let runtime = Handle::current();
    if runtime.runtime_flavor() == RuntimeFlavor::MultiThread {
        return block_in_place(step);
    }
    ended(spawn_blocking(step)).await
}

/// What a step answers that runs on another thread.
pub(crate) async fn ended<T>(task: JoinHandle<Result<T, ReadError>>) -> Result<T, ReadError> {
    task.await.unwrap_or_else(|error| {
        Err(ReadError::Fault { attempt: "the log".to_owned(), source: Arc::new(error) })
    })
}
