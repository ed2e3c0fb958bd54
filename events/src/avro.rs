//! How values of the domain stand in Avro, and so what fits: decimals are `bytes` with the logical
//! type `decimal`, [`DECIMAL_PRECISION`] digits of which [`DECIMAL_SCALE`] after the point; times
//! are `timestamp-micros`. In JSON the same values are text. Commands refuse what does not fit, so
//! encoding an event cannot fail.

use std::collections::HashSet;

use annals_core::Timestamp;
use apache_avro::Schema;
use apache_avro::schema::{
    DecimalSchema, EnumSchema, InnerDecimalSchema, Name, NamespaceRef, UnionSchema,
};
use rust_decimal::Decimal;

/// Significant digits of every decimal in an event.
pub const DECIMAL_PRECISION: usize = 28;
/// Digits after the point of every decimal in an event.
pub const DECIMAL_SCALE: u32 = 8;

/// Whether `value` has an exact encoding: no digit beyond [`DECIMAL_SCALE`], none too many before
/// the point.
pub fn decimal_fits(value: Decimal) -> bool {
    let mut scaled = value;
    scaled.rescale(DECIMAL_SCALE);
    scaled.scale() == DECIMAL_SCALE
        && scaled == value
        && scaled.mantissa().unsigned_abs() < 10_u128.pow(28)
}

/// The schema of a decimal.
pub(crate) fn decimal(_: &mut HashSet<Name>, _: NamespaceRef) -> Schema {
    Schema::Decimal(DecimalSchema {
        precision: DECIMAL_PRECISION,
        scale: DECIMAL_SCALE as usize,
        inner: InnerDecimalSchema::Bytes,
    })
}

/// The schema of a decimal that may be absent.
pub(crate) fn optional_decimal(names: &mut HashSet<Name>, namespace: NamespaceRef) -> Schema {
    optional(decimal(names, namespace))
}

/// The schema of a time.
pub(crate) fn time(_: &mut HashSet<Name>, _: NamespaceRef) -> Schema {
    Schema::TimestampMicros
}

/// The schema of a time that may be absent.
pub(crate) fn optional_time(_: &mut HashSet<Name>, _: NamespaceRef) -> Schema {
    optional(Schema::TimestampMicros)
}

/// The schema of a revision or count, which never passes `i64::MAX`.
pub(crate) fn long(_: &mut HashSet<Name>, _: NamespaceRef) -> Schema {
    Schema::Long
}

/// The schema of a closed set of names.
pub(crate) fn enumeration<const N: usize>(
    names: &mut HashSet<Name>,
    full_name: &str,
    symbols: [&str; N],
) -> Schema {
    let name = Name::new(full_name).expect("a Rust name is an Avro name");
    if !names.insert(name.clone()) {
        return Schema::Ref { name };
    }
    let symbols = symbols.map(str::to_owned).to_vec();
    Schema::Enum(EnumSchema::builder().name(name).symbols(symbols).build())
}

fn optional(schema: Schema) -> Schema {
    let union = UnionSchema::new(vec![Schema::Null, schema]);
    Schema::Union(union.expect("null and another type make a union"))
}

/// A [`Timestamp`] in an event: microseconds as a number for Avro. Reading takes RFC 3339 text as
/// well, as JSON has it.
pub(crate) mod timestamp {
    use super::Timestamp;
    use serde::{Deserializer, Serializer, de};
    use std::fmt;

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde asks for")]
    pub(crate) fn serialize<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_i64(time.0)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        from.deserialize_any(Micros)
    }

    struct Micros;

    impl de::Visitor<'_> for Micros {
        type Value = Timestamp;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("microseconds since 1970-01-01 UTC, or RFC 3339 text")
        }

        fn visit_i64<E: de::Error>(self, micros: i64) -> Result<Timestamp, E> {
            Ok(Timestamp(micros))
        }

        fn visit_u64<E: de::Error>(self, micros: u64) -> Result<Timestamp, E> {
            i64::try_from(micros).map(Timestamp).map_err(E::custom)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Timestamp, E> {
            Timestamp::parse(text).map_err(E::custom)
        }
    }
}

/// An `Option<Timestamp>` in an event.
pub(crate) mod optional_timestamp {
    use super::Timestamp;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Wrapped(#[serde(with = "super::timestamp")] Timestamp);

    #[allow(clippy::ref_option, reason = "the shape that serde asks for")]
    pub(crate) fn serialize<S: Serializer>(
        time: &Option<Timestamp>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        time.map(|time| time.0).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        Ok(Option::<Wrapped>::deserialize(from)?.map(|wrapped| wrapped.0))
    }
}
