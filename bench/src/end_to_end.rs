//! The main job as a whole, by the `annals` program itself: import, commands, orders, views, rebuild, on real trades.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::BenchError;
use crate::figure::Figure;

/// The measurement's name.
pub(crate) const NAME: &str = "end to end";

/// Runs the demo `runs` times, each on a fresh folder, and gives what it says of its speed.
pub(crate) fn measure(
    program: &Path,
    trades: &Path,
    folder: &Path,
    runs: u32,
) -> Result<Vec<Figure>, BenchError> {
    let mut reports = Vec::new();
    for run in 0..runs {
        let data = folder.join(format!("demo-{run}"));
        reports.push(demo(program, trades, &data)?);
        std::fs::remove_dir_all(&data).map_err(BenchError::of("deleting the demo's data"))?;
    }
    let figures = [
        ("end to end", "events/s", "/events_per_second", "import to last view"),
        ("rebuild", "events/s", "/rebuild_events_per_second", "every read model"),
        ("command p50", "ms", "/command_ms/p50", "submission to durable, during the demo"),
        ("command p99", "ms", "/command_ms/p99", "submission to durable, during the demo"),
        ("bytes per event", "bytes", "", "log on disk"),
    ];
    figures
        .into_iter()
        .map(|(name, unit, place, what)| {
            let values =
                reports.iter().map(|report| value(report, place)).collect::<Result<_, _>>()?;
            let trades = &reports[0]["trades"];
            Ok(Figure::of(name, unit, values, format!("annals demo, {trades} trades, {what}")))
        })
        .collect()
}

fn demo(program: &Path, trades: &Path, data: &Path) -> Result<Value, BenchError> {
    let mut command = Command::new(program);
    command.args(["demo", "--json", "--trades"]).arg(trades).arg("--data").arg(data);
    let done = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(BenchError::of(format!("starting {}", program.display())))?;
    if !done.status.success() {
        return Err(BenchError::Demo(format!("it ended with {}", done.status)));
    }
    serde_json::from_slice(&done.stdout).map_err(|error| BenchError::Demo(error.to_string()))
}

fn value(report: &Value, place: &str) -> Result<f64, BenchError> {
    let number = |place: &str| report.pointer(place).and_then(Value::as_f64);
    let found = if place.is_empty() {
        number("/store_bytes").zip(number("/events")).map(|(bytes, events)| bytes / events)
    } else {
        number(place)
    };
    found.ok_or_else(|| BenchError::Demo(format!("{place} is missing in {report}")))
}
