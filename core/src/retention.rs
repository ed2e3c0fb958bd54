//! What of a stream is shown, as KurrentDB's stream metadata says it: the last event of the stream `$$NAME` is a JSON
//! object with `$maxCount` (events), `$maxAge` (seconds) and `$tb` (the first revision shown). Hidden events are left out of reads of
//! their stream; reads of the whole log show them, and nothing is removed.

use serde::Deserialize;
use serde_json::Value;

use crate::clock::Timestamp;
use crate::event::StreamName;

/// What of a stream is shown. Where several are set, an event is shown that none of them hides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Retention {
    /// So many of the newest events.
    #[serde(rename = "$maxCount", default)]
    pub max_count: Option<u64>,
    /// Events of the last so many seconds.
    #[serde(rename = "$maxAge", default)]
    pub max_age: Option<u64>,
    /// Events from this revision on.
    #[serde(rename = "$tb", default)]
    pub truncate_before: Option<u64>,
}

impl Retention {
    /// The stream whose last event says what of `stream` is shown; nothing for such a stream itself.
    pub fn stream_of(stream: &StreamName) -> Option<StreamName> {
        let name = stream.as_str();
        if name.starts_with("$$") { None } else { StreamName::new(format!("$${name}")).ok() }
    }

    /// Reads the payload of such an event. What is no such object hides nothing.
    pub fn parse(data: &[u8]) -> Retention {
        // Not at once into the fields: an array would be taken for them too.
        let object: serde_json::Map<String, Value> =
            serde_json::from_slice(data).unwrap_or_default();
        serde_json::from_value(Value::Object(object)).unwrap_or_default()
    }

    /// The first revision shown of a stream of `count` events. `older` tells whether the event of a revision is older
    /// than a time; it is asked for revisions below `count` only.
    ///
    /// # Errors
    /// Those of `older`.
    pub fn first_shown<E>(
        &self,
        count: u64,
        now: Timestamp,
        older: impl Fn(u64, Timestamp) -> Result<bool, E>,
    ) -> Result<u64, E> {
        let mut first = self.truncate_before.unwrap_or(0).min(count);
        if let Some(max) = self.max_count {
            first = first.max(count.saturating_sub(max));
        }
        if let Some(seconds) = self.max_age {
            let micros = i64::try_from(seconds.saturating_mul(1_000_000)).unwrap_or(i64::MAX);
            let since = Timestamp(now.0.saturating_sub(micros));
            // Times do not go back within a stream.
            let mut end = count;
            while first < end {
                let middle = first + (end - first) / 2;
                if older(middle, since)? {
                    first = middle + 1;
                } else {
                    end = middle;
                }
            }
        }
        Ok(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::convert::Infallible;

    proptest! {
        #[test]
        fn what_is_shown_is_what_no_rule_hides(
            mut times in prop::collection::vec(0_i64..100, 0..20),
            max_count in prop::option::of(0_u64..25),
            max_age in prop::option::of(0_u64..100),
            truncate_before in prop::option::of(0_u64..25),
        ) {
            times.sort_unstable();
            let retention = Retention { max_count, max_age, truncate_before };
            let now = Timestamp(100_000_000);
            let time = |revision: usize| Timestamp(times[revision] * 1_000_000);
            let first = retention
                .first_shown(times.len() as u64, now, |revision, since| {
                    Ok::<_, Infallible>(time(usize::try_from(revision).unwrap()) < since)
                })
                .unwrap();
            for revision in 0..times.len() {
                let from_end = (times.len() - revision) as u64;
                let shown = max_count.is_none_or(|max| from_end <= max)
                    && max_age.is_none_or(|age| now.0 - time(revision).0 <= i64::try_from(age * 1_000_000).unwrap())
                    && truncate_before.is_none_or(|before| revision as u64 >= before);
                prop_assert_eq!(shown, revision as u64 >= first, "revision {}", revision);
            }
        }
    }

    #[test]
    fn only_an_object_with_these_fields_hides_something() {
        let parsed = Retention::parse(br#"{"$maxCount": 3, "$tb": 7, "owner": "me"}"#);
        let expected = Retention { max_count: Some(3), truncate_before: Some(7), max_age: None };
        assert_eq!(parsed, expected);
        assert_eq!(Retention::parse(b"[1]"), Retention::default());
        assert_eq!(Retention::parse(b"{\"$maxCount\": -1}"), Retention::default());
    }
}
