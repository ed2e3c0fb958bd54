//! The event stores: the log that is embedded in the process, one append-only log of segment files, and any server that speaks
//! the KurrentDB protocol; that protocol over any store; and copies from one store to another. It knows no domain;
//! everything above reaches a store through [`annals_core::EventStore`].

pub mod copy;
pub mod kurrent;
pub mod log;
pub mod protocol;

pub use log::{Damage, Flaw, Log, LogOptions, LogStats, OpenError};
