//! The server's interfaces against the built binary: every family of error on REST and gRPC, reading
//! one's own writes, pages, the log, appends to it, subscriptions, the document, health, metrics, the API key and the
//! end of the server.

#[path = "api/append.rs"]
mod append;
#[path = "api/client.rs"]
mod client;
#[path = "api/commands.rs"]
mod commands;
#[path = "api/edge.rs"]
mod edge;
mod harness;
#[path = "api/log.rs"]
mod log;
#[path = "api/queries.rs"]
mod queries;
