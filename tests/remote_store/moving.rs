//! `annals store copy` from a folder to a server and back, killed on the way.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Running, annals, count_of, pause, run, scratch, text_of, trades};
use crate::remote::{esdb, log_server};

const ROWS: usize = 20_000;

fn copy_command(from: &str, to: &str) -> Command {
    let mut command = annals();
    command.args(["store", "copy", from, to, "--json"]);
    command
}

/// Kills copies at moments that come later and later, and lets the last one end. How many were cut off.
fn copy_with_kills(from: &str, to: &str) -> (u32, Value) {
    let mut cut_off = 0;
    for milliseconds in [150, 400, 800, 1_300] {
        let mut running = Running::start(&mut copy_command(from, to));
        pause(Duration::from_millis(milliseconds));
        cut_off += u32::from(!running.ended());
        running.kill();
    }
    (cut_off, run(&mut copy_command(from, to)).exits_with(0).json())
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn events_move_to_a_server_and_back_through_kills() {
    let folder = scratch();
    let [first, log, back] = ["first", "log", "back"].map(|name| folder.path().join(name));
    let trades = trades(folder.path(), ROWS);
    let mut import = annals();
    import.args(["import", "trades"]).arg(&trades).arg("--data").arg(&first);
    run(&mut import).exits_with(0);
    for number in 0..3 {
        let mut note = annals();
        note.args(["events", "append", "--type", "note.Taken", "--json", "{\"a\": 1}", "--stream"]);
        run(note.arg(format!("note-{number}")).arg("--data").arg(&first)).exits_with(0);
    }

    let server = log_server(&log);
    let (cut_off, there) = copy_with_kills(&text(&first), &esdb(&server));
    assert!(cut_off > 0, "no copy was cut off");
    assert!(count_of(&there, "events") >= ROWS as u64 + 3);
    assert_eq!(count_of(&there, "streams"), 4);
    let again = run(&mut copy_command(&text(&first), &esdb(&server))).exits_with(0).json();
    assert_eq!(count_of(&again, "appended"), 0);
    assert_eq!(again["digest"], there["digest"]);

    let (cut_off, here) = copy_with_kills(&esdb(&server), &text(&back));
    assert!(cut_off > 0, "no copy was cut off");
    for field in ["events", "streams", "digest"] {
        assert_eq!(text_of(&here, field), text_of(&there, field), "{field}");
    }
    let mut verify = annals();
    run(verify.args(["store", "verify", "--data"]).arg(&back)).exits_with(0);
    let read = |data: &Path| {
        let mut read = annals();
        read.args(["events", "read", "--json", "--limit", "0", "--stream"]);
        let read = run(read.arg("note-1").arg("--data").arg(data)).exits_with(0);
        let event: Value = serde_json::from_str(&read.stdout).expect("JSON");
        ["id", "type", "data", "metadata"].map(|field| event[field].clone())
    };
    assert_eq!(read(&back), read(&first));
}

#[test]
fn a_copy_that_cannot_be_made_says_why() {
    let folder = scratch();
    let [one, nowhere] = ["one", "nowhere"].map(|name| folder.path().join(name));
    let copy = |from: &str, to: &str| run(&mut copy_command(from, to));
    copy(&text(&nowhere), &text(&one)).exits_with(4).says(&["there is no log"]);
    copy(&text(&one), &text(&one)).exits_with(2).says(&["the same"]);
    copy("esdb://127.0.0.1:1?tls=false", &text(&one)).exits_with(7).says(&["127.0.0.1:1"]);
    copy("esdb://127.0.0.1:port", &text(&one)).exits_with(2).says(&["FROM"]);
}
