//! What the comparison gives: every figure with its ratio to the others, and what it was taken on.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::System;
use super::work::Work;
use crate::figure::{Figure, Latency, shown};
use crate::machine::Machine;

/// The runs of one measurement of one system.
#[derive(Debug, Default)]
pub(crate) struct Series {
    /// A figure a run.
    pub(crate) values: Vec<f64>,
    /// Until a call was answered, over all runs.
    pub(crate) calls: Vec<Duration>,
}

/// Everything that was measured.
pub(crate) type Measured = BTreeMap<(Work, System), Series>;

/// Everything that is printed.
#[derive(Serialize)]
pub(crate) struct Report {
    conditions: Conditions,
    results: Vec<Comparison>,
}

/// What the figures were taken on.
#[derive(Serialize)]
pub(crate) struct Conditions {
    /// The machine.
    pub(crate) machine: Machine,
    /// Its load over the minute before the start, others' included.
    pub(crate) load_average_before: Option<f64>,
    /// Its load over the last minute of the measurement, which is its own work and others'.
    pub(crate) load_average_after: Option<f64>,
    /// What was compared.
    pub(crate) versions: BTreeMap<System, String>,
    /// How often each was measured.
    pub(crate) runs: u32,
    /// Seconds of load that do not count.
    pub(crate) warm_up_seconds: f64,
    /// Seconds of load that count.
    pub(crate) counted_seconds: f64,
}

/// One figure of one system beside the others'.
#[derive(Serialize)]
struct Comparison {
    work: Work,
    system: System,
    #[serde(flatten)]
    figure: Figure,
    /// This median in parts of UmaDB's.
    to_umadb: Option<f64>,
    /// This median in parts of PostgreSQL's.
    to_postgresql: Option<f64>,
}

impl Report {
    /// Holds the systems against each other.
    pub(crate) fn of(conditions: Conditions, measured: Measured) -> Report {
        let figures: BTreeMap<_, _> = measured
            .into_iter()
            .map(|((work, system), mut series)| {
                let way = work.way(system).to_owned();
                let mut figure = Figure::of(work.name(), work.unit(), series.values, way);
                figure.latency_ms = Latency::of(&mut series.calls);
                ((work, system), figure)
            })
            .collect();
        let ratio = |figure: &Figure, work: Work, other| {
            let other = figures.get(&(work.against(), other))?;
            Some(figure.median / other.median)
        };
        let results = figures
            .iter()
            .map(|((work, system), figure)| Comparison {
                work: *work,
                system: *system,
                figure: figure.clone(),
                to_umadb: ratio(figure, *work, System::Umadb),
                to_postgresql: ratio(figure, *work, System::Postgres),
            })
            .collect();
        Report { conditions, results }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Conditions { machine, versions, .. } = &self.conditions;
        write!(f, "{machine}")?;
        for (system, version) in versions {
            writeln!(f, "{}: {version}", system.name())?;
        }
        let load = |load: Option<f64>| load.map_or("?".to_owned(), |load| format!("{load:.2}"));
        writeln!(
            f,
            "client and server are two processes on the same {} cores; {} s of warm-up, {} s counted, {} runs; load \
             average before {}, after {}",
            machine.cores,
            self.conditions.warm_up_seconds,
            self.conditions.counted_seconds,
            self.conditions.runs,
            load(self.conditions.load_average_before),
            load(self.conditions.load_average_after),
        )?;
        writeln!(f, "\n{}", table(&self.results))
    }
}

fn table(results: &[Comparison]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header([
        "what",
        "system",
        "median",
        "[lowest..highest]",
        "unit",
        "p50 / p99 ms",
        "/ UmaDB",
        "/ PostgreSQL",
        "by way of",
    ]);
    for Comparison { work: _, system, figure, to_umadb, to_postgresql } in results {
        let latency = figure
            .latency_ms
            .map_or_else(String::new, |latency| format!("{:.2} / {:.2}", latency.p50, latency.p99));
        let ratio = |ratio: &Option<f64>| ratio.map_or_else(String::new, |it| format!("{it:.2}"));
        table.add_row([
            figure.name.clone(),
            system.name().to_owned(),
            shown(figure.median),
            format!("[{}..{}]", shown(figure.lowest), shown(figure.highest)),
            figure.unit.to_owned(),
            latency,
            ratio(to_umadb),
            ratio(to_postgresql),
            figure.conditions.clone(),
        ]);
    }
    for column in [2, 3, 5, 6, 7] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_figure_is_held_against_the_same_work_of_the_others() {
        let series = |value| Series { values: vec![value], calls: Vec::new() };
        let measured = Measured::from([
            ((Work::Single, System::Annals), series(30.0)),
            ((Work::Single, System::Umadb), series(10.0)),
            ((Work::Single, System::Postgres), series(5.0)),
            ((Work::OneStream, System::Annals), series(400.0)),
            ((Work::ReadAll, System::Annals), series(9.0)),
            ((Work::ReadAll, System::Umadb), series(18.0)),
        ]);
        let machine = Machine::look(tempfile::tempdir().expect("a folder").path());
        let conditions = Conditions {
            machine: machine.expect("a machine"),
            load_average_before: None,
            load_average_after: None,
            versions: BTreeMap::new(),
            runs: 1,
            warm_up_seconds: 1.0,
            counted_seconds: 3.0,
        };
        let report = Report::of(conditions, measured);
        let ratios: Vec<_> =
            report.results.iter().map(|it| (it.work, it.to_umadb, it.to_postgresql)).collect();
        assert_eq!(
            ratios,
            [
                (Work::Single, Some(3.0), Some(6.0)),
                (Work::Single, Some(1.0), Some(2.0)),
                (Work::Single, Some(0.5), Some(1.0)),
                (Work::OneStream, Some(40.0), Some(80.0)),
                (Work::ReadAll, Some(0.5), None),
                (Work::ReadAll, Some(1.0), None),
            ]
        );
    }
}
