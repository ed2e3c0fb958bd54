//! What a failed call means, by the type of the crate's error and never by its text.

use std::sync::Arc;

use annals_core::{Family, ReadError, Revision, StreamName};
use eventstore::CurrentRevision;

/// Why a store on a server cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The client cannot be made.
    #[error("the client of the store cannot be made")]
    Client(#[source] eventstore::Error),
    /// The server cannot be asked.
    #[error("the store at {hosts} cannot be used")]
    Unreachable {
        /// The hosts of the address; it may hold a password, and is not shown.
        hosts: String,
        /// The cause.
        #[source]
        source: ReadError,
    },
}

impl ConnectError {
    /// The family of this error.
    pub fn family(&self) -> Family {
        match self {
            ConnectError::Client(_) => Family::Unavailable,
            ConnectError::Unreachable { source, .. } => source.family(),
        }
    }
}

/// What a failed call means.
pub(super) enum Failure {
    /// The stream is elsewhere than was expected.
    Conflict(Option<Revision>),
    /// The stream was deleted for good.
    Deleted,
    /// This user may not.
    Denied,
    /// There is no such stream.
    NotFound,
    /// The request is wrong, or of a kind that the server does not know.
    Refused(String),
    /// The server takes no more for now.
    Full(String),
    /// It may be better in a while.
    Passing,
}

/// The codes of gRPC that the crate passes on as they are.
mod code {
    pub(super) const INVALID_ARGUMENT: i32 = 3;
    pub(super) const RESOURCE_EXHAUSTED: i32 = 8;
    pub(super) const FAILED_PRECONDITION: i32 = 9;
    pub(super) const OUT_OF_RANGE: i32 = 11;
    pub(super) const UNIMPLEMENTED: i32 = 12;
}

pub(super) fn failure(error: &eventstore::Error) -> Failure {
    use eventstore::Error;
    match error {
        Error::WrongExpectedVersion { current, .. } => Failure::Conflict(match current {
            CurrentRevision::Current(revision) => Some(Revision(*revision)),
            CurrentRevision::NoStream => None,
        }),
        Error::ResourceDeleted => Failure::Deleted,
        Error::AccessDenied => Failure::Denied,
        Error::ResourceNotFound => Failure::NotFound,
        Error::Grpc { code, message } => match i32::from(*code) {
            code::INVALID_ARGUMENT
            | code::FAILED_PRECONDITION
            | code::OUT_OF_RANGE
            | code::UNIMPLEMENTED => Failure::Refused(message.clone()),
            code::RESOURCE_EXHAUSTED => Failure::Full(message.clone()),
            _ => Failure::Passing,
        },
        Error::ResourceAlreadyExists
        | Error::UnsupportedFeature
        | Error::InternalParsingError(_)
        | Error::IllegalStateError(_) => Failure::Refused(error.to_string()),
        Error::NotLeaderException(_)
        | Error::ServerError(_)
        | Error::ConnectionClosed
        | Error::GrpcConnectionError(_)
        | Error::InternalClientError
        | Error::DeadlineExceeded
        | Error::InitializationError(_) => Failure::Passing,
    }
}

/// The error of a read that is not tried again.
pub(super) fn read_error(
    attempt: &str,
    stream: Option<&StreamName>,
    error: eventstore::Error,
) -> ReadError {
    match (failure(&error), stream) {
        (Failure::Deleted, Some(stream)) => ReadError::Deleted { stream: stream.clone() },
        (Failure::Denied, _) => ReadError::Denied(attempt.to_owned()),
        (Failure::Refused(text), _) => ReadError::Malformed(text),
        (
            Failure::Deleted
            | Failure::Conflict(_)
            | Failure::NotFound
            | Failure::Full(_)
            | Failure::Passing,
            _,
        ) => ReadError::Fault { attempt: attempt.to_owned(), source: Arc::new(error) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventstore::{Error, ExpectedRevision};

    #[test]
    fn errors_are_told_apart_by_their_type() {
        let wrong = Error::WrongExpectedVersion {
            expected: ExpectedRevision::NoStream,
            current: CurrentRevision::Current(4),
        };
        assert!(matches!(failure(&wrong), Failure::Conflict(Some(Revision(4)))));
        assert!(matches!(failure(&Error::ResourceDeleted), Failure::Deleted));
        assert!(matches!(failure(&Error::AccessDenied), Failure::Denied));
        assert!(matches!(failure(&Error::ServerError("gone".to_owned())), Failure::Passing));
        assert!(matches!(failure(&Error::UnsupportedFeature), Failure::Refused(_)));
    }

    #[test]
    fn a_read_tells_what_was_wrong() {
        let stream = StreamName::new("order-1").expect("a valid name");
        let family = |error| read_error("a stream", Some(&stream), error).family();
        assert_eq!(family(Error::ResourceDeleted), Family::NotFound);
        assert_eq!(family(Error::AccessDenied), Family::Denied);
        assert_eq!(family(Error::UnsupportedFeature), Family::Malformed);
        assert_eq!(family(Error::ConnectionClosed), Family::Unavailable);
    }
}
