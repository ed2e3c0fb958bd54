//! Views as text: how each stands, what a rebuild did, what a verification found.

use annals_workers::{ProjectionState, ProjectionStatus};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::output::Look;
use super::{Paint, finish, grouped, number, paint, short, table};

/// How the views stand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in super::super) struct Projections {
    /// Each view.
    pub(in super::super) projections: Vec<ProjectionStatus>,
    /// The position of the last event in the log.
    pub(in super::super) head: Option<u64>,
}

/// What a rebuild did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(in super::super) struct Rebuilt {
    /// Each view.
    pub(in super::super) projections: Vec<RebuiltView>,
    /// Events read and folded.
    pub(in super::super) events: u64,
    /// Seconds from start to the last swap.
    pub(in super::super) seconds: f64,
    /// `events` by `seconds`.
    pub(in super::super) events_per_second: f64,
}

/// One rebuilt view.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in super::super) struct RebuiltView {
    name: String,
    generation: u32,
    position: Option<u64>,
    events: u64,
    rows: u64,
}

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(in super::super) struct Verified {
    /// Each view.
    pub(in super::super) projections: Vec<VerifiedView>,
    /// Rows compared.
    pub(in super::super) rows: u64,
    /// Rows that differ.
    pub(in super::super) mismatches: u64,
    /// Events folded.
    pub(in super::super) events: u64,
    /// Seconds that it took.
    pub(in super::super) seconds: f64,
}

/// One verified view.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in super::super) struct VerifiedView {
    name: String,
    position: Option<u64>,
    events: u64,
    rows: u64,
    mismatches: u64,
    #[serde(default)]
    examples: Vec<Mismatch>,
    digest: String,
    #[serde(default)]
    views: Vec<Aggregate>,
}

/// A row that is not what history says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Mismatch {
    key: String,
    stored: Option<Value>,
    folded: Option<Value>,
}

/// An aggregate over facts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Aggregate {
    name: String,
    rows: u64,
    mismatches: Option<u64>,
    digest: String,
}

impl Rebuilt {
    /// Both, as if they had been rebuilt one after the other.
    pub(in super::super) fn and(mut self, more: Rebuilt) -> Rebuilt {
        self.projections.extend(more.projections);
        self.events += more.events;
        self.seconds += more.seconds;
        #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = self.events as f64 / self.seconds.max(1e-9);
        Rebuilt { events_per_second: rate, ..self }
    }
}

impl Verified {
    /// Both, as if they had been verified one after the other.
    pub(in super::super) fn and(mut self, more: Verified) -> Verified {
        self.projections.extend(more.projections);
        self.rows += more.rows;
        self.mismatches += more.mismatches;
        self.events += more.events;
        self.seconds += more.seconds;
        self
    }
}

fn at(position: Option<u64>) -> String {
    position.map_or_else(|| "-".to_owned(), grouped)
}

pub(in super::super) fn statuses(told: &Projections, look: Look) -> String {
    let headings =
        ["NAME", "KIND", "VERSION", "GENERATION", "STATE", "POSITION", "BEHIND", "REASON"];
    let mut table = table(look, &headings);
    for status in &told.projections {
        table.add_row([
            status.name.clone().into(),
            status.kind.as_str().into(),
            number(status.version),
            number(status.generation),
            state(status.state, look).into(),
            number(at(status.position.map(|position| position.0))),
            number(grouped(status.lag)),
            status.reason.clone().unwrap_or_default().into(),
        ]);
    }
    format!("{}\n\nthe log ends at position {}", finish(&table), at(told.head))
}

fn state(state: ProjectionState, look: Look) -> String {
    let colour = match state {
        ProjectionState::Running => Paint::Green,
        ProjectionState::Failed => Paint::Red,
        ProjectionState::NeedsRebuild | ProjectionState::Retrying => Paint::Yellow,
        ProjectionState::Stopped | ProjectionState::Off => Paint::Faint,
    };
    paint(look, colour, state.as_str())
}

pub(in super::super) fn rebuilt(told: &Rebuilt, look: Look) -> String {
    let mut table = table(look, &["NAME", "GENERATION", "POSITION", "EVENTS", "ROWS"]);
    for view in &told.projections {
        table.add_row([
            view.name.clone().into(),
            number(view.generation),
            number(at(view.position)),
            number(grouped(view.events)),
            number(grouped(view.rows)),
        ]);
    }
    let (events, seconds, rate) = (grouped(told.events), told.seconds, told.events_per_second);
    format!("{}\n\n{events} events in {seconds:.2} s, {rate:.0} a second", finish(&table))
}

