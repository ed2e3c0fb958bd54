//! Facts in the real ClickHouse engine: nothing is inserted twice, whatever is killed, and a rebuild gives the same.
//! This program is both the tests and, when called as such, the child process that the engine runs in.

#[path = "../../workers/tests/toy/mod.rs"]
mod toy;

use std::process::ExitCode;
use std::time::Duration;

use annals_analytics::{Options, Supervisor};
use annals_core::Position;
use annals_core::random::SeededRandom;
use annals_replay::{ReplaySource, digests, rebuild, verify};
use annals_workers::registry::{self, Remembered};
use annals_workers::{ClickHouse, ClickHouseOptions};
use clap::Parser;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::Connection;
use sqlx::postgres::PgConnection;
use toy::{Postgres, Toy, WAIT, events, moved};

struct World {
    toy: Toy,
    postgres: Postgres,
    engine: Supervisor,
    analytics: ClickHouse,
}

/// The first argument of this program as the engine's child.
const CHILD: &str = "analytics-child";

#[derive(clap::Parser)]
struct Child {
    #[command(flatten)]
    arguments: annals_analytics::child::Arguments,
}

/// Runs the tests whose names contain the first argument that is no option; all of them without one.
#[allow(clippy::print_stdout, reason = "a test program reports on standard output")]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == CHILD) {
        let own = std::env::args().enumerate().filter(|(at, _)| *at != 1).map(|(_, own)| own);
        return annals_analytics::child::run(Child::parse_from(own).arguments);
    }
    let tests: [(&str, fn()); 3] = [
        ("facts_follow_the_log_and_a_rebuild_gives_the_same", || {
            run(facts_follow_the_log_and_a_rebuild_gives_the_same());
        }),
        ("no_fact_is_lost_or_doubled_whatever_is_killed", || {
            run(no_fact_is_lost_or_doubled_whatever_is_killed());
        }),
        ("a_pending_range_is_inserted_again_under_its_name_and_counts_once", || {
            run(a_pending_range_is_inserted_again_under_its_name_and_counts_once());
        }),
    ];
    let wanted = arguments.iter().find(|argument| !argument.starts_with('-'));
    let chosen = tests.iter().filter(|(name, _)| wanted.is_none_or(|part| name.contains(part)));
    if arguments.iter().any(|argument| argument == "--list") {
        chosen.for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let mut failed = 0;
    for (name, test) in chosen {
        let ended = std::thread::spawn(*test).join();
        println!("test {name} ... {}", if ended.is_ok() { "ok" } else { "FAILED" });
        failed += usize::from(ended.is_err());
    }
    println!("test result: {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(test: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_all().build().expect("a runtime").block_on(test);
}

impl World {
    async fn new() -> World {
        let toy = Toy::new().await;
        let postgres = Postgres::start().await;
        let program = std::env::current_exe().expect("this program's path");
        let mut options = Options::new(program, postgres.folder.path().join("analytics"));
        options.arguments.push(CHILD.into());
        let engine = Supervisor::start(options).await.expect("the engine starts");
        let analytics = ClickHouse::new(ClickHouseOptions {
            url: engine.url().to_owned(),
            user: Some(engine.user().to_owned()),
            password: Some(engine.key().to_owned()),
            database: engine.database().to_owned(),
        });
        World { toy, postgres, engine, analytics }
    }

    fn source(&self) -> ReplaySource {
        ReplaySource {
            store: self.toy.store(),
            schemas: self.toy.schemas.clone(),
            catalogue: toy::catalogue_with_facts(),
            pool: self.postgres.pool.clone(),
            analytics: Some(self.analytics.clone()),
        }
    }

    async fn line(&self, sql: &str) -> String {
        self.analytics.lines(sql).await.expect("an answer").join("\n")
    }

    /// The facts and their aggregate are exactly those of the log.
    async fn check_facts(&self) {
        let moves: Vec<_> = self
            .toy
            .store
            .events()
            .into_iter()
            .filter(|event| event.event_type.as_str() == "toy.Moved")
            .collect();
        let counted = self.line("SELECT count(), uniqExact(position) FROM toy_moves").await;
        assert_eq!(counted, format!("{0}\t{0}", moves.len()), "each fact once");
        let aggregated = self.line("SELECT sum(moves) FROM toy_sums").await;
        assert_eq!(aggregated, moves.len().to_string(), "and once in the aggregate");
        let report = verify(&self.source(), &["toy_moves".to_owned()], |_, _| {}).await;
        let report = report.expect("verified");
        assert_eq!(report.mismatches, 0, "{report:?}");
        assert_eq!(report.projections[0].views[0].mismatches, Some(0), "{report:?}");
    }

    async fn stop(self) {
        self.postgres.stop().await;
        self.engine.stop().await;
    }
}

async fn facts_follow_the_log_and_a_rebuild_gives_the_same() {
    let world = World::new().await;
    let toy = &world.toy;
    toy.append(events(0, 10_000, 300)).await;
    let workers = toy.workers(&world.postgres.pool, Some(world.analytics.clone())).await;
    workers.wait_for_all(toy.head(), WAIT).await.expect("caught up");
    world.check_facts().await;
    let live = moved("L", "12345678901234567890.12345678", "");
    let at = toy.append(vec![live]).await;
    workers.wait_for("toy_moves", at, WAIT).await.expect("it arrives");
    let amount = world.line("SELECT amount FROM toy_moves WHERE account = 'L'").await;
    assert_eq!(amount, "12345678901234567890.12345678", "every digit");
    let names = ["toy_moves".to_owned()];
    let before = digests(&world.source(), &names).await.expect("digests");
    let report = rebuild(&world.source(), &names, |_| {}).await.expect("rebuilt");
    assert_eq!(report.projections[0].generation, 2, "{report:?}");
    assert_eq!(digests(&world.source(), &names).await.expect("digests"), before, "byte for byte");
    toy.append(events(20_000, 300, 300)).await;
    workers.wait_for_all(toy.head(), WAIT).await.expect("the live worker goes on");
    world.check_facts().await;
    let relations = world.analytics.relations().await.expect("relations");
    let made = ["toy_moves", "toy_moves_g2", "toy_sums", "toy_sums_feed_g2", "toy_sums_rows_g2"];
    assert_eq!(relations, made, "only the live generation is left");
    workers.stop().await;
    world.stop().await;
}

async fn no_fact_is_lost_or_doubled_whatever_is_killed() {
    let world = World::new().await;
    let toy = &world.toy;
    let seed: u64 = std::env::var("ANNALS_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(11);
    eprintln!("seed {seed}");
    let random = SeededRandom::new(seed);
    for round in 0..14 {
        toy.append(events(round * 2500, 2500, 200)).await;
        let workers = toy.workers(&world.postgres.pool, Some(world.analytics.clone())).await;
        tokio::time::sleep(Duration::from_millis(random.below(120))).await;
        match random.below(3) {
            0 => {} // Only the worker is cut off.
            1 => {
                let engine = world.engine.pid();
                if let Some(engine) = engine {
                    let pid = Pid::from_raw(i32::try_from(engine).expect("a pid"));
                    kill(pid, Signal::SIGKILL).expect("the engine is killed");
                }
            }
            _ => {
                let server = world.postgres.server.process_id();
                if let Some(server) = server {
                    let pid = Pid::from_raw(i32::try_from(server).expect("a pid"));
                    kill(pid, Signal::SIGKILL).expect("PostgreSQL is killed");
                }
            }
        }
        if random.below(2) == 0 {
            drop(workers);
        } else {
            workers.wait_for_all(toy.head(), WAIT).await.expect("caught up after a kill");
            workers.stop().await;
        }
        settle(&world).await;
    }
    let workers = toy.workers(&world.postgres.pool, Some(world.analytics.clone())).await;
    workers.wait_for_all(toy.head(), WAIT).await.expect("caught up");
    world.check_facts().await;
    workers.stop().await;
    world.stop().await;
}

/// Waits until both databases answer again.
async fn settle(world: &World) {
    let deadline = std::time::Instant::now() + WAIT;
    loop {
        // On a new connection: a process of the killed server may still answer on an old one, for a moment. The next
        // server starts when the last of them is gone.
        let postgres = PgConnection::connect_with(&world.postgres.pool.connect_options()).await;
        let engine = world.analytics.lines("SELECT 1").await;
        if postgres.is_ok() && engine.is_ok() {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "{:?} {engine:?}", postgres.err());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn a_pending_range_is_inserted_again_under_its_name_and_counts_once() {
    let world = World::new().await;
    let toy = &world.toy;
    let first = toy.append(events(0, 500, 20)).await;
    let workers = toy.workers(&world.postgres.pool, Some(world.analytics.clone())).await;
    workers.wait_for_all(first, WAIT).await.expect("caught up");
    workers.stop().await;
    let last = toy.append(events(500, 400, 20)).await;
    let middle = Position(first.0 + 150);
    // Cut off before the insert: announced, nothing inserted.
    let mut connection = world.postgres.pool.acquire().await.expect("a connection");
    let remembered = Remembered { generation: 1, position: Some(first) };
    let identity = toy.store().identity();
    let announced =
        registry::announce(&mut connection, "toy_moves", remembered, identity, middle).await;
    assert!(announced.expect("announced"));
    let workers = toy.workers(&world.postgres.pool, Some(world.analytics.clone())).await;
    workers.wait_for_all(last, WAIT).await.expect("caught up");
    workers.stop().await;
    world.check_facts().await;
    // Cut off after the insert, before the checkpoint: the same bounds again.
    sqlx::query(
        "UPDATE annals_projections SET position = $1, pending_from = $1, pending_to = $2 \
         WHERE name = 'toy_moves'",
    )
    .bind(registry::to_bigint(first))
    .bind(registry::to_bigint(middle))
    .execute(&mut *connection)
    .await
    .expect("as a crash leaves it");
    let after = toy.append(events(900, 100, 20)).await;
    let workers = toy.workers(&world.postgres.pool, Some(world.analytics.clone())).await;
    workers.wait_for("toy_moves", middle, WAIT).await.expect("the range is there");
    let counted =
        format!("SELECT count(), uniqExact(position) FROM toy_moves WHERE position <= {middle}");
    let line = world.line(&counted).await;
    let (count, distinct) = line.split_once('\t').expect("two columns");
    assert_eq!(count, distinct, "the range counts once");
    drop(workers);
    drop(connection);
    assert!(after > last);
    world.stop().await;
}
