//! The Rust client of Annals' log: appends, reads and subscriptions over gRPC. One [`Client`] is one connection, which
//! clones share and which is made again when it breaks; nothing is repeated behind the caller's back. Commands and
//! read models have their own services, for which the generated clients in [`proto`] do.
//!
//! ```no_run
//! use annals_client::proto::{AppendRequest, Condition, NewEvent, QueryItem, StreamWrite};
//! use annals_client::{Client, ConnectOptions};
//!
//! # async fn example() -> Result<(), annals_client::ClientError> {
//! let client = Client::connect("http://127.0.0.1:2113", ConnectOptions::default()).await?;
//! let event = NewEvent {
//!     r#type: "course.StudentEnrolled".to_owned(),
//!     tags: vec!["course:c1".to_owned(), "student:s7".to_owned()],
//!     ..NewEvent::default()
//! };
//! let write = StreamWrite { stream: "course-c1".to_owned(), events: vec![event], expected: None };
//! // Nobody may have touched this student's enrolments since position 41, which the decision was made on.
//! let item = QueryItem { types: vec![], tags: vec!["student:s7".to_owned()] };
//! let condition = Condition { fail_if_events_match: vec![item], after_position: Some(41) };
//! let appends = client.append_stream().await?;
//! appends.append(AppendRequest { writes: vec![write], condition: Some(condition) }).await?;
//! # Ok(())
//! # }
//! ```

mod append_stream;
mod client;
mod coalesced;
mod connect;
mod encoded;
mod error;
mod recorded;

pub use append_stream::{Answer, AppendStream};
pub use client::Client;
pub use connect::{ApiKey, ConnectOptions, Flush};
pub use error::{ClientError, Problem};

/// The messages and generated clients. The definitions stand in `proto/annals/v1/annals.proto`.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    clippy::wildcard_enum_match_arm,
    reason = "generated; the definitions carry the documentation"
)]
pub mod proto {
    pub use crate::recorded::{EventBatch, ReadResponse, RecordedEvent};

    tonic::include_proto!("annals.v1");
}
