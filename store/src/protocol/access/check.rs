//! The one place where it is decided whether a caller may do something. Rights to a stream are looked up where appends learn
//! of its deletion, in its metadata; so a change holds for the next request, and for the next events of what is open.

use std::sync::Arc;

use annals_core::{ReadQuery, Revision, StreamName};
use parking_lot::RwLock;
use tonic::Extensions;

use super::super::errors::ProtocolError;
use super::super::names::original_of;
use super::super::service::Protocol;
use super::caller::Caller;
use super::rights::{self, Defaults, Right};
use super::user::{LIST, OPERATORS, PREFIX, User};

/// The stream whose last event says what holds where an ACL does not.
const SETTINGS: &str = "$settings";

/// What [`SETTINGS`] said last, and in which revision.
#[derive(Default)]
pub(crate) struct RememberedDefaults(RwLock<(Option<Revision>, Arc<Defaults>)>);

/// What a caller is allowed at all.
enum Standing {
    /// All.
    Unrestricted,
    /// What the rights of a user say.
    Member(Arc<User>),
    /// Nothing.
    Nobody,
}

/// Whether the stream tells of users: those are read by `$admins` alone, whatever an ACL says, and written by the server
/// alone.
pub fn tells_of_users(stream: &StreamName) -> bool {
    let name = stream.as_str();
    let name = name.strip_prefix("$$").unwrap_or(name);
    name == LIST || name.starts_with(PREFIX)
}

impl Protocol {
    /// Who made a request: what stands among its extensions, and else anybody, or nobody where users must sign in.
    pub fn caller(&self, extensions: &Extensions) -> Caller {
        let unknown = if self.users.is_some() { Caller::Anonymous } else { Caller::Anybody };
        extensions.get::<Caller>().cloned().unwrap_or(unknown)
    }

    fn standing(&self, caller: &Caller) -> Standing {
        let login = match caller {
            Caller::Anybody | Caller::Key => return Standing::Unrestricted,
            Caller::Anonymous => return Standing::Nobody,
            Caller::User(login) => login,
        };
        let user = self.users.as_ref().and_then(|users| users.enabled(login));
        match user {
            Some(user) if user.is_administrator() => Standing::Unrestricted,
            Some(user) => Standing::Member(user),
            None => Standing::Nobody,
        }
    }

    /// Whether a caller has a right to a stream; the whole log is the stream `$all`. It does not tell whether there is such
    /// a stream.
    ///
    /// # Errors
    /// [`ProtocolError::AccessDenied`] where not, and where that could not be looked up.
    pub async fn may(
        &self,
        caller: &Caller,
        right: Right,
        stream: &StreamName,
    ) -> Result<(), ProtocolError> {
        let of_users = tells_of_users(stream);
        let reads = matches!(right, Right::Read | Right::ReadMetadata);
        let user = match self.standing(caller) {
            Standing::Unrestricted if reads || !of_users => return Ok(()),
            Standing::Member(user) if !of_users => user,
            Standing::Unrestricted | Standing::Member(_) | Standing::Nobody => {
                return Err(ProtocolError::AccessDenied);
            }
        };
        let (subject, right) = match original_of(stream) {
            Some(original) => (original, right.through_metastream()),
            None => (stream.clone(), right),
        };
        let state = self.state(&subject).await?;
        let defaults = self.defaults().await?;
        if rights::allowed(&user, right, subject.as_str(), &state.acl, &defaults) {
            return Ok(());
        }
        Err(ProtocolError::AccessDenied)
    }

    /// Whether a caller may look after the server.
    ///
    /// # Errors
    /// [`ProtocolError::AccessDenied`].
    pub fn may_operate(&self, caller: &Caller) -> Result<(), ProtocolError> {
        match self.standing(caller) {
            Standing::Unrestricted => Ok(()),
            Standing::Member(user) if user.is_in(OPERATORS) => Ok(()),
            Standing::Member(_) | Standing::Nobody => Err(ProtocolError::AccessDenied),
        }
    }

    /// Whether a caller may do all.
    ///
    /// # Errors
    /// [`ProtocolError::AccessDenied`].
    pub fn may_administer(&self, caller: &Caller) -> Result<(), ProtocolError> {
        match self.standing(caller) {
            Standing::Unrestricted => Ok(()),
            Standing::Member(_) | Standing::Nobody => Err(ProtocolError::AccessDenied),
        }
    }

    /// Whether a caller is somebody who may be here.
    ///
    /// # Errors
    /// [`ProtocolError::AccessDenied`].
    pub fn may_be_here(&self, caller: &Caller) -> Result<(), ProtocolError> {
        match self.standing(caller) {
            Standing::Unrestricted | Standing::Member(_) => Ok(()),
            Standing::Nobody => Err(ProtocolError::AccessDenied),
        }
    }

    /// What holds where an ACL does not say.
    async fn defaults(&self) -> Result<Arc<Defaults>, ProtocolError> {
        let settings = StreamName::new(SETTINGS).expect("a constant of the protocol");
        let head = self.parts.store.stream_head(&settings).await?;
        {
            let remembered = self.defaults.0.read();
            if remembered.0 == head {
                return Ok(Arc::clone(&remembered.1));
            }
        }
        let last = self.first_of(ReadQuery::stream(settings).backwards().limit(1)).await?;
        let defaults = last.as_ref().map(|last| Defaults::of_settings(&last.data));
        let defaults = Arc::new(defaults.unwrap_or_default());
        *self.defaults.0.write() = (head, Arc::clone(&defaults));
        Ok(defaults)
    }
}
