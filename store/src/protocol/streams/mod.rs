//! The service of streams: reads, subscriptions, appends and deletions.

mod append;
mod batch;
mod expected;
mod filter;
mod links;
mod options;
mod read;
mod service;
mod subscription;
#[cfg(test)]
mod tests;
mod told;

pub use filter::filter;
pub use service::StreamsService;
