//! Finds where on a topic a reader goes on: at the smallest offset behind which no event after its checkpoint is
//! missing. What is found is a guess that the reader checks against the records themselves (`annals-previous`), so a
//! stale commit or a topic made anew costs time, never an event.

use annals_core::event::Position;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::record::Decoder;
use crate::settings::Logged;
use crate::topic::{self, TopicError};

/// A topic or a rest of one with fewer records than this is read from its start.
const SCAN_RECORDS: i64 = 2_000;

/// The offset to read from, for a reader that has everything up to `after`.
pub(crate) fn start(
    consumer: &BaseConsumer<Logged>,
    topic: &str,
    (low, high): (i64, i64),
    after: Option<Position>,
    decoder: &Decoder,
) -> Result<i64, TopicError> {
    let Some(after) = after else { return Ok(low) };
    let low = match committed(consumer, topic)? {
        Some((offset, through)) if through <= after && (low..=high).contains(&offset) => offset,
        Some(_) | None => low,
    };
    search(low, high, |offset| {
        topic::place_at(consumer, topic, offset, decoder).map(|place| place.position <= after)
    })
}

/// The smallest offset from `low` whose record is not passed, or a little before it.
fn search<E>(low: i64, high: i64, passed: impl Fn(i64) -> Result<bool, E>) -> Result<i64, E> {
    let (mut low, mut high) = (low, high);
    while high - low > SCAN_RECORDS {
        let middle = low + (high - low) / 2;
        if passed(middle)? {
            low = middle;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

/// The group's committed offset, and the position that everything before it is up to.
fn committed(
    consumer: &BaseConsumer<Logged>,
    topic: &str,
) -> Result<Option<(i64, Position)>, TopicError> {
    let answered = topic::patiently("looking up the committed offset", topic, || {
        let mut asked = TopicPartitionList::new();
        asked.add_partition(topic, 0);
        consumer.committed_offsets(asked, topic::TIMEOUT)
    })?;
    let Some(partition) = answered.find_partition(topic, 0) else { return Ok(None) };
    let Offset::Offset(offset) = partition.offset() else { return Ok(None) };
    Ok(partition.metadata().parse().ok().map(|through| (offset, Position(through))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_ends_before_the_first_record_wanted() {
        for wanted in [0, 1, 1_999, 2_000, 2_001, 50_000, 99_999, 100_000] {
            let found = search(0, 100_000, |offset| Ok::<_, ()>(offset < wanted));
            let found = found.expect("it does not fail");
            assert!(found <= wanted && wanted - found <= SCAN_RECORDS, "{wanted}: {found}");
        }
    }
}
