//! The ClickHouse HTTP endpoint over libchdb: the ClickHouse engine as a library, in a child process of our own.
//!
//! The parent starts a [`Supervisor`], which runs the child and restarts it when it dies; the child's main is
//! [`child::run`]. Everything else talks to the endpoint's URL with a ClickHouse client, so a real server can take
//! its place by a change of address. The engine never runs in the process that takes commands: a crash, a memory
//! spike or a lock of the engine stays in the child.
//!
//! It is an emulation of ClickHouse's HTTP interface, not a server: no TLS, no native protocol, no users or quotas
//! by SQL, no external tables, no compressed reads, no replication.

pub mod child;
mod configuration;
mod confinement;
mod deduplication;
mod foreign;
pub mod library;
mod ready;
mod server;
pub mod supervisor;

pub use supervisor::{Options, StartError, State, Stopped, Supervisor};
