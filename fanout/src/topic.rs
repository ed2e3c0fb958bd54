//! The topics of a store: making them, and reading where the last relay was from their last record. One partition
//! each, kept for ever.

use std::time::{Duration, Instant};

use annals_core::event::Position;
use annals_core::family::Family;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::record::{Decoder, Place, Unreadable};
use crate::settings::{KafkaSettings, Logged};

/// How long one question to the cluster may take.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);
/// How long the end of a topic must stand still before a relay takes it for the end.
const SETTLED: Duration = Duration::from_millis(25);

/// What is wrong with a topic or the way to it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TopicError {
    /// The cluster could not be asked.
    #[error("{attempt} of topic {topic} failed")]
    Unreachable {
        /// What was being attempted.
        attempt: &'static str,
        /// The topic.
        topic: String,
        /// What happened.
        #[source]
        source: KafkaError,
    },
    /// The topic holds another store's events, or those of another epoch of this one.
    #[error(
        "topic {topic} holds at offset {offset} an event of {found}, and this store is {expected}: delete the topic \
         if those events are not wanted, or set another topic prefix"
    )]
    Foreign {
        /// The topic.
        topic: String,
        /// The record's offset.
        offset: i64,
        /// Whose event it is.
        found: String,
        /// Whose it should be.
        expected: String,
    },
    /// A record is not one that a relay wrote.
    #[error("the record at offset {offset} of topic {topic} is not one of a relay: {reason}")]
    Record {
        /// The topic.
        topic: String,
        /// The record's offset.
        offset: i64,
        /// What is wrong with it.
        reason: String,
    },
    /// Events are missing from the topic.
    #[error(
        "topic {topic} has at offset {offset} the event after {previous}, but what it should follow is {expected}: \
         events are missing from the topic. Rebuild from the store, or delete the topic to have it published again",
        expected = shown(*.expected)
    )]
    Gap {
        /// The topic.
        topic: String,
        /// The record's offset.
        offset: i64,
        /// The event that it follows.
        previous: Position,
        /// The last event that was seen.
        expected: Option<Position>,
    },
    /// The topic tells of positions that the log does not have.
    #[error(
        "topic {topic} reaches position {through}, the log only {head}: the store was set back. Give it a new epoch, \
         or delete the topic to have it published again",
        head = shown(*.head)
    )]
    Ahead {
        /// The topic.
        topic: String,
        /// How far it reaches.
        through: Position,
        /// How far the log reaches.
        head: Option<Position>,
    },
    /// The topic has not one partition.
    #[error(
        "topic {topic} has {partitions} partitions and must have 1: the order of events rests on it"
    )]
    Partitions {
        /// The topic.
        topic: String,
        /// How many it has.
        partitions: usize,
    },
    /// The topic lost its last record, so where the last relay was cannot be told.
    #[error(
        "topic {topic} ends at offset {offset} without a record: delete it to have it published again"
    )]
    Emptied {
        /// The topic.
        topic: String,
        /// Where it ends.
        offset: i64,
    },
}

fn shown(position: Option<Position>) -> String {
    position.map_or_else(|| "the log's start".to_owned(), |p| format!("position {p}"))
}

impl TopicError {
    /// The family of this error.
    pub fn family(&self) -> Family {
        match self {
            TopicError::Unreachable { .. } => Family::Unavailable,
            TopicError::Partitions { .. } => Family::Malformed,
            TopicError::Foreign { .. }
            | TopicError::Record { .. }
            | TopicError::Gap { .. }
            | TopicError::Ahead { .. }
            | TopicError::Emptied { .. } => Family::Damage,
        }
    }

    pub(crate) fn unreachable(
        attempt: &'static str,
        topic: &str,
    ) -> impl FnOnce(KafkaError) -> TopicError {
        let topic = topic.to_owned();
        move |source| TopicError::Unreachable { attempt, topic, source }
    }

