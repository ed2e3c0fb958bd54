//! The columns of a row type, read from its `Deserialize` implementation: a derived one asks for a struct with a fixed
//! list of field names, which is all that is taken here. Rows with `#[serde(flatten)]` have no such list and are refused.

use std::fmt;

use serde::de::{self, DeserializeOwned, Deserializer, Visitor};
use serde::forward_to_deserialize_any;

/// The field names of `R` in the order of its declaration, as serde writes them; nothing where `R` is no plain struct.
pub fn columns_of<R: DeserializeOwned>() -> Option<&'static [&'static str]> {
    match R::deserialize(FieldNames) {
        Err(Asked(fields)) => fields,
        Ok(_) => None,
    }
}

struct FieldNames;

/// Not an error to the caller: it carries the answer out of the deserialiser.
#[derive(Debug)]
struct Asked(Option<&'static [&'static str]>);

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the field names were asked for")
    }
}

impl std::error::Error for Asked {}

impl de::Error for Asked {
    fn custom<T: fmt::Display>(_: T) -> Asked {
        Asked(None)
    }
}

impl<'de> Deserializer<'de> for FieldNames {
    type Error = Asked;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Asked> {
        Err(Asked(None))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Asked> {
        Err(Asked(Some(fields)))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Deserialize)]
    #[allow(dead_code, reason = "only the names of the fields are read")]
    struct Order {
        order: String,
        #[serde(rename = "size")]
        quantity: u64,
    }

    #[test]
    fn a_struct_tells_its_columns_in_order() {
        assert_eq!(columns_of::<Order>(), Some(["order", "size"].as_slice()));
    }

    #[test]
    fn what_is_no_struct_has_no_columns() {
        assert_eq!(columns_of::<Vec<u64>>(), None);
    }
}
