//! What happens on the market: trades, as the exchange printed them. Stream: `market-INSTRUMENT`.
//! The revision of a trade in its stream is what the trading context calls a *print*.

use std::collections::HashSet;

use annals_core::Timestamp;
use apache_avro::schema::{Name, NamespaceRef};
use apache_avro::{AvroSchema, AvroSchemaComponent, Schema};
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::avro;
use crate::codec::domain_events;

domain_events! {
    /// What happens on the market.
    MarketEvent of "market" { TradeRecorded(TradeRecorded) }
}

/// One trade that an exchange printed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
#[avro(namespace = "market")]
pub struct TradeRecorded {
    /// What was traded, such as `XBTUSD`.
    pub instrument: String,
    /// When the exchange says it was, to the microsecond.
    #[serde(with = "avro::timestamp")]
    #[avro(with = avro::time)]
    pub traded_at: Timestamp,
    /// In USD per unit of the instrument.
    #[avro(with = avro::decimal)]
    pub price: Decimal,
    /// In USD; positive.
    #[avro(with = avro::decimal)]
    pub size: Decimal,
    /// Which side crossed the spread.
    pub taker_side: Side,
}

/// Which way a trade or an order goes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The instrument is bought.
    Buy,
    /// The instrument is sold.
    Sell,
}

impl Side {
    /// Every one of them, in the order of the schema.
    pub const ALL: [Side; 2] = [Side::Buy, Side::Sell];

    /// The name as the schemas and the rows have it: `buy` or `sell`.
    pub fn as_str(self) -> &'static str {
        match self {
            Side::Buy => "buy",
            Side::Sell => "sell",
        }
    }
}

impl AvroSchemaComponent for Side {
    fn get_schema_in_ctxt(names: &mut HashSet<Name>, _: NamespaceRef) -> Schema {
        avro::enumeration(names, "market.Side", Side::ALL.map(Side::as_str))
    }
}
