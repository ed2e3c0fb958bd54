//! Rows of read models and SQL views, for REST and gRPC alike: one page or one row, not before a
//! position.

mod columns;
mod cursor;
mod request;
mod select;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use annals_core::{Family, Position};
use annals_workers::{Catalogue, Workers};
use parking_lot::RwLock;
use serde::Serialize;
use serde_json::Value;
use sqlx::error::DatabaseError;
use sqlx::postgres::{PgPoolOptions, PgRow};
use sqlx::{AssertSqlSafe, PgPool, Row};

use super::problem::Problem;
use crate::config::Limits;

pub use columns::{Column, Kind};
pub use request::{
    Condition, Model, OPERATORS, Operator, PageBounds, PageRequest, Sort, Wait, number, order,
};

/// Connections that queries share; a query that finds none waits for one.
const CONNECTIONS_MAX: u32 = 16;

/// A page of rows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Page {
    /// The rows, as JSON objects.
    pub items: Vec<Value>,
    /// What to pass as `cursor` for the next page; none where this was the last.
    pub next_cursor: Option<String>,
    /// The position up to which the rows are folded.
    pub position: Option<u64>,
}

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The row, as a JSON object.
    pub item: Value,
    /// The position up to which it is folded.
    pub position: Option<u64>,
}

/// Answers queries.
pub struct ReadModels {
    pool: PgPool,
    workers: Arc<Workers>,
    /// Every read model and view with its key column.
    keys: BTreeMap<&'static str, &'static str>,
    /// The projections that have a checkpoint.
    projections: Vec<&'static str>,
    models: RwLock<HashMap<&'static str, Arc<Model>>>,
    timeout: Duration,
}

impl ReadModels {
    /// Queries over the database of `pool`, through connections of their own that can only read and
    /// are cut off at the query timeout.
    pub fn new(
        pool: &PgPool,
        catalogue: &Catalogue,
        workers: Arc<Workers>,
        limits: &Limits,
    ) -> ReadModels {
        let timeout = limits.query_timeout();
        let options = (*pool.connect_options()).clone().options([
            ("default_transaction_read_only", "on".to_owned()),
            ("statement_timeout", format!("{}ms", timeout.as_millis())),
        ]);
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(timeout)
            .connect_lazy_with(options);
        let of_tables = catalogue.read_models().iter().map(|model| {
            let spec = model.spec();
            (spec.name, spec.key)
        });
        let of_views = catalogue.views().iter().map(|view| (view.name, view.key));
        ReadModels {
            pool,
            workers,
            keys: of_tables.chain(of_views).collect(),
            projections: catalogue.names(),
            models: RwLock::default(),
            timeout,
        }
    }

