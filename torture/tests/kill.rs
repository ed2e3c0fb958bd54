//! Real files, real syncs, real `kill -9`: a child appends and tells what was acknowledged, and is
//! killed at a random moment, again and again on the same log. Everything acknowledged must stand
//! where it was acknowledged, once.

#![allow(clippy::print_stdout, reason = "the child tells its parent on standard output")]

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use annals_core::random::SeededRandom;
use annals_oracle::Held;
use annals_store::Log;
use annals_torture::appends::{self, AGAIN, Acknowledged, FLYING};

/// How many kills, unless `ANNALS_KILLS` says otherwise.
const KILLS: u64 = 50;
const CHILD: &str = "ANNALS_KILL_TEST_FOLDER";

fn open(folder: &Path) -> Arc<Log> {
    appends::open(folder, 1 << 20).expect("the log opens")
}

async fn child(folder: &Path) {
    let log = open(folder);
    let first = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(0_u64);
    let failure = appends::append_without_end(&log, first, FLYING).await;
    panic!("{failure:?}");
}

/// Lets a child append until it is killed; notes what it was told.
async fn kill_a_child(folder: &Path, first: u64, after: Duration) -> Vec<Acknowledged> {
    let this = std::env::current_exe().expect("this program has a path");
    let mut command = Command::new(this);
    command.arg(first.to_string()).env(CHILD, folder).stdout(Stdio::piped());
    let mut child = command.spawn().expect("the child starts");
    let out = child.stdout.take().expect("it is piped");
    let told = tokio::task::spawn_blocking(move || {
        let lines = BufReader::new(out).lines().map_while(Result::ok);
        lines.filter_map(|line| Acknowledged::parse(&line)).collect::<Vec<_>>()
    });
    tokio::time::sleep(after).await;
    child.kill().expect("the child is killed"); // SIGKILL
    child.wait().expect("the child has ended");
    let mut told = told.await.expect("the lines are read");
    told.pop(); // Its last number may be cut short.
    told
}

async fn parent() {
    let folder = tempfile::tempdir().expect("a folder");
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let kills = number("ANNALS_KILLS").unwrap_or(KILLS);
    let seed = number("ANNALS_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("kill: {kills} kills, ANNALS_SEED={seed}");
    let random = SeededRandom::new(seed);
    let mut held = Held::default();
    let mut acknowledged = HashSet::new();
    let mut next = 0_u64;
    for _ in 0..kills {
        let after = Duration::from_millis(20 + random.below(300));
        // Some of what was acknowledged, and all of which nobody knows, is sent again.
        let told = kill_a_child(folder.path(), next.saturating_sub(AGAIN), after).await;
        next = told.iter().map(|told| told.number + 1).max().unwrap_or(next).max(next);
        let log = open(folder.path());
        let read = appends::read_on(&mut held, &log, u64::MAX).await;
        read.expect("the log holds what was sent");
        log.close();
        for told in told {
            held.check(told.number, &told.answer).expect("what was acknowledged stands there");
            acknowledged.insert(told.number);
        }
    }
    // And once more from the start: nothing that was there before a kill has moved.
    let log = open(folder.path());
    let mut again = Held::default();
    let read = appends::read_on(&mut again, &log, u64::MAX).await;
    read.expect("the log holds what was sent");
    assert!(again == held, "what was read once stays");
    log.close();
    appends::verify(folder.path()).expect("the log is sound");
    let events: u64 = acknowledged.iter().map(|number| appends::size(*number)).sum();
    assert!(events > kills * 100, "{events} events were acknowledged");
    println!(
        "kill: {kills} kills, {events} events acknowledged, 0 lost, 0 doubled, ANNALS_SEED={seed}"
    );
}

fn main() {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build().expect("a runtime starts");
    match std::env::var_os(CHILD) {
        Some(folder) => runtime.block_on(child(Path::new(&folder))),
        None => runtime.block_on(parent()),
    }
}
