//! KurrentDB's system projections: they link events into streams of their own, by category, type and correlation, and list
//! streams. `system` says what each makes of an event, and `emitted` what a batch of them comes to; both are pure. `runner`
//! reads the log and writes links and checkpoint as one append; `kept` is what stands of a projection in the store, `figures`
//! what is told of its work, `management` turns them on and off, and `service` speaks with clients.

mod emitted;
mod figures;
mod kept;
mod management;
mod runner;
mod service;
mod system;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use management::SystemProjections;
pub use service::ProjectionsService;
pub use system::{SystemProjection, UnknownProjection};
