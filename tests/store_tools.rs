//! `annals store` through the built binary: a log is verified, backed up beside a server, restored whole and to a moment,
//! and repaired; what cannot be done says why, with its exit code, and changes nothing.

mod harness;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::server::Server;
use harness::{Finished, annals, run, scratch};
use serde_json::Value;

const MALFORMED: i32 = 2;
const NO: i32 = 4;
const UNAVAILABLE: i32 = 7;
const DAMAGED: i32 = 8;

/// `annals --data DATA WORDS…`, with segments of 1 MiB.
fn on(data: &Path, words: &str) -> Command {
    let mut command = annals();
    command.env("ANNALS_SEGMENT_BYTES", "1048576");
    command.arg("--data").arg(data).args(words.split(' '));
    command
}

fn store(data: &Path, verb: &str, folder: Option<(&str, &Path)>) -> Finished {
    let mut command = on(data, &format!("store {verb} --json"));
    if let Some((flag, folder)) = folder {
        command.arg(flag).arg(folder);
    }
    run(&mut command)
}

/// Takes notes of 100,000 bytes, each an append of its own.
fn take_notes(data: &Path, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let mut command = on(data, "events append --stream note-1 --type note.Taken --json");
        run(command.arg(format!(r#"{{"number":{number},"text":"{}"}}"#, "x".repeat(100_000))))
            .exits_with(0);
    }
}

/// The numbers of the notes in the log.
fn notes(data: &Path) -> Vec<u64> {
    let read = run(&mut on(data, "events read --stream note-1 --json")).exits_with(0);
    let number = |line: &str| {
        let event: Value = serde_json::from_str(line).expect("JSON");
        event["data"]["number"].as_u64().expect("a number")
    };
    read.stdout.lines().map(number).collect()
}

fn flip(path: &Path, offset: usize) {
    let mut bytes = fs::read(path).expect("a file");
    bytes[offset] ^= 1;
    fs::write(path, bytes).expect("a file");
}

fn segment(data: &Path, number: u32) -> PathBuf {
    data.join(format!("log/{number:08}.segment"))
}

#[test]
fn a_log_is_verified_backed_up_restored_and_repaired() {
    let folder = scratch();
    let [data, backup] = ["data", "backup"].map(|name| folder.path().join(name));
    take_notes(&data, 0..24);

    let info = store(&data, "info", None).exits_with(0).json();
    assert!(info["segments"].as_u64() > Some(2), "{info}");
    assert!(info["index_files"].as_u64() > Some(1), "{info}");
    assert!(info["first_time"].as_str() < info["last_time"].as_str(), "{info}");
    let sound = store(&data, "verify", None).exits_with(0).json();
    assert_eq!((&sound["sound"], &sound["events"]), (&Value::Bool(true), &info["events"]));
    assert_eq!(sound["chain"].as_str().map(str::len), Some(64));
    let some = store(&data, "verify --from 5 --to 6", None).exits_with(0).json();
    assert!(some["segments"].as_u64() < sound["segments"].as_u64(), "{some}");

    let made = store(&data, "backup", Some(("--to", &backup))).exits_with(0).json();
    assert_eq!((&made["head"], &made["chain"]), (&info["head"], &sound["chain"]));
    assert_eq!((&made["copied_segments"], &made["in_use"]), (&made["segments"], &false.into()));
    let again = store(&data, "backup", Some(("--to", &backup))).exits_with(0).json();
    assert_eq!((&again["copied_bytes"], &again["chain"]), (&0.into(), &made["chain"]));

    let restored = folder.path().join("restored");
    let done = store(&restored, "restore", Some(("--from", &backup))).exits_with(0).json();
    assert_eq!((&done["epoch"], &done["chain"]), (&2.into(), &made["chain"]));
    assert_eq!(notes(&restored), notes(&data));
    store(&restored, "verify", None).exits_with(0);
    take_notes(&restored, 24..26);
    store(&restored, "restore", Some(("--from", &backup))).exits_with(NO).says(&["not empty"]);
    store(&restored, "backup", Some(("--to", &backup))).exits_with(0);

    let file = segment(&data, 2);
    flip(&file, 4_300);
    let damaged = store(&data, "verify", None).exits_with(DAMAGED).json();
    let place = &damaged["damages"][0];
    assert_eq!(place["file"].as_str(), file.to_str());
    assert!(place["offset"].as_u64() <= Some(4_300) && place["position"].is_u64(), "{place}");
    let text = run(&mut on(&data, "store verify")).exits_with(DAMAGED);
    assert!(text.stdout.contains("1 place is damaged"), "{}", text.stdout);
    let elsewhere = folder.path().join("elsewhere");
    store(&data, "backup", Some(("--to", &elsewhere))).exits_with(DAMAGED).says(&["repair"]);
    // Since its backup was extended from the restored log, it is of a later epoch than this one.
    store(&data, "repair", Some(("--from", &backup))).exits_with(NO).says(&["hint: "]);
    assert_eq!(store(&data, "verify", None).json()["damages"], damaged["damages"]);
}

#[test]
fn a_damaged_log_is_repaired_from_a_backup_made_before() {
    let folder = scratch();
    let [data, backup] = ["data", "backup"].map(|name| folder.path().join(name));
    take_notes(&data, 0..14);
    store(&data, "backup", Some(("--to", &backup))).exits_with(0);
    take_notes(&data, 14..16);
    let before = notes(&data);
    let sound = store(&data, "verify", None).exits_with(0).json();
    let nothing = store(&data, "repair", Some(("--from", &backup))).exits_with(0).json();
    assert_eq!(nothing["replaced"], Value::Array(Vec::new()));
    for number in [1, 2] {
        flip(&segment(&data, number), 4_300);
    }
    run(&mut on(&data, "events read")).exits_with(DAMAGED);
    let done = store(&data, "repair", Some(("--from", &backup))).exits_with(0).json();
    assert_eq!(done["replaced"].as_array().map(Vec::len), Some(2));
    assert_eq!(done["chain"], sound["chain"]);
    let kept = done["replaced"][0]["kept"].as_str().expect("it is kept");
    assert!(Path::new(kept).is_file());
    assert_eq!(store(&data, "verify", None).exits_with(0).json()["chain"], sound["chain"]);
    assert_eq!(notes(&data), before);
    take_notes(&data, 16..17);
}

/// The type and time of each event of the account.
fn account(data: &Path) -> Vec<(String, String)> {
    let read = run(&mut on(data, "events read --stream account-A1 --json")).exits_with(0);
    let text = |event: &Value, field: &str| event[field].as_str().expect("text").to_owned();
    let told = |line: &str| {
        let event: Value = serde_json::from_str(line).expect("JSON");
        (text(&event, "type"), text(&event, "time"))
    };
    read.stdout.lines().map(told).collect()
}

#[test]
fn a_backup_beside_a_server_is_restored_to_any_moment() {
    let folder = scratch();
    let [data, backup] = ["data", "backup"].map(|name| folder.path().join(name));
    take_notes(&data, 0..1);
    let server = Server::start(&data, &[]);
    let give = |name: &str, fields: &str| {
        let mut command = annals();
        command.args(["command", "trading", name, "--json", fields]);
        run(command.args(["--server", &format!("http://{}", server.address)])).exits_with(0).json()
    };
    let deposit = || give("deposit", r#"{"account":"A1","amount":"1"}"#);
    give("open-account", r#"{"account":"A1"}"#);
    deposit();
    let made = store(&data, "backup", Some(("--to", &backup))).exits_with(0).json();
    assert_eq!(made["in_use"], true);
    store(&data, "verify", None).exits_with(UNAVAILABLE).says(&["hint: ", "backup"]);
    store(&data, "repair", Some(("--from", &backup))).exits_with(UNAVAILABLE);
    let third = deposit()["position"].as_u64().expect("a position");
    let last = deposit()["position"].as_u64().expect("a position");
    assert!(made["head"].as_u64() < Some(third), "{made}");
    let more = store(&data, "backup", Some(("--to", &backup))).exits_with(0).json();
    assert_eq!(more["head"].as_u64(), Some(last), "everything acknowledged before is in it");
    assert_eq!(server.stop().code, Some(0));

    let events = account(&data);
    assert_eq!(events.len(), 4);
    for (name, moment, count) in [
        ("whole", None, 4),
        ("last", Some(last.to_string()), 4),
        ("third", Some(third.to_string()), 3),
        ("by-time", Some(events[2].1.clone()), 3),
        ("earlier", Some(events[0].1.clone()), 1),
    ] {
        let to = folder.path().join(name);
        let verb = moment.map_or("restore".to_owned(), |moment| format!("restore --to {moment}"));
        let done = store(&to, &verb, Some(("--from", &backup))).exits_with(0).json();
        assert_eq!(account(&to), events[..count], "{verb}");
        assert_eq!(done["last_time"].as_str(), Some(events[count - 1].1.as_str()), "{verb}");
        store(&to, "verify", None).exits_with(0);
    }
}

#[test]
fn what_cannot_be_done_is_refused_before_anything_is_touched() {
    let folder = scratch();
    let [data, backup, target] = ["data", "backup", "target"].map(|name| folder.path().join(name));
    for verb in ["verify", "info"] {
        store(&data, verb, None).exits_with(NO).says(&["there is no log"]);
    }
    store(&data, "backup", Some(("--to", &backup))).exits_with(NO).says(&["there is no log"]);
    store(&target, "restore", Some(("--from", &backup))).exits_with(NO).says(&["holds no backup"]);
    assert!(!data.exists() && !backup.exists() && !target.exists());
    take_notes(&data, 0..2);
    let log = data.join("log");
    store(&data, "backup", Some(("--to", &log))).exits_with(NO).says(&["not empty"]);
    store(&data, "backup", Some(("--to", &backup))).exits_with(0);
    for moment in ["9999", "2999-01-01T00:00:00Z", "1999-01-01T00:00:00Z"] {
        let verb = format!("restore --to {moment}");
        store(&target, &verb, Some(("--from", &backup))).exits_with(NO).says(&["hint: "]);
    }
    store(&target, "restore --to noon", Some(("--from", &backup))).exits_with(MALFORMED);
    let name = fs::read_dir(&backup).expect("the backup").filter_map(Result::ok);
    let mut names: Vec<_> =
        name.map(|entry| entry.path()).filter(|p| p.extension().is_some()).collect();
    names.sort();
    flip(&names[0], 5_000);
    let refused = store(&target, "restore", Some(("--from", &backup))).exits_with(DAMAGED);
    refused.says(&[names[0].to_str().expect("text"), "offset"]);
    assert!(!target.exists());
}
