//! The rights that there are, what an ACL says of them, and the one rule of who has one. It is pure: what is looked up is
//! looked up elsewhere. What cannot be read gives nobody a right but `$admins`.

use serde_json::{Map, Value};

use super::user::{EVERYBODY, User};

/// What can be done with a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// Read and subscribe.
    Read,
    /// Append.
    Write,
    /// Delete, also for ever.
    Delete,
    /// Read the metadata.
    ReadMetadata,
    /// Write the metadata, and so the ACL itself.
    WriteMetadata,
}

impl Right {
    /// Every right.
    pub const ALL: [Right; 5] =
        [Right::Read, Right::Write, Right::Delete, Right::ReadMetadata, Right::WriteMetadata];

    /// Its name in an ACL.
    pub fn name(self) -> &'static str {
        match self {
            Right::Read => "$r",
            Right::Write => "$w",
            Right::Delete => "$d",
            Right::ReadMetadata => "$mr",
            Right::WriteMetadata => "$mw",
        }
    }

    /// The right to a stream that allows this on the stream of its metadata.
    pub(super) fn through_metastream(self) -> Right {
        match self {
            Right::Read | Right::ReadMetadata => Right::ReadMetadata,
            Right::Write | Right::Delete | Right::WriteMetadata => Right::WriteMetadata,
        }
    }
}

/// Whose defaults hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Of streams of users.
    User,
    /// Of streams of the server, whose names begin with `$`.
    System,
}

/// What an ACL says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acl {
    /// It is that of all such streams.
    like: Option<Kind>,
    /// Who has each right, in the order of [`Right::ALL`]; nothing where it does not say.
    roles: [Option<Vec<String>>; 5],
}

/// The name of the ACL in metadata.
const ACL: &str = "$acl";
/// The names of the default ACLs, in the stream `$settings` and where an ACL is one of them.
const OF_USERS: &str = "$userStreamAcl";
const OF_SYSTEM: &str = "$systemStreamAcl";

fn object(data: &[u8]) -> Map<String, Value> {
    serde_json::from_slice(data).unwrap_or_default()
}

impl Acl {
    /// The ACL in a stream's metadata. Without one, it says nothing.
    pub fn of_metadata(data: &[u8]) -> Acl {
        object(data).get(ACL).map_or_else(Acl::default, Acl::of)
    }

    /// The metadata that keeps of another one the ACL alone.
    pub(crate) fn kept_of(data: &[u8]) -> Map<String, Value> {
        object(data).remove_entry(ACL).into_iter().collect()
    }

    fn of(value: &Value) -> Acl {
        match value {
            Value::Null => Acl::default(),
            Value::Object(rights) => {
                let roles = Right::ALL.map(|right| roles(rights.get(right.name())));
                Acl { like: None, roles }
            }
            Value::String(name) if name == OF_USERS => {
                Acl { like: Some(Kind::User), roles: [const { None }; 5] }
            }
            Value::String(name) if name == OF_SYSTEM => {
                Acl { like: Some(Kind::System), roles: [const { None }; 5] }
            }
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                Acl { like: None, roles: [const { Some(Vec::new()) }; 5] }
            }
        }
    }

    fn roles(&self, right: Right) -> Option<&[String]> {
        let place = Right::ALL.iter().position(|each| *each == right)?;
        self.roles[place].as_deref()
    }
}

/// Who has a right, as an ACL writes it: a name, or a list of names.
fn roles(value: Option<&Value>) -> Option<Vec<String>> {
    match value? {
        Value::Null => None,
        Value::String(role) => Some(vec![role.clone()]),
        Value::Array(roles) => {
            let roles = roles.iter().map(|role| role.as_str().map(str::to_owned));
            Some(roles.collect::<Option<_>>().unwrap_or_default())
        }
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => Some(Vec::new()),
    }
}

/// What holds where the ACL of a stream does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Defaults {
    users: Acl,
    system: Acl,
}

impl Defaults {
    /// What the last event of the stream `$settings` says.
    pub fn of_settings(data: &[u8]) -> Defaults {
        let object = object(data);
        let acl = |name: &str| object.get(name).map_or_else(Acl::default, Acl::of);
        Defaults { users: acl(OF_USERS), system: acl(OF_SYSTEM) }
    }
}

/// Whether a user has a right to a stream with this ACL.
pub(super) fn allowed(
    user: &User,
    right: Right,
    stream: &str,
    own: &Acl,
    defaults: &Defaults,
) -> bool {
    if user.is_administrator() {
        return true;
    }
    let by_name = if stream.starts_with('$') { Kind::System } else { Kind::User };
    let kind = own.like.unwrap_or(by_name);
    let of_kind = match kind {
        Kind::User => &defaults.users,
        Kind::System => &defaults.system,
    };
    match own.roles(right).or_else(|| of_kind.roles(right)) {
        Some(roles) => roles.iter().any(|role| user.is(role)),
        None => kind == Kind::User && user.is(EVERYBODY),
    }
}
