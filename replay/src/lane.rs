//! The two kinds of lane of a scan: rows folded in memory, and facts sent on to ClickHouse.

use std::sync::Arc;

use annals_core::Position;
use annals_workers::decoding::Decoded;
use annals_workers::facts::{FactsBuffer, FactsTable};
use annals_workers::fold::RowFold;
use annals_workers::generation::table_name;
use annals_workers::registry::Pending;
use annals_workers::sink_clickhouse::token;
use annals_workers::{ClickHouse, ClickHouseError};
use bytes::Bytes;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::scan::Consumer;
use crate::source::{ReplayError, clickhouse};

/// Facts in one insert, but for the last piece's.
const INSERT_ROWS: usize = 100_000;
/// How often an insert is tried before a rebuild gives up; the token keeps it from taking effect twice.
const INSERT_ATTEMPTS: u32 = 5;

/// What a lane folds into.
pub(crate) enum Folding {
    /// Rows in memory.
    Rows(RowsLane),
    /// Facts in a generation of tables.
    Facts(Box<FactsLane>),
}

impl Consumer for Folding {
    fn take(&mut self, events: &Decoded, through: Position) -> Result<(), ReplayError> {
        match self {
            Folding::Rows(lane) => lane.take(events),
            Folding::Facts(lane) => lane.take(events, through),
        }
    }
}

/// Rows in memory.
pub(crate) struct RowsLane {
    pub(crate) name: &'static str,
    pub(crate) fold: Box<dyn RowFold>,
}

impl RowsLane {
    fn take(&mut self, events: &Decoded) -> Result<(), ReplayError> {
        let failed = |source| ReplayError::Fold { name: self.name, source };
        let missing = self.fold.stage(events.clone()).map_err(failed)?;
        debug_assert!(missing.is_empty(), "a fold from nothing asks for no row");
        self.fold.apply().map_err(|source| ReplayError::Fold { name: self.name, source })
    }
}

/// Facts on their way into a generation of tables. One insert is under way while the next is gathered.
pub(crate) struct FactsLane {
    pub(crate) facts: Arc<dyn FactsTable>,
    pub(crate) analytics: ClickHouse,
    pub(crate) generation: u32,
    pub(crate) rows: u64,
    runtime: Handle,
    buffer: FactsBuffer,
    /// Inserted, or on its way, up to here.
    from: Option<Position>,
    through: Option<Position>,
    under_way: Option<JoinHandle<Result<(), ClickHouseError>>>,
}

impl FactsLane {
    pub(crate) fn new(
        facts: Arc<dyn FactsTable>,
        analytics: ClickHouse,
        generation: u32,
    ) -> FactsLane {
        FactsLane {
            facts,
            analytics,
            generation,
            rows: 0,
            runtime: Handle::current(),
            buffer: FactsBuffer::default(),
            from: None,
            through: None,
            under_way: None,
        }
    }

    fn name(&self) -> &'static str {
        self.facts.spec().name
    }

    fn take(&mut self, events: &Decoded, through: Position) -> Result<(), ReplayError> {
        let name = self.name();
        self.facts
            .facts(events, &mut self.buffer)
            .map_err(|source| ReplayError::Fold { name, source })?;
        self.through = Some(through);
        if self.buffer.rows >= INSERT_ROWS {
            let runtime = self.runtime.clone();
            runtime.block_on(self.send())?;
        }
        Ok(())
    }

    /// Begins the insert of what is gathered, after the one under way has ended.
    async fn send(&mut self) -> Result<(), ReplayError> {
        self.settle().await?;
        let Some(to) = self.through.take() else { return Ok(()) };
        let facts = std::mem::take(&mut self.buffer);
        if facts.rows > 0 {
            let range = Pending { from: self.from, to };
            let token = token(self.name(), self.generation, range);
            let table = table_name(self.name(), self.generation);
            self.rows += facts.rows as u64;
            let analytics = self.analytics.clone();
            let lines = Bytes::from(facts.lines);
            self.under_way = Some(self.runtime.spawn(insert(analytics, table, token, lines)));
        }
        self.from = Some(to);
        Ok(())
    }

    async fn settle(&mut self) -> Result<(), ReplayError> {
        let Some(insert) = self.under_way.take() else { return Ok(()) };
        let attempt = format!("inserting facts of {}", self.name());
        match insert.await {
            Ok(result) => result.map_err(clickhouse(attempt)),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Inserts the rest and waits for it.
    pub(crate) async fn finish(&mut self) -> Result<(), ReplayError> {
        self.send().await?;
        self.settle().await
    }
}

async fn insert(
    analytics: ClickHouse,
    table: String,
    token: String,
    lines: Bytes,
) -> Result<(), ClickHouseError> {
    let mut attempt = 1;
    loop {
        match analytics.insert(&table, &token, lines.clone()).await {
            Err(error) if attempt < INSERT_ATTEMPTS && !error.is_permanent() => {
                tracing::warn!(table, token, %error, "inserting again");
                tokio::time::sleep(Duration::from_millis(200) * 2_u32.pow(attempt)).await;
                attempt += 1;
            }
            other => return other,
        }
    }
}
