//! Rebuilding read models and facts from history, beside live traffic: fold the whole log into a new generation, catch
//! up, and swap in one transaction. Readers see the old rows or the new ones, whole. An aborted rebuild leaves a
//! generation that nobody reads; the next rebuild or start drops it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use annals_core::Position;
use annals_workers::fold::FoldStart;
use annals_workers::registry::{self, Checkpoint};
use annals_workers::rows::RowTable;
use annals_workers::schema::{
    create_bare_table, create_facts, drop_facts, drop_table, ensure_views, finish_table,
    generations, point_facts_views, point_view, try_rebuild_lock,
};
use annals_workers::{ClickHouse, ProjectionKind, ProjectionState};
use serde::Serialize;
use sqlx::Connection;
use sqlx::postgres::PgConnection;

use crate::lane::{FactsLane, Folding, RowsLane};
use crate::scan::{Lane, scan};
use crate::source::{ReplayError, ReplaySource, clickhouse, postgres};

/// A rebuild swaps when a round of catching up had no more events than this, or after so many rounds.
const SWAP_EVENTS_MAX: u64 = 4096;
const CATCH_UP_ROUNDS_MAX: u32 = 8;
/// How long to wait for another rebuild's, or a start's, lock.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// What a rebuild is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RebuildPhase {
    /// Folding the log, all projections in one pass.
    Scan,
    /// Loading a projection's rows into its new table.
    Load,
    /// Folding what came meanwhile.
    CatchUp,
    /// Giving readers the new rows.
    Swap,
}

/// How far a rebuild is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RebuildProgress {
    /// What it is at.
    pub phase: RebuildPhase,
    /// The projection, where it is at one of them.
    pub projection: Option<&'static str>,
    /// Events folded so far.
    pub events: u64,
    /// The position reached.
    pub position: Option<Position>,
    /// The end of the log when the rebuild began.
    pub head: Option<Position>,
}

/// One rebuilt projection.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RebuiltProjection {
    /// Its name.
    pub name: &'static str,
    /// What it writes to.
    pub kind: ProjectionKind,
    /// The generation that readers see now.
    pub generation: u32,
    /// Everything up to here is in its rows.
    pub position: Option<Position>,
    /// Events folded.
    pub events: u64,
    /// Rows, or facts.
    pub rows: u64,
    /// Seconds from the end of the scan to the end of its swap.
    pub load_seconds: f64,
}

/// What a rebuild did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RebuildReport {
    /// Each projection.
    pub projections: Vec<RebuiltProjection>,
    /// Events of the log that were read and folded, each counted once.
    pub events: u64,
    /// Seconds that the pass over the log took.
    pub scan_seconds: f64,
    /// Seconds from start to the last swap.
    pub seconds: f64,
    /// `events` by `seconds`.
    pub events_per_second: f64,
}

/// Rebuilds the projections of these names (all of them when none is named) in one pass over the log.
///
/// # Errors
/// [`ReplayError`]. Projections that were swapped before the error stay swapped; the others are as they were.
pub async fn rebuild(
    source: &ReplaySource,
    names: &[String],
    on_progress: impl Fn(RebuildProgress) + Send + Sync,
) -> Result<RebuildReport, ReplayError> {
    let started = Instant::now();
    let names = chosen(source, names)?;
    let head = source.store.head();
    let on_progress = &on_progress;
    let tell = move |phase, projection, events, position| {
        on_progress(RebuildProgress { phase, projection, events, position, head });
    };
    let mut connection = locked(source, &names).await?;
    let mut lanes = Vec::new();
    for name in &names {
        lanes.push(open_lane(source, &mut connection, name).await?);
    }
    let scanning = |events, at| tell(RebuildPhase::Scan, None, events, Some(at));
    let (lanes, scanned) = scan(source, None, lanes, &scanning).await?;
    let scan_seconds = started.elapsed().as_secs_f64();
    // Beside each other: while one waits for its database, another goes on. Each ends, whatever the others do, because
    // a swap must not be dropped half-way.
    let finishing = lanes.into_iter().map(|lane| {
        let name = lane.name;
        let told = move |phase, events, at| tell(phase, Some(name), events, at);
        async move { finish(source, lane, scanned.through, &told).await }
    });
    let finished = futures::future::join_all(finishing).await;
    let projections = finished.into_iter().collect::<Result<Vec<_>, _>>()?;
    connection.close().await.map_err(postgres("closing the connection"))?;
    let seconds = started.elapsed().as_secs_f64();
    let events = scanned.events;
    #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
    let events_per_second = events as f64 / seconds.max(1e-9);
    Ok(RebuildReport { projections, events, scan_seconds, seconds, events_per_second })
}

