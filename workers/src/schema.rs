//! Sets up the databases for a catalogue: registry, generation tables, views. It is idempotent, safe beside running
//! workers and other processes, drops what an aborted rebuild left behind, and never touches rows that are in use.

use std::time::Duration;

use annals_core::Family;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, PgPool};

use crate::catalogue::Catalogue;
use crate::clickhouse::{ClickHouse, ClickHouseError};
use crate::facts::FactsSpec;
use crate::fold::{ReadModel, ReadModelSpec};
use crate::generation::{TABLES_SCHEMA, facts_objects, generation_of, statements, table};
use crate::registry::{self, Checkpoint};
use crate::rows::RowTable;
use crate::status::{ProjectionKind, ProjectionState};

mod views;

pub use views::{ensure_views, point_view};

/// How long a change of a view waits for readers that use the old one.
const VIEW_LOCK_WAIT: &str = "SET LOCAL lock_timeout = '10s'";

/// Why the databases could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// PostgreSQL refused or did not answer.
    #[error("{attempt} failed in PostgreSQL")]
    Postgres {
        /// What was being done.
        attempt: String,
        /// The cause.
        #[source]
        source: sqlx::Error,
    },
    /// ClickHouse refused or did not answer.
    #[error("{attempt} failed in ClickHouse")]
    ClickHouse {
        /// What was being done.
        attempt: String,
        /// The cause.
        #[source]
        source: ClickHouseError,
    },
    /// The table that a read model's SQL makes is not what its row type says.
    #[error("the table of {projection} has the columns {actual:?}, its rows have {expected:?}")]
    Columns {
        /// The read model.
        projection: &'static str,
        /// The columns of the table.
        actual: Vec<String>,
        /// The fields of the row.
        expected: Vec<&'static str>,
    },
    /// The SQL of facts holds something else than tables and views.
    #[error("the SQL of {projection} holds a statement that makes no table or view: {statement}")]
    Statement {
        /// The facts.
        projection: &'static str,
        /// The statement.
        statement: String,
    },
}

impl SetupError {
    /// The family of this error.
    pub fn family(&self) -> Family {
        match self {
            SetupError::Postgres { .. } | SetupError::ClickHouse { .. } => Family::Unavailable,
            SetupError::Columns { .. } | SetupError::Statement { .. } => Family::Malformed,
        }
    }
}

/// Adds what was being attempted to a PostgreSQL error.
pub fn postgres(attempt: impl Into<String>) -> impl FnOnce(sqlx::Error) -> SetupError {
    let attempt = attempt.into();
    move |source| SetupError::Postgres { attempt, source }
}

/// Adds what was being attempted to a ClickHouse error.
pub fn clickhouse(attempt: impl Into<String>) -> impl FnOnce(ClickHouseError) -> SetupError {
    let attempt = attempt.into();
    move |source| SetupError::ClickHouse { attempt, source }
}

/// A pool of connections for queries; each projection's worker has a connection of its own besides.
///
/// # Errors
/// [`SetupError::Postgres`] when the address is wrong or nobody answers within 30 seconds.
pub async fn connect(url: &str, connections_max: u32) -> Result<PgPool, SetupError> {
    let options: PgConnectOptions =
        url.parse().map_err(postgres("reading the database's address"))?;
    PgPoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(Duration::from_secs(30))
        .connect_with(options.application_name("annals"))
        .await
        .map_err(postgres("connecting"))
}

/// Makes sure that everything the catalogue needs is there.
///
/// # Errors
/// [`SetupError`]; what was done before it stays and is no harm.
pub async fn setup(
    pool: &PgPool,
    catalogue: &Catalogue,
    analytics: Option<&ClickHouse>,
) -> Result<(), SetupError> {
    let mut connection =
        pool.acquire().await.map_err(postgres("connecting to set up the projections"))?;
    let mut transaction = connection.begin().await.map_err(postgres("beginning"))?;
    // One process at a time: concurrent CREATE … IF NOT EXISTS can fail on each other.
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('annals setup', 0))")
        .execute(&mut *transaction)
        .await
        .map_err(postgres("waiting for another set-up"))?;
    execute_all(&mut transaction, registry::DDL).await.map_err(postgres("making the registry"))?;
    for model in catalogue.read_models() {
        set_up_read_model(&mut transaction, model.as_ref()).await?;
    }
    ensure_views(&mut transaction, catalogue).await?;
    if let Some(analytics) = analytics {
        analytics.create_database().await.map_err(clickhouse("creating the database"))?;
        for facts in catalogue.facts_tables() {
            set_up_facts(&mut transaction, analytics, facts.spec()).await?;
        }
    }
    transaction.commit().await.map_err(postgres("committing the set-up"))
}