    pub(crate) fn unreadable(
        topic: &str,
        offset: i64,
        expected: &str,
        why: Unreadable,
    ) -> TopicError {
        let topic = topic.to_owned();
        match why {
            Unreadable::Foreign(found) => {
                TopicError::Foreign { topic, offset, found, expected: expected.to_owned() }
            }
            Unreadable::Missing(_) | Unreadable::Form(_) => {
                TopicError::Record { topic, offset, reason: why.to_string() }
            }
        }
    }
}

/// Where a topic ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tail {
    /// The offset that the next record gets.
    pub(crate) next_offset: i64,
    /// Every event of the context up to this position stands on the topic.
    pub(crate) through: Option<Position>,
    /// The last event on the topic.
    pub(crate) event: Option<Position>,
}

/// Creates the topics that are not there.
pub(crate) async fn create(settings: &KafkaSettings, topics: &[String]) -> Result<(), TopicError> {
    let listed = topics.join(", ");
    let failed = || TopicError::unreachable("creation", &listed);
    let admin: AdminClient<Logged> =
        settings.admin().create_with_context(Logged).map_err(failed())?;
    let bytes_max = settings.message_bytes_max.to_string();
    let made: Vec<_> = topics
        .iter()
        .map(|topic| {
            NewTopic::new(topic, 1, TopicReplication::Fixed(settings.replication))
                .set("cleanup.policy", "delete")
                .set("retention.ms", "-1")
                .set("retention.bytes", "-1")
                .set("max.message.bytes", &bytes_max)
                // The clocks of brokers must not decide what is published.
                .set("message.timestamp.after.max.ms", "9223372036854775807")
        })
        .collect();
    let options =
        AdminOptions::new().operation_timeout(Some(TIMEOUT)).request_timeout(Some(TIMEOUT));
    for answer in admin.create_topics(&made, &options).await.map_err(failed())? {
        match answer {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => {
                let source = KafkaError::AdminOp(code);
                return Err(TopicError::Unreachable { attempt: "creation", topic, source });
            }
        }
    }
    Ok(())
}

/// Reads where a topic ends. Blocks.
pub(crate) fn tail(
    settings: &KafkaSettings,
    topic: &str,
    source: &str,
) -> Result<Tail, TopicError> {
    let failed = || TopicError::unreachable("reading the end", topic);
    let consumer: BaseConsumer<Logged> =
        settings.consumer("relay").create_with_context(Logged).map_err(failed())?;
    require_one_partition(&consumer, topic)?;
    let (low, high) = settled_watermarks(&consumer, topic)?;
    if high == 0 {
        return Ok(Tail::default());
    }
    if low == high {
        return Err(TopicError::Emptied { topic: topic.to_owned(), offset: high });
    }
    let decoder = Decoder::new(source.to_owned());
    let place = place_at(&consumer, topic, high - 1, &decoder)?;
    Ok(Tail { next_offset: high, through: Some(place.position), event: place.last_event() })
}

/// Whether the cluster knows the topic; an error where it has not exactly one partition.
pub(crate) fn exists(consumer: &BaseConsumer<Logged>, topic: &str) -> Result<bool, TopicError> {
    let failed = || TopicError::unreachable("looking up the metadata", topic);
    let metadata = patiently("looking up the metadata", topic, || {
        consumer.fetch_metadata(Some(topic), TIMEOUT)
    })?;
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
        return Ok(false);
    };
    if let Some(error) = found.error() {
        let code = RDKafkaErrorCode::from(error);
        if matches!(
            code,
            RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic
        ) {
            return Ok(false);
        }
        return Err(failed()(KafkaError::MetadataFetch(code)));
    }
    match found.partitions().len() {
        1 => Ok(true),
        partitions => Err(TopicError::Partitions { topic: topic.to_owned(), partitions }),
    }
}

