//! The child's life: it starts, is killed and comes back, ends cleanly, and never shares its folder.

mod support;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use annals_analytics::{Options, StartError, State, Supervisor};
use clickhouse::Row;
use serde::{Deserialize, Serialize};
use support::{Analytics, child_program, libchdb, options};

#[derive(Row, Serialize)]
struct Fact {
    batch: u64,
    number: u64,
}

#[derive(Debug, Row, Deserialize)]
struct Count {
    batch: u64,
    rows: u64,
}

const ROWS: u64 = 2_000;

/// A child with an empty table of facts that remembers the tokens of its inserts.
async fn with_facts() -> Analytics {
    let analytics = Analytics::start().await;
    analytics
        .execute(
            "CREATE TABLE facts (batch UInt64, number UInt64) ENGINE = MergeTree ORDER BY (batch, number) \
             SETTINGS non_replicated_deduplication_window = 10000",
        )
        .await;
    analytics
}

async fn send(client: &clickhouse::Client, batch: u64) -> Result<(), clickhouse::error::Error> {
    let token = format!("facts_g1:{batch}");
    let client =
        client.clone().with_setting("insert_deduplication_token", token).with_validation(false);
    let mut insert = client.insert::<Fact>("facts").await?;
    for number in 0..ROWS {
        insert.write(&Fact { batch, number }).await?;
    }
    insert.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_lose_no_acknowledged_row_and_split_no_batch() {
    let analytics = with_facts().await;
    let client = analytics.client();
    let url = analytics.supervisor.url().to_owned();
    let writer = tokio::spawn(async move {
        let mut acknowledged = BTreeMap::new();
        let until = Instant::now() + Duration::from_secs(9);
        for batch in 0.. {
            if Instant::now() > until {
                break;
            }
            acknowledged.insert(batch, send(&client, batch).await.is_ok());
        }
        acknowledged
    });
    for wait in [1_300, 700, 1_900] {
        tokio::time::sleep(Duration::from_millis(wait)).await;
        analytics.kill().await;
    }
    let acknowledged = writer.await.unwrap();
    assert_eq!(analytics.supervisor.url(), url, "the address stays");
    let failed: Vec<u64> =
        acknowledged.iter().filter(|(_, done)| !**done).map(|(batch, _)| *batch).collect();
    assert!(!failed.is_empty() && acknowledged.len() > 20, "{} batches", acknowledged.len());
    let stored = stored(&analytics).await;
    for (batch, rows) in &stored {
        assert_eq!(*rows, ROWS, "batch {batch} is whole");
    }
    for (batch, done) in &acknowledged {
        assert!(!done || stored.contains_key(batch), "batch {batch} was acknowledged");
    }
    // Sent again under its own token, a batch whose end nobody heard of is there once.
    for batch in failed {
        send(&analytics.client(), batch).await.unwrap();
    }
    let all = self::stored(&analytics).await;
    assert!(all.len() == acknowledged.len() && all.values().all(|rows| *rows == ROWS), "{all:?}");
    let (_, checked) = analytics.post(&[], "CHECK TABLE facts").await;
    assert!(!checked.contains("\t0\t") && !checked.starts_with('0'), "{checked}");
    let detached = "SELECT count() FROM system.detached_parts";
    assert_eq!(analytics.number(detached).await, 0);
    analytics.stop().await;
}

/// What a kill leaves that falls between the note of an insert and the naming of its part.
#[tokio::test(flavor = "multi_thread")]
async fn an_insert_that_was_noted_but_never_finished_can_be_made_again() {
    let analytics = with_facts().await;
    for batch in 0..3 {
        send(&analytics.client(), batch).await.unwrap();
    }
    let table = "SELECT data_paths[1] FROM system.tables WHERE name = 'facts'";
    let path = analytics.client().query(table).fetch_one::<String>().await.unwrap();
    let folder = analytics.stop().await;
    let table = if Path::new(&path).is_absolute() {
        Path::new(&path).to_owned()
    } else {
        folder.path().join("engine").join(path)
    };
    std::fs::remove_dir_all(table.join("all_2_2_0")).unwrap();
    let supervisor = Supervisor::start(options(folder.path())).await.unwrap();
    let analytics = Analytics { supervisor, folder };
    for batch in 0..3 {
        send(&analytics.client(), batch).await.unwrap();
    }
    let all = stored(&analytics).await;
    assert_eq!(all, BTreeMap::from([(0, ROWS), (1, ROWS), (2, ROWS)]), "each is there once");
    analytics.stop().await;
}

async fn stored(analytics: &Analytics) -> BTreeMap<u64, u64> {
    let sql = "SELECT batch, count() AS rows FROM facts GROUP BY batch";
    let counts = analytics.client().query(sql).fetch_all::<Count>().await.expect("counts");
    counts.into_iter().map(|count| (count.batch, count.rows)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_wait_while_a_killed_child_is_replaced() {
    let analytics = Analytics::start().await;
    let old = analytics.supervisor.pid().unwrap();
    analytics.kill().await;
    assert!(!Path::new(&format!("/proc/{old}")).exists(), "the killed child is waited for");
    assert_eq!(analytics.number("SELECT toUInt64(1)").await, 1);
    let pid = nix::unistd::Pid::from_raw(analytics.supervisor.pid().unwrap().try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    // At once, with no child there: the socket is still the supervisor's, so the request waits in its queue.
    let mut answered = analytics.client().query("SELECT toUInt64(2)").fetch_one::<u64>().await;
    if answered.is_err() {
        // The request met the dying child; the next one waits.
        answered = analytics.client().query("SELECT toUInt64(2)").fetch_one::<u64>().await;
    }
    assert_eq!(answered.unwrap(), 2);
    analytics.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_asked_end_has_code_0_and_keeps_the_rows() {
    let analytics = Analytics::start().await;
    let pid = analytics.supervisor.pid().unwrap();
    // Many parts, views and temporary tables: what made the engine crash when it was left open.
    analytics
        .execute("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a PARTITION BY a % 20")
        .await;
    analytics
        .execute(
            "CREATE MATERIALIZED VIEW m ENGINE = AggregatingMergeTree ORDER BY k AS \
             SELECT a % 3 AS k, countState() AS n FROM t GROUP BY k",
        )
        .await;
    for _ in 0..20 {
        analytics.execute("INSERT INTO t SELECT number FROM numbers(100)").await;
    }
    let folder = analytics.stop().await;
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    let supervisor = Supervisor::start(options(folder.path())).await.unwrap();
    let analytics = Analytics { supervisor, folder };
    assert_eq!(analytics.number("SELECT count() FROM t").await, 2_000);
    assert_eq!(analytics.number("SELECT countMerge(n) FROM m").await, 2_000);
    analytics.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_waits_for_what_is_at_work_but_not_for_ever() {
    let analytics = Analytics::start().await;
    let request = analytics.request(reqwest::Method::POST, &[]).body("SELECT sleep(2)");
    let answer = tokio::spawn(support::answer(request));
    tokio::time::sleep(Duration::from_millis(500)).await;
    analytics.stop().await;
    assert_eq!(answer.await.unwrap(), (200, "0\n".to_owned()));

    let analytics = Analytics::start().await;
    let endless = "SELECT count() FROM system.numbers";
    let request = analytics.request(reqwest::Method::POST, &[]).body(endless).send();
    let endless = tokio::spawn(request);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let asked = Instant::now();
    analytics.stop().await;
    assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
    assert!(endless.await.unwrap().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_has_one_owner() {
    let analytics = Analytics::start().await;
    let second =
        Options { lock_wait: Duration::from_millis(300), ..options(analytics.folder.path()) };
    let error = Supervisor::start(second).await.map(|_| ()).unwrap_err();
    assert!(
        matches!(&error, StartError::Owned { reason, .. } if reason.contains("another process")),
        "{error}"
    );
    assert_eq!(error.family(), annals_core::Family::Conflict);
    assert_eq!(analytics.number("SELECT toUInt64(1)").await, 1);
    let folder = analytics.stop().await;
    Supervisor::start(options(folder.path())).await.unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_cannot_start_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = folder.path().join("libchdb.so");
    std::fs::write(&wrong, b"no library").unwrap();
    let broken = Options { library: Some(wrong), ..options(folder.path()) };
    let error = Supervisor::start(broken).await.map(|_| ()).unwrap_err();
    assert!(
        matches!(&error, StartError::Ended { reason, .. } if reason.contains("cannot load the library")),
        "{error}"
    );
    let absent = Options { program: folder.path().join("nothing"), ..options(folder.path()) };
    let error = Supervisor::start(absent).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, StartError::Spawn { .. }), "{error}");
}

/// The child that a parent left behind: it must not outlive it, or nobody could open the folder again.
#[test]
fn a_child_ends_with_its_parent() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut child = Command::new(child_program())
        .arg("--data")
        .arg(folder.path())
        .arg("--library")
        .arg(libchdb())
        .env("ANNALS_ANALYTICS_KEY", "key")
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /ping HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let environment = std::fs::read_to_string(format!("/proc/{}/cmdline", child.id())).unwrap();
    assert!(!environment.contains("key\0"), "the key is never on the command line");
    let parent = child.stdout.take().unwrap();
    let gone = Instant::now();
    drop(parent);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(gone.elapsed() < Duration::from_secs(5), "{:?}", gone.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_keeps_failing_is_tried_again_and_can_be_stopped() {
    let analytics = Analytics::start().await;
    let mut states = analytics.supervisor.states();
    // Another owner takes the folder in the moment between two children.
    let lock = std::fs::File::open(analytics.folder.path().join("lock")).unwrap();
    let pid = nix::unistd::Pid::from_raw(analytics.supervisor.pid().unwrap().try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    states.wait_for(|state| matches!(state, State::Restarting { .. })).await.unwrap();
    let held = loop {
        if let Ok(()) = lock.try_lock() {
            break true;
        }
        if matches!(*states.borrow(), State::Ready { .. }) {
            break false;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    if held {
        assert_eq!(analytics.supervisor.pid(), None);
        drop(lock);
    }
    let ready = states.wait_for(|state| matches!(state, State::Ready { .. }));
    tokio::time::timeout(Duration::from_secs(30), ready).await.unwrap().unwrap();
    assert_eq!(analytics.number("SELECT toUInt64(1)").await, 1);
    analytics.stop().await;
}
