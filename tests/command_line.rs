//! The command line through the built binary: what is written can be read, followed and looked back at, in the data
//! folder and through a running server alike, and both tell the same.

mod harness;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use harness::server::Server;
use harness::{Running, annals, run, scratch};
use serde_json::{Value, json};

const CONFLICT: i32 = 5;
const NOT_THERE: i32 = 4;
const MALFORMED: i32 = 2;
const UNAVAILABLE: i32 = 7;

/// `annals --data DATA WORDS…`.
fn on(data: &Path, words: &str) -> Command {
    let mut command = annals();
    command.arg("--data").arg(data).args(words.split(' '));
    command
}

/// Opens an account and moves cash, by three commands.
fn account(data: &Path) {
    let commands = [
        ("open-account", r#"{"account":"A1"}"#),
        ("deposit", r#"{"account":"A1","amount":"100.50"}"#),
        ("withdraw", r#"{"account":"A1","amount":"0.50"}"#),
    ];
    for (name, fields) in commands {
        let mut command = on(data, &format!("command trading {name} --json"));
        run(command.arg(fields)).exits_with(0);
    }
}

#[test]
fn a_command_with_an_id_is_answered_once() {
    let folder = scratch();
    let data = folder.path().join("data");
    account(&data);
    let give = || {
        let id = "018f6d0c-0000-7000-8000-000000000001";
        let mut command = on(&data, &format!("command trading deposit --id {id} --json"));
        run(command.arg(r#"{"account":"A1","amount":"7"}"#)).exits_with(0).json()
    };
    let first = give();
    assert_eq!(first["stream"], "account-A1");
    assert_eq!(first["events"][0]["type"], "trading.CashDeposited");
    assert_eq!(give(), first);
}

#[test]
fn events_of_ones_own_are_appended_as_expected_or_not_at_all() {
    let folder = scratch();
    let data = folder.path().join("data");
    account(&data);
    let append = |words: &str, payload: &str| {
        let mut command = on(&data, &format!("events append {words} --json"));
        run(command.arg(payload))
    };
    let note = "--stream note-1 --type note.Taken";
    let first = append(&format!("{note} --expected none"), r#"{"text":"hello"}"#);
    assert_eq!(first.exits_with(0).json()["revision"], 0);
    append(&format!("{note} --expected none"), "{}").exits_with(CONFLICT).says(&["note-1"]);
    append(&format!("{note} --expected 0"), "2").exits_with(0);
    append(note, "{broken").exits_with(MALFORMED);
    for foreign in [
        "--stream account-A1 --type note.Taken",
        "--stream note-1 --type trading.CashDeposited",
        "--stream $schemas --type $schema",
    ] {
        append(foreign, "{}").exits_with(NOT_THERE).says(&["error: "]);
    }
    let read = run(&mut on(&data, "events read --stream note-1 --json")).exits_with(0);
    let lines: Vec<Value> =
        read.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let payloads: Vec<&Value> = lines.iter().map(|event| &event["data"]).collect();
    assert_eq!(payloads, [&json!({"text": "hello"}), &json!(2)]);
}

#[test]
fn events_are_read_from_a_place_in_a_direction_and_by_type() {
    let folder = scratch();
    let data = folder.path().join("data");
    account(&data);
    let types = |words: &str| {
        let read = run(&mut on(&data, &format!("events read --json {words}"))).exits_with(0);
        let name = |line: &str| {
            let event: Value = serde_json::from_str(line).expect("JSON");
            event["type"].as_str().expect("a type").replace("trading.", "")
        };
        read.stdout.lines().map(name).collect::<Vec<_>>()
    };
    let all = ["AccountOpened", "CashDeposited", "CashWithdrawn"];
    assert_eq!(types("--type trading."), all);
    assert_eq!(types("--stream account-A1 --from-revision 1"), all[1..]);
    assert_eq!(types("--stream account-A1 --backwards --limit 1"), all[2..]);
    assert_eq!(types("--type trading.Cash --limit 1"), all[1..2]);
    assert_eq!(types("--from-time 2999-01-01T00:00:00Z"), [""; 0]);
    run(&mut on(&data, "events read --stream account-A2")).exits_with(NOT_THERE);
}

#[test]
fn a_folder_without_a_log_is_not_made_by_looking_at_it() {
    let folder = scratch();
    let data = folder.path().join("data");
    for words in ["events read", "debug state account-A1", "store info", "schema list"] {
        run(&mut on(&data, words)).exits_with(NOT_THERE).says(&["hint: ", "--data"]);
    }
    assert!(!data.exists());
}

#[test]
fn a_server_tells_what_the_folder_tells() {
    let folder = scratch();
    let data = folder.path().join("data");
    account(&data);
    let questions = [
        "events read --json --stream account-A1",
        "events read --json --type trading. --backwards --limit 2",
        "debug state account-A1 --revision 1 --json",
        "debug state trading_accounts A1 --json",
        "debug history account-A1 --limit 2 --json",
        "debug history trading_accounts A1 --last 1 --json",
        "debug diff account-A1 --from revision:0 --to revision:2 --json",
    ];
    let here: Vec<String> =
        questions.iter().map(|words| run(&mut on(&data, words)).exits_with(0).stdout).collect();

    let server = Server::start(&data, &[]);
    let address = format!("http://{}", server.address);
    let ask = |words: &str| {
        let mut command = annals();
        run(command.args(words.split(' ')).args(["--server", &address]))
    };
    for (words, here) in questions.iter().zip(here) {
        assert!(here.contains("account-A1"), "{words}: {here}");
        assert_eq!(ask(words).exits_with(0).stdout, here, "{words}");
    }
    ask("debug state account-A2").exits_with(NOT_THERE).says(&["account-A2"]);
    ask("debug state account-A1 --revision 9").exits_with(NOT_THERE);
    run(&mut on(&data, "events read")).exits_with(UNAVAILABLE).says(&["--server"]);

    let mut tail = annals();
    tail.args(["events", "tail", "--json", "--server", &address]);
    tail.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut tail = Running(tail.spawn().expect("annals starts"));
    let mut lines = BufReader::new(tail.0.stdout.take().expect("piped")).lines();
    // Given again and again, since nothing tells when the tail has begun.
    let seen = std::thread::spawn(move || lines.next());
    while !seen.is_finished() {
        let mut deposit = annals();
        deposit.args(["command", "trading", "deposit", "--server", &address, "--json"]);
        run(deposit.arg(r#"{"account":"A1","amount":"1"}"#)).exits_with(0);
        harness::pause(std::time::Duration::from_millis(100));
    }
    tail.kill();
    let line = seen.join().expect("no panic").expect("a line").expect("text");
    let event: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(event["type"], "trading.CashDeposited");

    let rebuilt = ask("projection rebuild trading_accounts --json").exits_with(0).json();
    assert_eq!(rebuilt["projections"][0]["rows"], 1);
    let verified = ask("projection verify --all --json").exits_with(0).json();
    assert_eq!(verified["mismatches"], 0);
    assert!(verified["projections"].as_array().is_some_and(|all| all.len() >= 4));
    ask("projection status nothing").exits_with(NOT_THERE).says(&["trading_accounts"]);
    assert_eq!(server.stop().code, Some(0));

    let rebuilt = run(&mut on(&data, "projection rebuild trading_accounts --json")).exits_with(0);
    assert_eq!(rebuilt.json()["projections"][0]["rows"], 1);
    let verified = run(&mut on(&data, "projection verify trading_accounts --json")).exits_with(0);
    assert_eq!(verified.json()["mismatches"], 0);
    let listed = run(&mut on(&data, "projection list --json")).exits_with(0).json();
    assert!(listed["projections"].as_array().is_some_and(|all| all.len() >= 4));
}
