//! What the services of the protocol share: the store they stand over, the seams to clock and randomness, and the bounds.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use annals_core::{Clock, EventStore, Random};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::access::{RememberedDefaults, Users};
use super::errors::ProtocolError;
use super::projections::SystemProjection;
use super::state::States;

/// The version of KurrentDB whose protocol this is, as clients are told it. Some look at it to learn what a server can do,
/// beside the list of methods.
pub const PROTOCOL_VERSION: &str = "26.1.0";

/// What the protocol is told by whoever serves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The host that clients are sent to, which is to be the one that they know.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The largest event, in bytes as the protocol counts them.
    pub event_bytes_max: usize,
    /// The largest append, in bytes as the protocol counts them.
    pub append_bytes_max: usize,
    /// How long an append may take.
    pub write_timeout: Duration,
    /// Which system projections run in a store that was told nothing of them. Nothing where the store keeps none, since it
    /// does not append to several streams at once.
    pub system_projections: Option<BTreeSet<SystemProjection>>,
}

/// What the protocol stands over.
pub struct Parts {
    /// The store.
    pub store: Arc<dyn EventStore>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where ids come from that no client gave.
    pub random: Arc<dyn Random>,
    /// Streams of events that may be opened now.
    pub open: Arc<Semaphore>,
    /// Set when the server stops: subscriptions then end.
    pub stopping: CancellationToken,
    /// Set by a client who asks the server to stop.
    pub asked_to_stop: CancellationToken,
    /// Addresses and bounds.
    pub settings: Settings,
}

/// The protocol over a store. Its services share it.
pub struct Protocol {
    /// What it stands over.
    pub parts: Parts,
    /// Who may sign in; nothing where nobody must.
    pub(crate) users: Option<Arc<Users>>,
    pub(crate) states: States,
    pub(crate) defaults: RememberedDefaults,
}

impl Protocol {
    /// The protocol over these parts, for anybody.
    pub fn new(parts: Parts) -> Arc<Protocol> {
        Protocol::for_users(parts, None)
    }

    /// The protocol over these parts; where there are users, for them alone, each within its rights.
    pub fn for_users(parts: Parts, users: Option<Arc<Users>>) -> Arc<Protocol> {
        let (states, defaults) = (States::default(), RememberedDefaults::default());
        Arc::new(Protocol { parts, users, states, defaults })
    }

    /// The users who may sign in; nothing where nobody must.
    pub fn users(&self) -> Option<&Arc<Users>> {
        self.users.as_ref()
    }

    /// A place among the streams of events that are open.
    ///
    /// # Errors
    /// [`ProtocolError::TooBusy`] where as many as may be are.
    pub fn open(&self) -> Result<OwnedSemaphorePermit, ProtocolError> {
        Arc::clone(&self.parts.open).try_acquire_owned().map_err(|_| ProtocolError::TooBusy)
    }
}
