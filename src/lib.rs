//! The `annals` program as a library.

pub mod api;
pub mod cli;
pub mod codec;
pub mod config;
pub mod demo;
pub mod engine;
pub mod exchange;
pub mod import;
pub mod router;
pub mod telemetry;
pub mod trades;
