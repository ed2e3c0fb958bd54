//! Appends over several streams, all of them or none, in one append of the log: those of a session, and records in any
//! order with checks of streams that may not be written at all. What is expected is asked by the very append that writes,
//! so nothing comes between a check and the events that rest on it.

mod checks;
mod errors;
mod plan;
mod properties;
mod records;
mod requests;
mod service;
#[cfg(test)]
mod tests;
mod write;

pub use service::TransactionsService;
