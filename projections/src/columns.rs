//! What the values of a row look like as text, the same wherever the row comes from: exactly as
//! PostgreSQL's `numeric(28,8)` and ClickHouse's `DateTime64(6, 'UTC')` write and read them.

use std::ops::AddAssign;

use annals_core::Timestamp;
use annals_events::avro::DECIMAL_SCALE;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize, Serializer};

/// A decimal column with eight digits after the point; its text has all eight of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Numeric(pub Decimal);

impl Serialize for Numeric {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut fixed = self.0;
        fixed.rescale(DECIMAL_SCALE);
        if fixed.is_zero() {
            fixed.set_sign_positive(true); // A zero that was subtracted from is -0; PostgreSQL has none.
        }
        Serialize::serialize(&fixed, to)
    }
}

impl AddAssign<Decimal> for Numeric {
    fn add_assign(&mut self, more: Decimal) {
        self.0 = self.0.saturating_add(more);
    }
}

impl From<Decimal> for Numeric {
    fn from(value: Decimal) -> Numeric {
        Numeric(value)
    }
}

/// A time in a fact: `2018-01-01 00:00:02.610000`, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FactTime(pub Timestamp);

impl Serialize for FactTime {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let at = self.0.to_datetime();
        to.collect_str(&format_args!(
            "{:04}-{:02}-{:02} {:02}:{:02}:{:02}.{:06}",
            at.year(),
            u8::from(at.month()),
            at.day(),
            at.hour(),
            at.minute(),
            at.second(),
            at.microsecond(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zero_has_no_sign() {
        let mut zero = Numeric(Decimal::ZERO);
        zero += -Decimal::ZERO;
        assert_eq!(serde_json::to_string(&zero).expect("text"), "\"0.00000000\"");
    }

    #[test]
    fn a_decimal_has_the_same_text_whatever_its_idle_zeros() {
        for text in ["1.5", "1.50", "1.50000000"] {
            let value = Numeric(text.parse().expect("a decimal"));
            assert_eq!(serde_json::to_string(&value).expect("serialises"), "\"1.50000000\"");
        }
        let zero = serde_json::to_string(&Numeric::default()).expect("serialises");
        assert_eq!(zero, "\"0.00000000\"");
    }

    #[test]
    fn a_fact_time_keeps_its_microseconds() {
        let time = FactTime(Timestamp(1_514_764_802_610_007));
        let text = serde_json::to_string(&time).expect("serialises");
        assert_eq!(text, "\"2018-01-01 00:00:02.610007\"");
    }
}
