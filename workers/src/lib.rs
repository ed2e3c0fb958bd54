//! The projection runtime: runs read models into PostgreSQL and facts into ClickHouse, with rows and checkpoint moving
//! together, so that whatever is killed every event takes effect exactly once. It knows no domain and no query API.

pub mod catalogue;
pub mod clickhouse;
pub mod columns;
pub mod decoding;
pub mod facts;
pub mod fold;
pub mod generation;
pub mod metering;
pub mod postgres_server;
pub mod registry;
pub mod rows;
pub mod runtime;
pub mod schema;
pub mod sink_clickhouse;
pub mod sink_postgres;
pub mod status;
mod worker;

pub use catalogue::{Catalogue, ViewSpec};
pub use clickhouse::{ClickHouse, ClickHouseError, ClickHouseOptions};
pub use decoding::{Decoded, Decoder, FoldError};
pub use facts::{FactsBuffer, FactsSpec, FactsTable};
pub use fold::{FoldStart, ReadModel, ReadModelSpec, RowFold};
pub use postgres_server::{PostgresOptions, PostgresServer, PostgresServerError};
pub use registry::Checkpoint;
pub use runtime::{WaitError, Workers, WorkersOptions};
pub use schema::{SetupError, connect, setup};
pub use status::{ProjectionKind, ProjectionState, ProjectionStatus};