pub(in super::super) fn verified(told: &Verified, look: Look) -> String {
    let mut table = table(look, &["NAME", "POSITION", "EVENTS", "ROWS", "DIFFER", "SHA-256"]);
    let differ = |mismatches: Option<u64>| match mismatches {
        Some(0) => paint(look, Paint::Green, "0"),
        Some(count) => paint(look, Paint::Red, &grouped(count)),
        None => paint(look, Paint::Yellow, "not compared"),
    };
    let digest = |digest: &str| digest.chars().take(12).collect::<String>();
    for view in &told.projections {
        table.add_row([
            view.name.clone().into(),
            number(at(view.position)),
            number(grouped(view.events)),
            number(grouped(view.rows)),
            number(differ(Some(view.mismatches))),
            digest(&view.digest).into(),
        ]);
        for aggregate in &view.views {
            table.add_row([
                format!("  {}", aggregate.name).into(),
                "".into(),
                "".into(),
                number(grouped(aggregate.rows)),
                number(differ(aggregate.mismatches)),
                digest(&aggregate.digest).into(),
            ]);
        }
    }
    let mut text = finish(&table);
    for (view, row) in told.projections.iter().flat_map(|v| v.examples.iter().map(move |e| (v, e)))
    {
        let side =
            |value: &Option<Value>| value.as_ref().map_or_else(|| "no row".to_owned(), short);
        let (stored, folded) = (side(&row.stored), side(&row.folded));
        let head = format!("{} {}", view.name, row.key);
        text = format!("{text}\n\n{head}\n  stored  {stored}\n  history {folded}");
    }
    let (rows, mismatches) = (grouped(told.rows), grouped(told.mismatches));
    format!("{text}\n\n{rows} rows compared, {mismatches} differ, {:.2} s", told.seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn views_are_listed_with_what_holds_them_up() {
        let told = json!({"head": 1_234_567, "projections": [
            {"name": "trading_orders", "kind": "read-model", "version": 1, "generation": 2,
             "position": 1_234_567, "state": "running", "lag": 0},
            {"name": "market_trades", "kind": "facts", "version": 1, "generation": 1,
             "position": null, "state": "off", "reason": "there is no ClickHouse", "lag": 1_234_568},
        ]});
        let told: Projections = serde_json::from_value(told).expect("as the API tells it");
        insta::assert_snapshot!(statuses(&told, Look::default()), @r"
        NAME            KIND        VERSION  GENERATION  STATE    POSITION   BEHIND     REASON
        trading_orders  read-model        1           2  running  1,234,567          0
        market_trades   facts             1           1  off              -  1,234,568  there is no ClickHouse

        the log ends at position 1,234,567
        ");
    }

    #[test]
    fn a_rebuild_is_told_with_its_rate() {
        let one = json!({"events": 3000, "seconds": 0.5, "events_per_second": 6000.0, "projections": [
            {"name": "trading_orders", "kind": "read-model", "generation": 3, "position": 2999,
             "events": 1200, "rows": 40, "load_seconds": 0.1}]});
        let one: Rebuilt = serde_json::from_value(one).expect("a report");
        let both = Rebuilt::default().and(one.clone()).and(one);
        insta::assert_snapshot!(rebuilt(&both, Look::default()), @r"
        NAME            GENERATION  POSITION  EVENTS  ROWS
        trading_orders           3     2,999   1,200    40
        trading_orders           3     2,999   1,200    40

        6,000 events in 1.00 s, 6000 a second
        ");
    }

    #[test]
    fn a_difference_shows_both_sides() {
        let one = json!({"rows": 41, "mismatches": 1, "events": 3000, "seconds": 0.25, "projections": [
            {"name": "trading_orders", "kind": "read-model", "position": 2999, "events": 1200,
             "rows": 41, "mismatches": 1, "digest": "0123456789abcdef", "views": [
                {"name": "market_candles", "rows": 7, "mismatches": null, "digest": "fedcba9876543210"}],
             "examples": [{"key": "o1", "stored": {"filled": "2"}, "folded": null}]}]});
        let one: Verified = serde_json::from_value(one).expect("a report");
        insta::assert_snapshot!(verified(&Verified::default().and(one), Look::default()), @r#"
        NAME              POSITION  EVENTS  ROWS  DIFFER        SHA-256
        trading_orders       2,999   1,200    41             1  0123456789ab
          market_candles                       7  not compared  fedcba987654

        trading_orders o1
          stored  {"filled":"2"}
          history no row

        41 rows compared, 1 differ, 0.25 s
        "#);
    }
}