/// Bytes as people write them.
pub fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to text cannot fail");
        text
    })
}

pub(crate) async fn execute_all(
    connection: &mut PgConnection,
    sql: &str,
) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await?;
    Ok(())
}

/// Whether no rebuild of this projection is at work; if so, none begins before this transaction ends.
async fn no_rebuild_runs(connection: &mut PgConnection, name: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT pg_try_advisory_xact_lock(hashtextextended('annals rebuild ' || $1, 0))",
    )
    .bind(name)
    .fetch_one(connection)
    .await
}

/// Takes the lock that a rebuild of this projection holds while it runs, for as long as the connection lives; `false`
/// when somebody has it.
///
/// # Errors
/// The database's.
pub async fn try_rebuild_lock(
    connection: &mut PgConnection,
    name: &str,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT pg_try_advisory_lock(hashtextextended('annals rebuild ' || $1, 0))")
        .bind(name)
        .fetch_one(connection)
        .await
}

fn fresh(name: &str, kind: ProjectionKind, version: u32, generation: u32) -> Checkpoint {
    Checkpoint {
        name: name.to_owned(),
        kind,
        version,
        generation,
        store: None,
        position: None,
        pending: None,
        state: ProjectionState::Running,
        reason: None,
    }
}

fn needs_rebuild(version: u32) -> String {
    format!("its rows are of version {version}; rebuild it")
}

async fn set_up_read_model(
    connection: &mut PgConnection,
    model: &dyn ReadModel,
) -> Result<(), SetupError> {
    let spec = model.spec();
    let failed = |what: &str| postgres(format!("{what} {}", spec.name));
    let stored =
        registry::lock(connection, spec.name).await.map_err(failed("reading the checkpoint of"))?;
    let generations = generations(connection, spec.name).await.map_err(failed("listing"))?;
    match stored {
        Some(row) if row.version != spec.version && generations.contains(&row.generation) => {
            let (state, reason) = (ProjectionState::NeedsRebuild, needs_rebuild(row.version));
            registry::note_state(connection, spec.name, state, Some(&reason))
                .await
                .map_err(failed("marking"))?;
            drop_generations(connection, spec.name, row.generation, &generations).await
        }
        Some(row) if generations.contains(&row.generation) => {
            point_view(connection, spec.name, row.generation).await?;
            drop_generations(connection, spec.name, row.generation, &generations).await
        }
        Some(_) | None => {
            // New, or its table is gone: from the first event into a new table.
            let generation = generations.iter().max().map_or(1, |last| last + 1);
            create_table(connection, spec, generation).await?;
            point_view(connection, spec.name, generation).await?;
            let row = fresh(spec.name, ProjectionKind::ReadModel, spec.version, generation);
            registry::write(connection, &row).await.map_err(failed("registering"))
        }
    }
}

/// The generations of a read model whose tables exist.
///
/// # Errors
/// The database's.
pub async fn generations(
    connection: &mut PgConnection,
    name: &str,
) -> Result<Vec<u32>, sqlx::Error> {
    let tables: Vec<String> =
        sqlx::query_scalar("SELECT tablename::text FROM pg_tables WHERE schemaname = $1")
            .bind(TABLES_SCHEMA)
            .fetch_all(connection)
            .await?;
    Ok(tables.iter().filter_map(|table| generation_of(name, table)).collect())
}

/// Drops the tables of all generations but `live`, unless a rebuild is at work.
async fn drop_generations(
    connection: &mut PgConnection,
    name: &str,
    live: u32,
    generations: &[u32],
) -> Result<(), SetupError> {
    let failed = || postgres(format!("looking for a rebuild of {name}"));
    if generations.iter().all(|generation| *generation == live)
        || !no_rebuild_runs(connection, name).await.map_err(failed())?
    {
        return Ok(());
    }
    for generation in generations.iter().filter(|generation| **generation != live) {
        drop_table(connection, name, *generation).await?;
    }
    Ok(())
}

