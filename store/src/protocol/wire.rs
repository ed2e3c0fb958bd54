//! What `build.rs` made of the definitions in `proto/`: the messages of the protocol and the traits of its services, each
//! in the module that its package names.
#![allow(
    missing_docs,
    dead_code,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    clippy::wildcard_enum_match_arm,
    reason = "generated; the definitions carry the documentation"
)]

include!(concat!(env!("OUT_DIR"), "/kurrent.rs"));

pub use event_store::client as v1;