fn require_one_partition(consumer: &BaseConsumer<Logged>, topic: &str) -> Result<(), TopicError> {
    // A topic just created may not be known to every broker yet.
    for _ in 0..100 {
        if exists(consumer, topic)? {
            return Ok(());
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
    let source = KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition);
    Err(TopicError::unreachable("looking up the metadata", topic)(source))
}

/// The first offset and the one after the last.
pub(crate) fn watermarks(
    consumer: &BaseConsumer<Logged>,
    topic: &str,
) -> Result<(i64, i64), TopicError> {
    patiently("looking up the offsets", topic, || consumer.fetch_watermarks(topic, 0, TIMEOUT))
}

/// Asks until the answer is not a fault that passes, such as a leader not yet elected, or time is up. Blocks.
pub(crate) fn patiently<T>(
    attempt: &'static str,
    topic: &str,
    ask: impl Fn() -> Result<T, KafkaError>,
) -> Result<T, TopicError> {
    let began = Instant::now();
    loop {
        match ask() {
            Err(error) if passes(&error) && began.elapsed() < TIMEOUT => {
                std::thread::park_timeout(Duration::from_millis(50));
            }
            answer => return answer.map_err(TopicError::unreachable(attempt, topic)),
        }
    }
}

/// The watermarks once they stand still: what a relay that has just died had on the way may still arrive.
fn settled_watermarks(
    consumer: &BaseConsumer<Logged>,
    topic: &str,
) -> Result<(i64, i64), TopicError> {
    let mut seen = watermarks(consumer, topic)?;
    loop {
        std::thread::park_timeout(SETTLED);
        let now = watermarks(consumer, topic)?;
        if now == seen {
            return Ok(now);
        }
        seen = now;
    }
}

/// Reads on from this offset of the topic's one partition.
pub(crate) fn assign(
    consumer: &BaseConsumer<Logged>,
    topic: &str,
    offset: i64,
) -> Result<(), TopicError> {
    let failed = || TopicError::unreachable("assignment", topic);
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition_offset(topic, 0, Offset::Offset(offset)).map_err(failed())?;
    consumer.assign(&partitions).map_err(failed())
}

/// Where the record at this offset stands.
pub(crate) fn place_at(
    consumer: &BaseConsumer<Logged>,
    topic: &str,
    offset: i64,
    decoder: &Decoder,
) -> Result<Place, TopicError> {
    assign(consumer, topic, offset)?;
    let message = message_at(consumer, topic, offset)?;
    decoder
        .place(&message)
        .map_err(|why| TopicError::unreadable(topic, offset, decoder.source(), why))
}

fn message_at<'a>(
    consumer: &'a BaseConsumer<Logged>,
    topic: &str,
    offset: i64,
) -> Result<BorrowedMessage<'a>, TopicError> {
    let failed = || TopicError::unreachable("reading one record", topic);
    let timed_out = KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut);
    let mut silent = 0;
    loop {
        match consumer.poll(Duration::from_secs(1)) {
            Some(Ok(message)) if message.offset() >= offset => return Ok(message),
            Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => {}
            Some(Err(error)) if passes(&error) => {}
            Some(Err(error)) => return Err(failed()(error)),
            None if silent == TIMEOUT.as_secs() => return Err(failed()(timed_out)),
            None => silent += 1,
        }
    }
}

/// Errors that librdkafka reports while it goes on trying by itself.
pub(crate) fn passes(error: &KafkaError) -> bool {
    error.rdkafka_error_code().is_some_and(|code| {
        matches!(
            code,
            RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::Resolve
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::NotLeaderForPartition
                | RDKafkaErrorCode::LeaderNotAvailable
                | RDKafkaErrorCode::RequestTimedOut
                | RDKafkaErrorCode::NotCoordinator
                | RDKafkaErrorCode::CoordinatorNotAvailable
                | RDKafkaErrorCode::CoordinatorLoadInProgress
        )
    })
}