/// Creates a generation's table and checks it against the row type.
///
/// # Errors
/// [`SetupError::Postgres`] and [`SetupError::Columns`].
pub async fn create_table(
    connection: &mut PgConnection,
    spec: &ReadModelSpec,
    generation: u32,
) -> Result<RowTable, SetupError> {
    let (table, rest) = create_bare_table(connection, spec, generation).await?;
    finish_table(connection, spec, &rest).await?;
    Ok(table)
}

/// Creates a generation's table without keys and indexes, for a bulk load, and answers the statements that add them.
///
/// # Errors
/// [`SetupError::Postgres`] and [`SetupError::Columns`].
pub async fn create_bare_table(
    connection: &mut PgConnection,
    spec: &ReadModelSpec,
    generation: u32,
) -> Result<(RowTable, Vec<String>), SetupError> {
    let failed = || postgres(format!("creating the table of {}", spec.name));
    let physical = table(spec.name, generation);
    let mut rest = Vec::new();
    let ddl = statements(spec.ddl);
    for (index, statement) in ddl.into_iter().enumerate() {
        let sql = statement.replace("{table}", &physical);
        if index == 0 {
            execute_all(connection, &sql).await.map_err(failed())?;
        } else {
            rest.push(sql);
        }
    }
    let constraints: Vec<(String, String)> = sqlx::query_as(
        "SELECT conname::text, pg_get_constraintdef(oid) FROM pg_constraint \
         WHERE conrelid = $1::text::regclass AND contype IN ('p', 'u') ORDER BY contype, conname",
    )
    .bind(&physical)
    .fetch_all(&mut *connection)
    .await
    .map_err(failed())?;
    for (at, (name, definition)) in constraints.into_iter().enumerate() {
        let name = crate::rows::quoted(&name);
        let sql = format!("ALTER TABLE {physical} DROP CONSTRAINT {name}");
        execute_all(connection, &sql).await.map_err(failed())?;
        let add = format!("ALTER TABLE {physical} ADD CONSTRAINT {name} {definition}");
        rest.insert(at, add);
    }
    let opened = RowTable::open(connection, spec, generation).await.map_err(failed())?;
    let actual: Vec<_> =
        opened.iter().flat_map(RowTable::columns).map(|c| c.name.clone()).collect();
    match opened {
        Some(table) if actual.iter().map(String::as_str).eq(spec.columns.iter().copied()) => {
            Ok((table, rest))
        }
        Some(_) | None => Err(SetupError::Columns {
            projection: spec.name,
            actual,
            expected: spec.columns.to_vec(),
        }),
    }
}

/// Adds the keys and indexes that [`create_bare_table`] left out.
///
/// # Errors
/// [`SetupError::Postgres`].
pub async fn finish_table(
    connection: &mut PgConnection,
    spec: &ReadModelSpec,
    statements: &[String],
) -> Result<(), SetupError> {
    for sql in statements {
        execute_all(connection, sql)
            .await
            .map_err(postgres(format!("indexing the table of {}", spec.name)))?;
    }
    Ok(())
}

/// Drops the table of a generation of a read model.
///
/// # Errors
/// [`SetupError::Postgres`].
pub async fn drop_table(
    connection: &mut PgConnection,
    name: &str,
    generation: u32,
) -> Result<(), SetupError> {
    let sql = format!("DROP TABLE IF EXISTS {} CASCADE", table(name, generation));
    execute_all(connection, &sql)
        .await
        .map_err(postgres(format!("dropping an old table of {name}")))
}

