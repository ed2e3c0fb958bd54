//! Rebuilds: what was rebuilt is what a live worker makes, beside live traffic too, and readers never see half of it.

#[path = "../../workers/tests/toy/mod.rs"]
mod toy;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use annals_core::{Position, Projection, ProjectionRegistry, Recorded, RowKey, RowScope};
use annals_replay::{ReplayError, ReplaySource, rebuild, verify};
use annals_workers::{Catalogue, ProjectionState};
use proptest::prelude::*;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use toy::{Balances, Postgres, Totals, Toy, ToyEvent, WAIT, events, moved};

fn source(toy: &Toy, pool: &PgPool) -> ReplaySource {
    ReplaySource {
        store: toy.store(),
        schemas: toy.schemas.clone(),
        catalogue: toy::catalogue(),
        pool: pool.clone(),
        analytics: None,
    }
}

fn drawn() -> impl Strategy<Value = Vec<ToyEvent>> {
    let event = prop_oneof![
        9 => (0..12_u8, any::<i32>(), 0..6_u32, "[a-z\\\\\t\n\"']{0,6}").prop_map(
            |(account, units, scale, note)| ToyEvent::Moved {
                account: format!("P{account}"),
                amount: Decimal::new(units.into(), scale),
                note,
            }
        ),
        1 => (0..12_u8).prop_map(|account| ToyEvent::Closed { account: format!("P{account}") }),
    ];
    proptest::collection::vec(event, 1..60)
}

#[test]
fn rebuilt_is_live_is_folded_for_any_history() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let postgres = runtime.block_on(Postgres::start());
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(12)
    });
    let history = proptest::collection::vec(drawn(), 1..5);
    runner
        .run(&history, |batches| {
            runtime.block_on(check_history(&postgres, batches));
            Ok(())
        })
        .expect("it holds");
    runtime.block_on(postgres.stop());
}

