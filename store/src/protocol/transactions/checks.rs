//! What is expected of a stream, and what that asks of the log once it is known what the stream's metadata say. The
//! table of both is the contract: what is expected down, how the stream stands across.

use annals_core::{ExpectedRevision, Revision};

use crate::protocol::errors::counted;
use crate::protocol::state::StreamState;

/// What no stream meets, since none has so many events.
pub(super) const NEVER: ExpectedRevision = ExpectedRevision::Exact(Revision(u64::MAX));

const NO_STREAM: i64 = -1;
const ANY: i64 = -2;
const EXISTS: i64 = -4;
const DELETED: i64 = -5;
const ENDED: i64 = -6;

/// What is expected of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// Anything.
    Any,
    /// No event, or deleted.
    NoStream,
    /// An event, or metadata, and not deleted.
    Exists,
    /// This last revision.
    Revision(Revision),
    /// Deleted until the next append.
    Deleted,
    /// Ended for ever.
    Ended,
}

impl Expected {
    /// Of a number that a check gives; nothing where it means nothing.
    pub(super) fn of(number: i64) -> Option<Expected> {
        Some(match number {
            ANY => Expected::Any,
            NO_STREAM => Expected::NoStream,
            EXISTS => Expected::Exists,
            DELETED => Expected::Deleted,
            ENDED => Expected::Ended,
            // The last one is that of a stream that has ended.
            i64::MAX => return None,
            number => Expected::Revision(Revision(u64::try_from(number).ok()?)),
        })
    }

    /// Of a number that stands with the records of a stream.
    pub(super) fn of_written(number: i64) -> Option<Expected> {
        let is_of_written =
            |expected: &Expected| !matches!(expected, Expected::Deleted | Expected::Ended);
        Expected::of(number).filter(is_of_written)
    }

    /// As the protocol counts it.
    pub(super) fn counted(self) -> i64 {
        match self {
            Expected::Any => ANY,
            Expected::NoStream => NO_STREAM,
            Expected::Exists => EXISTS,
            Expected::Revision(revision) => counted(Some(revision)),
            Expected::Deleted => DELETED,
            Expected::Ended => ENDED,
        }
    }
}

/// How a stream stands, by its metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has events or not, and takes more.
    Open,
    /// Deleted until the next append.
    Deleted,
    /// Ended for ever.
    Ended,
}

impl From<&StreamState> for Standing {
    fn from(state: &StreamState) -> Standing {
        match state {
            StreamState { is_tombstoned: true, .. } => Standing::Ended,
            StreamState { is_deleted: true, .. } => Standing::Deleted,
            StreamState { .. } => Standing::Open,
        }
    }
}

impl Standing {
    /// What is told of a stream that stands so, with its last revision.
    pub(super) fn counted(self, expected: Expected, last: Option<Revision>) -> i64 {
        match self {
            Standing::Open => counted(last),
            // Who expects a revision is told the one that would do.
            Standing::Deleted if matches!(expected, Expected::Revision(_)) && last.is_some() => {
                counted(last)
            }
            Standing::Deleted => DELETED,
            Standing::Ended => ENDED,
        }
    }
}

/// What a transaction does with a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It only checks it.
    Checked,
    /// It writes to it.
    Written,
}

/// What is left to ask of the log of a stream whose metadata stay as they are.
///
/// | expected | open | deleted | ended |
/// |---|---|---|---|
/// | anything | met | met | unmet where written |
/// | no stream | asked | met | unmet where written |
/// | existence | asked, or met by metadata | unmet | unmet |
/// | a revision | asked | asked | unmet |
/// | deleted | unmet | met | unmet |
/// | ended | unmet | unmet | unmet where written |
pub(super) fn asked(
    expected: Expected,
    standing: Standing,
    role: Role,
    has_metadata: bool,
) -> ExpectedRevision {
    let met = ExpectedRevision::Any;
    match (standing, expected) {
        (Standing::Ended, Expected::Any | Expected::NoStream | Expected::Ended)
            if role == Role::Checked =>
        {
            met
        }
        (Standing::Open, Expected::Any)
        | (Standing::Deleted, Expected::Any | Expected::NoStream | Expected::Deleted) => met,
        (Standing::Open, Expected::Exists) if has_metadata => met,
        (Standing::Open, Expected::Exists) => ExpectedRevision::Exists,
        (Standing::Open, Expected::NoStream) => ExpectedRevision::Behind(None),
        (Standing::Open | Standing::Deleted, Expected::Revision(revision)) => {
            ExpectedRevision::Behind(Some(revision))
        }
        (Standing::Open, Expected::Deleted | Expected::Ended)
        | (Standing::Deleted, Expected::Exists | Expected::Ended)
        | (Standing::Ended, _) => NEVER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_means_a_state_or_a_revision() {
        for number in [-6, -5, -4, -2, -1, 0, 1, i64::MAX - 1] {
            assert_eq!(Expected::of(number).map(Expected::counted), Some(number));
        }
        for number in [i64::MIN, -7, -3, i64::MAX] {
            assert_eq!(Expected::of(number), None, "{number}");
        }
        for number in [-6, -5, -3, i64::MAX] {
            assert_eq!(Expected::of_written(number), None, "{number}");
        }
        for number in [-4, -2, -1, 0] {
            assert_eq!(Expected::of_written(number), Expected::of(number), "{number}");
        }
    }
}
