//! The event store that is embedded in the process: one append-only log of segment files. It knows
//! no domain and no network; everything above reaches it through [`annals_core::EventStore`].

pub mod log;
pub mod protocol;

pub use log::{Damage, Flaw, Log, LogOptions, LogStats, OpenError};
