//! Persistent subscriptions: groups of consumers that share the events of a stream or of the whole log, and whose place the
//! server keeps. `group` decides, and is pure; `runner` carries its decisions out, over what `keeping` reads and writes;
//! `groups` holds them all, and `service` speaks with clients.

mod configuration;
mod consumers;
mod group;
mod groups;
mod keeping;
mod measure;
mod message;
mod pins;
mod progress;
mod requests;
mod runner;
mod service;
mod settings;
#[cfg(test)]
mod tests;

pub use service::PersistentService;
