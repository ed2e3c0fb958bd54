//! The main job through the built binary: trades become events, events become rows, and every figure agrees with a
//! count made by someone else. Repeating it adds nothing; Kafka and the in-process feed lead to the same rows.

mod harness;

use std::fs;
use std::path::Path;

use harness::demo::{agrees, demo, digests, totals};
use harness::server::Server;
use harness::services::Services;
use harness::{annals, count_of, run, scratch, trades};
use serde_json::Value;

/// How many trades most of these tests import.
const ROWS: usize = 50_000;

#[test]
fn the_demo_agrees_with_an_independent_count_and_repeating_it_adds_nothing() {
    let folder = scratch();
    let (data, trades) = (folder.path().join("data"), trades(folder.path(), ROWS));
    let first = demo(&data, &trades, |_| {});
    agrees(&first, &trades);
    assert!(count_of(&first, "accounts") >= 100);
    assert!(count_of(&first, "orders") >= ROWS as u64 / 50, "20,000 a million trades");
    assert!(count_of(&first, "fills") > 0);
    assert!(count_of(&first["verify"], "projections") >= 6);
    assert!(count_of(&first["verify"], "rows") >= ROWS as u64);
    assert_eq!(count_of(&first["verify"], "mismatches"), 0);
    for place in ["/seconds/import", "/seconds/catch_up", "/seconds/rebuild", "/command_ms/p99"] {
        assert!(first.pointer(place).is_some_and(Value::is_number), "{place} in {first}");
    }

    let again = demo(&data, &trades, |_| {});
    assert_eq!(totals(&again), totals(&first));
    assert_eq!(count_of(&again["verify"], "mismatches"), 0);

    cash_is_conserved(&data);
}

/// Folds the events as JSON with nothing but their amounts, and holds the accounts' rows against that.
#[track_caller]
fn cash_is_conserved(data: &Path) {
    let events = data.with_file_name("events.jsonl");
    let mut read = annals();
    read.args(["events", "read", "--json", "--limit", "0", "--type", "trading.", "--data"])
        .arg(data);
    fs::write(&events, run(&mut read).exits_with(0).stdout).expect("room for the events");
    let server = Server::start(data, &[]);
    let rows = data.with_file_name("accounts.json");
    fs::write(&rows, Value::from(server.rows("trading_accounts")).to_string()).expect("room");
    assert_eq!(server.stop().code, Some(0));
    let script = harness::repository().join("tests/accounts_check.py");
    let mut check = std::process::Command::new("python3");
    let checked = run(check.arg(script).arg(&events).arg(&rows)).exits_with(0).json();
    assert!(count_of(&checked, "accounts") >= 100);
    assert!(count_of(&checked, "fills") > 0);
}

#[test]
fn kafka_and_the_in_process_feed_lead_to_the_same_rows() {
    let services = Services::start();
    let folder = scratch();
    let trades = trades(folder.path(), ROWS);
    let (embedded, kafka) = (folder.path().join("embedded"), folder.path().join("kafka"));
    let through_memory = demo(&embedded, &trades, |_| {});
    let through_kafka = demo(&kafka, &trades, |command| {
        services.configure(command.args(["--fanout", "kafka"]));
    });
    assert_eq!(totals(&through_kafka), totals(&through_memory));
    assert_eq!(digests(&kafka), digests(&embedded));

    // And it is one job: what Kafka delivered, the in-process feed goes on from.
    let later = demo(&kafka, &trades, |_| {});
    assert_eq!(totals(&later), totals(&through_memory));
}

#[test]
fn a_compressed_file_is_the_same_file() {
    let folder = scratch();
    let plain = trades(folder.path(), 3_000);
    let packed = folder.path().join("trades.csv.zst");
    let bytes = fs::read(&plain).expect("the trades");
    fs::write(&packed, zstd::encode_all(&bytes[..], 3).expect("memory")).expect("room");
    let data = folder.path().join("data");
    let from_packed = demo(&data, &packed, |_| {});
    agrees(&from_packed, &plain);
    assert_eq!(totals(&demo(&data, &plain, |_| {})), totals(&from_packed));
}
