//! The main job on a store on a server: the same totals and the same rows, byte for byte, as on the embedded log.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::demo::{agrees, demo, demo_command, totals};
use crate::harness::server::Server;
use crate::harness::{annals, run, scratch, text_of, trades};
use crate::remote::{esdb, log_server};

const ROWS: usize = 3_000;

/// Name, rows and digest of every view, after a check that none differs from history.
fn digests(data: &Path, store: Option<&str>) -> Vec<[String; 3]> {
    let mut verify = annals();
    verify.args(["projection", "verify", "--all", "--json", "--data"]).arg(data);
    if let Some(store) = store {
        verify.args(["--store", store]);
    }
    let verified = run(&mut verify).exits_with(0).json();
    assert_eq!(verified["mismatches"], 0, "{verified}");
    let list = verified["projections"].as_array().expect("projections");
    let views = list.iter().filter_map(|it| it["views"].as_array()).flatten();
    let fields = ["name", "rows", "digest"];
    list.iter().chain(views).map(|it| fields.map(|field| text_of(it, field))).collect()
}

#[test]
fn the_demo_on_a_server_gives_what_it_gives_on_the_embedded_log() {
    let folder = scratch();
    let trades = trades(folder.path(), ROWS);
    let [embedded, views, log] = ["embedded", "views", "log"].map(|name| folder.path().join(name));
    let on_embedded = demo(&embedded, &trades, |_| {});
    let server = log_server(&log);
    let store = esdb(&server);
    let on_server = demo(&views, &trades, |command| {
        command.args(["--store", &store]);
    });
    agrees(&on_server, &trades);
    assert_eq!(totals(&on_server), totals(&on_embedded));
    assert_eq!(on_server["store_bytes"], Value::Null);
    assert_eq!(digests(&views, Some(&store)), digests(&embedded, None));

    // Again it adds nothing, also through the environment.
    let mut again = demo_command(&views, &trades);
    let again = run(again.env("ANNALS_STORE", &store)).exits_with(0).json();
    assert_eq!(totals(&again), totals(&on_server));
}

#[test]
fn everything_is_served_over_a_store_on_a_server() {
    let folder = scratch();
    let [views, log] = ["views", "log"].map(|name| folder.path().join(name));
    let server = log_server(&log);
    let store = esdb(&server);
    let on = |words: &[&str]| {
        let mut command = annals();
        command.args(["--store", &store, "--data"]).arg(&views).args(words);
        run(&mut command)
    };
    let opened = on(&["command", "trading", "open-account", "--json", r#"{"account": "A1"}"#]);
    assert_eq!(opened.exits_with(0).json()["stream"], "account-A1");

    let serving = Server::start(&views, &["--store", &store]);
    let body = json!({"account": "A1", "amount": "12.5"});
    let (status, answer) = serving.command("trading", "deposit", &body);
    assert_eq!(status, 201, "{answer}");
    let position = answer["position"].as_u64().expect("a position");
    let path = format!("/v1/trading_accounts/A1?not_before_position={position}");
    assert_eq!(serving.get(&path)["cash"], "12.50000000");
    assert_eq!(serving.stop().code, Some(0));

    let read = on(&["events", "read", "--stream", "account-A1", "--json"]).exits_with(0);
    assert_eq!(read.stdout.lines().count(), 2, "{}", read.stdout);
    let noted = ["events", "append", "--stream", "note-1", "--type", "note.Taken", "--json", "{}"];
    on(&noted).exits_with(0);
    on(&["debug", "state", "account-A1", "--json"]).exits_with(0);
    for verb in ["info", "verify"] {
        on(&["store", verb]).exits_with(2).says(&["works on the files of a log", verb]);
    }
    on(&["store", "backup", "--to", "b"]).exits_with(2).says(&["works on the files of a log"]);
}
