//! Everything that reads history again: rebuilding projections, verifying them, and time travel. It changes nothing in
//! the log, and readers of a projection see the old rows or the new ones, never half of either.

mod lane;
pub mod rebuild;
mod scan;
pub mod source;
pub mod travel;
pub mod verify;

pub use rebuild::{RebuildPhase, RebuildProgress, RebuildReport, RebuiltProjection, rebuild};
pub use source::{ReplayError, ReplaySource};
pub use verify::{
    Mismatch, StoredDigest, VerifiedProjection, VerifiedView, VerifyReport, digests, verify,
};
