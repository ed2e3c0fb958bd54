//! What is wrong or means harm, against the KurrentDB protocol of the built binary: each gets a typed error or is slowed
//! down, nothing is written, the server's memory stays within bounds, and others are served meanwhile.
#![allow(clippy::default_trait_access, reason = "the client's options have long names")]
#![allow(clippy::unnecessary_wraps, reason = "fields of messages are options")]

#[path = "malformed/batches.rs"]
mod batches;
#[path = "malformed/bytes_on_the_wire.rs"]
mod bytes_on_the_wire;
#[path = "harness/calls.rs"]
mod calls;
#[path = "malformed/crowds.rs"]
mod crowds;
#[path = "malformed/expressions.rs"]
mod expressions;
#[path = "malformed/groups.rs"]
mod groups;
mod harness;
#[path = "malformed/requests.rs"]
mod requests;
#[path = "malformed/sizes.rs"]
mod sizes;