/// The names as the catalogue has them, in its order; all when none is given.
pub(crate) fn chosen(
    source: &ReplaySource,
    names: &[String],
) -> Result<Vec<&'static str>, ReplayError> {
    let known = source.catalogue.names();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(ReplayError::UnknownProjection { name: unknown.clone(), known });
    }
    let all_possible = |name: &&'static str| {
        source.analytics.is_some() || source.catalogue.find_read_model(name).is_some()
    };
    if names.is_empty() {
        return Ok(known.into_iter().filter(all_possible).collect());
    }
    let chosen: Vec<_> = known.into_iter().filter(|k| names.iter().any(|name| name == k)).collect();
    match chosen.iter().find(|name| !all_possible(name)) {
        Some(name) => Err(ReplayError::NoClickHouse { name }),
        None => Ok(chosen),
    }
}

/// A connection that holds the rebuild lock of every name; it is given back when the connection ends, however it ends.
pub(crate) async fn locked(
    source: &ReplaySource,
    names: &[&'static str],
) -> Result<PgConnection, ReplayError> {
    let options = source.pool.connect_options().as_ref().clone();
    let mut connection = PgConnection::connect_with(&options.application_name("annals replay"))
        .await
        .map_err(postgres("connecting"))?;
    let deadline = Instant::now() + LOCK_PATIENCE;
    for name in names {
        let locking = || postgres(format!("locking {name}"));
        while !try_rebuild_lock(&mut connection, name).await.map_err(locking())? {
            if Instant::now() > deadline {
                return Err(ReplayError::Busy { name });
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(connection)
}

pub(crate) fn analytics_of<'a>(
    source: &'a ReplaySource,
    name: &'static str,
) -> Result<&'a ClickHouse, ReplayError> {
    source.analytics.as_ref().ok_or(ReplayError::NoClickHouse { name })
}

/// The registry's row of a projection.
pub(crate) async fn registered(
    connection: &mut PgConnection,
    name: &'static str,
) -> Result<Checkpoint, ReplayError> {
    registry::read(connection, name)
        .await
        .map_err(postgres(format!("reading the checkpoint of {name}")))?
        .ok_or(ReplayError::NotRegistered { name })
}

/// Drops what an aborted rebuild left, makes the tables of facts, and begins a fold from nothing.
async fn open_lane(
    source: &ReplaySource,
    connection: &mut PgConnection,
    name: &'static str,
) -> Result<Lane<Folding>, ReplayError> {
    let row = registered(connection, name).await?;
    if let Some(model) = source.catalogue.find_read_model(name) {
        let existing = generations(connection, name)
            .await
            .map_err(postgres(format!("listing the tables of {name}")))?;
        for old in existing.into_iter().filter(|old| *old != row.generation) {
            drop_table(connection, name, old).await?;
        }
        let consumer = Folding::Rows(RowsLane { name, fold: model.fold(FoldStart::Empty) });
        return Ok(Lane { name, decoder: model.decoder(), until: None, consumer, events: 0 });
    }
    let facts = source.catalogue.find_facts(name).expect("a chosen name is in the catalogue");
    let analytics = analytics_of(source, name)?.clone();
    let existing = analytics
        .generations(name)
        .await
        .map_err(clickhouse(format!("listing the tables of {name}")))?;
    for old in existing.into_iter().filter(|old| *old != row.generation) {
        drop_facts(&analytics, facts.spec(), old).await?;
    }
    let generation = row.generation + 1;
    create_facts(&analytics, facts.spec(), generation).await?;
    let consumer =
        Folding::Facts(Box::new(FactsLane::new(Arc::clone(facts), analytics, generation)));
    Ok(Lane { name, decoder: facts.decoder(), until: None, consumer, events: 0 })
}

/// Brings one projection to its swap, on a connection of its own.
async fn finish(
    source: &ReplaySource,
    lane: Lane<Folding>,
    through: Option<Position>,
    told: &(dyn Fn(RebuildPhase, u64, Option<Position>) + Send + Sync),
) -> Result<RebuiltProjection, ReplayError> {
    let started = Instant::now();
    let connection = PgConnection::connect_with(&source.pool.connect_options())
        .await
        .map_err(postgres(format!("connecting to load {}", lane.name)))?;
    let mut rebuilt = Rebuilt { source, connection, through, told };
    let mut projection = rebuilt.finish(lane).await?;
    rebuilt.connection.close().await.map_err(postgres("closing a connection"))?;
    projection.load_seconds = started.elapsed().as_secs_f64();
    Ok(projection)
}

/// One projection after the common pass.
struct Rebuilt<'a> {
    source: &'a ReplaySource,
    connection: PgConnection,
    /// Folded up to here.
    through: Option<Position>,
    told: &'a (dyn Fn(RebuildPhase, u64, Option<Position>) + Send + Sync),
}

impl Rebuilt<'_> {
    async fn finish(&mut self, lane: Lane<Folding>) -> Result<RebuiltProjection, ReplayError> {
        (self.told)(RebuildPhase::Load, lane.events, self.through);
        let row = registered(&mut self.connection, lane.name).await?;
        let generation = row.generation + 1;
        let (lane, table) = self.load(lane, generation).await?;
        let mut lane = lane;
        for _ in 0..CATCH_UP_ROUNDS_MAX {
            (self.told)(RebuildPhase::CatchUp, lane.events, self.through);
            let before = lane.events;
            lane = self.catch_up(lane).await?;
            if let (Folding::Rows(rows), Some(table)) = (&mut lane.consumer, &table) {
                let mut transaction =
                    self.connection.begin().await.map_err(postgres("beginning"))?;
                write_changes(rows, table, &mut transaction).await?;
                transaction.commit().await.map_err(postgres("committing a catch-up"))?;
            }
            if lane.events - before <= SWAP_EVENTS_MAX {
                break;
            }
        }
        (self.told)(RebuildPhase::Swap, lane.events, self.through);
        self.swap(lane, table, generation).await
    }

    /// Folds what the log has got since.
    async fn catch_up(&mut self, lane: Lane<Folding>) -> Result<Lane<Folding>, ReplayError> {
        let (mut lanes, scanned) = scan(self.source, self.through, vec![lane], &|_, _| {}).await?;
        self.through = scanned.through;
        let mut lane = lanes.pop().expect("a scan gives its lanes back");
        if let Folding::Facts(facts) = &mut lane.consumer {
            facts.finish().await?;
        }
        Ok(lane)
    }

    /// Loads folded rows into a new table: `COPY` first, then keys and indexes, all in one transaction.
    async fn load(
        &mut self,
        mut lane: Lane<Folding>,
        generation: u32,
    ) -> Result<(Lane<Folding>, Option<RowTable>), ReplayError> {
        let name = lane.name;
        let rows = match &mut lane.consumer {
            Folding::Facts(facts) => {
                facts.finish().await?;
                return Ok((lane, None));
            }
            Folding::Rows(rows) => rows,
        };
        let spec =
            self.source.catalogue.find_read_model(name).expect("a lane is of the catalogue").spec();
        let failed = |what: &str| postgres(format!("{what} the new rows of {name}"));
        let mut transaction = self.connection.begin().await.map_err(failed("beginning with"))?;
        let (table, rest) = create_bare_table(&mut transaction, spec, generation).await?;
        // Each row is made while PostgreSQL takes those before it.
        let mut unwritable = None;
        let keys = rows.fold.keys();
        let made = keys.iter().map_while(|key| match rows.fold.row(key) {
            Ok(row) => row,
            Err(error) => {
                unwritable = Some(error);
                None
            }
        });
        table.copy(&mut transaction, made).await.map_err(failed("copying"))?;
        if let Some(source) = unwritable {
            return Err(ReplayError::Fold { name, source });
        }
        finish_table(&mut transaction, spec, &rest).await?;
        // A sample that is enough for a plan; autovacuum takes its full one later.
        let analyze = format!("SET LOCAL default_statistics_target = 10; ANALYZE {}", table.table);
        sqlx::raw_sql(sqlx::AssertSqlSafe(analyze))
            .execute(&mut *transaction)
            .await
            .map_err(failed("analysing"))?;
        transaction.commit().await.map_err(failed("committing"))?;
        rows.fold.committed();
        Ok((lane, Some(table)))
    }

    /// Takes the projection's row, so that the live worker waits; folds the last events; gives readers the new
    /// generation; lets go. The live worker finds another generation and goes on with it.
    async fn swap(
        &mut self,
        lane: Lane<Folding>,
        table: Option<RowTable>,
        generation: u32,
    ) -> Result<RebuiltProjection, ReplayError> {
        let name = lane.name;
        let failed = |what: &str| postgres(format!("{what} the swap of {name}"));
        let source = self.source;
        // On a connection of its own, because catching up borrows ours.
        let mut connection = PgConnection::connect_with(&source.pool.connect_options())
            .await
            .map_err(failed("connecting for"))?;
        let mut transaction = connection.begin().await.map_err(failed("beginning"))?;
        let old = registry::lock(&mut transaction, name)
            .await
            .map_err(failed("locking for"))?
            .ok_or(ReplayError::NotRegistered { name })?;
        let mut lane = self.catch_up(lane).await?;
        let (kind, version) = match (&mut lane.consumer, &table) {
            (Folding::Rows(rows), Some(table)) => {
                write_changes(rows, table, &mut transaction).await?;
                point_view(&mut transaction, name, generation).await?;
                let model =
                    source.catalogue.find_read_model(name).expect("a lane is of the catalogue");
                (ProjectionKind::ReadModel, model.spec().version)
            }
            (Folding::Facts(facts), _) => {
                let spec = facts.facts.spec();
                point_facts_views(&facts.analytics, spec, generation).await?;
                (ProjectionKind::Facts, spec.version)
            }
            (Folding::Rows(_), None) => unreachable!("loading rows makes their table"),
        };
        let row = Checkpoint {
            name: name.to_owned(),
            kind,
            version,
            generation,
            store: Some(source.store.identity()),
            position: self.through,
            pending: None,
            state: ProjectionState::Running,
            reason: None,
        };
        registry::write(&mut transaction, &row).await.map_err(failed("registering"))?;
        ensure_views(&mut transaction, &source.catalogue).await?;
        let committed = transaction.commit().await.map_err(failed("committing"));
        if let (Err(_), Folding::Facts(facts)) = (&committed, &lane.consumer) {
            self.settle_facts_views(facts).await?;
        }
        committed?;
        self.drop_old(&lane, old.generation).await?;
        connection.close().await.map_err(failed("closing after"))?;
        let rows = match &lane.consumer {
            Folding::Rows(rows) => rows.fold.len() as u64,
            Folding::Facts(facts) => facts.rows,
        };
        Ok(RebuiltProjection {
            name,
            kind,
            generation,
            position: self.through,
            events: lane.events,
            rows,
            load_seconds: 0.0,
        })
    }

    /// After a commit whose outcome is not known, points the views of facts where the registry says.
    async fn settle_facts_views(&mut self, facts: &FactsLane) -> Result<(), ReplayError> {
        let spec = facts.facts.spec();
        let row = registered(&mut self.connection, spec.name).await?;
        Ok(point_facts_views(&facts.analytics, spec, row.generation).await?)
    }

    async fn drop_old(&mut self, lane: &Lane<Folding>, old: u32) -> Result<(), ReplayError> {
        match &lane.consumer {
            Folding::Rows(_) => drop_table(&mut self.connection, lane.name, old).await?,
            Folding::Facts(facts) => {
                drop_facts(&facts.analytics, facts.facts.spec(), old).await?;
            }
        }
        Ok(())
    }
}

async fn write_changes(
    rows: &mut RowsLane,
    table: &RowTable,
    connection: &mut PgConnection,
) -> Result<(), ReplayError> {
    let name = rows.name;
    let changes = rows.fold.changes().map_err(|source| ReplayError::Fold { name, source })?;
    table
        .write(connection, &changes)
        .await
        .map_err(postgres(format!("writing the last rows of {name}")))?;
    rows.fold.committed();
    Ok(())
}
