//! What differs between two states, field by field. Fields are named by JSON Pointers (RFC 6901), so a list of changes
//! says exactly how one state becomes the other: applying it is the inverse of finding it.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FieldChange {
    /// The field's JSON Pointer, such as `/positions/XBTUSD/quantity`; empty for the whole state.
    pub field: String,
    /// Its value before; absent where there was no such field.
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "present")]
    pub before: Option<Value>,
    /// Its value after; absent where there is no such field any more.
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "present")]
    pub after: Option<Value>,
}

/// Reads a field that is there, where `null` is a value like any other.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// The fields that differ between two states, in the order in which they stand in them. Lists of equal length are
/// compared item by item, others as a whole. A state that comes into being shows each of its fields.
pub fn changes_between(before: Option<&Value>, after: Option<&Value>) -> Vec<FieldChange> {
    let mut changes = Vec::new();
    match (before, after) {
        (None, Some(Value::Object(fields))) if !fields.is_empty() => {
            objects("", &Map::new(), fields, &mut changes);
        }
        (None, None) => {}
        (before, after) => values("", before, after, &mut changes),
    }
    changes
}

/// The state that follows when the changes are made to `state`: `apply_changes(a, &changes_between(a, b)) == b`.
/// A change whose field does not fit the state (of another subject, say) is passed over.
pub fn apply_changes(state: Option<Value>, changes: &[FieldChange]) -> Option<Value> {
    changes.iter().fold(state, |state, change| {
        if change.field.is_empty() {
            return change.after.clone();
        }
        let mut state = state.unwrap_or_else(|| Value::Object(Map::new()));
        set(&mut state, &change.field, change.after.clone());
        Some(state)
    })
}

fn values(
    path: &str,
    before: Option<&Value>,
    after: Option<&Value>,
    changes: &mut Vec<FieldChange>,
) {
    match (before, after) {
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            objects(path, before, after, changes);
        }
        (Some(Value::Array(before)), Some(Value::Array(after))) if before.len() == after.len() => {
            for (index, (before, after)) in before.iter().zip(after).enumerate() {
                values(&format!("{path}/{index}"), Some(before), Some(after), changes);
            }
        }
        (before, after) if before != after => changes.push(FieldChange {
            field: path.to_owned(),
            before: before.cloned(),
            after: after.cloned(),
        }),
        (_, _) => {}
    }
}

fn objects(
    path: &str,
    before: &Map<String, Value>,
    after: &Map<String, Value>,
    changes: &mut Vec<FieldChange>,
) {
    for (name, value) in after {
        values(&below(path, name), before.get(name), Some(value), changes);
    }
    for (name, value) in before.iter().filter(|(name, _)| !after.contains_key(*name)) {
        values(&below(path, name), Some(value), None, changes);
    }
}

/// The pointer of a field below `path`: `~` and `/` in its name are escaped.
fn below(path: &str, name: &str) -> String {
    let mut pointer = String::with_capacity(path.len() + name.len() + 1);
    pointer.push_str(path);
    pointer.push('/');
    for c in name.chars() {
        match c {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            c => pointer.push(c),
        }
    }
    pointer
}

fn set(state: &mut Value, pointer: &str, after: Option<Value>) {
    let Some((parent, name)) = pointer.rsplit_once('/') else { return };
    match (state.pointer_mut(parent), after) {
        (Some(Value::Object(fields)), Some(after)) => {
            fields.insert(name.replace("~1", "/").replace("~0", "~"), after);
        }
        (Some(Value::Object(fields)), None) => {
            fields.shift_remove(&name.replace("~1", "/").replace("~0", "~"));
        }
        (Some(Value::Array(items)), Some(after)) => {
            if let Some(item) = name.parse().ok().and_then(|index: usize| items.get_mut(index)) {
                *item = after;
            }
        }
        (_, _) => {}
    }
}

impl FieldChange {
    /// The field's name for people: `/positions/XBTUSD/quantity` reads `positions.XBTUSD.quantity`.
    pub fn label(&self) -> String {
        let mut label = String::new();
        for part in self.field.split('/').skip(1) {
            let dot = if label.is_empty() { "" } else { "." };
            // Writing to a string cannot fail.
            write!(label, "{dot}{}", part.replace("~1", "/").replace("~0", "~")).ok();
        }
        label
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn change(field: &str, before: Option<Value>, after: Option<Value>) -> FieldChange {
        FieldChange { field: field.to_owned(), before, after }
    }

    #[test]
    fn only_what_differs_is_named_down_to_the_field() {
        let before =
            json!({"cash": "10", "orders": {"a/b": {"left": 3, "side": "buy"}}, "old": null});
        let after =
            json!({"cash": "10", "orders": {"a/b": {"left": 1, "side": "buy"}}, "new": [1]});
        assert_eq!(
            changes_between(Some(&before), Some(&after)),
            [
                change("/orders/a~1b/left", Some(json!(3)), Some(json!(1))),
                change("/new", None, Some(json!([1]))),
                change("/old", Some(json!(null)), None),
            ]
        );
        assert_eq!(changes_between(Some(&before), Some(&before)), []);
    }

    #[test]
    fn coming_into_being_shows_each_field_and_going_shows_the_whole() {
        let state = json!({"cash": "10", "fees": "0"});
        let born = changes_between(None, Some(&state));
        assert_eq!(born.iter().map(FieldChange::label).collect::<Vec<_>>(), ["cash", "fees"]);
        assert_eq!(changes_between(Some(&state), None), [change("", Some(state), None)]);
    }

    #[test]
    fn changes_survive_their_json() {
        let changes = [change("/a", Some(json!(null)), None), change("/b", None, Some(json!(1)))];
        let text = serde_json::to_string(&changes).expect("changes serialise");
        assert_eq!(serde_json::from_str::<Vec<FieldChange>>(&text).expect("and back"), changes);
    }

    fn state() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (0..4_u8).prop_map(Value::from),
            "[ab]".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                proptest::collection::btree_map("[a-b/~]{1,2}", inner, 0..4)
                    .prop_map(|fields| fields.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn applying_the_changes_gives_the_later_state(
            before in proptest::option::of(state()),
            after in proptest::option::of(state()),
        ) {
            let changes = changes_between(before.as_ref(), after.as_ref());
            prop_assert_eq!(changes.is_empty(), before == after);
            prop_assert_eq!(apply_changes(before, &changes), after);
        }
    }
}
