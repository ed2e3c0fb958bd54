//! A toy domain, a feed over any store, and a PostgreSQL of the test's own: the engine crates know no real domain.

#![allow(dead_code, reason = "each test file uses its part")]

use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use annals_core::clock::SimulatedClock;
use annals_core::feed::FeedError;
use annals_core::memory::MemoryStore;
use annals_core::{
    Append, Batch, DecodeError, DomainEvent, EventId, EventSchema, EventStore, EventType,
    ExpectedRevision, Facts, Feed, Filter, NewEvent, Position, Projection, ProjectionRegistry,
    ReadQuery, Recorded, RecordedEvent, RowKey, RowScope, SchemaFingerprint, Schemas, Start,
    StreamName, StreamWrite, Timestamp,
};
use annals_workers::{
    Catalogue, ClickHouse, PostgresOptions, PostgresServer, Workers, WorkersOptions, connect,
};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, PgPool, Row};
use uuid::Uuid;

pub(crate) const WAIT: Duration = Duration::from_mins(1);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum ToyEvent {
    Moved { account: String, amount: Decimal, note: String },
    Closed { account: String },
}

static SCHEMAS: LazyLock<Vec<EventSchema>> = LazyLock::new(|| {
    let schema = |fingerprint, name: &str| EventSchema {
        fingerprint: SchemaFingerprint(fingerprint),
        event_type: EventType::new(format!("toy.{name}")).expect("valid"),
        text: format!("{{\"name\":\"{name}\",\"namespace\":\"toy\"}}").into(),
    };
    vec![schema(1, "Moved"), schema(2, "Closed")]
});

impl DomainEvent for ToyEvent {
    const CONTEXT: &'static str = "toy";

    fn schemas() -> &'static [EventSchema] {
        &SCHEMAS
    }

    fn schema(&self) -> &'static EventSchema {
        match self {
            ToyEvent::Moved { .. } => &SCHEMAS[0],
            ToyEvent::Closed { .. } => &SCHEMAS[1],
        }
    }

    fn encode(&self) -> Bytes {
        serde_json::to_vec(self).expect("it has JSON").into()
    }

    fn decode(recorded: &RecordedEvent, schemas: &Schemas) -> Result<ToyEvent, DecodeError> {
        if schemas.get(recorded.schema).is_none() {
            return Err(DecodeError::UnknownSchema {
                fingerprint: recorded.schema.0,
                stream: recorded.stream.clone(),
                position: recorded.position,
            });
        }
        serde_json::from_slice(&recorded.data).map_err(|error| DecodeError::Payload {
            event_type: recorded.event_type.clone(),
            stream: recorded.stream.clone(),
            position: recorded.position,
            reason: error.to_string(),
        })
    }

    fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).expect("it has JSON")
    }
}

/// One row an account.
pub(crate) struct Balances;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(clippy::struct_field_names, reason = "a column is named as its table has it")]
pub(crate) struct Balance {
    pub(crate) account: String,
    pub(crate) balance: Decimal,
    pub(crate) moves: u64,
    pub(crate) note: Option<String>,
    pub(crate) last: Timestamp,
    pub(crate) history: Vec<u64>,
}

impl Projection for Balances {
    type Event = ToyEvent;
    type Row = Balance;
    const NAME: &'static str = "toy_balances";
    const VERSION: u32 = 1;
    const KEY: &'static str = "account";
    const SCOPE: RowScope = RowScope::ManyStreams;
    const DDL: &'static str = "CREATE TABLE {table} (account text PRIMARY KEY, balance numeric NOT NULL, \
         moves bigint NOT NULL, note text, last timestamptz NOT NULL, history jsonb NOT NULL); \
         CREATE INDEX ON {table} (balance);";

    fn keys(event: &Recorded<ToyEvent>, keys: &mut Vec<RowKey>) {
        match &event.event {
            ToyEvent::Moved { account, .. } | ToyEvent::Closed { account } => {
                keys.push(account.clone());
            }
        }
    }

    fn apply(key: &str, row: Option<Balance>, event: &Recorded<ToyEvent>) -> Option<Balance> {
        match &event.event {
            ToyEvent::Moved { amount, note, .. } => {
                let mut row = row.unwrap_or(Balance {
                    account: key.to_owned(),
                    balance: Decimal::ZERO,
                    moves: 0,
                    note: None,
                    last: event.time,
                    history: Vec::new(),
                });
                row.balance += *amount;
                row.moves += 1;
                row.note = (!note.is_empty()).then(|| note.clone());
                row.last = event.time;
                row.history.push(event.position.0);
                if row.history.len() > 3 {
                    row.history.remove(0);
                }
                Some(row)
            }
            ToyEvent::Closed { .. } => None,
        }
    }
}