async fn check_history(postgres: &Postgres, batches: Vec<Vec<ToyEvent>>) {
    sqlx::raw_sql(
        "DROP SCHEMA IF EXISTS annals_tables CASCADE; DROP TABLE IF EXISTS annals_projections; \
         DROP TABLE IF EXISTS annals_views",
    )
    .execute(&postgres.pool)
    .await
    .expect("from nothing");
    let toy = Toy::new().await;
    let workers = toy.workers(&postgres.pool, None).await;
    for batch in batches {
        toy.append(batch).await;
    }
    workers.wait_for_all(toy.head(), WAIT).await.expect("caught up");
    let live = postgres.rows::<Balances>().await;
    assert_eq!(live, toy.fold::<Balances>(), "live is folded");
    let source = source(&toy, &postgres.pool);
    let before = verify(&source, &[], |_, _| {}).await.expect("verified");
    assert_eq!(before.mismatches, 0, "{before:?}");
    rebuild(&source, &[], |_| {}).await.expect("rebuilt");
    let after = verify(&source, &[], |_, _| {}).await.expect("verified");
    let digests = |report: &annals_replay::VerifyReport| {
        report.projections.iter().map(|p| (p.name, p.rows, p.digest.clone())).collect::<Vec<_>>()
    };
    assert_eq!(after.mismatches, 0, "{after:?}");
    assert_eq!(digests(&after), digests(&before), "rebuilt is live, byte for byte");
    toy.append(vec![moved("after", "1.50", "the live worker goes on")]).await;
    workers.wait_for_all(toy.head(), WAIT).await.expect("caught up");
    assert_eq!(postgres.rows::<Balances>().await, toy.fold::<Balances>());
    workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_beside_live_traffic_is_never_seen_half_done() {
    let toy = Toy::new().await;
    let postgres = Postgres::start().await;
    toy.append(events(0, 20_000, 900)).await;
    let workers = toy.workers(&postgres.pool, None).await;
    workers.wait_for_all(toy.head(), WAIT).await.expect("caught up");
    let running = Arc::new(AtomicBool::new(true));
    let writer = {
        let (toy, running) = (toy.clone(), Arc::clone(&running));
        tokio::spawn(async move {
            let mut number = 1_000_000;
            while running.load(Ordering::SeqCst) {
                toy.append(events(number, 40, 900)).await;
                number += 40;
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
    };
    let reader = {
        let (pool, running) = (postgres.pool.clone(), Arc::clone(&running));
        tokio::spawn(async move {
            let mut last = 0;
            let mut reads = 0_u32;
            while running.load(Ordering::SeqCst) {
                // A half-built or stale view would show fewer events than were seen before, or no row.
                let events: i64 = sqlx::query_scalar("SELECT events FROM toy_totals")
                    .fetch_one(&pool)
                    .await
                    .expect("the row is always there");
                assert!(events >= last, "readers went back from {last} to {events}");
                last = events;
                reads += 1;
            }
            reads
        })
    };
    let source = source(&toy, &postgres.pool);
    for round in 0..4_u32 {
        let report = rebuild(&source, &[], |_| {}).await.expect("rebuilt");
        assert!(report.projections.iter().all(|p| p.generation == round + 2), "{report:?}");
    }
    running.store(false, Ordering::SeqCst);
    writer.await.expect("the writer ends");
    assert!(reader.await.expect("the reader saw nothing wrong") > 100);
    workers.wait_for_all(toy.head(), WAIT).await.expect("the live workers go on");
    assert_eq!(postgres.rows::<Balances>().await, toy.fold::<Balances>());
    assert_eq!(postgres.rows::<Totals>().await, toy.fold::<Totals>());
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'annals_tables'";
    assert_eq!(postgres.count(tables).await, 2, "old generations are gone");
    workers.stop().await;
    postgres.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_aborted_rebuild_leaves_nothing_that_readers_or_the_next_one_notice() {
    let toy = Toy::new().await;
    let postgres = Postgres::start().await;
    toy.append(events(0, 30_000, 5000)).await;
    let workers = toy.workers(&postgres.pool, None).await;
    workers.wait_for_all(toy.head(), WAIT).await.expect("caught up");
    for millis in [5_u64, 20, 60, 120, 200, 300, 450] {
        let source = source(&toy, &postgres.pool);
        let work = tokio::spawn(async move { rebuild(&source, &[], |_| {}).await.map(|_| ()) });
        tokio::time::sleep(Duration::from_millis(millis)).await;
        work.abort();
        if let Ok(ended) = work.await {
            ended.expect("it ended before it was aborted");
        }
        assert_eq!(postgres.rows::<Balances>().await, toy.fold::<Balances>(), "at {millis} ms");
    }
    toy.append(events(50_000, 100, 5000)).await;
    workers.wait_for_all(toy.head(), WAIT).await.expect("live workers were not disturbed");
    workers.stop().await;
    // The next start cleans up.
    let workers = toy.workers(&postgres.pool, None).await;
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'annals_tables'";
    assert_eq!(postgres.count(tables).await, 2, "only the live generations are left");
    let verified = verify(&source(&toy, &postgres.pool), &[], |_, _| {}).await.expect("verified");
    assert_eq!(verified.mismatches, 0, "{verified:?}");
    workers.stop().await;
    postgres.stop().await;
}

/// The totals with another column and another version.
struct WiderTotals;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct WiderTotal {
    id: String,
    closed: u64,
    events: u64,
}

impl Projection for WiderTotals {
    type Event = ToyEvent;
    type Row = WiderTotal;
    const NAME: &'static str = "toy_totals";
    const VERSION: u32 = 2;
    const KEY: &'static str = "id";
    const SCOPE: RowScope = RowScope::ManyStreams;
    const DDL: &'static str = "CREATE TABLE {table} (id text PRIMARY KEY, closed bigint NOT NULL, \
         events bigint NOT NULL)";

    fn keys(event: &Recorded<ToyEvent>, keys: &mut Vec<RowKey>) {
        Totals::keys(event, keys);
    }

    fn apply(key: &str, row: Option<WiderTotal>, event: &Recorded<ToyEvent>) -> Option<WiderTotal> {
        let row = row.unwrap_or(WiderTotal { id: key.to_owned(), closed: 0, events: 0 });
        let closed = match &event.event {
            ToyEvent::Closed { .. } => row.closed + 1,
            ToyEvent::Moved { .. } => row.closed,
        };
        Some(WiderTotal { closed, events: row.events + 1, ..row })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_version_is_served_after_its_rebuild_and_the_worker_goes_on_by_itself() {
    let toy = Toy::new().await;
    let postgres = Postgres::start().await;
    toy.append(events(0, 3000, 50)).await;
    let old = toy.workers(&postgres.pool, None).await;
    old.wait_for_all(toy.head(), WAIT).await.expect("caught up");
    old.stop().await;
    let mut catalogue = Catalogue::new();
    catalogue.read_model::<WiderTotals>();
    catalogue.view(
        "toy_closed",
        "id",
        "CREATE OR REPLACE VIEW toy_closed AS SELECT id, closed FROM toy_totals",
    );
    let workers = toy.workers_of(&catalogue, &postgres.pool, None).await;
    assert_eq!(workers.need_rebuild(), ["toy_totals"]);
    assert_eq!(postgres.rows::<Totals>().await, toy.fold::<Totals>(), "the old rows are served");
    let source = ReplaySource { catalogue, ..source(&toy, &postgres.pool) };
    rebuild(&source, &["toy_totals".to_owned()], |_| {}).await.expect("rebuilt");
    toy.append(events(3000, 500, 50)).await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    workers.wait_for_all(toy.head(), WAIT).await.expect("it goes on");
    assert_eq!(workers.status()[0].state, ProjectionState::Running);
    assert_eq!(postgres.rows::<WiderTotals>().await, toy.fold::<WiderTotals>());
    let closed = postgres.count("SELECT closed FROM toy_closed").await;
    assert_eq!(closed.unsigned_abs(), toy.fold::<WiderTotals>()["all"].closed, "the new view");
    workers.stop().await;
    postgres.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verification_finds_what_was_changed_lost_and_added() {
    let toy = Toy::new().await;
    let postgres = Postgres::start().await;
    toy.append(events(0, 5000, 400)).await;
    let workers = toy.workers(&postgres.pool, None).await;
    workers.wait_for_all(toy.head(), WAIT).await.expect("caught up");
    let source = source(&toy, &postgres.pool);
    let names = ["toy_balances".to_owned()];
    let clean = verify(&source, &names, |_, _| {}).await.expect("verified");
    assert_eq!((clean.mismatches, clean.rows), (0, toy.fold::<Balances>().len() as u64));
    sqlx::raw_sql(
        "UPDATE toy_balances SET balance = balance + 0.01 WHERE account = 'A001'; \
         DELETE FROM toy_balances WHERE account = 'A002'; \
         INSERT INTO toy_balances SELECT 'X', balance, moves, note, last, history \
         FROM toy_balances WHERE account = 'A003'",
    )
    .execute(&postgres.pool)
    .await
    .expect("tampered");
    let report = verify(&source, &names, |_, _| {}).await.expect("verified");
    assert_eq!(report.mismatches, 3);
    let found: Vec<_> = report.projections[0]
        .examples
        .iter()
        .map(|m| (m.key.as_str(), m.stored.is_some(), m.folded.is_some()))
        .collect();
    assert_eq!(found, [("A001", true, true), ("X", true, false), ("A002", false, true)]);
    assert_ne!(report.projections[0].digest, clean.projections[0].digest);
    rebuild(&source, &names, |_| {}).await.expect("rebuilt");
    let report = verify(&source, &names, |_, _| {}).await.expect("verified");
    assert_eq!(report.mismatches, 0);
    assert_eq!(report.projections[0].digest, clean.projections[0].digest);
    workers.stop().await;
    postgres.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_rebuilt_is_said_and_the_old_rows_stay() {
    let toy = Toy::new().await;
    let postgres = Postgres::start().await;
    toy.append(events(0, 500, 40)).await;
    let workers = toy.workers(&postgres.pool, None).await;
    workers.wait_for_all(toy.head(), WAIT).await.expect("caught up");
    let source = source(&toy, &postgres.pool);
    let unknown = rebuild(&source, &["nothing".to_owned()], |_| {}).await.expect_err("unknown");
    assert!(unknown.to_string().contains("toy_balances"), "{unknown}");
    let rows = postgres.rows::<Balances>().await;
    let garbage = toy.append_garbage().await;
    let error = rebuild(&source, &[], |_| {}).await.expect_err("it does not decode");
    let ReplayError::Fold { source: cause, .. } = &error else { panic!("{error}") };
    assert_eq!(cause.position(), Some(garbage));
    assert_eq!(postgres.rows::<Balances>().await, rows);
    let report = verify(&source, &[], |_, _| {}).await.expect("up to the checkpoint it is good");
    assert_eq!(report.mismatches, 0);
    assert_eq!(report.projections[0].position, Some(Position(garbage.0 - 1)));
    workers.stop().await;
    postgres.stop().await;
}
