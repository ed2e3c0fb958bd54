//! Bad input through the command line: one clear error, the right exit code, and nothing changed.

mod harness;

use std::fs;
use std::path::Path;
use std::process::Command;

use harness::{annals, made_trades, run, scratch};

/// Exit codes, by family of error.
const MALFORMED: i32 = 2;
const REFUSED: i32 = 4;

/// `annals VERB… --data DATA`.
fn on(data: &Path, verb: &[&str]) -> Command {
    let mut command = annals();
    command.args(verb).arg("--data").arg(data);
    command
}

fn command(data: &Path, context: &str, name: &str, json: &str) -> Command {
    on(data, &["command", context, name, "--json", json])
}

/// How many domain events the log holds.
#[track_caller]
fn events(data: &Path) -> usize {
    let mut read = on(data, &["events", "read", "--json", "--limit", "0"]);
    run(&mut read).exits_with(0).stdout.lines().filter(|line| !line.trim().is_empty()).count()
}

#[test]
fn a_broken_line_is_named_and_nothing_of_its_batch_is_imported() {
    let line = 5_002;
    for (content, column) in [
        ("TIME,abc,10", "price"),
        ("TIME,-3,10", "price"),
        ("TIME,13873,0", "size"),
        ("TIME,13873,ten", "size"),
        ("TIME,13873", "size"),
        ("yesterday,13873,10", "timestamp"),
        ("12,13873,10", "timestamp"),
    ] {
        let folder = scratch();
        let mut lines: Vec<String> = made_trades(6_000).lines().map(str::to_owned).collect();
        let time = lines[line - 1].split(',').next().unwrap_or_default().to_owned();
        lines[line - 1] = content.replace("TIME", &time);
        let file = folder.path().join("broken.csv");
        fs::write(&file, lines.join("\n") + "\n").expect("room");
        let data = folder.path().join("data");
        let mut import = on(&data, &["import", "trades"]);
        run(import.arg(&file)).exits_with(MALFORMED).says(&[
            "broken.csv",
            &format!("line {line}"),
            column,
        ]);
        let imported = events(&data);
        assert!(imported < line - 2, "{imported} events of {content}");
        assert_eq!(imported % 4_096, 0, "whole batches only: {content}");
    }
}

#[test]
fn a_file_without_its_columns_or_that_is_not_there_is_refused() {
    let folder = scratch();
    let data = folder.path().join("data");
    let file = folder.path().join("columns.csv");
    fs::write(&file, "time,price,size\n1,2,3\n").expect("room");
    run(on(&data, &["import", "trades"]).arg(&file))
        .exits_with(MALFORMED)
        .says(&["columns.csv", "timestamp"]);
    run(on(&data, &["import", "trades"]).arg(folder.path().join("nowhere.csv")))
        .exits_with(MALFORMED)
        .says(&["nowhere.csv"]);
}

#[test]
fn commands_that_are_wrong_or_refused_change_nothing() {
    let folder = scratch();
    let data = folder.path().join("data");
    let opened = command(&data, "trading", "open-account", r#"{"account":"A1"}"#);
    run(&mut { opened }).exits_with(0);
    let deposit = r#"{"account":"A1","amount":"100.50"}"#;
    run(&mut command(&data, "trading", "deposit", deposit)).exits_with(0);
    let before = events(&data);

    for (context, name, json, code, says) in [
        ("trading", "fly", "{}", MALFORMED, "fly"),
        ("travel", "deposit", "{}", MALFORMED, "travel"),
        ("trading", "deposit", "not json", MALFORMED, "JSON"),
        ("trading", "deposit", r#"{"account":"A1"}"#, MALFORMED, "amount"),
        ("trading", "deposit", r#"{"account":"A1","amount":"1","amont":"2"}"#, MALFORMED, "amont"),
        ("trading", "deposit", r#"{"account":"A1","amount":"-1"}"#, MALFORMED, "-1"),
        ("trading", "deposit", r#"{"account":"A1","amount":"many"}"#, MALFORMED, "many"),
        ("trading", "withdraw", r#"{"account":"A1","amount":"100.51"}"#, REFUSED, "100.5"),
        ("trading", "withdraw", r#"{"account":"A2","amount":"1"}"#, REFUSED, "A2"),
    ] {
        let done = run(&mut command(&data, context, name, json));
        assert_eq!(done.code, Some(code), "{context} {name} {json}: {}", done.stderr);
        assert!(done.stderr.contains(says), "{context} {name} {json}: {}", done.stderr);
        assert!(done.stdout.is_empty(), "{context} {name} {json}: {}", done.stdout);
    }
    assert_eq!(events(&data), before);

    let withdraw = r#"{"account":"A1","amount":"100.50"}"#;
    run(&mut command(&data, "trading", "withdraw", withdraw)).exits_with(0);
    assert_eq!(events(&data), before + 1);
}

#[test]
fn an_unknown_verb_or_flag_is_malformed_and_help_is_not() {
    run(annals().arg("dance")).exits_with(MALFORMED).says(&["dance"]);
    run(annals().args(["demo", "--dance"])).exits_with(MALFORMED).says(&["--dance"]);
    for verb in ["serve", "demo", "import", "command", "events", "projection", "debug"] {
        let help = run(annals().args([verb, "--help"])).exits_with(0);
        assert!(help.stdout.contains("Usage: annals"), "{verb}: {}", help.stdout);
    }
}

#[test]
fn a_wrong_setting_is_named_with_where_it_came_from() {
    let folder = scratch();
    let file = folder.path().join("annals.toml");
    fs::write(&file, "adress = \"127.0.0.1:1\"\n").expect("room");
    let mut serve = on(folder.path(), &["serve"]);
    run(serve.arg("--config").arg(&file)).exits_with(MALFORMED).says(&[
        "annals.toml",
        "adress",
        "address",
    ]);
    let mut serve = on(folder.path(), &["serve", "--address", "0.0.0.0:0"]);
    let refused = run(&mut serve).exits_with(MALFORMED);
    assert!(refused.stderr.contains("api_key"), "{}", refused.stderr);
}

#[test]
fn two_processes_never_write_one_log() {
    let folder = scratch();
    let data = folder.path().join("data");
    let server = harness::server::Server::start(&data, &[]);
    let before = tree_bytes(&data.join("log"));
    let account = r#"{"account":"A1"}"#;
    let done = run(&mut command(&data, "trading", "open-account", account));
    assert_ne!(done.code, Some(0), "a second writer was let in");
    assert!(!done.stderr.is_empty());
    assert_eq!(tree_bytes(&data.join("log")), before);
    let (status, body) = server.request("GET", "/health/ready", &[], "");
    assert!((200..300).contains(&status), "{status}: {body}");
}

/// The files below a folder with their sizes.
fn tree_bytes(folder: &Path) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let size = entry.metadata().map_or(0, |it| it.len());
        found.push((entry.path().display().to_string(), size));
    }
    found.sort();
    found
}