/// One row in all: it gathers every stream.
pub(crate) struct Totals;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Total {
    pub(crate) id: String,
    pub(crate) sum: Decimal,
    pub(crate) events: u64,
}

impl Projection for Totals {
    type Event = ToyEvent;
    type Row = Total;
    const NAME: &'static str = "toy_totals";
    const VERSION: u32 = 1;
    const KEY: &'static str = "id";
    const SCOPE: RowScope = RowScope::ManyStreams;
    const DDL: &'static str =
        "CREATE TABLE {table} (id text PRIMARY KEY, sum numeric NOT NULL, events bigint NOT NULL)";

    fn keys(_: &Recorded<ToyEvent>, keys: &mut Vec<RowKey>) {
        keys.push("all".to_owned());
    }

    fn apply(key: &str, row: Option<Total>, event: &Recorded<ToyEvent>) -> Option<Total> {
        let mut row = row.unwrap_or(Total { id: key.to_owned(), sum: Decimal::ZERO, events: 0 });
        row.events += 1;
        if let ToyEvent::Moved { amount, .. } = &event.event {
            row.sum += *amount;
        }
        Some(row)
    }
}

/// Panics on the note `boom`; the database refuses the note `refused`.
pub(crate) struct Fragile;

impl Projection for Fragile {
    type Event = ToyEvent;
    type Row = Total;
    const NAME: &'static str = "toy_fragile";
    const VERSION: u32 = 1;
    const KEY: &'static str = "id";
    const SCOPE: RowScope = RowScope::ManyStreams;
    const DDL: &'static str = "CREATE TABLE {table} (id text PRIMARY KEY CHECK (id <> 'refused'), \
         sum numeric NOT NULL, events bigint NOT NULL)";

    fn keys(event: &Recorded<ToyEvent>, keys: &mut Vec<RowKey>) {
        if let ToyEvent::Moved { note, .. } = &event.event {
            keys.push(if note == "refused" { note.clone() } else { "all".to_owned() });
        }
    }

    fn apply(key: &str, row: Option<Total>, event: &Recorded<ToyEvent>) -> Option<Total> {
        if let ToyEvent::Moved { note, .. } = &event.event {
            assert!(note != "boom", "it went boom");
        }
        let row = row.unwrap_or(Total { id: key.to_owned(), sum: Decimal::ZERO, events: 0 });
        Some(Total { events: row.events + 1, ..row })
    }
}

/// One fact a move, and their sum an account as an aggregate.
pub(crate) struct Moves;

#[derive(Serialize)]
pub(crate) struct Move {
    position: u64,
    account: String,
    amount: Decimal,
    time: Timestamp,
}

impl Facts for Moves {
    type Event = ToyEvent;
    type Fact = Move;
    const NAME: &'static str = "toy_moves";
    const VERSION: u32 = 1;
    const DDL: &'static str = "
        CREATE TABLE toy_moves{g} (position UInt64, account String, amount Decimal(38, 8),
          time DateTime64(6, 'UTC')) ENGINE = MergeTree ORDER BY position
          SETTINGS non_replicated_deduplication_window = 10000;
        CREATE TABLE toy_sums_rows{g} (account String, amount Decimal(38, 8), moves UInt64)
          ENGINE = SummingMergeTree ORDER BY account
          SETTINGS non_replicated_deduplication_window = 10000;
        CREATE MATERIALIZED VIEW toy_sums_feed{g} TO toy_sums_rows{g} AS
          SELECT account, sum(amount) AS amount, count() AS moves
          FROM toy_moves{g} GROUP BY account;
        CREATE OR REPLACE VIEW toy_sums AS
          SELECT account, sum(amount) AS amount, sum(moves) AS moves
          FROM toy_sums_rows{g} GROUP BY account;";

    fn facts(event: &Recorded<ToyEvent>, facts: &mut Vec<Move>) {
        if let ToyEvent::Moved { account, amount, .. } = &event.event {
            let (position, time) = (event.position.0, event.time);
            facts.push(Move { position, account: account.clone(), amount: *amount, time });
        }
    }
}

