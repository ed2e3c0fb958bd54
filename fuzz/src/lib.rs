//! What the fuzz targets share: logs that were written to a simulated disk, ways to damage their files, and what must be
//! true of a log afterwards. Everything goes through what the store's crate offers to others.

pub mod golden;
pub mod oracle;
pub mod script;
pub mod written;
