//! The past as text: states as fields, histories as events with the fields they changed.

use annals_replay::travel::{
    Change, Difference, FieldChange, FoldKind, History, Place, Snapshot, changes_between,
};
use serde_json::Value;

use super::super::output::Look;
use super::{Paint, cut, finish, paint, short, table};

/// A state: where it stands, then its fields.
pub(in super::super) fn snapshot(snapshot: &Snapshot, look: Look) -> String {
    let head = paint(look, Paint::Bold, &snapshot.subject.to_string());
    let place = standing(snapshot);
    let body = match (&snapshot.state, snapshot.fold) {
        (Some(state), _) => fields(state, look),
        (None, FoldKind::Events) => "no decider folds this stream: its events are its state\n\
             (annals debug history shows them)"
            .to_owned(),
        (None, FoldKind::ReadModel) if snapshot.events > 0 => "the row is gone".to_owned(),
        (None, FoldKind::Decider | FoldKind::ReadModel) => "nothing yet".to_owned(),
    };
    format!("{head}, {place}\n\n{body}")
}

fn standing(snapshot: &Snapshot) -> String {
    let events = if snapshot.events == 1 { "event" } else { "events" };
    match &snapshot.last {
        None => "before its first event".to_owned(),
        Some(last) => {
            let count = snapshot.events;
            format!("{count} {events}, the last at {}", position_and_time(last))
        }
    }
}

fn position_and_time(place: &Place) -> String {
    format!("position {}, {}", place.position, place.time)
}

/// Each field of a state, nested ones by their path.
fn fields(state: &Value, look: Look) -> String {
    if !state.is_object() {
        return short(state);
    }
    let mut table = table(look, &["FIELD", "VALUE"]);
    let mut rows = Vec::new();
    leaves(String::new(), state, &mut rows);
    table.add_rows(rows);
    finish(&table)
}

fn leaves(path: String, value: &Value, rows: &mut Vec<[String; 2]>) {
    let Some(fields) = value.as_object().filter(|fields| !fields.is_empty()) else {
        rows.push([path, short(value)]);
        return;
    };
    for (name, value) in fields {
        let dot = if path.is_empty() { "" } else { "." };
        leaves(format!("{path}{dot}{name}"), value, rows);
    }
}

/// A history: each event with the fields it changed.
pub(in super::super) fn history(history: &History, look: Look) -> String {
    let head = paint(look, Paint::Bold, &history.subject.to_string());
    let mut text = match history.changes.len() {
        0 => format!("{head}: no event in this part of its history\n"),
        1 => format!("{head}: 1 event\n"),
        count => format!("{head}: {count} events\n"),
    };
    for change in &history.changes {
        text.push('\n');
        text.push_str(&one_change(change, look));
    }
    if let Some(next) = history.next {
        text = format!("{text}\nmore follows: --from-position {next}\n");
    }
    text
}

fn one_change(change: &Change, look: Look) -> String {
    let place = &change.place;
    let head = format!(
        "#{}  {}  {}  {}@{}",
        change.number,
        position_and_time(place),
        paint(look, Paint::Bold, place.event_type.as_str()),
        place.stream,
        place.revision,
    );
    let mut text = format!("{head}\n");
    let actor = change.metadata.actor.as_ref().map(|actor| format!("    by {actor}\n"));
    text.push_str(&actor.unwrap_or_default());
    text.push_str(&cut(&format!("    {}", change.event), look.columns));
    text.push('\n');
    text.push_str(&field_changes(&change.changes, "    ", look));
    text
}