async fn set_up_facts(
    connection: &mut PgConnection,
    analytics: &ClickHouse,
    spec: &FactsSpec,
) -> Result<(), SetupError> {
    let failed = |what: &str| postgres(format!("{what} {}", spec.name));
    let asked = |what: &str| clickhouse(format!("{what} {}", spec.name));
    let stored =
        registry::lock(connection, spec.name).await.map_err(failed("reading the checkpoint of"))?;
    let generations =
        analytics.generations(spec.name).await.map_err(asked("listing the tables of"))?;
    match stored {
        Some(row) if generations.contains(&row.generation) => {
            if row.version == spec.version {
                create_facts(analytics, spec, row.generation).await?;
                point_facts_views(analytics, spec, row.generation).await?;
            } else {
                let (state, reason) = (ProjectionState::NeedsRebuild, needs_rebuild(row.version));
                registry::note_state(connection, spec.name, state, Some(&reason))
                    .await
                    .map_err(failed("marking"))?;
            }
            if no_rebuild_runs(connection, spec.name).await.map_err(failed("locking"))? {
                for old in generations.iter().filter(|old| **old != row.generation) {
                    drop_facts(analytics, spec, *old).await?;
                }
            }
            Ok(())
        }
        Some(_) | None => {
            // New, or its tables are gone: from the first event into new tables.
            let generation = generations.iter().max().map_or(1, |last| last + 1);
            create_facts(analytics, spec, generation).await?;
            point_facts_views(analytics, spec, generation).await?;
            let row = fresh(spec.name, ProjectionKind::Facts, spec.version, generation);
            registry::write(connection, &row).await.map_err(failed("registering"))
        }
    }
}

fn objects(spec: &FactsSpec) -> Result<Vec<crate::generation::FactsObject>, SetupError> {
    facts_objects(spec.name, spec.ddl)
        .map_err(|statement| SetupError::Statement { projection: spec.name, statement })
}

/// Creates the tables and materialized views of a generation of facts, where they are missing.
///
/// # Errors
/// [`SetupError::ClickHouse`] and [`SetupError::Statement`].
pub async fn create_facts(
    analytics: &ClickHouse,
    spec: &FactsSpec,
    generation: u32,
) -> Result<(), SetupError> {
    let failed = || clickhouse(format!("creating the tables of {}", spec.name));
    let existing = analytics.relations().await.map_err(failed())?;
    for object in objects(spec)?.iter().filter(|object| object.generational) {
        if !existing.contains(&object.name_in(generation)) {
            analytics.execute(&object.sql_in(generation)).await.map_err(failed())?;
        }
    }
    Ok(())
}

/// Points the views of facts at a generation.
///
/// # Errors
/// [`SetupError::ClickHouse`] and [`SetupError::Statement`].
pub async fn point_facts_views(
    analytics: &ClickHouse,
    spec: &FactsSpec,
    generation: u32,
) -> Result<(), SetupError> {
    let failed = || clickhouse(format!("replacing the views of {}", spec.name));
    for object in objects(spec)?.iter().filter(|object| !object.generational) {
        let sql = object.sql_in(generation);
        if !sql[..sql.len().min(24)].to_ascii_uppercase().contains("OR REPLACE") {
            let drop = format!("DROP VIEW IF EXISTS {}", object.name);
            analytics.execute(&drop).await.map_err(failed())?;
        }
        analytics.execute(&sql).await.map_err(failed())?;
    }
    Ok(())
}

/// Drops the tables and materialized views of a generation of facts.
///
/// # Errors
/// [`SetupError::ClickHouse`] and [`SetupError::Statement`].
pub async fn drop_facts(
    analytics: &ClickHouse,
    spec: &FactsSpec,
    generation: u32,
) -> Result<(), SetupError> {
    let failed = || clickhouse(format!("dropping the old tables of {}", spec.name));
    // Last made, first dropped: materialized views before the tables they fill.
    for object in objects(spec)?.iter().rev().filter(|object| object.generational) {
        let sql = format!("DROP TABLE IF EXISTS {} SYNC", object.name_in(generation));
        analytics.execute(&sql).await.map_err(failed())?;
    }
    Ok(())
}

/// How every projection of the catalogue stands by its checkpoint, without a worker.
///
/// # Errors
/// [`SetupError::Postgres`].
pub async fn checkpoints(
    pool: &PgPool,
    catalogue: &Catalogue,
) -> Result<Vec<Checkpoint>, SetupError> {
    let mut connection = pool.acquire().await.map_err(postgres("connecting"))?;
    let rows =
        registry::read_all(&mut connection).await.map_err(postgres("reading the checkpoints"))?;
    let names = catalogue.names();
    Ok(rows.into_iter().filter(|row| names.contains(&row.name.as_str())).collect())
}
