//! Where a read model's rows go: one transaction moves the checkpoint, on the condition that nobody else did, and
//! writes every changed row once. So a batch takes effect whole or not at all, and exactly once.
//!
//! These transactions do not wait for the disk (`synchronous_commit = off`): a crash of the server may take back the
//! last of them, rows and checkpoint together. A worker looks whether its checkpoint still stands, and folds the events
//! again where it does not.

use std::sync::Arc;

use annals_core::{Position, RowKey, StoreIdentity};
use serde_json::Value;
use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection};

use crate::fold::{Changes, ReadModelSpec};
use crate::registry::{self, Checkpoint, Remembered};
use crate::rows::RowTable;

/// Whether a batch was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the rows.
    Committed,
    /// Someone else has moved the checkpoint: nothing was written; forget everything and begin from the registry.
    Overtaken,
}

/// The connection of one read model's worker.
pub struct PostgresSink {
    connection: PgConnection,
    table: RowTable,
    name: &'static str,
    store: StoreIdentity,
}

/// Opens a connection of a worker's own; its transactions do not wait for the disk.
///
/// # Errors
/// The database's.
pub async fn open_connection(
    options: &Arc<PgConnectOptions>,
    name: &str,
) -> Result<PgConnection, sqlx::Error> {
    let options = options.as_ref().clone().application_name(&format!("annals {name}"));
    let mut connection = PgConnection::connect_with(&options).await?;
    crate::schema::execute_all(&mut connection, "SET synchronous_commit = off").await?;
    Ok(connection)
}

/// SQLSTATE `undefined_table`: a rebuild has swapped, and dropped the generation that we still wrote.
const UNDEFINED_TABLE: &str = "42P01";

/// Whether PostgreSQL would refuse the same again: the data or the SQL is wrong (SQLSTATE classes 22, 23 and 42), as
/// against a fault that passes.
pub fn is_permanent(error: &sqlx::Error) -> bool {
    let unreadable = matches!(
        error,
        sqlx::Error::Encode(_) | sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. }
    );
    let refused =
        error.as_database_error().and_then(sqlx::error::DatabaseError::code).is_some_and(|code| {
            code != UNDEFINED_TABLE && ["22", "23", "42"].iter().any(|c| code.starts_with(c))
        });
    unreadable || refused
}

/// Whether the table is no more.
pub(crate) fn is_table_gone(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .is_some_and(|database| database.code().is_some_and(|code| code == UNDEFINED_TABLE))
}

impl PostgresSink {
    /// Takes the connection for the generation that the checkpoint names; nothing where its table is gone.
    ///
    /// # Errors
    /// The database's.
    pub async fn open(
        mut connection: PgConnection,
        spec: &ReadModelSpec,
        checkpoint: &Checkpoint,
        store: StoreIdentity,
    ) -> Result<Option<PostgresSink>, sqlx::Error> {
        let table = RowTable::open(&mut connection, spec, checkpoint.generation).await?;
        Ok(table.map(|table| PostgresSink { connection, table, name: spec.name, store }))
    }

    /// The rows of these keys that exist.
    ///
    /// # Errors
    /// The database's.
    pub async fn load(&mut self, keys: &[RowKey]) -> Result<Vec<Value>, sqlx::Error> {
        self.table.load(&mut self.connection, keys).await
    }

    /// Commits a batch: the changed rows, and the checkpoint from `remembered` to `through`.
    ///
    /// # Errors
    /// The database's; unless it is permanent, the batch may or may not be committed, which the registry tells.
    pub async fn commit(
        &mut self,
        remembered: Remembered,
        through: Position,
        changes: &Changes,
    ) -> Result<Outcome, sqlx::Error> {
        let mut transaction = self.connection.begin().await?;
        let moved =
            registry::advance(&mut transaction, self.name, remembered, self.store, through).await?;
        if !moved {
            transaction.rollback().await?;
            return Ok(Outcome::Overtaken);
        }
        self.table.write(&mut transaction, changes).await?;
        transaction.commit().await?;
        Ok(Outcome::Committed)
    }

    /// Whether the rows are still those that were committed with this checkpoint.
    ///
    /// # Errors
    /// The database's.
    pub async fn holds(&mut self, remembered: Remembered) -> Result<bool, sqlx::Error> {
        let stored = registry::read(&mut self.connection, self.name).await?;
        Ok(stored.is_some_and(|row| row.remembered() == remembered))
    }

    /// Ends the connection in order.
    ///
    /// # Errors
    /// The database's.
    pub async fn close(self) -> Result<(), sqlx::Error> {
        self.connection.close().await
    }
}
