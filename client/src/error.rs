//! What can go wrong between a client and its server.

use tonic::{Code, Status};

use super::proto;

/// What the server said no with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail} ({code})")]
pub struct Problem {
    /// The gRPC status code, which tells the family: [`Code::Aborted`] where someone wrote first or a condition does
    /// not hold.
    pub status: Code,
    /// The stable machine code, such as `wrong-revision`; empty where the answer is not one of Annals.
    pub code: String,
    /// What was wrong, where, and what would be right.
    pub detail: String,
}

impl From<Status> for Problem {
    fn from(status: Status) -> Problem {
        let code = status.metadata().get("annals-code").and_then(|code| code.to_str().ok());
        Problem {
            status: status.code(),
            code: code.unwrap_or_default().to_owned(),
            detail: status.message().to_owned(),
        }
    }
}

impl From<proto::Problem> for Problem {
    fn from(problem: proto::Problem) -> Problem {
        let (code, detail) = (problem.code, problem.detail);
        Problem { status: Code::from_i32(problem.status), code, detail }
    }
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is none.
    #[error("the address {address:?} is wrong; right would be http://HOST:PORT")]
    Address {
        /// The address as given.
        address: String,
        /// The cause, where there is a finer one.
        #[source]
        source: Option<tonic::transport::Error>,
    },
    /// The API key cannot stand in a header.
    #[error("the API key holds characters that are not visible ASCII")]
    ApiKey,
    /// Nobody answers there.
    #[error("connecting to {address} failed")]
    Connect {
        /// The address.
        address: String,
        /// The cause.
        #[source]
        source: tonic::transport::Error,
    },
    /// The server said no.
    #[error(transparent)]
    Refused(Problem),
    /// The call had ended before the append was sent, so nothing was written.
    #[error("the append was not sent, since the call had ended")]
    Ended(#[source] Problem),
    /// The call ended before the append was answered: it may or may not be stored. Repeat it with the same event ids.
    #[error("the outcome of the append is not known")]
    Unknown(#[source] Problem),
}

impl From<Status> for ClientError {
    fn from(status: Status) -> ClientError {
        ClientError::Refused(Problem::from(status))
    }
}
