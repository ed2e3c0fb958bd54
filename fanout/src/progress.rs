//! How far the relay's records have come: counted when they are handed to the producer and when the cluster has
//! acknowledged them. The producer keeps the order within a topic, so the last acknowledged record stands for all
//! before it. A record that gets another offset than the next one shows that someone else writes to the topic.

use std::sync::Arc;
use std::time::Duration;

use annals_core::event::Position;
use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::ProducerContext;
use tokio::sync::{Notify, watch};

use crate::relay::RelayError;
use crate::settings::log_line;
use crate::topic::Tail;

/// Records acknowledged between two looks at how far all topics are.
const LOOK_EVERY: u64 = 512;

/// Counts the records of all topics.
pub(crate) struct Progress {
    state: Mutex<State>,
    published: watch::Sender<Option<Position>>,
    /// Something was acknowledged, or failed.
    moved: Notify,
}

struct State {
    lines: Vec<Line>,
    /// The relay has handed over every event up to here.
    read_through: Option<Position>,
    failure: Option<RelayError>,
}

struct Line {
    topic: String,
    enqueued: u64,
    delivered: u64,
    next_offset: i64,
    through: Option<Position>,
}

impl Progress {
    /// Nothing on the way yet; the topics end there.
    pub(crate) fn new(
        topics: impl IntoIterator<Item = (String, Tail)>,
        published: watch::Sender<Option<Position>>,
    ) -> Progress {
        let line = |(topic, tail): (String, Tail)| Line {
            topic,
            enqueued: 0,
            delivered: 0,
            next_offset: tail.next_offset,
            through: tail.through,
        };
        let lines = topics.into_iter().map(line).collect();
        let state = State { lines, read_through: None, failure: None };
        Progress { state: Mutex::new(state), published, moved: Notify::new() }
    }

    /// A record for this topic is about to be handed over.
    pub(crate) fn enqueue(&self, topic: usize) {
        self.state.lock().lines[topic].enqueued += 1;
    }

    /// The record was not taken after all.
    pub(crate) fn take_back(&self, topic: usize) {
        self.state.lock().lines[topic].enqueued -= 1;
    }

    /// Every event up to here has been handed over.
    pub(crate) fn read_through(&self, through: Option<Position>) {
        let mut state = self.state.lock();
        state.read_through = state.read_through.max(through);
        self.tell(&state);
    }

    /// The failure that ended the publishing, once.
    pub(crate) fn take_failure(&self) -> Option<RelayError> {
        self.state.lock().failure.take()
    }

    /// How many records are on the way.
    pub(crate) fn in_flight(&self) -> u64 {
        self.state.lock().lines.iter().map(|line| line.enqueued - line.delivered).sum()
    }

    /// Waits until something was acknowledged or failed, or this long.
    pub(crate) async fn moved(&self, at_most: Duration) {
        // A passed deadline is no error: the caller looks again.
        tokio::time::timeout(at_most, self.moved.notified()).await.ok();
    }

    /// Waits for a failure.
    pub(crate) async fn failure(&self) -> RelayError {
        loop {
            let moved = self.moved.notified();
            if let Some(failure) = self.take_failure() {
                return failure;
            }
            moved.await;
        }
    }

    fn tell(&self, state: &State) {
        let reached = |line: &Line| {
            if line.enqueued == line.delivered {
                state.read_through.max(line.through)
            } else {
                line.through
            }
        };
        let published = state.lines.iter().map(reached).min().flatten();
        self.published.send_if_modified(|told| {
            let further = published > *told;
            if further {
                *told = published;
            }
            further
        });
    }

    fn delivered(&self, topic: &str, offset: i64, position: Position) {
        let mut state = self.state.lock();
        let Some(line) = state.lines.iter_mut().find(|line| line.topic == topic) else { return };
        let expected = line.next_offset;
        line.delivered += 1;
        line.next_offset += 1;
        line.through = line.through.max(Some(position));
        let look = line.enqueued == line.delivered || line.delivered % LOOK_EVERY == 0;
        // A negative offset: the broker had the record from an earlier attempt and does not say where.
        if offset >= 0 && offset != expected && state.failure.is_none() {
            let topic = topic.to_owned();
            state.failure = Some(RelayError::OtherWriter { topic, expected, found: offset });
        }
        if look || state.failure.is_some() {
            self.tell(&state);
            drop(state);
            self.moved.notify_waiters();
        }
    }

    fn failed(&self, topic: &str, position: Position, source: KafkaError) {
        let mut state = self.state.lock();
        if state.failure.is_none() {
            let topic = topic.to_owned();
            state.failure = Some(RelayError::Delivery { topic, position, source });
        }
        drop(state);
        self.moved.notify_waiters();
    }
}

/// Receives the producer's answers.
pub(crate) struct Deliveries(pub(crate) Arc<Progress>);

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, reason, "producer error");
    }
}

impl ProducerContext for Deliveries {
    /// The record's position.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, position: usize) {
        let position = Position(position as u64);
        match result {
            Ok(message) => self.0.delivered(message.topic(), message.offset(), position),
            Err((error, message)) => self.0.failed(message.topic(), position, error.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress() -> (Progress, watch::Receiver<Option<Position>>) {
        let (published, told) = watch::channel(None);
        let at = |offset, through| Tail {
            next_offset: offset,
            through: Some(Position(through)),
            event: Some(Position(through)),
        };
        let topics = [("a".to_owned(), at(10, 100)), ("b".to_owned(), at(20, 90))];
        (Progress::new(topics, published), told)
    }

    #[test]
    fn published_is_what_every_topic_has() {
        let (progress, told) = progress();
        for topic in [0, 0, 1] {
            progress.enqueue(topic);
        }
        progress.read_through(Some(Position(200)));
        assert_eq!(*told.borrow(), Some(Position(90)), "where both topics were");
        progress.delivered("b", 20, Position(150));
        assert_eq!(*told.borrow(), Some(Position(100)), "b is done, a has records on the way");
        progress.delivered("a", 10, Position(110));
        progress.delivered("a", 11, Position(120));
        assert_eq!(*told.borrow(), Some(Position(200)));
        assert_eq!(progress.in_flight(), 0);
    }

    #[test]
    fn another_writer_shows_by_the_offsets() {
        let (progress, _told) = progress();
        progress.enqueue(0);
        progress.enqueue(0);
        progress.delivered("a", 10, Position(101));
        assert!(progress.take_failure().is_none());
        progress.delivered("a", 12, Position(102));
        let failure = progress.take_failure();
        let Some(RelayError::OtherWriter { expected, found, .. }) = failure else {
            panic!("{failure:?}")
        };
        assert_eq!((expected, found), (11, 12));
    }
}
