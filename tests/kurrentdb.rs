//! A store on a server that speaks the KurrentDB protocol, against a server of ours: it keeps the promises of every store,
//! through an end of the server too; the main job gives the same figures on it; and events move there and back.

#[path = "kurrentdb/contract.rs"]
mod contract;
mod harness;
#[path = "kurrentdb/job.rs"]
mod job;
#[path = "kurrentdb/moving.rs"]
mod moving;
#[path = "kurrentdb/outage.rs"]
mod outage;
#[path = "kurrentdb/reads.rs"]
mod reads;
#[path = "kurrentdb/remote.rs"]
mod remote;
