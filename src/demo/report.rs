//! What the demo found: one object for programs, a table and a plot for people.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table, presets};
use rust_decimal::Decimal;
use serde::Serialize;
use serde_json::{Number, Value};
use textplots::{Chart, Plot, Shape};

/// The demo's figures, as `--json` prints them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Trades in the log.
    pub trades: u64,
    /// Their size in USD, summed.
    #[serde(serialize_with = "number")]
    pub volume_usd: Decimal,
    /// Domain events in the log.
    pub events: u64,
    /// Paper accounts.
    pub accounts: u64,
    /// Orders placed.
    pub orders: u64,
    /// Fills, whole and partial.
    pub fills: u64,
    /// One-minute candles.
    pub candles: u64,
    /// The price of the last trade, in USD.
    #[serde(serialize_with = "number")]
    pub last_price: Decimal,
    /// How long each part took.
    pub seconds: Seconds,
    /// Events appended by this run, over the time from its start to the last view's having caught up.
    pub events_per_second: f64,
    /// From a command's submission until its events were durable, of this run.
    pub command_ms: Percentiles,
    /// Events of the log over the time to rebuild every read model from them.
    pub rebuild_events_per_second: f64,
    /// Rebuilt against live, and live against history.
    pub verify: Verified,
    /// Bytes of the log on disk; nothing where it is a server's.
    pub store_bytes: Option<u64>,
}

/// Durations in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Seconds {
    /// From the first line of the file to the last command's answer.
    pub import: f64,
    /// From there until every view had caught up.
    pub catch_up: f64,
    /// The rebuild of every read model.
    pub rebuild: f64,
}

/// Milliseconds below which this share of the commands was answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// Half of them.
    pub p50: f64,
    /// 99 of 100.
    pub p99: f64,
}

/// What verification compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Verified {
    /// Read models and facts tables.
    pub projections: u64,
    /// Rows compared.
    pub rows: u64,
    /// Rows that differ from history; 0 or something is wrong.
    pub mismatches: u64,
}

/// A decimal as a JSON number with all of its digits.
fn number<S: serde::Serializer>(value: &Decimal, serializer: S) -> Result<S::Ok, S::Error> {
    let text = value.normalize().to_string();
    match serde_json::from_str::<Number>(&text) {
        Ok(number) => Value::Number(number).serialize(serializer),
        Err(_) => serializer.serialize_str(&text),
    }
}

impl Percentiles {
    /// Of these latencies in milliseconds, in any order; zeroes where there are none.
    pub fn of(mut millis: Vec<f64>) -> Percentiles {
        millis.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let last = millis.len().saturating_sub(1);
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "a share of a length is a valid index"
            )]
            let index = (last as f64 * share).round() as usize;
            millis.get(index).copied().unwrap_or_default()
        };
        Percentiles { p50: at(0.50), p99: at(0.99) }
    }
}

/// The summary as a table.
pub fn summary(report: &Report) -> String {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY).set_header(["what", "figure"]);
    let seconds = &report.seconds;
    let rows = [
        ("trades imported", grouped(report.trades)),
        ("their volume, USD", grouped_decimal(report.volume_usd)),
        ("events in the log", grouped(report.events)),
        ("accounts", grouped(report.accounts)),
        ("orders", grouped(report.orders)),
        ("fills", grouped(report.fills)),
        ("one-minute candles", grouped(report.candles)),
        ("last price, USD", report.last_price.normalize().to_string()),
        ("import", format!("{:.2} s", seconds.import)),
        ("until the last view caught up", format!("{:.2} s", seconds.catch_up)),
        ("events per second, import to view", grouped_float(report.events_per_second)),
        ("command until durable, p50", format!("{:.2} ms", report.command_ms.p50)),
        ("command until durable, p99", format!("{:.2} ms", report.command_ms.p99)),
        ("rebuild of every read model", format!("{:.2} s", seconds.rebuild)),
        ("rebuild, events per second", grouped_float(report.rebuild_events_per_second)),
        ("rows verified against history", grouped(report.verify.rows)),
        ("rows that differ", grouped(report.verify.mismatches)),
        ("log on disk", log_on_disk(report.store_bytes)),
    ];
    table.add_rows(rows.map(|(what, figure)| [what.to_owned(), figure]));
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

/// Closing prices over time as a plot of `columns` character cells; `closes` are hours since the first and USD.
pub fn plot(closes: &[(f32, f32)], columns: u32) -> String {
    let (Some(first), Some(last)) = (closes.first(), closes.last()) else {
        return String::new();
    };
    let shape = Shape::Lines(closes);
    let mut chart = Chart::new(columns * 2, 60, first.0, last.0.max(first.0 + 0.1));
    let chart = chart.lineplot(&shape);
    chart.axis();
    chart.figures();
    let mut text = String::new();
    // Writing into a String cannot fail.
    write!(text, "{chart}").expect("text grows in memory");
    text
}

fn log_on_disk(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "a server's".to_owned(), |bytes| format!("{} bytes", grouped(bytes)))
}

/// A number with a comma between thousands.
pub(super) fn grouped(number: u64) -> String {
    grouped_digits(&number.to_string())
}

fn grouped_decimal(number: Decimal) -> String {
    let text = number.normalize().to_string();
    match text.split_once('.') {
        Some((whole, part)) => format!("{}.{part}", grouped_digits(whole)),
        None => grouped_digits(&text),
    }
}

fn grouped_float(number: f64) -> String {
    grouped_digits(&format!("{number:.0}"))
}

fn grouped_digits(digits: &str) -> String {
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        let left = digits.len() - place;
        if place > 0 && left.is_multiple_of(3) && digit != '-' && !out.ends_with('-') {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        assert_eq!(grouped(7), "7");
        assert_eq!(grouped(1_234), "1,234");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped_decimal(Decimal::new(-123_456_789, 2)), "-1,234,567.89");
    }

    #[test]
    fn percentiles_of_nothing_are_zero() {
        assert_eq!(Percentiles::of(vec![]), Percentiles::default());
        let thousand = (1..=1000).rev().map(f64::from).collect();
        assert_eq!(Percentiles::of(thousand), Percentiles { p50: 501.0, p99: 990.0 });
    }

    #[test]
    fn decimals_keep_their_digits_in_json() {
        let value = serde_json::to_value(Verified::default()).expect("plain data");
        assert_eq!(value["mismatches"], 0);
        let mut text = Vec::new();
        number(&Decimal::new(138_735, 1), &mut serde_json::Serializer::new(&mut text))
            .expect("plain data");
        assert_eq!(text, b"13873.5");
    }
}
