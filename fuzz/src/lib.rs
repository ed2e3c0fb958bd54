//! What the fuzz targets share: logs that were written to a simulated disk, ways to damage their files, what must be true of
//! a log afterwards, and calls of the protocol, which the tests of the store's crate make too. Everything goes through what
//! that crate offers to others.

pub mod golden;
#[path = "../../store/tests/hostile/mod.rs"]
pub mod hostile;
pub mod oracle;
pub mod script;
pub mod written;
