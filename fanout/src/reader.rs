//! The thread behind one followed topic: reads records, checks that none is missing, leaves out what was delivered
//! before, and hands batches on. A bounded channel is its back-pressure; librdkafka's own queue is bounded too.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use annals_core::event::Position;
use annals_core::feed::Batch;
use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::mpsc;

use crate::locate;
use crate::record::{Decoder, Entry};
use crate::settings::{KafkaSettings, Logged};
use crate::topic::{self, TopicError};

/// Events of one batch, at most.
const BATCH_EVENTS_MAX: usize = 4096;
/// Bytes of payload of one batch, about.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// How long the thread waits for a record before it looks whether it is still wanted.
const WAIT: Duration = Duration::from_millis(50);
/// How long nothing comes before the thread asks the cluster whether there is something.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// Batches delivered whose offsets are remembered until they are acknowledged.
const MARKS_MAX: usize = 1024;

/// How far a consumer is: what was delivered to it, and what of that it has made durable.
#[derive(Default)]
pub(crate) struct Marks {
    /// After each batch: how far it reached, and the offset behind it.
    delivered: VecDeque<(Position, i64)>,
    /// To be committed.
    acknowledged: Option<(Position, i64)>,
}

impl Marks {
    fn deliver(&mut self, through: Position, next_offset: i64) {
        if self.delivered.len() == MARKS_MAX {
            self.delivered.pop_front();
        }
        self.delivered.push_back((through, next_offset));
    }

    /// The consumer has everything up to here.
    pub(crate) fn acknowledge(&mut self, through: Position) {
        while let Some(&mark) = self.delivered.front()
            && mark.0 <= through
        {
            self.acknowledged = Some(mark);
            self.delivered.pop_front();
        }
    }
}

/// What to follow.
pub(crate) struct Plan {
    pub(crate) settings: KafkaSettings,
    pub(crate) topic: String,
    pub(crate) group: String,
    pub(crate) source: String,
    pub(crate) after: Option<Position>,
    pub(crate) marks: Arc<Mutex<Marks>>,
}

/// The reader of one topic for one group.
struct Reader {
    plan: Plan,
    consumer: Arc<BaseConsumer<Logged>>,
    decoder: Decoder,
    batches: mpsc::Sender<Result<Batch, TopicError>>,
    /// Everything up to here was delivered, or was there before.
    through: Option<Position>,
    /// Where reading began, until the first record shows that it was the right place.
    unproven: Option<i64>,
    low: i64,
    /// The topic's end, as it was known last.
    end: i64,
    next_offset: i64,
    told_caught_up: bool,
    /// When something last came, or was last asked for.
    heard: Instant,
}

/// What happened to a record.
enum Taken {
    /// It was read.
    Yes,
    /// Reading begins again elsewhere.
    Again,
}

/// Reads until nobody wants the batches, or something fails. Blocks.
pub(crate) fn run(plan: Plan, batches: &mpsc::Sender<Result<Batch, TopicError>>) {
    let ended = Reader::open(plan, batches.clone()).and_then(|reader| match reader {
        Some(mut reader) => reader.read(),
        None => Ok(()),
    });
    if let Err(error) = ended {
        // Nobody may be there to hear it.
        batches.blocking_send(Err(error)).ok();
    }
}

impl Reader {
    /// Waits for the topic and finds where to begin; nothing where nobody waits any more.
    fn open(
        plan: Plan,
        batches: mpsc::Sender<Result<Batch, TopicError>>,
    ) -> Result<Option<Reader>, TopicError> {
        let failed = TopicError::unreachable("making a consumer", &plan.topic);
        let config = plan.settings.consumer(&plan.group);
        let consumer: BaseConsumer<Logged> = config.create_with_context(Logged).map_err(failed)?;
        while !topic::exists(&consumer, &plan.topic)? {
            if batches.is_closed() {
                return Ok(None);
            }
            std::thread::park_timeout(WAIT);
        }
        let (low, end) = topic::watermarks(&consumer, &plan.topic)?;
        let decoder = Decoder::new(plan.source.clone());
        let start = locate::start(&consumer, &plan.topic, (low, end), plan.after, &decoder)?;
        topic::assign(&consumer, &plan.topic, start)?;
        tracing::debug!(topic = plan.topic, start, end, after = ?plan.after, "following");
        let through = plan.after;
        Ok(Some(Reader {
            plan,
            consumer: Arc::new(consumer),
            decoder,
            batches,
            through,
            unproven: Some(start),
            low,
            end,
            next_offset: start,
            told_caught_up: false,
            heard: Instant::now(),
        }))
    }

