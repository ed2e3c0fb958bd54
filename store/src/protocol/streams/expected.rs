//! What messages expect of a stream: the same four things in a message of its own for each method.

use annals_core::Revision;

use crate::protocol::errors::ProtocolError;
use crate::protocol::wire::v1::StreamIdentifier;
use crate::protocol::wire::v1::streams::{append_req, batch_append_req, delete_req};
use crate::protocol::writes::Expected;

/// A stream and what is expected of it.
pub(super) struct Given {
    pub(super) stream: Option<StreamIdentifier>,
    pub(super) expected: Result<Expected, ProtocolError>,
}

fn missing() -> Result<Expected, ProtocolError> {
    let text =
        "what is expected of the stream is missing: a revision, no_stream, any or stream_exists";
    Err(ProtocolError::Malformed(text.to_owned()))
}

impl Given {
    pub(super) fn of_append(options: append_req::Options) -> Given {
        use append_req::options::ExpectedStreamRevision as Wire;
        let expected = match options.expected_stream_revision {
            Some(Wire::Revision(revision)) => Expected::revision(revision),
            Some(Wire::NoStream(_)) => Ok(Expected::NoStream),
            Some(Wire::Any(_)) => Ok(Expected::Any),
            Some(Wire::StreamExists(_)) => Ok(Expected::Exists),
            None => missing(),
        };
        Given { stream: options.stream_identifier, expected }
    }

    pub(super) fn of_batch(options: &batch_append_req::Options) -> Result<Expected, ProtocolError> {
        use batch_append_req::options::ExpectedStreamPosition as Wire;
        match options.expected_stream_position {
            Some(Wire::StreamPosition(revision)) => Expected::revision(revision),
            Some(Wire::NoStream(())) => Ok(Expected::NoStream),
            Some(Wire::Any(())) => Ok(Expected::Any),
            Some(Wire::StreamExists(())) => Ok(Expected::Exists),
            None => missing(),
        }
    }

    /// Of a deletion, whose two messages have the same fields.
    pub(super) fn of_deletion(options: delete_req::Options) -> Given {
        use delete_req::options::ExpectedStreamRevision as Wire;
        let expected = match options.expected_stream_revision {
            Some(Wire::Revision(revision)) => Expected::revision(revision),
            Some(Wire::NoStream(_)) => Ok(Expected::NoStream),
            Some(Wire::Any(_)) => Ok(Expected::Any),
            Some(Wire::StreamExists(_)) => Ok(Expected::Exists),
            None => missing(),
        };
        Given { stream: options.stream_identifier, expected }
    }
}

/// A revision as wrong-version messages have it; none where there is no event.
pub(super) fn number(revision: Option<Revision>) -> Option<u64> {
    revision.map(|Revision(revision)| revision)
}