    /// The names of everything that can be queried.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.keys.keys().copied()
    }

    /// A read model with its columns.
    ///
    /// # Errors
    /// A problem where there is none of that name, or its table is not there yet.
    pub async fn model(&self, name: &str) -> Result<Arc<Model>, Problem> {
        let Some((&name, &key)) = self.keys.get_key_value(name) else {
            let names: Vec<&str> = self.names().collect();
            let detail = format!("there is no read model {name:?}; there are {}", names.join(", "));
            return Err(Problem::not_found("unknown-read-model", detail).with("known", names));
        };
        if let Some(model) = self.models.read().get(name) {
            return Ok(Arc::clone(model));
        }
        let columns =
            columns::load(&self.pool, name).await.map_err(|error| failed(name, &error))?;
        if columns.is_empty() {
            let detail = format!("{name} has no table yet; its projection creates it as it starts");
            return Err(Problem::unavailable("not-ready", detail));
        }
        let sources = if self.projections.contains(&name) {
            vec![name.to_owned()]
        } else {
            let mut read =
                columns::sources(&self.pool, name).await.map_err(|error| failed(name, &error))?;
            read.retain(|source| self.projections.contains(&source.as_str()));
            read
        };
        let model = Arc::new(Model { name, key, columns, sources });
        self.models.write().insert(name, Arc::clone(&model));
        Ok(model)
    }

    /// A page of rows.
    ///
    /// # Errors
    /// A problem: a wrong cursor, a position not reached in time, a database that does not answer.
    pub async fn page(&self, model: &Model, request: &PageRequest) -> Result<Page, Problem> {
        let after = match &request.cursor {
            Some(cursor) => Some(cursor::decode(model, request, cursor)?),
            None => None,
        };
        self.wait(model, request.wait).await?;
        let statement = select::page(model, request, after.as_deref());
        let (position, mut rows) = self.fetch(model, &statement).await?;
        let limit = request.limit as usize;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let last = rows.last().filter(|_| more);
        let next_cursor = last.map(|(_, values)| cursor::encode(model, request, values));
        let items = rows.into_iter().map(|(item, _)| item).collect();
        Ok(Page { items, next_cursor, position })
    }

    /// One row.
    ///
    /// # Errors
    /// As [`ReadModels::page`], and where there is no such row.
    pub async fn row(&self, model: &Model, key: &str, wait: Wait) -> Result<Found, Problem> {
        let of_key = Condition::new(model, model.key, Operator::Equal, key)?;
        self.wait(model, wait).await?;
        let statement = select::row(model, &of_key.column, &of_key.value);
        let (position, rows) = self.fetch(model, &statement).await?;
        let Some((item, _)) = rows.into_iter().next() else {
            let detail = format!("{} has no row with {} {key:?}", model.name, model.key);
            let problem = Problem::not_found("unknown-row", detail);
            return Err(problem.with("position", position));
        };
        Ok(Found { item, position })
    }

    /// Whether PostgreSQL answers.
    ///
    /// # Errors
    /// A problem where it does not.
    pub async fn ping(&self) -> Result<(), Problem> {
        let answer = sqlx::query("SELECT 1").execute(&self.pool);
        match tokio::time::timeout(Duration::from_secs(2), answer).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(failed("PostgreSQL", &error)),
            Err(_) => Err(Problem::unavailable("late", "PostgreSQL does not answer")),
        }
    }

    /// Closes the connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    async fn wait(&self, model: &Model, wait: Wait) -> Result<(), Problem> {
        let Some(position) = wait.not_before else { return Ok(()) };
        let asked = wait.timeout_ms.map_or(self.timeout, Duration::from_millis);
        let until = tokio::time::Instant::now() + asked.min(self.timeout);
        for source in &model.sources {
            let left = until.saturating_duration_since(tokio::time::Instant::now());
            let waited = self.workers.wait_for(source, Position(position), left).await;
            waited.map_err(|error| {
                Problem::of(error.family(), "not-yet", &error)
                    .with("projection", source.as_str())
                    .with("asked", position)
            })?;
        }
        Ok(())
    }

    async fn fetch(
        &self,
        model: &Model,
        statement: &select::Statement,
    ) -> Result<(Option<u64>, Vec<(Value, Vec<Option<String>>)>), Problem> {
        // Safe: select.rs puts nothing into the text but identifiers of PostgreSQL's catalogue.
        let mut query = sqlx::query(AssertSqlSafe(statement.sql.clone())).bind(&model.sources);
        for value in &statement.values {
            query = query.bind(value);
        }
        let rows =
            query.fetch_all(&self.pool).await.map_err(|error| self.refused(model, &error))?;
        let mut position = None;
        let mut items = Vec::with_capacity(rows.len());
        for row in &rows {
            let (at, item) = read(row).map_err(|error| failed(model.name, &error))?;
            position = at;
            items.extend(item);
        }
        Ok((position, items))
    }

    /// What PostgreSQL's error means. Columns that are not there any more are asked for anew next
    /// time.
    fn refused(&self, model: &Model, error: &sqlx::Error) -> Problem {
        let code = error.as_database_error().and_then(DatabaseError::code);
        if matches!(code.as_deref(), Some("42P01" | "42703")) {
            self.models.write().remove(model.name);
        }
        failed(model.name, error)
    }
}

type Item = (Value, Vec<Option<String>>);

fn read(row: &PgRow) -> Result<(Option<u64>, Option<Item>), sqlx::Error> {
    let position: Option<i64> = row.try_get(0)?;
    let position = position.and_then(|position| u64::try_from(position).ok());
    let text: Option<String> = row.try_get(1)?;
    let Some(text) = text else { return Ok((position, None)) };
    let item = serde_json::from_str(&text).map_err(|error| sqlx::Error::Decode(error.into()))?;
    let values: Option<Vec<Option<String>>> = row.try_get(2)?;
    Ok((position, Some((item, values.unwrap_or_default()))))
}

fn failed(what: &str, error: &sqlx::Error) -> Problem {
    let code = error.as_database_error().and_then(DatabaseError::code);
    match code.as_deref() {
        Some("57014") => {
            let detail = format!("the query of {what} took too long; narrow its filters");
            Problem::unavailable("timeout", detail)
        }
        Some("42P01" | "42703") => {
            let detail = format!("the table of {what} is being changed; try again");
            Problem::unavailable("not-ready", detail)
        }
        // A value that passed our checks and PostgreSQL still takes as none of its type.
        Some(code) if code.starts_with("22") => {
            Problem::of(Family::Malformed, "wrong-value", error)
        }
        _ => {
            tracing::warn!(%error, what, "a query failed");
            Problem::unavailable("postgres", format!("{what} cannot be read now"))
        }
    }
}