pub(crate) fn catalogue() -> Catalogue {
    let mut catalogue = Catalogue::new();
    catalogue.read_model::<Balances>();
    catalogue.read_model::<Totals>();
    catalogue.view(
        "toy_rich",
        "account",
        "CREATE OR REPLACE VIEW toy_rich AS SELECT * FROM toy_balances WHERE balance > 0",
    );
    catalogue
}

pub(crate) fn catalogue_with_facts() -> Catalogue {
    let mut catalogue = catalogue();
    catalogue.facts::<Moves>();
    catalogue
}

/// The feed of a store in the same process.
pub(crate) struct StoreFeed(pub(crate) Arc<dyn EventStore>);

impl Feed for StoreFeed {
    fn follow(
        &self,
        context: &'static str,
        _: &str,
        after: Option<Position>,
    ) -> BoxStream<'static, Result<Batch, FeedError>> {
        let start = after.map_or(Start::Edge, Start::After);
        let query = ReadQuery::all().from(start).filtered(Filter::context(context));
        let broken = move |error: annals_core::ReadError| FeedError {
            context: context.to_owned(),
            family: error.family(),
            source: Arc::new(error),
        };
        self.0.subscribe(query).map(move |batch| batch.map_err(broken)).boxed()
    }

    fn acknowledge(&self, _: &'static str, _: &str, _: Position) {}
}

/// A log with what is needed to work on it.
#[derive(Clone)]
pub(crate) struct Toy {
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) clock: SimulatedClock,
    pub(crate) schemas: Schemas,
}

impl Toy {
    pub(crate) async fn new() -> Toy {
        let clock = SimulatedClock::new(Timestamp(1_514_764_800_123_456));
        let store = Arc::new(MemoryStore::new(clock.clone()));
        let writer = Schemas::default();
        writer.publish(store.as_ref(), ToyEvent::schemas()).await.expect("published");
        // Readers begin without the schemas: they find them in the log.
        Toy { store, clock, schemas: Schemas::default() }
    }

    pub(crate) fn store(&self) -> Arc<dyn EventStore> {
        Arc::clone(&self.store) as Arc<dyn EventStore>
    }

    pub(crate) async fn append(&self, events: Vec<ToyEvent>) -> Position {
        self.clock.advance(Duration::from_micros(17));
        let new = |event: ToyEvent| NewEvent {
            id: EventId(Uuid::new_v4()),
            event_type: event.schema().event_type.clone(),
            schema: event.schema().fingerprint,
            metadata: Bytes::new(),
            data: event.encode(),
        };
        let write = StreamWrite {
            stream: StreamName::new("toy-all").expect("valid"),
            expected: ExpectedRevision::Any,
            events: events.into_iter().map(new).collect(),
        };
        let appended = self.store.append(Append::to(write)).await.expect("appended");
        appended.position.expect("it has events")
    }

    /// Bytes that do not decode.
    pub(crate) async fn append_garbage(&self) -> Position {
        let event = NewEvent {
            id: EventId(Uuid::new_v4()),
            event_type: EventType::new("toy.Moved").expect("valid"),
            schema: SchemaFingerprint(1),
            metadata: Bytes::new(),
            data: Bytes::from_static(b"garbage"),
        };
        let write = StreamWrite {
            stream: StreamName::new("toy-all").expect("valid"),
            expected: ExpectedRevision::Any,
            events: vec![event],
        };
        let appended = self.store.append(Append::to(write)).await.expect("appended");
        appended.position.expect("it has events")
    }

    pub(crate) fn head(&self) -> Position {
        self.store.head().expect("the log has events")
    }

    pub(crate) async fn workers(&self, pool: &PgPool, analytics: Option<ClickHouse>) -> Workers {
        self.workers_of(&catalogue_for(analytics.as_ref()), pool, analytics).await
    }

    pub(crate) async fn workers_of(
        &self,
        catalogue: &Catalogue,
        pool: &PgPool,
        analytics: Option<ClickHouse>,
    ) -> Workers {
        let options = WorkersOptions {
            batch_events_max: 700,
            insert_rows_max: 900,
            insert_delay: Duration::from_millis(20),
        };
        let feed = Arc::new(StoreFeed(self.store()));
        Workers::start(
            catalogue,
            self.schemas.clone(),
            self.store(),
            feed,
            pool,
            analytics,
            options,
        )
        .await
        .expect("the workers start")
    }

