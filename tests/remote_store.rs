//! A store on a server that speaks the KurrentDB protocol, against a server of ours: it keeps the promises of every store,
//! through an end of the server too; the main job gives the same figures on it; and events move there and back.

#[path = "remote_store/contract.rs"]
mod contract;
mod harness;
#[path = "remote_store/job.rs"]
mod job;
#[path = "remote_store/moving.rs"]
mod moving;
#[path = "remote_store/outage.rs"]
mod outage;
#[path = "remote_store/reads.rs"]
mod reads;
#[path = "remote_store/remote.rs"]
mod remote;
