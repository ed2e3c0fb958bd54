//! Deciders: how a domain answers commands. Pure: no I/O, clock or randomness; time and ids come with the command.

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::DomainEvent;

/// The state of one stream, as far as `decide` reads it, and its two functions. `Default` is the state before the
/// first event. State serialises so that the debugger can show it.
pub trait Decider: Default + Clone + Serialize + Send + Sync + 'static {
    /// What may be asked: an enum, externally tagged, with names in kebab-case (`{"place-order": {…}}`), so that a
    /// command is addressed by its name and its JSON fields. Malformed values are refused by deserialisation.
    type Command: Clone + Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static;
    /// What may happen.
    type Event: DomainEvent;
    /// How the domain says no.
    type Refusal: std::error::Error + Clone + PartialEq + Send + Sync + 'static;

    /// The category of its streams: the stream of an instance is `CATEGORY-id`.
    const CATEGORY: &'static str;

    /// The id of the instance that a command is for.
    fn target(command: &Self::Command) -> &str;

    /// What happens when `command` meets this state. Asking for what is already so yields no events.
    ///
    /// # Errors
    /// The domain's refusal.
    fn decide(&self, command: Self::Command) -> Result<Vec<Self::Event>, Self::Refusal>;

    /// The state after `event`. It cannot fail: it has already happened.
    #[must_use]
    fn evolve(self, event: &Self::Event) -> Self;
}

/// Receives every decider of a domain, with its type; the domain lists them once, whoever runs them implements this.
pub trait DeciderRegistry {
    /// Takes note of one decider.
    fn decider<D: Decider>(&mut self);
}
