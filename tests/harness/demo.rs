//! Running `annals demo` and reading what it says.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::{annals, independent_count, run, text_of};

/// The totals of the demo, which must not depend on how often or over what it ran.
const TOTALS: [&str; 8] =
    ["trades", "volume_usd", "events", "accounts", "orders", "fills", "candles", "last_price"];

/// What identifies the rows of a projection.
const FIELDS: [&str; 3] = ["name", "rows", "digest"];

/// `annals demo --json` on these trades.
pub(crate) fn demo_command(data: &Path, trades: &Path) -> Command {
    let mut command = annals();
    command.args(["demo", "--json", "--data"]).arg(data).arg("--trades").arg(trades);
    command
}

/// Runs the demo, changed by `more`, and gives the one JSON object it prints.
#[track_caller]
pub(crate) fn demo(data: &Path, trades: &Path, more: impl FnOnce(&mut Command)) -> Value {
    let mut command = demo_command(data, trades);
    more(&mut command);
    run(&mut command).exits_with(0).json()
}

/// The totals as text.
#[track_caller]
pub(crate) fn totals(report: &Value) -> Vec<String> {
    TOTALS.iter().map(|field| format!("{field}={}", text_of(report, field))).collect()
}

/// Checks the report against the independent count of the same trades.
#[track_caller]
pub(crate) fn agrees(report: &Value, trades: &Path) {
    let expected = independent_count(trades);
    for field in ["trades", "volume_usd", "candles", "last_price"] {
        assert_eq!(text_of(report, field), text_of(&expected, field), "{field}");
    }
}

/// Name, number of rows and digest of every read model, after a check that none differs from history.
#[track_caller]
pub(crate) fn digests(data: &Path) -> Vec<[String; 3]> {
    let mut verify = annals();
    verify.args(["projection", "verify", "--all", "--json", "--data"]).arg(data);
    let verified = run(&mut verify).exits_with(0).json();
    let list = verified["projections"].as_array().expect("projections");
    assert!(list.len() >= 6, "{verified}");
    let views = list.iter().filter_map(|it| it["views"].as_array()).flatten();
    list.iter().chain(views).map(|it| FIELDS.map(|field| text_of(it, field))).collect()
}
