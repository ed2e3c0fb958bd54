//! Why a transaction did not go through, and the one table of what its sender is told: a status that carries a message of its
//! own for each kind of error, behind one that names the kind. Clients go by these, not by the texts.

use annals_core::{Revision, StreamName};
use prost::{Message, Name};
use prost_types::Any;
use tonic::{Code, Status};
use uuid::Uuid;

use super::checks::{Expected, Standing};
use crate::protocol::access::Right;
use crate::protocol::errors::ProtocolError;
use crate::protocol::wire::google::rpc;
use crate::protocol::wire::kurrent::rpc::AccessDeniedErrorDetails;
use crate::protocol::wire::kurrentdb::protocol::v2::streams::errors as details;
use details::consistency_violation::{StreamStateViolation, Type};

/// So many bytes of streams that are not as expected are told in words.
const TEXT_BYTES_MAX: usize = 512;
/// So many bytes of them are told in the message that a status carries: some clients take trailers of 8 KiB at most.
const DETAIL_BYTES_MAX: usize = 4 << 10;

/// Why a transaction did not go through. It changed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// What may be wrong with every request.
    Protocol(ProtocolError),
    /// Who called has not this right to a stream.
    Denied { stream: StreamName, right: Right, login: Option<String> },
    /// A stream occurs twice in a session.
    AlreadyInSession(StreamName),
    /// A record is too large.
    RecordTooLarge { stream: StreamName, id: Uuid, size: usize, most: usize },
    /// All records together are too large.
    TooLarge { size: usize, most: usize },
    /// Streams are not as expected.
    Unmet(Vec<Violation>),
}

/// A stream that is not as expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    /// Its place among the transaction's streams.
    pub(super) place: usize,
    pub(super) stream: StreamName,
    pub(super) expected: Expected,
    pub(super) standing: Standing,
    pub(super) last: Option<Revision>,
}

impl From<ProtocolError> for Refusal {
    fn from(error: ProtocolError) -> Refusal {
        Refusal::Protocol(error)
    }
}

impl Violation {
    fn actual(&self) -> i64 {
        self.standing.counted(self.expected, self.last)
    }

    fn text(&self) -> String {
        let Violation { stream, expected, .. } = self;
        let wanted = match *expected {
            Expected::Any => "not to have ended".to_owned(),
            Expected::NoStream => "not to exist".to_owned(),
            Expected::Exists => "to exist".to_owned(),
            Expected::Revision(revision) => format!("at revision {revision}"),
            Expected::Deleted => "deleted".to_owned(),
            Expected::Ended => "ended for ever".to_owned(),
        };
        let found = match (self.standing, self.last) {
            (Standing::Open, None) => "does not exist".to_owned(),
            (Standing::Open, Some(last)) => format!("is at revision {last}"),
            (Standing::Deleted, None) => "is deleted".to_owned(),
            (Standing::Deleted, Some(last)) => format!("is deleted at revision {last}"),
            (Standing::Ended, _) => "has ended for ever".to_owned(),
        };
        format!("stream '{stream}' was expected {wanted} and {found}")
    }
}

impl Refusal {
    /// What the sender of a session is told, whose streams are each on their own: the first that is not as expected.
    pub(super) fn of_session(self) -> Status {
        if let Refusal::Unmet(violations) = &self
            && let Some(first) = violations.first()
        {
            return unmet_in_session(first);
        }
        self.of_records()
    }

    /// What the sender of records with checks is told.
    pub(super) fn of_records(self) -> Status {
        match self {
            Refusal::Protocol(error) => error.into(),
            Refusal::Denied { stream, right, login } => {
                let operation = match right {
                    Right::Read | Right::ReadMetadata => "streams:check",
                    Right::Write | Right::Delete | Right::WriteMetadata => "streams:append",
                };
                let permission = Some(format!("{}@{stream}", right.name()));
                let detail = AccessDeniedErrorDetails {
                    operation: operation.to_owned(),
                    username: login,
                    permission,
                };
                rich(&DENIED, "Access Denied".to_owned(), &detail)
            }
            Refusal::AlreadyInSession(stream) => {
                let text = format!(
                    "stream '{stream}' occurs twice in the session; send all of its records in one request"
                );
                let detail = details::StreamAlreadyInAppendSessionErrorDetails {
                    stream: Some(stream.to_string()),
                };
                rich(&IN_SESSION, text, &detail)
            }
            Refusal::RecordTooLarge { stream, id, size, most } => {
                let text = format!(
                    "record {id} for stream '{stream}' has {size} bytes, and {most} are the most"
                );
                let detail = details::AppendRecordSizeExceededErrorDetails {
                    stream: Some(stream.to_string()),
                    record_id: Some(id.to_string()),
                    size: Some(short(size)),
                    max_size: Some(short(most)),
                };
                rich(&RECORD_SIZE, text, &detail)
            }
            Refusal::TooLarge { size, most } => {
                let text =
                    format!("the records have {size} bytes together, and {most} are the most");
                let detail = details::AppendTransactionSizeExceededErrorDetails {
                    size: Some(short(size)),
                    max_size: Some(short(most)),
                };
                rich(&SIZE, text, &detail)
            }
            Refusal::Unmet(violations) => unmet(&violations),
        }
    }
}

