//! The errors of the protocol, and the one table of what clients are told: a gRPC status whose trailers name the kind of the
//! error. Most clients read the trailers, one reads the texts; both are a contract.

use annals_core::{AppendError, ReadError, Revision, StreamName};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Code, Status};
use uuid::Uuid;

/// What a client is told instead of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// The request itself is wrong.
    Malformed(String),
    /// The caller may not do this.
    AccessDenied,
    /// The stream has ended for ever, or must exist and is deleted.
    StreamDeleted(StreamName),
    /// A deletion expected another revision; these are as the protocol counts, negative ones being states.
    WrongExpectedVersion {
        /// The stream.
        stream: StreamName,
        /// What was expected.
        expected: i64,
        /// What is.
        actual: i64,
    },
    /// An append is too large.
    AppendTooLarge {
        /// The most, in bytes.
        most: usize,
    },
    /// An event is too large.
    EventTooLarge {
        /// The event.
        id: Uuid,
        /// Its bytes.
        size: usize,
        /// The most, in bytes.
        most: usize,
    },
    /// An event does not say its type or what its data is.
    MissingMetadata(&'static str),
    /// Something about a persistent subscription.
    Group {
        /// What.
        trouble: GroupTrouble,
        /// The stream, or `$all`.
        stream: String,
        /// The group.
        group: String,
    },
    /// There is no projection of that name.
    UnknownProjection(String),
    /// The store keeps no projections.
    NoProjections,
    /// There is no user of this login name.
    UserNotFound(String),
    /// There is a user of this login name.
    UserConflict(String),
    /// Too much at once.
    TooBusy,
    /// The server is stopping.
    Stopping,
    /// The store takes no writes.
    NotReady(String),
    /// It took too long; what was asked for may happen yet.
    TimedOut(String),
    /// Stored bytes are damaged.
    Damage(String),
}

/// What is wrong with a persistent subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupTrouble {
    /// There is none.
    DoesNotExist,
    /// There is one.
    Exists,
    /// It cannot be as asked for, for this reason.
    Failed(String),
    /// It was changed or went away under its consumers.
    Dropped,
    /// It has as many consumers as it may.
    MaximumSubscribers,
}

impl From<ReadError> for ProtocolError {
    fn from(error: ReadError) -> ProtocolError {
        match error {
            ReadError::Malformed(_) => ProtocolError::Malformed(error.to_string()),
            ReadError::Damage { .. } => ProtocolError::Damage(error.to_string()),
            ReadError::Deleted { stream } => ProtocolError::StreamDeleted(stream),
            ReadError::Denied(_) => ProtocolError::AccessDenied,
            ReadError::Fault { ref source, .. } => {
                ProtocolError::NotReady(format!("{error}: {source}"))
            }
        }
    }
}

impl From<AppendError> for ProtocolError {
    /// Of what the protocol has no answer of its own for.
    fn from(error: AppendError) -> ProtocolError {
        match error {
            AppendError::Malformed(_) | AppendError::PartlyRepeated => {
                ProtocolError::Malformed(error.to_string())
            }
            AppendError::Conflict { .. }
            | AppendError::ConditionFailed { .. }
            | AppendError::TooMuch(_) => ProtocolError::TooBusy,
            AppendError::Deleted { stream } => ProtocolError::StreamDeleted(stream),
            AppendError::Denied(_) => ProtocolError::AccessDenied,
            AppendError::ReadOnly(_) => ProtocolError::NotReady(error.to_string()),
            AppendError::Unknown(_) => ProtocolError::TimedOut(error.to_string()),
        }
    }
}

/// A revision as the protocol counts: -1 where there is no event.
pub fn counted(revision: Option<Revision>) -> i64 {
    revision.map_or(-1, |Revision(revision)| i64::try_from(revision).unwrap_or(i64::MAX))
}

