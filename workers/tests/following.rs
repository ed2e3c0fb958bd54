//! Live workers: whatever is killed, cut or doubled, rows and checkpoint are those of a plain fold of the log.

mod toy;

use std::time::Duration;

use annals_core::random::SeededRandom;
use annals_core::{Position, Projection, ProjectionRegistry, Recorded, RowKey, RowScope};
use annals_workers::{Catalogue, ProjectionState};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use toy::{Balances, Fragile, Postgres, Total, Totals, Toy, ToyEvent, WAIT, events, moved};

async fn check_rows(toy: &Toy, postgres: &Postgres) {
    assert_eq!(postgres.rows::<Balances>().await, toy.fold::<Balances>(), "the rows of accounts");
    assert_eq!(postgres.rows::<Totals>().await, toy.fold::<Totals>(), "the row of totals");
}

/// Waits until it holds; whether it does then is the caller's to check.
async fn wait_until(holds: impl AsyncFn() -> bool) {
    let begun = std::time::Instant::now();
    while !holds().await && begun.elapsed() < WAIT {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What a crash of the server takes back is folded again: the rows fit after a while.
async fn check_rows_in_time(toy: &Toy, postgres: &Postgres) {
    wait_until(async || {
        postgres.rows::<Balances>().await == toy.fold::<Balances>()
            && postgres.rows::<Totals>().await == toy.fold::<Totals>()
    })
    .await;
    check_rows(toy, postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_follow_the_log_and_keep_every_digit() {
    let toy = Toy::new().await;
    let postgres = Postgres::start().await;
    toy.append(events(0, 5000, 700)).await;
    let workers = toy.workers(&postgres.pool, None).await;
    workers.wait_for_all(toy.head(), WAIT).await.expect("caught up");
    check_rows(&toy, &postgres).await;
    // Live, one event at a time.
    for amount in ["0.10", "1.500", "79228162514264337593543950335", "-0.0000000000000000000001"] {
        let at = toy.append(vec![moved(&format!("D{amount}"), amount, "")]).await;
        workers.wait_for("toy_balances", at, WAIT).await.expect("it arrives");
        let rows = postgres.rows::<Balances>().await;
        assert_eq!(rows[&format!("D{amount}")].balance.to_string(), amount);
    }
    workers.wait_for_all(toy.head(), WAIT).await.expect("caught up");
    check_rows(&toy, &postgres).await;
    let rich = postgres.count("SELECT count(*) FROM toy_rich").await;
    let expected = toy.fold::<Balances>().values().filter(|r| r.balance > 0.into()).count();
    assert_eq!(usize::try_from(rich), Ok(expected), "the SQL view sees the same rows");
    workers.stop().await;
    assert_eq!(postgres.checkpoint("toy_balances").await, Some(toy.head()));
    postgres.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_aborted_at_any_moment_resumes_where_its_rows_are() {
    let toy = Toy::new().await;
    let postgres = Postgres::start().await;
    let seed: u64 = std::env::var("ANNALS_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(7);
    eprintln!("seed {seed}");
    let random = SeededRandom::new(seed);
    for round in 0..25 {
        toy.append(events(round * 900, 900, 300)).await;
        let workers = toy.workers(&postgres.pool, None).await;
        tokio::time::sleep(Duration::from_micros(random.below(30_000))).await;
        drop(workers); // Aborts every task where it is.
    }
    let workers = toy.workers(&postgres.pool, None).await;
    workers.wait_for_all(toy.head(), WAIT).await.expect("caught up");
    check_rows(&toy, &postgres).await;
    workers.stop().await;
    for name in ["toy_balances", "toy_totals"] {
        assert_eq!(postgres.checkpoint(name).await, Some(toy.head()), "the checkpoint of {name}");
    }
    postgres.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_of_one_projection_have_no_double_effect() {
    let toy = Toy::new().await;
    let postgres = Postgres::start().await;
    let one = toy.workers(&postgres.pool, None).await;
    let other = toy.workers(&postgres.pool, None).await;
    for round in 0..60 {
        toy.append(events(round * 50, 50, 40)).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    one.wait_for_all(toy.head(), WAIT).await.expect("the first caught up");
    check_rows(&toy, &postgres).await;
    one.stop().await;
    toy.append(events(3000, 500, 40)).await;
    other.wait_for_all(toy.head(), WAIT).await.expect("the second goes on alone");
    check_rows(&toy, &postgres).await;
    other.stop().await;
    postgres.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_postgres_is_started_again_and_nothing_is_lost_or_doubled() {
    let toy = Toy::new().await;
    let postgres = Postgres::start().await;
    let workers = toy.workers(&postgres.pool, None).await;
    for round in 0..3 {
        toy.append(events(round * 4000, 4000, 500)).await;
        tokio::time::sleep(Duration::from_millis(15)).await;
        let process = postgres.server.process_id().expect("it runs");
        let process = Pid::from_raw(i32::try_from(process).expect("a pid"));
        kill(process, Signal::SIGKILL).expect("killed");
        toy.append(events(100_000 + round * 100, 100, 500)).await;
        workers.wait_for_all(toy.head(), WAIT).await.expect("caught up after a kill");
        // A process that outlives its killed parent for a moment may have answered before there is another server.
        wait_until(async || postgres.server.restarts() > round).await;
        assert!(postgres.server.restarts() > round, "it was started again");
    }
    check_rows_in_time(&toy, &postgres).await;
    workers.stop().await;
    postgres.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_a_crash_takes_back_come_again_without_another_event() {
    let toy = Toy::new().await;
    let postgres = Postgres::start().await;
    toy.append(events(0, 500, 40)).await;
    let workers = toy.workers(&postgres.pool, None).await;
    workers.wait_for_all(toy.head(), WAIT).await.expect("caught up");
    let taken_back = "WITH gone AS (DELETE FROM toy_balances) \
                      UPDATE annals_projections SET position = NULL WHERE name = 'toy_balances'";
    sqlx::query(taken_back).execute(&postgres.pool).await.expect("as after a crash");
    check_rows_in_time(&toy, &postgres).await;
    assert_eq!(postgres.checkpoint("toy_balances").await, Some(toy.head()));
    workers.stop().await;
    postgres.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_projection_that_cannot_go_on_stops_at_the_place_and_others_go_on() {
    let toy = Toy::new().await;
    let postgres = Postgres::start().await;
    let mut catalogue = toy::catalogue();
    catalogue.read_model::<Fragile>();
    let workers = toy.workers_of(&catalogue, &postgres.pool, None).await;
    toy.append(events(0, 1500, 10)).await;
    let boom = toy.append(vec![moved("B", "1", "boom")]).await;
    toy.append(events(1500, 1500, 10)).await;
    workers.wait_for("toy_totals", toy.head(), WAIT).await.expect("others go on");
    let failed = workers.wait_for("toy_fragile", boom, WAIT).await.expect_err("it stopped");
    assert!(failed.to_string().contains("it went boom"), "{failed}");
    let status = workers.status().into_iter().find(|s| s.name == "toy_fragile").expect("listed");
    assert_eq!(status.state, ProjectionState::Failed);
    assert!(status.reason.expect("why").contains(&format!("event {boom} ")), "names the place");
    let before = Position(boom.0 - 1);
    assert_eq!(status.position, Some(before), "everything before it counts");
    assert_eq!(postgres.checkpoint("toy_fragile").await, Some(before));
    let stored: String = sqlx::query_scalar(
        "SELECT status || ' ' || reason FROM annals_projections WHERE name = 'toy_fragile'",
    )
    .fetch_one(&postgres.pool)
    .await
    .expect("a row");
    assert!(stored.starts_with("failed") && stored.contains("it went boom"), "{stored}");
    workers.stop().await;
    postgres.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_decode_and_what_the_database_refuses_is_named_by_its_position() {
    let toy = Toy::new().await;
    let postgres = Postgres::start().await;
    let mut catalogue = Catalogue::new();
    catalogue.read_model::<Fragile>();
    catalogue.read_model::<Totals>();
    toy.append(events(0, 400, 10)).await;
    let refused = toy.append(vec![moved("R", "1", "refused")]).await;
    toy.append(events(400, 100, 10)).await;
    let garbage = toy.append_garbage().await;
    toy.append(events(500, 100, 10)).await;
    let workers = toy.workers_of(&catalogue, &postgres.pool, None).await;
    let head = toy.head();
    let at = |name: &str| workers.status().into_iter().find(|s| s.name == name).expect("listed");
    workers.wait_for("toy_fragile", head, WAIT).await.expect_err("the database refuses");
    let fragile = at("toy_fragile");
    assert_eq!(fragile.position, Some(Position(refused.0 - 1)), "{:?}", fragile.reason);
    assert!(fragile.reason.expect("why").contains(&format!("up to {refused}")));
    workers.wait_for("toy_totals", head, WAIT).await.expect_err("it does not decode");
    let totals = at("toy_totals");
    assert_eq!(totals.position, Some(Position(garbage.0 - 1)), "{:?}", totals.reason);
    workers.stop().await;
    postgres.stop().await;
}

/// The totals in another version, with another meaning.
struct NewTotals;

impl Projection for NewTotals {
    type Event = ToyEvent;
    type Row = Total;
    const NAME: &'static str = "toy_totals";
    const VERSION: u32 = 2;
    const KEY: &'static str = "id";
    const SCOPE: RowScope = RowScope::ManyStreams;
    const DDL: &'static str = Totals::DDL;

    fn keys(event: &Recorded<ToyEvent>, keys: &mut Vec<RowKey>) {
        Totals::keys(event, keys);
    }

    fn apply(key: &str, row: Option<Total>, event: &Recorded<ToyEvent>) -> Option<Total> {
        Totals::apply(key, row, event).map(|row| Total { events: row.events + 1, ..row })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_of_another_version_or_log_is_not_resumed() {
    let toy = Toy::new().await;
    let postgres = Postgres::start().await;
    let workers = toy.workers(&postgres.pool, None).await;
    toy.append(events(0, 100, 10)).await;
    workers.wait_for_all(toy.head(), WAIT).await.expect("caught up");
    workers.stop().await;
    let check = async |catalogue: &Catalogue, toy: &Toy, state, reason: &str| {
        let workers = toy.workers_of(catalogue, &postgres.pool, None).await;
        let wait = workers.wait_for("toy_totals", Position(1_000_000), WAIT).await;
        wait.expect_err("it does not run");
        let status = workers.status().into_iter().find(|s| s.name == "toy_totals");
        let status = status.expect("listed");
        assert_eq!(status.state, state);
        assert!(status.reason.clone().expect("why").contains(reason), "{status:?}");
        workers.stop().await;
    };
    let mut newer = Catalogue::new();
    newer.read_model::<NewTotals>();
    check(&newer, &toy, ProjectionState::NeedsRebuild, "version 1").await;
    // The same store, but shorter: as after the loss of its last segment.
    let shorter = Toy::new().await;
    check(&toy::catalogue(), &shorter, ProjectionState::Failed, "beyond the end").await;
    sqlx::query("UPDATE annals_projections SET store_epoch = 2")
        .execute(&postgres.pool)
        .await
        .expect("another epoch");
    check(&toy::catalogue(), &toy, ProjectionState::Failed, "epoch 2").await;
    // An operator says that it is the same log after all.
    let workers = toy.workers(&postgres.pool, None).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    sqlx::query("UPDATE annals_projections SET store_epoch = 1, status = 'running'")
        .execute(&postgres.pool)
        .await
        .expect("the same epoch");
    toy.append(events(100, 100, 10)).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    workers.wait_for_all(toy.head(), WAIT).await.expect("it goes on");
    check_rows(&toy, &postgres).await;
    workers.stop().await;
    postgres.stop().await;
}
