//! Positive decimals with eight digits after the point, one type a unit. Whoever holds one knows
//! that it fits an event; reading one from JSON refuses everything else with a text that says what
//! would be right. JSON has them as text (`"0.5"`) or as whole numbers (`5`); fractions as JSON
//! numbers are refused, because they are floats.

use std::fmt;

use annals_events::avro::DECIMAL_SCALE;
use rust_decimal::Decimal;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};

/// A decimal that is not what its place asks for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAmount {
    /// Zero or less.
    #[error("{what} must be positive, not {value}")]
    NotPositive {
        /// What it was to be.
        what: &'static str,
        /// What it is.
        value: Decimal,
    },
    /// More than the largest one accepted.
    #[error("{what} must be at most {largest}, not {value}")]
    TooLarge {
        /// What it was to be.
        what: &'static str,
        /// What it is.
        value: Decimal,
        /// The largest one accepted.
        largest: Decimal,
    },
    /// More digits after the point than events keep.
    #[error("{what} must have at most 8 digits after the point, not {value}")]
    TooFine {
        /// What it was to be.
        what: &'static str,
        /// What it is.
        value: Decimal,
    },
}

fn checked(what: &'static str, largest: u64, value: Decimal) -> Result<Decimal, InvalidAmount> {
    let largest = Decimal::from(largest);
    if value <= Decimal::ZERO {
        Err(InvalidAmount::NotPositive { what, value })
    } else if value > largest {
        Err(InvalidAmount::TooLarge { what, value, largest })
    } else if value.normalize().scale() > DECIMAL_SCALE {
        Err(InvalidAmount::TooFine { what, value })
    } else {
        Ok(value.normalize())
    }
}

struct Digits(&'static str);

impl de::Visitor<'_> for Digits {
    type Value = Decimal;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, a decimal number as text, such as \"0.5\"", self.0)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Decimal, E> {
        Decimal::from_str_exact(text)
            .map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Decimal, E> {
        Ok(Decimal::from(number))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Decimal, E> {
        Ok(Decimal::from(number))
    }
}

macro_rules! positive {
    ($(#[$doc:meta])* $type:ident, $what:literal, $largest:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[serde(transparent)]
        pub struct $type(Decimal);

        impl $type {
            /// The largest one accepted.
            pub const LARGEST: u64 = $largest;

            /// Checks and wraps a decimal.
            ///
            /// # Errors [`InvalidAmount`] when it is zero or less, above [`Self::LARGEST`], or has
            /// more than eight digits after the point.
            pub fn new(value: Decimal) -> Result<$type, InvalidAmount> {
                checked($what, $largest, value).map($type)
            }

            /// The decimal.
            pub fn get(self) -> Decimal {
                self.0
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<$type, D::Error> {
                $type::new(from.deserialize_any(Digits($what))?).map_err(de::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": ["string", "integer"],
                    "pattern": r"^[0-9]+(\.[0-9]{1,8})?$",
                    "exclusiveMinimum": 0,
                    "maximum": $largest as u64,
                    "examples": ["0.5"],
                })
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

positive!(
    /// A price in USD per unit of the instrument.
    Price,
    "a price",
    1_000_000_000
);
positive!(
    /// A quantity in units of the instrument, such as XBT.
    Quantity,
    "a quantity",
    1_000_000_000
);
positive!(
    /// An amount of money in USD.
    Amount,
    "an amount",
    1_000_000_000_000
);

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(json: &str) -> String {
        serde_json::from_str::<Quantity>(json).expect_err("is refused").to_string()
    }

    #[test]
    fn text_and_whole_numbers_are_read_exactly() {
        let read = |json| serde_json::from_str::<Quantity>(json).map(Quantity::get).ok();
        assert_eq!(read("\"0.00000001\""), Some(Decimal::new(1, 8)));
        assert_eq!(read("\"1.50\""), Some(Decimal::new(15, 1)));
        assert_eq!(read("3"), Some(Decimal::from(3)));
    }

    #[test]
    fn whatever_does_not_fit_is_refused_with_the_reason() {
        assert!(refusal("\"0\"").contains("must be positive, not 0"));
        assert!(refusal("\"-1\"").contains("must be positive, not -1"));
        assert!(refusal("-1").contains("must be positive"));
        assert!(refusal("\"0.000000001\"").contains("at most 8 digits after the point"));
        assert!(refusal("\"1000000000.5\"").contains("at most 1000000000"));
        assert!(refusal("0.5").contains("a decimal number as text"));
        assert!(refusal("\"ten\"").contains("a decimal number as text"));
        assert!(refusal("\"99999999999999999999999999999999999999\"").contains("as text"));
        assert!(refusal("null").contains("a decimal number as text"));
    }

    #[test]
    fn an_amount_survives_its_json() {
        let amount = Amount::new(Decimal::new(1_234_567, 2)).expect("fits");
        let json = serde_json::to_string(&amount).expect("serialises");
        assert_eq!(json, "\"12345.67\"");
        assert_eq!(serde_json::from_str::<Amount>(&json).expect("reads"), amount);
    }
}