/// `+ field  value`, `- field  value` or `~ field  before → after`, a line each.
fn field_changes(changes: &[FieldChange], indent: &str, look: Look) -> String {
    let label = |change: &FieldChange| match change.label() {
        label if label.is_empty() => "(all of it)".to_owned(),
        label => label,
    };
    let width = changes.iter().map(|change| label(change).chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for change in changes {
        let (sign, colour, values) = match (&change.before, &change.after) {
            (None, Some(after)) => ("+", Paint::Green, short(after)),
            (Some(before), None) => ("-", Paint::Red, short(before)),
            (Some(before), Some(after)) => {
                ("~", Paint::Yellow, format!("{} → {}", short(before), short(after)))
            }
            (None, None) => (" ", Paint::Faint, String::new()),
        };
        let line = format!("{indent}{sign} {:<width$}  {values}", label(change));
        text.push_str(&paint(look, colour, &cut(&line, look.columns)));
        text.push('\n');
    }
    text
}

/// Two moments and what differs.
pub(in super::super) fn difference(difference: &Difference, look: Look) -> String {
    let head = paint(look, Paint::Bold, &difference.subject.to_string());
    let (from, to) = (standing(&difference.from), standing(&difference.to));
    let mut text = format!("{head}\n  from {from}\n  to   {to}\n\n");
    if difference.changes.is_empty() {
        text.push_str("nothing differs\n");
        return text;
    }
    text.push_str(&field_changes(&leaf_changes(&difference.changes), "  ", look));
    text
}

/// Changes of whole objects, which coming into being and going are, by their fields.
fn leaf_changes(changes: &[FieldChange]) -> Vec<FieldChange> {
    let mut leaves = Vec::new();
    for change in changes {
        match (&change.before, &change.after) {
            (Some(Value::Object(fields)), None) if !fields.is_empty() => {
                let gone = changes_between(None, change.before.as_ref());
                leaves.extend(gone.into_iter().map(|gone| FieldChange {
                    field: format!("{}{}", change.field, gone.field),
                    before: gone.after,
                    after: None,
                }));
            }
            (None | Some(_), None | Some(_)) => leaves.push(change.clone()),
        }
    }
    leaves
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn place(position: u64, name: &str) -> Value {
        json!({
            "position": position, "stream": "account-A001", "revision": position / 10,
            "time": "2018-01-01T00:00:02.61Z", "type": name,
            "id": "018f6d0c-0000-7000-8000-000000000000",
        })
    }

    fn snapshot_of(events: u64, state: &Value) -> Value {
        let last = (events > 0).then(|| place(events * 10, "trading.OrderPlaced"));
        json!({
            "stream": "account-A001", "fold": "decider", "events": events,
            "last": last, "state": state,
        })
    }

    fn with(base: &Value, fields: &Value) -> Value {
        let mut base = base.clone();
        let object = base.as_object_mut().expect("an object");
        object.extend(fields.as_object().expect("an object").clone());
        base
    }

    #[test]
    fn a_state_is_shown_field_by_field() {
        let state = json!({
            "cash": "12.50", "orders": {"o1": {"side": "buy", "left": 3}}, "fills": [], "note": "",
        });
        let full: Snapshot = serde_json::from_value(snapshot_of(2, &state)).expect("a snapshot");
        insta::assert_snapshot!(snapshot(&full, Look::default()), @r#"
        stream account-A001, 2 events, the last at position 20, 2018-01-01T00:00:02.61Z

        FIELD           VALUE
        cash            12.50
        orders.o1.side  buy
        orders.o1.left  3
        fills           []
        note            ""
        "#);
        let empty: Snapshot =
            serde_json::from_value(snapshot_of(0, &Value::Null)).expect("a snapshot");
        insta::assert_snapshot!(snapshot(&empty, Look::default()), @r"
        stream account-A001, before its first event

        nothing yet
        ");
        let row = json!({
            "read_model": "trading_orders", "key": "o1", "fold": "read-model", "events": 1,
            "last": place(10, "trading.OrderCancelled"), "state": null,
        });
        let row: Snapshot = serde_json::from_value(row).expect("a snapshot");
        insta::assert_snapshot!(snapshot(&row, Look::default()), @r"
        row o1 of trading_orders, 1 event, the last at position 10, 2018-01-01T00:00:02.61Z

        the row is gone
        ");
    }

    #[test]
    fn a_history_shows_what_each_event_changed() {
        let first = with(
            &place(10, "trading.AccountOpened"),
            &json!({
                "number": 0, "metadata": {"actor": "ada"}, "event": {"account": "A001"},
                "changes": [{"field": "/cash", "after": "0"}],
            }),
        );
        let second = with(
            &place(20, "trading.CashDeposited"),
            &json!({
                "number": 1, "metadata": {}, "event": {"amount": "5"},
                "changes": [
                    {"field": "/cash", "before": "0", "after": "5"},
                    {"field": "/orders/o1", "before": {"left": 3}},
                ],
            }),
        );
        let told = json!({
            "stream": "account-A001", "fold": "decider", "changes": [first, second], "next": 30,
        });
        let told: History = serde_json::from_value(told).expect("a history");
        insta::assert_snapshot!(history(&told, Look::default()), @r#"
        stream account-A001: 2 events

        #0  position 10, 2018-01-01T00:00:02.61Z  trading.AccountOpened  account-A001@1
            by ada
            {"account":"A001"}
            + cash  0

        #1  position 20, 2018-01-01T00:00:02.61Z  trading.CashDeposited  account-A001@2
            {"amount":"5"}
            ~ cash       0 → 5
            - orders.o1  {"left":3}

        more follows: --from-position 30
        "#);
        let narrow = Look { columns: Some(24), colours: true };
        insta::assert_snapshot!(history(&told, narrow).replace('\x1b', "␛"), @r#"
        ␛[1mstream account-A001␛[0m: 2 events

        #0  position 10, 2018-01-01T00:00:02.61Z  ␛[1mtrading.AccountOpened␛[0m  account-A001@1
            by ada
            {"account":"A001"}
        ␛[32m    + cash  0␛[0m

        #1  position 20, 2018-01-01T00:00:02.61Z  ␛[1mtrading.CashDeposited␛[0m  account-A001@2
            {"amount":"5"}
        ␛[33m    ~ cash       0 → 5␛[0m
        ␛[31m    - orders.o1  {"left…␛[0m

        more follows: --from-position 30
        "#);
    }

    #[test]
    fn a_difference_names_both_moments() {
        let told = json!({
            "stream": "account-A001",
            "from": snapshot_of(2, &json!({"cash": "5", "old": {"a": 1, "b": 2}})),
            "to": snapshot_of(0, &Value::Null),
            "changes": [
                {"field": "/cash", "before": "5", "after": "7"},
                {"field": "/old", "before": {"a": 1, "b": 2}},
            ],
        });
        let told: Difference = serde_json::from_value(told).expect("a difference");
        insta::assert_snapshot!(difference(&told, Look::default()), @r"
        stream account-A001
          from 2 events, the last at position 20, 2018-01-01T00:00:02.61Z
          to   before its first event

          ~ cash   5 → 7
          - old.a  1
          - old.b  2
        ");
        let none = Difference { changes: Vec::new(), ..told };
        assert!(difference(&none, Look::default()).ends_with("nothing differs\n"));
    }
}
