//! Names that clients give: accounts, orders, instruments. They become parts of stream names, row
//! keys and addresses, so they are short and of few characters.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};

/// The longest name accepted, in bytes.
pub const NAME_BYTES_MAX: usize = 64;

/// A name that is not made of the characters allowed, or is too long.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be 1 to 64 letters, digits or any of '_', '.', '-', not {name:?}")]
pub struct InvalidName {
    /// What it was to name.
    pub what: &'static str,
    /// The name as given, cut to 64 characters.
    pub name: String,
}

fn checked(what: &'static str, name: String) -> Result<String, InvalidName> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(allowed) {
        Ok(name)
    } else {
        Err(InvalidName { what, name: name.chars().take(64).collect() })
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $example:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[serde(transparent)]
        pub struct $type(String);

        impl $type {
            /// Checks and wraps a name.
            ///
            /// # Errors [`InvalidName`] when it is empty, longer than [`NAME_BYTES_MAX`], or holds
            /// another character than ASCII letters, digits, `_`, `.` and `-`.
            pub fn new(name: impl Into<String>) -> Result<$type, InvalidName> {
                checked($what, name.into()).map($type)
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<$type, D::Error> {
                $type::new(String::deserialize(from)?).map_err(de::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string",
                    "pattern": "^[A-Za-z0-9_.-]{1,64}$",
                    "examples": [$example],
                })
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// An account.
    AccountId,
    "an account",
    "A001"
);
name!(
    /// An order, named once for ever within its account.
    OrderId,
    "an order",
    "A001-17"
);
name!(
    /// What is traded.
    Instrument,
    "an instrument",
    "XBTUSD"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_other_characters_or_length_is_refused() {
        assert!(AccountId::new("A001-x_y.z").is_ok());
        let refused = ["", "a b", "a/b", "ä", "a\n", &"x".repeat(65)];
        for name in refused {
            assert!(AccountId::new(name).is_err(), "{name:?} is refused");
        }
    }
}