fn unmet_in_session(violation: &Violation) -> Status {
    let (stream, text) = (Some(violation.stream.to_string()), violation.text());
    if violation.standing == Standing::Ended {
        let detail = details::StreamTombstonedErrorDetails { stream };
        return rich(&TOMBSTONED, text, &detail);
    }
    let detail = details::StreamRevisionConflictErrorDetails {
        stream,
        expected_revision: Some(violation.expected.counted()),
        actual_revision: Some(violation.actual()),
    };
    rich(&CONFLICT, text, &detail)
}

fn unmet(violations: &[Violation]) -> Status {
    let texts = within(TEXT_BYTES_MAX, violations.iter().map(Violation::text), String::len);
    let told = violations.iter().map(|violation| details::ConsistencyViolation {
        check_index: Some(short(violation.place)),
        r#type: Some(Type::StreamState(StreamStateViolation {
            stream: Some(violation.stream.to_string()),
            expected_state: Some(violation.expected.counted()),
            actual_state: Some(violation.actual()),
        })),
    });
    let told = within(DETAIL_BYTES_MAX, told, Message::encoded_len);
    let mut text = texts.join("; ");
    if let more @ 1.. = violations.len() - texts.len() {
        let (all, told) = (violations.len(), told.len());
        text = format!("{text}; and {more} more ({told} of {all} are told in the details)");
    }
    let detail = details::AppendConsistencyViolationErrorDetails { violations: told };
    rich(&VIOLATION, text, &detail)
}

/// The first of the items, and those behind it that have so many bytes together with it.
fn within<T>(most: usize, items: impl Iterator<Item = T>, bytes: fn(&T) -> usize) -> Vec<T> {
    let mut sum = 0;
    let fits = |(place, item): &(usize, T)| {
        sum += bytes(item);
        *place == 0 || sum <= most
    };
    items.enumerate().take_while(fits).map(|(_, item)| item).collect()
}

/// A kind of error: its code and its reason.
struct Kind(Code, &'static str);

const DENIED: Kind = Kind(Code::PermissionDenied, "ACCESS_DENIED");
const IN_SESSION: Kind = Kind(Code::Aborted, "STREAM_ALREADY_IN_APPEND_SESSION");
const RECORD_SIZE: Kind = Kind(Code::InvalidArgument, "APPEND_RECORD_SIZE_EXCEEDED");
const SIZE: Kind = Kind(Code::Aborted, "APPEND_TRANSACTION_SIZE_EXCEEDED");
const TOMBSTONED: Kind = Kind(Code::FailedPrecondition, "STREAM_TOMBSTONED");
const CONFLICT: Kind = Kind(Code::FailedPrecondition, "STREAM_REVISION_CONFLICT");
const VIOLATION: Kind = Kind(Code::FailedPrecondition, "APPEND_CONSISTENCY_VIOLATION");

/// A status that carries the kind of the error, and a message that tells more of it.
fn rich(kind: &Kind, text: String, detail: &impl Name) -> Status {
    let Kind(code, reason) = *kind;
    let info = rpc::ErrorInfo {
        reason: reason.to_owned(),
        domain: "streams".to_owned(),
        ..rpc::ErrorInfo::default()
    };
    let carried = rpc::Status {
        code: code.into(),
        message: text.clone(),
        details: vec![packed(&info), packed(detail)],
    };
    Status::with_details(code, text, carried.encode_to_vec().into())
}

fn packed<M: Name>(message: &M) -> Any {
    let type_url = format!("type.googleapis.com/{}", M::full_name());
    Any { type_url, value: message.encode_to_vec() }
}

fn short(size: usize) -> i32 {
    i32::try_from(size).unwrap_or(i32::MAX)
}
