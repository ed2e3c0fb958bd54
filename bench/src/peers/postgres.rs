//! PostgreSQL as an event store is usually made of it: one table with a position, and a stream and revision that are
//! unique together. The server is started here, in a folder of its own and on a Unix socket, and commits durably.

use std::path::Path;

use annals_workers::{PostgresOptions, PostgresServer};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::load::Unary;
use super::work::{Load, payload};
use super::{Peer, PeerError, System};

/// The table. `position` is its order, the pair is the expected revision.
const TABLE: &str = "CREATE TABLE events (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stream text NOT NULL,
    revision bigint NOT NULL,
    id uuid NOT NULL,
    type text NOT NULL,
    time timestamptz NOT NULL DEFAULT now(),
    data bytea NOT NULL,
    UNIQUE (stream, revision)
)";

const INSERT: &str = "INSERT INTO events (stream, revision, id, type, data)
    SELECT $1, $2 + ordinality - 1, id, 'bench.Measured', data
    FROM unnest($3::uuid[], $4::bytea[]) WITH ORDINALITY AS new (id, data, ordinality)";

const INSERT_ONE: &str = "INSERT INTO events (stream, revision, id, type, data)
    VALUES ($1, $2, $3, 'bench.Measured', $4)";

/// Memory for PostgreSQL's buffers, in MiB: more than a run writes.
const BUFFERS_MIB: u32 = 1024;

/// A running server.
pub(crate) struct Postgres {
    server: PostgresServer,
    control: PgConnection,
}

impl Peer for Postgres {
    const SYSTEM: System = System::Postgres;
    type Caller = Inserter;

    async fn start(_: &Path, folder: &Path) -> Result<Postgres, PeerError> {
        let options = PostgresOptions { shared_buffers_mib: BUFFERS_MIB, ..Default::default() };
        let server =
            PostgresServer::start(folder, options).await.map_err(PeerError::PostgresServer)?;
        let mut control =
            PgConnection::connect(server.url()).await.map_err(PeerError::database("connecting"))?;
        sqlx::query(TABLE)
            .execute(&mut control)
            .await
            .map_err(PeerError::database("making the table"))?;
        Ok(Postgres { server, control })
    }

    async fn version(&mut self) -> Result<String, PeerError> {
        let mut shown = Vec::new();
        for setting in ["SHOW server_version", "SHOW fsync", "SHOW synchronous_commit"] {
            let value: String = sqlx::query_scalar(setting)
                .fetch_one(&mut self.control)
                .await
                .map_err(PeerError::database("asking for the settings"))?;
            shown.push(value);
        }
        Ok(format!("{}, fsync {}, synchronous_commit {}", shown[0], shown[1], shown[2]))
    }

    async fn callers(&self, load: Load) -> Result<Vec<Inserter>, PeerError> {
        let mut callers = Vec::new();
        for number in 0..load.connections {
            let connection = PgConnection::connect(self.server.url())
                .await
                .map_err(PeerError::database("connecting"))?;
            let stream = format!("bench-{number}");
            let data = vec![payload().to_vec(); load.events];
            callers.push(Inserter { connection, stream, revision: 0, data });
        }
        Ok(callers)
    }

    async fn read_all(&mut self) -> Result<u64, PeerError> {
        let events: i64 = sqlx::query_scalar("SELECT count(*) FROM events")
            .fetch_one(&mut self.control)
            .await
            .map_err(PeerError::database("counting"))?;
        Ok(events.unsigned_abs())
    }

    async fn stop(mut self) -> Result<u64, PeerError> {
        let bytes: i64 = sqlx::query_scalar("SELECT pg_total_relation_size('events')")
            .fetch_one(&mut self.control)
            .await
            .map_err(PeerError::database("asking for the size"))?;
        self.control.close().await.map_err(PeerError::database("leaving"))?;
        self.server.stop().await.map_err(PeerError::PostgresServer)?;
        Ok(bytes.unsigned_abs())
    }
}

/// One connection that inserts, with one commit a call.
pub(crate) struct Inserter {
    connection: PgConnection,
    stream: String,
    revision: i64,
    data: Vec<Vec<u8>>,
}

impl Unary for Inserter {
    async fn call(&mut self) -> Result<u64, PeerError> {
        let events = self.data.len();
        let query = if let [data] = &self.data[..] {
            sqlx::query(INSERT_ONE)
                .bind(&self.stream)
                .bind(self.revision)
                .bind(Uuid::new_v4())
                .bind(data)
        } else {
            let ids: Vec<_> = (0..events).map(|_| Uuid::new_v4()).collect();
            sqlx::query(INSERT).bind(&self.stream).bind(self.revision).bind(ids).bind(&self.data)
        };
        query.execute(&mut self.connection).await.map_err(PeerError::database("inserting"))?;
        self.revision += i64::try_from(events).unwrap_or(i64::MAX);
        Ok(events as u64)
    }
}
