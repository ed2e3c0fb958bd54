//! A user as the store keeps it: each change is one event of the stream `$user-LOGIN` that says all there is to say, so the
//! last one is the user. The password is kept as its Argon2id hash alone.

use std::fmt;
use std::sync::Arc;

use annals_core::{Revision, StreamName, Timestamp};
use serde::{Deserialize, Serialize};

use super::super::errors::ProtocolError;

/// The group whose members may do all.
pub const ADMINISTRATORS: &str = "$admins";
/// The group whose members may look after the server, but not read what is not for them.
pub const OPERATORS: &str = "$ops";
/// Everybody who signed in, where an ACL says so.
pub(super) const EVERYBODY: &str = "$all";

/// The stream that names every user there ever was.
pub(super) const LIST: &str = "$users";
/// What the stream of a user begins with.
pub(super) const PREFIX: &str = "$user-";
/// The type of an event of the list.
pub(super) const LISTED: &str = "$User";
/// The types of the events of a user.
pub(super) const CREATED: &str = "$UserCreated";
pub(super) const UPDATED: &str = "$UserUpdated";
pub(super) const PASSWORD_CHANGED: &str = "$UserPasswordChanged";
pub(super) const DELETED: &str = "$UserDeleted";

/// The longest login name, and name of a group, in bytes.
const NAME_BYTES_MAX: usize = 128;
/// The longest full name, in bytes.
const FULL_NAME_BYTES_MAX: usize = 1024;
/// The most groups of one user.
const GROUPS_MAX: usize = 64;
/// The longest password, in bytes.
pub(super) const PASSWORD_BYTES_MAX: usize = 1024;

/// What a password is known again by. It is never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct PasswordHash(pub(super) String);

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What an event says of a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    pub(super) login_name: Arc<str>,
    pub(super) full_name: String,
    pub(super) groups: Vec<String>,
    pub(super) disabled: bool,
    /// In the PHC string format; without one the user cannot sign in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) hash: Option<PasswordHash>,
}

/// An event of the list.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Listed {
    pub(super) login_name: Arc<str>,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub(super) record: Record,
    /// The last change.
    pub(super) at: Revision,
    /// When that was.
    pub(super) changed: Timestamp,
}

impl User {
    /// The name to sign in with.
    pub fn login(&self) -> &str {
        &self.record.login_name
    }

    /// Whether an entry of an ACL means this user.
    pub fn is(&self, role: &str) -> bool {
        role == EVERYBODY || role == self.login() || self.is_in(role)
    }

    /// Whether the user is in a group.
    pub fn is_in(&self, group: &str) -> bool {
        self.record.groups.iter().any(|of_user| of_user == group)
    }

    /// Whether the user may do all.
    pub fn is_administrator(&self) -> bool {
        self.is_in(ADMINISTRATORS)
    }
}

fn malformed<T>(text: String) -> Result<T, ProtocolError> {
    Err(ProtocolError::Malformed(text))
}

/// The stream of a user.
///
/// # Errors
/// [`ProtocolError::Malformed`] where nobody can have that name: it would be taken for a group, or could not be sent.
pub(super) fn stream_of(login: &str) -> Result<StreamName, ProtocolError> {
    let wrong = if login.is_empty() {
        "is empty"
    } else if login.len() > NAME_BYTES_MAX {
        "has more than 128 bytes"
    } else if login.starts_with('$') {
        "begins with `$`, as groups do"
    } else if login.chars().any(|character| character.is_control() || character == ':') {
        "holds a colon or a control character"
    } else {
        let name = StreamName::new(format!("{PREFIX}{login}"));
        return name.map_err(|error| ProtocolError::Malformed(error.to_string()));
    };
    malformed(format!("the login name {wrong}"))
}

/// Whether these may be what is told of a user.
///
/// # Errors
/// [`ProtocolError::Malformed`].
pub(super) fn check_details(full_name: &str, groups: &[String]) -> Result<(), ProtocolError> {
    if full_name.len() > FULL_NAME_BYTES_MAX || full_name.chars().any(char::is_control) {
        return malformed(format!(
            "a full name has {FULL_NAME_BYTES_MAX} bytes at most, and no control characters"
        ));
    }
    if groups.len() > GROUPS_MAX {
        return malformed(format!("a user is in {GROUPS_MAX} groups at most"));
    }
    let is_wrong = |group: &&String| {
        group.is_empty() || group.len() > NAME_BYTES_MAX || group.chars().any(char::is_control)
    };
    match groups.iter().find(is_wrong) {
        None => Ok(()),
        Some(_) => malformed(format!(
            "the name of a group has 1 to {NAME_BYTES_MAX} bytes, and no control characters"
        )),
    }
}

/// Whether this may be a password.
///
/// # Errors
/// [`ProtocolError::Malformed`].
pub(super) fn check_password(password: &str) -> Result<(), ProtocolError> {
    if (1..=PASSWORD_BYTES_MAX).contains(&password.len()) {
        return Ok(());
    }
    malformed(format!("a password has 1 to {PASSWORD_BYTES_MAX} bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_name_is_short_plain_and_no_group() {
        for right in ["ann", "Ann Å", "a@b", "a-1"] {
            assert_eq!(stream_of(right).expect(right).as_str(), format!("$user-{right}"));
        }
        for wrong in ["", "$admins", "a:b", "a\n", &"a".repeat(129)] {
            assert!(matches!(stream_of(wrong), Err(ProtocolError::Malformed(_))), "{wrong:?}");
        }
    }

    #[test]
    fn a_password_is_not_empty_and_not_endless() {
        assert_eq!(check_password("a"), Ok(()));
        assert_eq!(check_password(&"a".repeat(1024)), Ok(()));
        for wrong in ["", &"a".repeat(1025)] {
            assert!(matches!(check_password(wrong), Err(ProtocolError::Malformed(_))));
        }
    }

    #[test]
    fn a_hash_is_not_shown() {
        let hash = Some(PasswordHash("canary".to_owned()));
        let groups = vec![OPERATORS.to_owned()];
        let (login_name, full_name) = ("ann".into(), String::new());
        let record = Record { login_name, full_name, groups, disabled: false, hash };
        assert!(!format!("{record:?}").contains("canary"));
        assert!(check_details("Ann", &record.groups).is_ok());
        assert!(check_details("A\u{7}", &[]).is_err());
        assert!(check_details("", &[String::new()]).is_err());
        assert!(check_details("", &vec!["g".to_owned(); 65]).is_err());
    }
}
