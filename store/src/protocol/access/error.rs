//! Why users are not there, or not let in.

use annals_core::{AppendError, Family, ReadError, Revision, StreamName};

use super::super::errors::ProtocolError;
use super::passwords::NotLookedAt;

/// Why a caller is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignInError {
    /// There is no such user, or not with that password, or not now; it is not told which.
    Wrong,
    /// Too many sign in at once.
    TooBusy,
    /// It could not be found out.
    Failed,
}

impl From<NotLookedAt> for SignInError {
    fn from(why: NotLookedAt) -> SignInError {
        match why {
            NotLookedAt::TooBusy => SignInError::TooBusy,
            NotLookedAt::Failed => SignInError::Failed,
        }
    }
}

impl From<NotLookedAt> for ProtocolError {
    fn from(why: NotLookedAt) -> ProtocolError {
        match why {
            NotLookedAt::TooBusy => ProtocolError::TooBusy,
            NotLookedAt::Failed => {
                ProtocolError::NotReady("a password could not be hashed".to_owned())
            }
        }
    }
}

/// Why a server has no users to let in.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// The store cannot be read.
    #[error("the users cannot be read")]
    Read(#[from] ReadError),
    /// An event that is to tell of a user does not.
    #[error("{stream} at revision {revision} tells of no user")]
    Damaged {
        /// The stream.
        stream: StreamName,
        /// The revision.
        revision: Revision,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
    /// The operating system has no random bytes.
    #[error("the operating system gives no random bytes")]
    Random(#[from] getrandom::Error),
    /// The first password cannot be hashed.
    #[error("the password of the first user cannot be hashed")]
    Hash,
    /// The first users cannot be written.
    #[error("the first users cannot be written")]
    Written(#[from] AppendError),
}

impl UsersError {
    /// The family of this error.
    pub fn family(&self) -> Family {
        match self {
            UsersError::Read(error) => error.family(),
            UsersError::Written(error) => error.family(),
            UsersError::Damaged { .. } => Family::Damage,
            UsersError::Random(_) | UsersError::Hash => Family::Unavailable,
        }
    }
}
