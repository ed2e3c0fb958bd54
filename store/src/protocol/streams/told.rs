//! What the answers of a batch tell: errors stand within the answer, as a status with a message of their own.

use annals_core::Revision;
use prost::Message;
use prost_types::Any;

use super::expected::number;
use crate::protocol::errors::ProtocolError;
use crate::protocol::wire::google::rpc::{Code, Status};
use crate::protocol::wire::v1::streams::BatchAppendResp;
use crate::protocol::wire::v1::streams::batch_append_req::options::ExpectedStreamPosition as Expected;
use crate::protocol::wire::v1::streams::batch_append_resp::success::{
    CurrentRevisionOption as Current, PositionOption,
};
use crate::protocol::wire::v1::streams::batch_append_resp::{Result as Answer, Success};
use crate::protocol::wire::v1::{
    AccessDenied, AllStreamPosition, BadRequest, MaximumAppendEventSizeExceeded,
    MaximumAppendSizeExceeded, StreamDeleted, StreamIdentifier, Timeout, Unknown, Uuid as WireUuid,
    WrongExpectedVersion, wrong_expected_version,
};
use crate::protocol::writes::Written;

/// What became of an append.
pub(super) enum Outcome {
    Written(Written),
    Wrong {
        /// What the client said that it expects.
        expected: Option<Expected>,
        actual: Option<Revision>,
    },
    /// It was not durable in time.
    Late,
    Failed(ProtocolError),
}

/// The answer to an append.
pub(super) fn answer(
    correlation: WireUuid,
    stream: StreamIdentifier,
    outcome: Outcome,
) -> BatchAppendResp {
    let result = match outcome {
        Outcome::Written(written) => Answer::Success(success(written)),
        Outcome::Wrong { expected, actual } => {
            let details = wrong_version(expected, actual);
            error(Code::AlreadyExists, "WrongExpectedVersion", &details)
        }
        Outcome::Late => error(Code::DeadlineExceeded, "Timeout", &Timeout {}),
        Outcome::Failed(failed) => failure(failed, &stream),
    };
    BatchAppendResp {
        correlation_id: Some(correlation),
        result: Some(result),
        stream_identifier: Some(stream),
        expected_stream_position: None,
    }
}

fn wrong_version(expected: Option<Expected>, actual: Option<Revision>) -> WrongExpectedVersion {
    use wrong_expected_version::{
        CurrentStreamRevisionOption as Current, ExpectedStreamPositionOption as Told,
    };
    let current =
        number(actual).map_or(Current::CurrentNoStream(()), Current::CurrentStreamRevision);
    let expected = expected.map(|expected| match expected {
        Expected::StreamPosition(position) => Told::ExpectedStreamPosition(position),
        Expected::NoStream(()) => Told::ExpectedNoStream(()),
        Expected::Any(()) => Told::ExpectedAny(()),
        Expected::StreamExists(()) => Told::ExpectedStreamExists(()),
    });
    WrongExpectedVersion {
        current_stream_revision_option: Some(current),
        expected_stream_position_option: expected,
    }
}

fn success(written: Written) -> Success {
    let position = |at: u64| AllStreamPosition { commit_position: at, prepare_position: at };
    Success {
        current_revision_option: Some(
            number(written.revision).map_or(Current::NoStream(()), Current::CurrentRevision),
        ),
        position_option: Some(
            written.position.map_or(PositionOption::NoPosition(()), |at| {
                PositionOption::Position(position(at.0))
            }),
        ),
    }
}

fn failure(failed: ProtocolError, stream: &StreamIdentifier) -> Answer {
    let short = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
    match failed {
        ProtocolError::StreamDeleted(_) => {
            let details = StreamDeleted { stream_identifier: Some(stream.clone()) };
            error(Code::NotFound, "StreamDeleted", &details)
        }
        ProtocolError::AccessDenied => {
            error(Code::PermissionDenied, "AccessDenied", &AccessDenied {})
        }
        ProtocolError::AppendTooLarge { most } => {
            let details = MaximumAppendSizeExceeded { max_append_size: short(most) };
            error(Code::InvalidArgument, "MaximumAppendSizeExceeded", &details)
        }
        ProtocolError::EventTooLarge { id, size, most } => {
            let details = MaximumAppendEventSizeExceeded {
                event_id: id.to_string(),
                proposed_event_size: short(size),
                max_append_event_size: short(most),
            };
            error(Code::InvalidArgument, "MaximumAppendEventSizeExceeded", &details)
        }
        ProtocolError::TimedOut(_) => error(Code::DeadlineExceeded, "Timeout", &Timeout {}),
        ProtocolError::Malformed(message) => {
            error(Code::InvalidArgument, "BadRequest", &BadRequest { message })
        }
        ProtocolError::MissingMetadata(property) => {
            let message = format!("Required Metadata Property '{property}' is missing");
            error(Code::InvalidArgument, "BadRequest", &BadRequest { message })
        }
        ProtocolError::WrongExpectedVersion { .. }
        | ProtocolError::Group { .. }
        | ProtocolError::UnknownProjection(_)
        | ProtocolError::NoProjections
        | ProtocolError::UserNotFound(_)
        | ProtocolError::UserConflict(_)
        | ProtocolError::TooBusy
        | ProtocolError::Stopping
        | ProtocolError::NotReady(_)
        | ProtocolError::Damage(_) => error(Code::Unknown, "Unknown", &Unknown {}),
    }
}

/// A status whose text is the name of the message that tells more.
fn error(code: Code, name: &str, details: &impl Message) -> Answer {
    let type_url = format!("type.googleapis.com/event_store.client.{name}");
    let details = vec![Any { type_url, value: details.encode_to_vec() }];
    Answer::Error(Status { code: code.into(), message: name.to_owned(), details })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_version_tells_what_was_expected_and_what_is_there() {
        use wrong_expected_version::CurrentStreamRevisionOption as Current;
        use wrong_expected_version::ExpectedStreamPositionOption as Told;
        let table = [
            (Expected::StreamPosition(3), Told::ExpectedStreamPosition(3)),
            (Expected::NoStream(()), Told::ExpectedNoStream(())),
            (Expected::Any(()), Told::ExpectedAny(())),
            (Expected::StreamExists(()), Told::ExpectedStreamExists(())),
        ];
        for (expected, told) in table {
            let outcome = Outcome::Wrong { expected: Some(expected), actual: Some(Revision(7)) };
            let stream = StreamIdentifier { stream_name: "a".into() };
            let answer = answer(WireUuid::default(), stream, outcome);
            let Some(Answer::Error(status)) = answer.result else { panic!("{answer:?}") };
            assert_eq!(status.code, i32::from(Code::AlreadyExists));
            let details = WrongExpectedVersion::decode(&*status.details[0].value);
            let expected = WrongExpectedVersion {
                current_stream_revision_option: Some(Current::CurrentStreamRevision(7)),
                expected_stream_position_option: Some(told),
            };
            assert_eq!(details, Ok(expected));
        }
    }
}
