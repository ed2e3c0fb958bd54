//! The table `annals_projections`: one row a projection, which is its checkpoint, its place in the registry, and the
//! fence between everyone who writes its rows. Whoever changes rows changes this row in the same transaction, on the
//! condition that it still says what they remember.

use annals_core::{Position, StoreIdentity};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Row};
use uuid::Uuid;

use crate::status::{ProjectionKind, ProjectionState};

/// SQL that creates the registry, the schema of the generation tables, and the record of SQL views.
pub(crate) const DDL: &str = "
SET LOCAL client_min_messages = warning;
CREATE SCHEMA IF NOT EXISTS annals_tables;
CREATE TABLE IF NOT EXISTS public.annals_projections (
  name text PRIMARY KEY,
  kind text NOT NULL,
  version bigint NOT NULL,
  generation bigint NOT NULL,
  store_id uuid,
  store_epoch bigint,
  position bigint,
  pending_from bigint,
  pending_to bigint,
  status text NOT NULL,
  reason text,
  updated timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
CREATE TABLE IF NOT EXISTS public.annals_views (
  name text PRIMARY KEY,
  digest text NOT NULL
);
";

/// A range of positions that may or may not have been inserted into ClickHouse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// After this position (exclusive); nothing means from the first event.
    pub from: Option<Position>,
    /// Up to this position (inclusive).
    pub to: Position,
}

/// One row of the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The projection.
    pub name: String,
    /// What it writes to.
    pub kind: ProjectionKind,
    /// The version of the code that made the rows.
    pub version: u32,
    /// The generation that readers see and workers write.
    pub generation: u32,
    /// The store that the position is of; nothing before the first batch.
    pub store: Option<StoreIdentity>,
    /// Everything up to here is in the rows.
    pub position: Option<Position>,
    /// Facts only: what is being inserted.
    pub pending: Option<Pending>,
    /// Running, failed or waiting for a rebuild.
    pub state: ProjectionState,
    /// Why it does not run.
    pub reason: Option<String>,
}

impl Checkpoint {
    /// What its sole writer remembers of it.
    pub fn remembered(&self) -> Remembered {
        Remembered { generation: self.generation, position: self.position }
    }
}

/// A position as PostgreSQL keeps it.
pub fn to_bigint(position: Position) -> i64 {
    i64::try_from(position.0).expect("positions stay below 2^63")
}

fn from_bigint(position: i64) -> Position {
    Position(position.unsigned_abs())
}

fn small(number: i64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

const COLUMNS: &str = "name, kind, version, generation, store_id, store_epoch, position, \
                       pending_from, pending_to, status, reason";

fn checkpoint(row: &PgRow) -> Result<Checkpoint, sqlx::Error> {
    let store_id: Option<Uuid> = row.try_get("store_id")?;
    let epoch: Option<i64> = row.try_get("store_epoch")?;
    let pending_from: Option<i64> = row.try_get("pending_from")?;
    let pending_to: Option<i64> = row.try_get("pending_to")?;
    let kind: String = row.try_get("kind")?;
    Ok(Checkpoint {
        name: row.try_get("name")?,
        kind: if kind == ProjectionKind::Facts.as_str() {
            ProjectionKind::Facts
        } else {
            ProjectionKind::ReadModel
        },
        version: small(row.try_get("version")?),
        generation: small(row.try_get("generation")?),
        store: store_id.zip(epoch).map(|(id, epoch)| StoreIdentity { id, epoch: small(epoch) }),
        position: row.try_get::<Option<i64>, _>("position")?.map(from_bigint),
        pending: pending_to
            .map(|to| Pending { from: pending_from.map(from_bigint), to: from_bigint(to) }),
        state: ProjectionState::from_stored(row.try_get("status")?),
        reason: row.try_get("reason")?,
    })
}

/// One row; nothing where the projection is not registered.
///
/// # Errors
/// The database's.
pub async fn read(
    connection: &mut PgConnection,
    name: &str,
) -> Result<Option<Checkpoint>, sqlx::Error> {
    let sql = format!("SELECT {COLUMNS} FROM public.annals_projections WHERE name = $1");
    let row = sqlx::query(AssertSqlSafe(sql)).bind(name).fetch_optional(connection).await?;
    row.as_ref().map(checkpoint).transpose()
}

/// One row, locked until the transaction ends: nobody else commits rows of this projection meanwhile.
///
/// # Errors
/// The database's.
pub async fn lock(
    connection: &mut PgConnection,
    name: &str,
) -> Result<Option<Checkpoint>, sqlx::Error> {
    let sql = format!("SELECT {COLUMNS} FROM public.annals_projections WHERE name = $1 FOR UPDATE");
    let row = sqlx::query(AssertSqlSafe(sql)).bind(name).fetch_optional(connection).await?;
    row.as_ref().map(checkpoint).transpose()
}

/// Every row, by name.
///
/// # Errors
/// The database's.
pub async fn read_all(connection: &mut PgConnection) -> Result<Vec<Checkpoint>, sqlx::Error> {
    let sql = format!("SELECT {COLUMNS} FROM public.annals_projections ORDER BY name");
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(connection).await?;
    rows.iter().map(checkpoint).collect()
}

/// Writes a row, whatever stood there.
///
/// # Errors
/// The database's.
pub async fn write(connection: &mut PgConnection, row: &Checkpoint) -> Result<(), sqlx::Error> {
    let sql = "INSERT INTO public.annals_projections (name, kind, version, generation, store_id, \
               store_epoch, position, pending_from, pending_to, status, reason, updated) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, now()) \
               ON CONFLICT (name) DO UPDATE SET kind = excluded.kind, version = excluded.version, \
               generation = excluded.generation, store_id = excluded.store_id, \
               store_epoch = excluded.store_epoch, position = excluded.position, \
               pending_from = excluded.pending_from, pending_to = excluded.pending_to, \
               status = excluded.status, reason = excluded.reason, updated = excluded.updated";
    sqlx::query(sql)
        .bind(&row.name)
        .bind(row.kind.as_str())
        .bind(i64::from(row.version))
        .bind(i64::from(row.generation))
        .bind(row.store.map(|store| store.id))
        .bind(row.store.map(|store| i64::from(store.epoch)))
        .bind(row.position.map(to_bigint))
        .bind(row.pending.and_then(|pending| pending.from).map(to_bigint))
        .bind(row.pending.map(|pending| to_bigint(pending.to)))
        .bind(row.state.as_str())
        .bind(&row.reason)
        .execute(connection)
        .await?;
    Ok(())
}

/// Notes that a projection does not run, and why; rows and position stay as they are.
///
/// # Errors
/// The database's.
pub async fn note_state(
    connection: &mut PgConnection,
    name: &str,
    state: ProjectionState,
    reason: Option<&str>,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE public.annals_projections SET status = $2, reason = $3, updated = now() \
         WHERE name = $1",
    )
    .bind(name)
    .bind(state.as_str())
    .bind(reason)
    .execute(connection)
    .await?;
    Ok(())
}

