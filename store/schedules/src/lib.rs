//! The log of `annals-store`, the same files, compiled so that a test decides which of its threads runs next. A package
//! of its own, so that neither the log as it is shipped nor its other tests know of this; outside of tests it is empty.

#[cfg(test)]
#[path = "../../src/log/mod.rs"]
pub mod log;
