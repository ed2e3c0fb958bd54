//! What the answers of a batch tell: errors stand within the answer, as a status with a message of their own.

use annals_core::Revision;
use prost::Message;
use prost_types::Any;

use super::expected::number;
use crate::protocol::errors::ProtocolError;
use crate::protocol::wire::google::rpc::{Code, Status};
use crate::protocol::wire::v1::streams::BatchAppendResp;
use crate::protocol::wire::v1::streams::batch_append_resp::success::{
    CurrentRevisionOption as Current, PositionOption,
};
use crate::protocol::wire::v1::streams::batch_append_resp::{Result as Answer, Success};
use crate::protocol::wire::v1::wrong_expected_version::CurrentStreamRevisionOption;
use crate::protocol::wire::v1::{
    AccessDenied, AllStreamPosition, BadRequest, MaximumAppendEventSizeExceeded,
    MaximumAppendSizeExceeded, StreamDeleted, StreamIdentifier, Timeout, Unknown, Uuid as WireUuid,
    WrongExpectedVersion,
};
use crate::protocol::writes::Written;

/// What became of an append.
pub(super) enum Outcome {
    Written(Written),
    Wrong(Option<Revision>),
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
        Outcome::Wrong(actual) => {
            let current = number(actual).map_or(
                CurrentStreamRevisionOption::CurrentNoStream(()),
                CurrentStreamRevisionOption::CurrentStreamRevision,
            );
            let details = WrongExpectedVersion {
                current_stream_revision_option: Some(current),
                expected_stream_position_option: None,
            };
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
