//! A figure with its spread, and how figures are shown.

use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

/// What was measured, over several runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Figure {
    /// What.
    pub(crate) name: String,
    /// In which unit the next three are.
    pub(crate) unit: &'static str,
    /// The run in the middle.
    pub(crate) median: f64,
    /// The lowest run.
    pub(crate) lowest: f64,
    /// The highest run.
    pub(crate) highest: f64,
    /// Until one caller had its answer, over all runs; none where it makes no sense.
    pub(crate) latency_ms: Option<Latency>,
    /// The conditions that are this figure's own.
    pub(crate) conditions: String,
}

/// Milliseconds below which this share of the calls was answered.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Latency {
    /// Half of them.
    pub(crate) p50: f64,
    /// 99 of 100.
    pub(crate) p99: f64,
}

impl Latency {
    /// Of these durations, in any order; none where there are none.
    pub(crate) fn of(durations: &mut [Duration]) -> Option<Latency> {
        durations.sort_unstable();
        let at = |percent: usize| {
            let place = (durations.len() * percent / 100).min(durations.len().checked_sub(1)?);
            durations.get(place).map(|it| it.as_secs_f64() * 1000.0)
        };
        Some(Latency { p50: at(50)?, p99: at(99)? })
    }
}

impl Figure {
    /// Of the figures of some runs, at least one.
    pub(crate) fn of(
        name: &str,
        unit: &'static str,
        mut runs: Vec<f64>,
        conditions: String,
    ) -> Figure {
        runs.sort_by(f64::total_cmp);
        Figure {
            name: name.to_owned(),
            unit,
            median: runs[runs.len() / 2],
            lowest: runs[0],
            highest: runs[runs.len() - 1],
            latency_ms: None,
            conditions,
        }
    }
}

/// `events` in `time`, each second.
pub(crate) fn rate(events: u64, time: Duration) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
    let events = events as f64;
    events / time.as_secs_f64().max(1e-9)
}

/// Figures as a table.
pub(crate) fn table(figures: &[Figure]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header(["what", "median", "lowest – highest", "unit", "p50 / p99 ms", "conditions"]);
    for figure in figures {
        let latency = figure
            .latency_ms
            .map_or_else(String::new, |latency| format!("{:.2} / {:.2}", latency.p50, latency.p99));
        table.add_row([
            figure.name.clone(),
            shown(figure.median),
            format!("{} – {}", shown(figure.lowest), shown(figure.highest)),
            figure.unit.to_owned(),
            latency,
            figure.conditions.clone(),
        ]);
    }
    for column in [1, 2, 4] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}

/// Three digits that count, and a comma between thousands.
pub(crate) fn shown(number: f64) -> String {
    if number < 1000.0 {
        return format!("{number:.2}");
    }
    let digits = format!("{number:.0}");
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
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
    fn the_median_is_the_run_in_the_middle() {
        let figure = Figure::of("a", "b", vec![3.0, 1.0, 2.0], String::new());
        assert_eq!((figure.lowest, figure.median, figure.highest), (1.0, 2.0, 3.0));
    }

    #[test]
    fn latency_is_read_from_the_sorted_calls() {
        let mut calls: Vec<_> = (1..=200).rev().map(Duration::from_millis).collect();
        assert_eq!(Latency::of(&mut calls), Some(Latency { p50: 101.0, p99: 199.0 }));
        assert_eq!(Latency::of(&mut []), None);
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([shown(1_234_567.4), shown(12.345)], ["1,234,567", "12.35"]);
    }
}