    /// The events as a plain fold sees them.
    pub(crate) fn fold<P: Projection<Event = ToyEvent>>(
        &self,
    ) -> std::collections::BTreeMap<String, P::Row> {
        let mut rows = std::collections::BTreeMap::new();
        let mut keys = Vec::new();
        for recorded in self.store.events() {
            let Ok(event) = serde_json::from_slice(&recorded.data) else { continue };
            let event = Recorded {
                stream: recorded.stream,
                revision: recorded.revision,
                position: recorded.position,
                time: recorded.time,
                event,
            };
            P::keys(&event, &mut keys);
            for key in keys.drain(..) {
                if let Some(row) = P::apply(&key, rows.remove(&key), &event) {
                    rows.insert(key, row);
                }
            }
        }
        rows
    }
}

pub(crate) fn catalogue_for(analytics: Option<&ClickHouse>) -> Catalogue {
    if analytics.is_some() { catalogue_with_facts() } else { catalogue() }
}

/// `count` events over `accounts`, each different for its number.
pub(crate) fn events(from: u64, count: u64, accounts: u64) -> Vec<ToyEvent> {
    (from..from + count)
        .map(|number| {
            let account = format!("A{:03}", number * 7919 % accounts);
            if number % 97 == 96 {
                return ToyEvent::Closed { account };
            }
            let cents = i64::try_from(number * 31 % 10_007).expect("small") - 5000;
            let note = if number % 11 == 0 { "tab\there \\ \"and\"\nthere" } else { "" };
            ToyEvent::Moved { account, amount: Decimal::new(cents, 2), note: note.to_owned() }
        })
        .collect()
}

pub(crate) fn moved(account: &str, amount: &str, note: &str) -> ToyEvent {
    let amount = amount.parse().expect("a decimal");
    ToyEvent::Moved { account: account.to_owned(), amount, note: note.to_owned() }
}

/// A folder that other users may enter, removed at the end.
pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::Builder::new()
        .prefix("annals-workers-")
        .permissions(std::fs::Permissions::from_mode(0o755))
        .tempdir()
        .expect("a folder")
}

/// A PostgreSQL of the test's own.
pub(crate) struct Postgres {
    pub(crate) server: PostgresServer,
    pub(crate) pool: PgPool,
    pub(crate) folder: tempfile::TempDir,
}

impl Postgres {
    pub(crate) async fn start() -> Postgres {
        let folder = folder();
        let options = PostgresOptions { shared_buffers_mib: 32, ..PostgresOptions::default() };
        let server = PostgresServer::start(&folder.path().join("postgres"), options)
            .await
            .expect("PostgreSQL starts");
        let pool = connect(server.url(), 8).await.expect("it answers");
        Postgres { server, pool, folder }
    }

    pub(crate) async fn stop(self) {
        self.pool.close().await;
        self.server.stop().await.expect("it stops");
    }

    pub(crate) async fn count(&self, sql: &str) -> i64 {
        let sql = AssertSqlSafe(sql.to_owned());
        sqlx::query(sql).fetch_one(&self.pool).await.expect("a count").get(0)
    }

    /// A read model's rows as readers see them.
    pub(crate) async fn rows<P: Projection>(&self) -> std::collections::BTreeMap<String, P::Row> {
        rows_of::<P>(&self.pool).await
    }

    pub(crate) async fn checkpoint(&self, name: &str) -> Option<Position> {
        let position: Option<i64> =
            sqlx::query_scalar("SELECT position FROM annals_projections WHERE name = $1")
                .bind(name)
                .fetch_one(&self.pool)
                .await
                .expect("a checkpoint");
        position.map(|position| Position(position.unsigned_abs()))
    }
}

pub(crate) async fn rows_of<P: Projection>(
    pool: &PgPool,
) -> std::collections::BTreeMap<String, P::Row> {
    let mut connection = pool.acquire().await.expect("a connection");
    let columns =
        annals_workers::rows::columns(&mut connection, "public", P::NAME).await.expect("columns");
    let items: Vec<_> = columns.iter().map(annals_workers::rows::select_item).collect();
    let sql = format!(
        "SELECT row_to_json(r)::text AS row FROM (SELECT {} FROM {}) r",
        items.join(", "),
        P::NAME
    );
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut *connection).await.expect("rows");
    let read = |row: &sqlx::postgres::PgRow| {
        let json: serde_json::Value = serde_json::from_str(row.get("row")).expect("JSON");
        let key = annals_workers::rows::key_of(&json, P::KEY);
        (key, serde_json::from_value(json).expect("a row of the type"))
    };
    rows.iter().map(read).collect()
}
