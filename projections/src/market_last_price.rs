//! The last price of each instrument, and what was traded until then. A row an instrument.

use annals_core::{Projection, Recorded, RowKey, RowScope, Timestamp};
use annals_events::MarketEvent;
use serde::{Deserialize, Serialize};

use crate::columns::Numeric;

/// The read model `market_last_price`.
#[derive(Clone, Copy, Debug)]
pub struct MarketLastPrice;

/// One instrument.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastPrice {
    /// The instrument.
    pub instrument: String,
    /// The price of its last trade, in USD.
    pub price: Numeric,
    /// When the exchange says that was.
    pub traded_at: Timestamp,
    /// How many trades there were.
    pub trades: u64,
    /// The sum of their sizes, in USD.
    pub volume_usd: Numeric,
    /// The last trade's revision in `market-INSTRUMENT`.
    pub revision: u64,
}

impl Projection for MarketLastPrice {
    type Event = MarketEvent;
    type Row = LastPrice;

    const NAME: &'static str = "market_last_price";
    const VERSION: u32 = 1;
    const KEY: &'static str = "instrument";
    const SCOPE: RowScope = RowScope::OneStream;
    const DDL: &'static str = include_str!("market_last_price.sql");

    fn keys(event: &Recorded<MarketEvent>, keys: &mut Vec<RowKey>) {
        let MarketEvent::TradeRecorded(trade) = &event.event;
        keys.push(trade.instrument.clone());
    }

    fn apply(_: &str, row: Option<LastPrice>, event: &Recorded<MarketEvent>) -> Option<LastPrice> {
        let MarketEvent::TradeRecorded(trade) = &event.event;
        let mut row = row.unwrap_or_else(|| LastPrice {
            instrument: trade.instrument.clone(),
            price: Numeric::default(),
            traded_at: trade.traded_at,
            trades: 0,
            volume_usd: Numeric::default(),
            revision: 0,
        });
        row.price = trade.price.into();
        row.traded_at = trade.traded_at;
        row.trades += 1;
        row.volume_usd += trade.size;
        row.revision = event.revision.0;
        Some(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{fold, millis, number, prints};

    #[test]
    fn the_last_trade_gives_the_price_and_all_of_them_the_volume() {
        let rows = fold::<MarketLastPrice>(&prints());
        let expected = LastPrice {
            instrument: "XBTUSD".to_owned(),
            price: number("13880.5").into(),
            traded_at: millis(3_000),
            trades: 3,
            volume_usd: number("310").into(),
            revision: 2,
        };
        assert_eq!(rows, [("XBTUSD".to_owned(), expected)].into());
    }
}
