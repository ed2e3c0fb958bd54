//! Where facts go: ClickHouse has no transactions, so the bounds of each insert are first made durable in the registry,
//! and name the insert (its deduplication token). After a crash the same range is inserted again under the same name,
//! of which ClickHouse keeps one.

use annals_core::{Position, StoreIdentity};
use bytes::Bytes;
use sqlx::Connection;
use sqlx::postgres::PgConnection;

use crate::clickhouse::{ClickHouse, ClickHouseError};
use crate::facts::FactsBuffer;
use crate::generation::table_name;
use crate::registry::{self, Pending, Remembered};
use crate::sink_postgres::Outcome;

/// Why facts could not be inserted.
#[derive(Debug, thiserror::Error)]
pub enum InsertError {
    /// The registry did not take the bounds or the checkpoint.
    #[error("noting an insert of facts in the registry failed")]
    Registry(#[from] sqlx::Error),
    /// ClickHouse did not take the facts.
    #[error("inserting facts failed")]
    ClickHouse(#[from] ClickHouseError),
}

/// The connections of one facts worker.
pub struct ClickHouseSink {
    connection: PgConnection,
    analytics: ClickHouse,
    name: &'static str,
    store: StoreIdentity,
}

/// The name of an insert: the same range has the same name, whoever inserts it.
pub fn token(name: &str, generation: u32, range: Pending) -> String {
    let from = range.from.map_or_else(|| "start".to_owned(), |from| from.to_string());
    format!("{}:{from}-{}", table_name(name, generation), range.to)
}

impl ClickHouseSink {
    /// Takes the two connections.
    pub fn new(
        connection: PgConnection,
        analytics: ClickHouse,
        name: &'static str,
        store: StoreIdentity,
    ) -> ClickHouseSink {
        ClickHouseSink { connection, analytics, name, store }
    }

    /// Moves the checkpoint over positions that had no facts.
    ///
    /// # Errors
    /// The database's.
    pub async fn advance(
        &mut self,
        remembered: Remembered,
        through: Position,
    ) -> Result<Outcome, sqlx::Error> {
        let moved =
            registry::advance(&mut self.connection, self.name, remembered, self.store, through)
                .await?;
        Ok(if moved { Outcome::Committed } else { Outcome::Overtaken })
    }

    /// Announces an insert up to `to`. This one transaction waits for the disk.
    ///
    /// # Errors
    /// The database's.
    pub async fn announce(
        &mut self,
        remembered: Remembered,
        to: Position,
    ) -> Result<Outcome, sqlx::Error> {
        let mut transaction = self.connection.begin().await?;
        crate::schema::execute_all(&mut transaction, "SET LOCAL synchronous_commit = on").await?;
        let announced =
            registry::announce(&mut transaction, self.name, remembered, self.store, to).await?;
        transaction.commit().await?;
        Ok(if announced { Outcome::Committed } else { Outcome::Overtaken })
    }

    /// Inserts the facts of an announced range and moves the checkpoint to its end.
    ///
    /// # Errors
    /// [`InsertError`]; the range stays announced, so the same range must be inserted again.
    pub async fn insert(
        &mut self,
        remembered: Remembered,
        to: Position,
        facts: FactsBuffer,
    ) -> Result<Outcome, InsertError> {
        let range = Pending { from: remembered.position, to };
        let table = table_name(self.name, remembered.generation);
        if facts.rows > 0 {
            let token = token(self.name, remembered.generation, range);
            self.analytics.insert(&table, &token, Bytes::from(facts.lines)).await?;
        }
        let moved = registry::conclude(&mut self.connection, self.name, remembered, to).await?;
        Ok(if moved { Outcome::Committed } else { Outcome::Overtaken })
    }

    /// Ends the connection to the registry in order.
    ///
    /// # Errors
    /// The database's.
    pub async fn close(self) -> Result<(), sqlx::Error> {
        self.connection.close().await
    }
}