    fn read(&mut self) -> Result<(), TopicError> {
        let consumer = Arc::clone(&self.consumer);
        let mut batch = Batch::default();
        let mut bytes = 0;
        let mut moved = false;
        while !self.batches.is_closed() {
            let wait = if moved { Duration::ZERO } else { WAIT };
            let polled = consumer.poll(wait);
            let (mut flush, mut at_end) = (false, false);
            match polled {
                Some(Ok(message)) => match self.take(&message, &mut batch)? {
                    Taken::Yes => {
                        moved = true;
                        bytes += message.payload_len();
                        flush = batch.events.len() >= BATCH_EVENTS_MAX || bytes >= BATCH_BYTES_MAX;
                    }
                    Taken::Again => (batch, moved) = (Batch::default(), false),
                },
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    (flush, at_end) = (moved || !self.told_caught_up, true);
                }
                Some(Err(error)) if topic::passes(&error) => {
                    tracing::debug!(topic = self.plan.topic, %error, "reading goes on");
                }
                Some(Err(error)) => {
                    return Err(TopicError::unreachable("reading", &self.plan.topic)(error));
                }
                None if !moved && self.heard.elapsed() > SILENCE_MAX => self.listen()?,
                None => (flush, at_end) = (moved, moved && self.next_offset >= self.end),
            }
            if moved {
                self.heard = Instant::now();
            }
            if flush {
                let events = std::mem::take(&mut batch.events);
                if !self.deliver(Batch { events, through: self.through, caught_up: at_end }) {
                    break;
                }
                (bytes, moved) = (0, false);
            }
            if !moved {
                self.commit();
            }
        }
        self.commit();
        Ok(())
    }

    /// Makes sure that silence means that there is nothing. After a broker's restart librdkafka can be left waiting
    /// for a leader that it has not heard of; asking for the topic anew and assigning it again wakes it up.
    fn listen(&mut self) -> Result<(), TopicError> {
        self.heard = Instant::now();
        let topic = &self.plan.topic;
        if !topic::exists(&self.consumer, topic)? {
            return Ok(()); // It was deleted; the relay makes it anew.
        }
        let (_, end) = topic::watermarks(&self.consumer, topic)?;
        if end > self.next_offset {
            tracing::warn!(
                topic,
                end,
                at = self.next_offset,
                "reading had stopped, it begins again"
            );
            metrics::counter!("annals_feed_stalls_total").increment(1);
            topic::assign(&self.consumer, topic, self.next_offset)?;
        }
        self.end = end;
        Ok(())
    }

    /// Reads one record into the batch.
    fn take(
        &mut self,
        message: &BorrowedMessage<'_>,
        batch: &mut Batch,
    ) -> Result<Taken, TopicError> {
        let offset = message.offset();
        let (place, entry) = self.decoder.read(message).map_err(|why| {
            TopicError::unreadable(&self.plan.topic, offset, self.decoder.source(), why)
        })?;
        if Some(place.position) <= self.through {
            // Delivered before, or by a relay that was not alone.
            self.next_offset = offset + 1;
            return Ok(Taken::Yes);
        }
        if place.previous > self.through {
            return self.gap(offset, place.previous);
        }
        self.unproven = None;
        self.next_offset = offset + 1;
        self.through = Some(place.position);
        match entry {
            Entry::Event(event) => Arc::make_mut(&mut batch.events).push(event),
            Entry::Through => {}
        }
        Ok(Taken::Yes)
    }

    /// Events are missing before this record: where reading began was wrong, or the topic has lost them.
    fn gap(&mut self, offset: i64, previous: Option<Position>) -> Result<Taken, TopicError> {
        if self.unproven.take().is_some_and(|start| start > self.low) {
            tracing::warn!(topic = self.plan.topic, offset, "reading begins at the topic's start");
            topic::assign(&self.consumer, &self.plan.topic, self.low)?;
            self.next_offset = self.low;
            return Ok(Taken::Again);
        }
        Err(TopicError::Gap {
            topic: self.plan.topic.clone(),
            offset,
            previous: previous.unwrap_or(Position(0)),
            expected: self.through,
        })
    }

    /// Hands a batch on; false where nobody wants it.
    fn deliver(&mut self, batch: Batch) -> bool {
        self.told_caught_up = batch.caught_up;
        if let Some(through) = batch.through {
            self.plan.marks.lock().deliver(through, self.next_offset);
        }
        self.batches.blocking_send(Ok(batch)).is_ok()
    }

    /// Commits what was acknowledged, without waiting: a lost commit costs a longer search at the next start.
    fn commit(&mut self) {
        let Some((through, offset)) = self.plan.marks.lock().acknowledged.take() else { return };
        let topic = &self.plan.topic;
        let mut partitions = TopicPartitionList::new();
        let mut partition = partitions.add_partition(topic, 0);
        partition.set_metadata(through.to_string());
        let committed = partition
            .set_offset(Offset::Offset(offset))
            .and_then(|()| self.consumer.commit(&partitions, CommitMode::Async));
        if let Err(error) = committed {
            tracing::debug!(topic, %error, "an offset was not committed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_acknowledged_is_committed() {
        let mut marks = Marks::default();
        for (through, offset) in [(10, 3), (20, 5), (30, 9)] {
            marks.deliver(Position(through), offset);
        }
        marks.acknowledge(Position(9));
        assert_eq!(marks.acknowledged, None, "no batch ends there");
        marks.acknowledge(Position(29));
        assert_eq!(marks.acknowledged, Some((Position(20), 5)));
        marks.acknowledge(Position(30));
        assert_eq!(marks.acknowledged, Some((Position(30), 9)));
    }
}
