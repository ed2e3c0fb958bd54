//! Which event store. An address may hold a password, so it is shown without what follows its scheme.

use std::fmt;

use annals_store::kurrent::{Address, AddressError};
use serde::{Deserialize, Serialize, Serializer};

/// The word for the log in the data folder.
const EMBEDDED: &str = "embedded";

/// Which event store: `embedded`, or the address of a server.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct StoreChoice(String);

impl StoreChoice {
    /// Wraps the text of a setting.
    pub fn new(text: impl Into<String>) -> StoreChoice {
        StoreChoice(text.into())
    }

    /// The log in the data folder.
    pub fn embedded() -> StoreChoice {
        StoreChoice::new(EMBEDDED)
    }

    /// Whether it is the log in the data folder.
    pub fn is_embedded(&self) -> bool {
        self.0 == EMBEDDED
    }

    /// The server's address; nothing where it is the log in the data folder.
    ///
    /// # Errors
    /// [`AddressError`].
    pub fn address(&self) -> Result<Option<Address>, AddressError> {
        if self.is_embedded() { Ok(None) } else { self.0.parse().map(Some) }
    }

    fn shown(&self) -> &str {
        if self.is_embedded() { EMBEDDED } else { "esdb://***" }
    }
}

impl fmt::Debug for StoreChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.shown())
    }
}

impl Serialize for StoreChoice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.shown())
    }
}
