//! What is looked at and when: subjects and points. A point is inclusive: the state at position 7 holds the event at
//! position 7.

use std::fmt;
use std::str::FromStr;

use annals_core::{Position, RecordedEvent, Revision, RowKey, StreamName, Timestamp};
use serde::{Deserialize, Serialize};

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Subject {
    /// A stream, folded by the decider of its category where there is one.
    Stream {
        /// Its name.
        stream: StreamName,
    },
    /// One row of a read model.
    Row {
        /// The read model's name, such as `trading_orders`.
        read_model: String,
        /// The row's key.
        key: RowKey,
    },
}

impl Subject {
    /// A stream.
    pub fn stream(stream: StreamName) -> Subject {
        Subject::Stream { stream }
    }

    /// A row.
    pub fn row(read_model: impl Into<String>, key: impl Into<RowKey>) -> Subject {
        Subject::Row { read_model: read_model.into(), key: key.into() }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Stream { stream } => write!(f, "stream {stream}"),
            Subject::Row { read_model, key } => write!(f, "row {key} of {read_model}"),
        }
    }
}

/// A moment in the history of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// After everything that the log holds.
    Now,
    /// After the event of this revision: of a stream, its revision; of a row, the number of the event among those
    /// that made the row, counted from 0.
    Revision(Revision),
    /// After the event at this position of the log.
    Position(Position),
    /// Before the first event, in log order, that is younger than this.
    Time(Timestamp),
}

impl Point {
    /// Whether an event that touches the subject, the `revision`th one to do so, lies at or before this point.
    pub(super) fn holds(self, event: &RecordedEvent, revision: Revision) -> bool {
        match self {
            Point::Revision(last) => revision <= last,
            Point::Now | Point::Position(_) | Point::Time(_) => !self.is_before(event),
        }
    }

    /// Whether this point certainly lies before an event of the log, whatever the event touches.
    pub(super) fn is_before(self, event: &RecordedEvent) -> bool {
        match self {
            Point::Now | Point::Revision(_) => false,
            Point::Position(last) => event.position > last,
            Point::Time(last) => event.time > last,
        }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Point::Now => f.write_str("now"),
            Point::Revision(revision) => write!(f, "revision:{revision}"),
            Point::Position(position) => write!(f, "position:{position}"),
            Point::Time(time) => write!(f, "{time}"),
        }
    }
}

/// A text that is no point.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no point in time; right would be now, revision:5, position:1234 or an RFC 3339 \
     time such as 2018-01-01T00:00:02.61Z"
)]
pub struct InvalidPoint {
    /// The text, cut to 64 characters.
    pub text: String,
}

/// Reads what `Display` writes: `now`, `revision:5`, `position:1234` or an RFC 3339 time.
impl FromStr for Point {
    type Err = InvalidPoint;

    fn from_str(text: &str) -> Result<Point, InvalidPoint> {
        let wrong = || InvalidPoint { text: text.chars().take(64).collect() };
        let number = |digits: &str| digits.parse::<u64>().map_err(|_| wrong());
        if text == "now" {
            Ok(Point::Now)
        } else if let Some(digits) = text.strip_prefix("revision:") {
            number(digits).map(|revision| Point::Revision(Revision(revision)))
        } else if let Some(digits) = text.strip_prefix("position:") {
            number(digits).map(|position| Point::Position(Position(position)))
        } else {
            Timestamp::parse(text).map(Point::Time).map_err(|_| wrong())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_survives_its_text() {
        for text in
            ["now", "revision:5", "position:18446744073709551615", "2018-01-01T00:00:02.61Z"]
        {
            let point: Point = text.parse().expect(text);
            assert_eq!(point.to_string(), text);
        }
        for text in ["", "5", "revision:-1", "position:x", "yesterday"] {
            assert_eq!(text.parse::<Point>(), Err(InvalidPoint { text: text.to_owned() }));
        }
    }
}