/// The row as its sole writer remembers it: the condition of every change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// The generation written.
    pub generation: u32,
    /// The checkpoint.
    pub position: Option<Position>,
}

/// Moves the checkpoint, if the row is as remembered and nothing is pending; takes the row's lock. `false` means that
/// someone else has moved it: roll back, forget everything, and begin from what the row says now.
///
/// # Errors
/// The database's.
pub async fn advance(
    connection: &mut PgConnection,
    name: &str,
    remembered: Remembered,
    store: StoreIdentity,
    through: Position,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "UPDATE public.annals_projections SET position = $4, store_id = $5, store_epoch = $6, \
         status = 'running', reason = NULL, updated = now() \
         WHERE name = $1 AND generation = $2 AND position IS NOT DISTINCT FROM $3 \
         AND pending_to IS NULL",
    )
    .bind(name)
    .bind(i64::from(remembered.generation))
    .bind(remembered.position.map(to_bigint))
    .bind(to_bigint(through))
    .bind(store.id)
    .bind(i64::from(store.epoch))
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Announces an insert into ClickHouse, if the row is as remembered and nothing is pending. It must be durable before
/// the insert begins, or a crash would lose the bounds and with them the deduplication.
///
/// # Errors
/// The database's.
pub async fn announce(
    connection: &mut PgConnection,
    name: &str,
    remembered: Remembered,
    store: StoreIdentity,
    to: Position,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "UPDATE public.annals_projections SET pending_from = $3, pending_to = $4, store_id = $5, \
         store_epoch = $6, updated = now() \
         WHERE name = $1 AND generation = $2 AND position IS NOT DISTINCT FROM $3 \
         AND pending_to IS NULL",
    )
    .bind(name)
    .bind(i64::from(remembered.generation))
    .bind(remembered.position.map(to_bigint))
    .bind(to_bigint(to))
    .bind(store.id)
    .bind(i64::from(store.epoch))
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Ends an announced insert: the checkpoint moves to its end.
///
/// # Errors
/// The database's.
pub async fn conclude(
    connection: &mut PgConnection,
    name: &str,
    remembered: Remembered,
    to: Position,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "UPDATE public.annals_projections SET position = $4, pending_from = NULL, \
         pending_to = NULL, status = 'running', reason = NULL, updated = now() \
         WHERE name = $1 AND generation = $2 AND position IS NOT DISTINCT FROM $3 \
         AND pending_to = $4",
    )
    .bind(name)
    .bind(i64::from(remembered.generation))
    .bind(remembered.position.map(to_bigint))
    .bind(to_bigint(to))
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}
