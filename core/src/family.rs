//! The families of error. Every error of Annals belongs to one, and one table at the edge (REST, gRPC, command line)
//! turns the family into a code; nothing reads the text of an error.

/// What kind of error it is, and so what the caller should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// The request itself is wrong; sending it again will not help.
    Malformed,
    /// The caller did not say who they are.
    Unauthenticated,
    /// The caller may not do this.
    Denied,
    /// What was asked for is not there.
    NotFound,
    /// The domain says no.
    Refusal,
    /// Someone wrote first, also after bounded retries.
    Conflict,
    /// Too much at once, or no room; later, as the error says.
    TooMuch,
    /// A fault that passes: try again with back-off.
    Unavailable,
    /// Stored bytes are damaged: stop, and repair at the place named.
    Damage,
}

impl Family {
    /// Every family, for documentation and for tests of the tables at the edge.
    pub const ALL: [Family; 9] = [
        Family::Malformed,
        Family::Unauthenticated,
        Family::Denied,
        Family::NotFound,
        Family::Refusal,
        Family::Conflict,
        Family::TooMuch,
        Family::Unavailable,
        Family::Damage,
    ];
}
