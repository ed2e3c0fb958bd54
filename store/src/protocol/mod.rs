//! The KurrentDB protocol (gRPC) over any event store, so that its official clients work unchanged: its first version, and of
//! its second one the appends over several streams. It turns
//! their requests into appends and reads of the store and the answers back; docs/kurrentdb.md tells what is
//! served and what differs. It opens no socket: whoever does hands requests to the services.

pub mod access;
mod correlation;
pub mod decoding;
pub mod deletion;
pub mod errors;
pub mod events;
pub mod features;
pub mod gossip;
mod lookup;
pub mod monitoring;
pub mod names;
pub mod operations;
pub mod persistent;
pub mod projections;
mod proposed;
pub mod service;
pub mod state;
pub mod streams;
#[cfg(test)]
pub(crate) mod testing;
pub mod transactions;
pub mod wire;
pub mod writes;

pub use errors::ProtocolError;
pub use service::{Parts, Protocol, Settings};
