//! The properties of a record as JSON, which is how they are kept and how readers see them: as custom metadata, with what
//! the record says of its schema under names of its own.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost_types::value::Kind;
use serde_json::{Map, Number, Value};

use crate::protocol::errors::ProtocolError;

/// Beyond these, a number stands for others too.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// What a record says of its schema.
pub(super) struct Schema<'a> {
    /// The type of the event.
    pub(super) name: &'a str,
    /// How its data is written.
    pub(super) format: &'static str,
    /// The id of the schema in a registry.
    pub(super) id: Option<&'a str>,
}

/// The custom metadata of a record. What it says of its schema counts, whatever its properties say of it.
///
/// # Errors
/// [`ProtocolError::Malformed`] where a property is no JSON value.
pub(super) fn custom_metadata(
    properties: BTreeMap<String, prost_types::Value>,
    schema: &Schema<'_>,
) -> Result<Bytes, ProtocolError> {
    let mut object = Map::new();
    for (name, value) in properties {
        let value = json(value).ok_or_else(|| {
            ProtocolError::Malformed(format!("property {name:?} has no value that JSON could tell"))
        })?;
        object.insert(name, value);
    }
    let of_schema =
        [("name", Some(schema.name)), ("format", Some(schema.format)), ("id", schema.id)];
    for (name, value) in of_schema {
        let name = format!("$schema.{name}");
        match value {
            Some(value) => object.insert(name, value.into()),
            None => object.shift_remove(&name),
        };
    }
    Ok(serde_json::to_vec(&object).expect("an object has a JSON form").into())
}

/// A value as JSON; nothing where it has no kind, or is a number that JSON has not. The messages of a request are not
/// nested deeper than its decoder allows.
fn json(value: prost_types::Value) -> Option<Value> {
    Some(match value.kind? {
        Kind::NullValue(_) => Value::Null,
        Kind::BoolValue(truth) => Value::Bool(truth),
        Kind::NumberValue(number) => Value::Number(json_number(number)?),
        Kind::StringValue(text) => Value::String(text),
        Kind::ListValue(list) => {
            Value::Array(list.values.into_iter().map(json).collect::<Option<_>>()?)
        }
        Kind::StructValue(fields) => {
            let fields = fields.fields.into_iter().map(|(name, it)| Some((name, json(it)?)));
            Value::Object(fields.collect::<Option<_>>()?)
        }
    })
}

/// A whole number without a fraction, so that readers who want one find one.
#[allow(clippy::cast_possible_truncation, reason = "it is a whole number within the bounds")]
fn json_number(number: f64) -> Option<Number> {
    if number.fract() == 0.0 && number.abs() <= EXACT {
        Some(Number::from(number as i64))
    } else {
        Number::from_f64(number)
    }
}

#[cfg(test)]
mod tests {
    use prost_types::{ListValue, Struct};

    use super::*;

    const SCHEMA: Schema<'_> = Schema { name: "note.Taken", format: "Json", id: None };

    fn value(kind: Kind) -> prost_types::Value {
        prost_types::Value { kind: Some(kind) }
    }

    fn number(number: f64) -> prost_types::Value {
        value(Kind::NumberValue(number))
    }

    fn told(properties: Vec<(&str, prost_types::Value)>, schema: &Schema<'_>) -> Option<String> {
        let properties = properties.into_iter().map(|(name, it)| (name.to_owned(), it)).collect();
        let bytes = custom_metadata(properties, schema).ok()?;
        Some(String::from_utf8(bytes.to_vec()).expect("JSON is text"))
    }

    #[test]
    fn every_kind_of_value_is_told() {
        let list = vec![value(Kind::NullValue(0)), value(Kind::BoolValue(true))];
        let fields = [("x".to_owned(), value(Kind::StringValue("Å\"".to_owned())))].into();
        let properties = vec![
            ("a", number(5.0)),
            ("b", number(-2.5)),
            ("c", value(Kind::ListValue(ListValue { values: list }))),
            ("d", value(Kind::StructValue(Struct { fields }))),
            ("e", number(1e300)),
            ("f", number(-9_007_199_254_740_992.0)),
        ];
        let json =
            r#"{"a":5,"b":-2.5,"c":[null,true],"d":{"x":"Å\""},"e":1e+300,"f":-9007199254740992,"#;
        let schema = r#""$schema.name":"note.Taken","$schema.format":"Json"}"#;
        assert_eq!(told(properties, &SCHEMA), Some(format!("{json}{schema}")));
    }

    #[test]
    fn what_a_record_says_of_its_schema_counts() {
        let text = |text: &str| value(Kind::StringValue(text.to_owned()));
        let properties = || vec![("$schema.id", text("other")), ("$schema.name", text("other"))];
        let json = r#"{"$schema.name":"note.Taken","$schema.format":"Json"}"#;
        assert_eq!(told(properties(), &SCHEMA).as_deref(), Some(json));
        let json = r#"{"$schema.id":"7","$schema.name":"note.Taken","$schema.format":"Avro"}"#;
        let schema = Schema { format: "Avro", id: Some("7"), ..SCHEMA };
        assert_eq!(told(properties(), &schema).as_deref(), Some(json));
    }

    #[test]
    fn what_json_cannot_tell_is_refused() {
        let nothing = prost_types::Value { kind: None };
        let nested = value(Kind::ListValue(ListValue { values: vec![nothing.clone()] }));
        for wrong in [nothing, nested, number(f64::NAN), number(f64::INFINITY)] {
            assert_eq!(told(vec![("a", wrong)], &SCHEMA), None);
        }
    }
}
