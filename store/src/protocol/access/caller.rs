//! Who calls, as the credentials of a request told it. It travels with the request, as an extension of it.

use std::sync::Arc;

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Anybody: the server does not ask who calls, and whoever is let in may do all.
    Anybody,
    /// Who gave no credentials.
    Anonymous,
    /// Who gave the server's own key, which counts as one of `$admins`.
    Key,
    /// Who signed in, by login name. What the user may is looked up anew each time, so a change holds at once.
    User(Arc<str>),
}

impl Caller {
    /// The login name of a user.
    pub fn login(&self) -> Option<&str> {
        match self {
            Caller::User(login) => Some(login),
            Caller::Anybody | Caller::Anonymous | Caller::Key => None,
        }
    }
}