/// What a status carries beside its text.
type Trailers = Vec<(&'static str, String)>;

impl From<ProtocolError> for Status {
    fn from(error: ProtocolError) -> Status {
        let (code, text, trailers) = told(error);
        let mut status = Status::new(code, text);
        for (name, value) in trailers {
            status.metadata_mut().insert(name, ascii(&value));
        }
        status
    }
}

fn told(error: ProtocolError) -> (Code, String, Trailers) {
    let kind = |name: &str| ("exception", name.to_owned());
    match error {
        ProtocolError::Malformed(text) => (Code::InvalidArgument, text, vec![]),
        ProtocolError::AccessDenied => {
            (Code::PermissionDenied, "Access Denied".to_owned(), vec![kind("access-denied")])
        }
        ProtocolError::StreamDeleted(stream) => (
            Code::FailedPrecondition,
            format!("Event stream '{stream}' is deleted."),
            vec![kind("stream-deleted"), ("stream-name", stream.to_string())],
        ),
        ProtocolError::WrongExpectedVersion { stream, expected, actual } => (
            Code::FailedPrecondition,
            format!(
                "Delete failed due to WrongExpectedVersion. Stream: {stream}, Expected version: {expected}, Actual \
                 version: {actual}"
            ),
            vec![
                kind("wrong-expected-version"),
                ("stream-name", stream.to_string()),
                ("expected-version", expected.to_string()),
                ("actual-version", actual.to_string()),
            ],
        ),
        ProtocolError::AppendTooLarge { most } => (
            Code::InvalidArgument,
            format!("Maximum Append Size of {most} Exceeded."),
            vec![kind("maximum-append-size-exceeded"), ("maximum-append-size", most.to_string())],
        ),
        ProtocolError::EventTooLarge { id, size, most } => (
            Code::InvalidArgument,
            format!(
                "Event with Id: {id}, Size: {size}, exceeds Maximum Append Event Size of {most}."
            ),
            vec![
                kind("maximum-append-event-size-exceeded"),
                ("maximum-append-event-size", most.to_string()),
                ("event-id", id.to_string()),
                ("proposed-append-event-size", size.to_string()),
            ],
        ),
        ProtocolError::MissingMetadata(property) => (
            Code::InvalidArgument,
            format!("Required Metadata Property '{property}' is missing"),
            vec![
                kind("missing-required-metadata-property"),
                ("required-metadata-properties", "type,content-type".to_owned()),
            ],
        ),
        ProtocolError::Group { trouble, stream, group } => told_of_group(trouble, stream, group),
        ProtocolError::UnknownProjection(name) => {
            (Code::NotFound, format!("Projection '{name}' not found"), vec![])
        }
        ProtocolError::NoProjections => {
            let text = "the events are kept by a server of its own; manage its projections there";
            (Code::Unimplemented, text.to_owned(), vec![])
        }
        ProtocolError::UserNotFound(login) => {
            let text = format!("User '{login}' is not found.");
            (Code::NotFound, text, vec![kind("user-not-found"), ("login-name", login)])
        }
        ProtocolError::UserConflict(login) => {
            let trailers = vec![kind("user-conflict"), ("login-name", login)];
            (Code::FailedPrecondition, "Conflict.".to_owned(), trailers)
        }
        ProtocolError::TooBusy => (Code::Unavailable, "Server Is Too Busy".to_owned(), vec![]),
        ProtocolError::Stopping => {
            let text = "Server Is Not Ready: it is stopping".to_owned();
            (Code::Unavailable, text, vec![])
        }
        ProtocolError::NotReady(text) => {
            (Code::Unavailable, format!("Server Is Not Ready: {text}"), vec![])
        }
        ProtocolError::TimedOut(text) => {
            (Code::Aborted, format!("Operation timed out: {text}"), vec![])
        }
        ProtocolError::Damage(text) => (Code::DataLoss, text, vec![]),
    }
}

fn told_of_group(trouble: GroupTrouble, stream: String, group: String) -> (Code, String, Trailers) {
    let which = format!("Subscription group {group} on stream {stream}");
    let (code, text, kind, reason) = match trouble {
        GroupTrouble::DoesNotExist => {
            let text = format!("{which} does not exist.");
            (Code::NotFound, text, "persistent-subscription-does-not-exist", None)
        }
        GroupTrouble::Exists => {
            let text = format!("{which} exists.");
            (Code::AlreadyExists, text, "persistent-subscription-exists", None)
        }
        GroupTrouble::Failed(reason) => {
            let text = format!("{which} failed: '{reason}'");
            (Code::Internal, text, "persistent-subscription-failed", Some(reason))
        }
        GroupTrouble::Dropped => {
            let text = format!("{which} was dropped.");
            (Code::Cancelled, text, "persistent-subscription-dropped", None)
        }
        GroupTrouble::MaximumSubscribers => {
            let text = format!(
                "Maximum subscriptions reached for subscription group {group} on stream {stream}."
            );
            (Code::FailedPrecondition, text, "maximum-subscribers-reached", None)
        }
    };
    let mut trailers =
        vec![("exception", kind.to_owned()), ("stream-name", stream), ("group-name", group)];
    trailers.extend(reason.map(|reason| ("reason", reason)));
    (code, text, trailers)
}

/// A value of a trailer; one that is not visible ASCII is percent-encoded.
fn ascii(value: &str) -> MetadataValue<Ascii> {
    let is_visible = |byte: u8| matches!(byte, b' '..=b'~');
    let plain = MetadataValue::try_from(value).ok();
    plain.filter(|_| value.bytes().all(is_visible)).unwrap_or_else(|| {
        let encoded: String = value
            .bytes()
            .map(|byte| match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                    char::from(byte).to_string()
                }
                _ => format!("%{byte:02X}"),
            })
            .collect();
        MetadataValue::try_from(encoded).expect("it is ASCII")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(name: &str) -> StreamName {
        StreamName::new(name).expect("a name")
    }

    #[track_caller]
    fn check(error: ProtocolError, code: Code, text: &str, trailers: &[(&str, &str)]) {
        let status = Status::from(error);
        assert_eq!((status.code(), status.message()), (code, text));
        let found = |name: &str| status.metadata().get(name).map(|value| value.to_str());
        for (name, value) in trailers {
            assert_eq!(found(name).map(Result::ok), Some(Some(*value)), "{name}");
        }
        assert_eq!(status.metadata().len(), trailers.len());
    }

    #[test]
    fn texts_and_trailers_are_a_contract() {
        check(
            ProtocolError::StreamDeleted(stream("a-1")),
            Code::FailedPrecondition,
            "Event stream 'a-1' is deleted.",
            &[("exception", "stream-deleted"), ("stream-name", "a-1")],
        );
        check(
            ProtocolError::WrongExpectedVersion { stream: stream("a"), expected: 3, actual: -1 },
            Code::FailedPrecondition,
            "Delete failed due to WrongExpectedVersion. Stream: a, Expected version: 3, Actual version: -1",
            &[
                ("exception", "wrong-expected-version"),
                ("stream-name", "a"),
                ("expected-version", "3"),
                ("actual-version", "-1"),
            ],
        );
        check(
            ProtocolError::AppendTooLarge { most: 9 },
            Code::InvalidArgument,
            "Maximum Append Size of 9 Exceeded.",
            &[("exception", "maximum-append-size-exceeded"), ("maximum-append-size", "9")],
        );
        check(
            ProtocolError::MissingMetadata("type"),
            Code::InvalidArgument,
            "Required Metadata Property 'type' is missing",
            &[
                ("exception", "missing-required-metadata-property"),
                ("required-metadata-properties", "type,content-type"),
            ],
        );
        check(ProtocolError::TooBusy, Code::Unavailable, "Server Is Too Busy", &[]);
        let unknown = ProtocolError::UnknownProjection("mine".to_owned());
        check(unknown, Code::NotFound, "Projection 'mine' not found", &[]);
        check(
            ProtocolError::UserNotFound("ann".to_owned()),
            Code::NotFound,
            "User 'ann' is not found.",
            &[("exception", "user-not-found"), ("login-name", "ann")],
        );
        check(
            ProtocolError::UserConflict("ann".to_owned()),
            Code::FailedPrecondition,
            "Conflict.",
            &[("exception", "user-conflict"), ("login-name", "ann")],
        );
        let group = |trouble| ProtocolError::Group {
            trouble,
            stream: "s".to_owned(),
            group: "g".to_owned(),
        };
        let names = [("stream-name", "s"), ("group-name", "g")];
        check(
            group(GroupTrouble::MaximumSubscribers),
            Code::FailedPrecondition,
            "Maximum subscriptions reached for subscription group g on stream s.",
            &[&[("exception", "maximum-subscribers-reached")], &names[..]].concat(),
        );
        check(
            group(GroupTrouble::Failed("why".to_owned())),
            Code::Internal,
            "Subscription group g on stream s failed: 'why'",
            &[&[("exception", "persistent-subscription-failed"), ("reason", "why")], &names[..]]
                .concat(),
        );
    }

    #[test]
    fn a_trailer_is_visible_ascii() {
        let name = stream("Å %");
        let status = Status::from(ProtocolError::StreamDeleted(name));
        let trailer = status.metadata().get("stream-name").expect("it is there");
        assert_eq!(trailer.to_str().ok(), Some("%C3%85%20%25"));
    }
}
