//! A text that is never shown: not by `Debug`, not by serialisation, not in an error.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

/// A secret. [`Secret::expose`] is the one way to its text, so that its uses can be found.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The text, for the one who has to present or compare it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `candidate` is this secret, in a time that depends on the candidate's length alone.
    pub fn matches(&self, candidate: &str) -> bool {
        use sha2::{Digest, Sha256};
        // Digests have one length, and how they differ says nothing about the texts.
        let (own, other) = (Sha256::digest(&self.0), Sha256::digest(candidate));
        let differing = own.iter().zip(other.iter()).fold(0_u8, |sum, (a, b)| sum | (a ^ b));
        std::hint::black_box(differing) == 0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}
