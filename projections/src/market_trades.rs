//! The trades as facts, with one-minute candles over them.

use annals_core::{Facts, Recorded};
use annals_events::MarketEvent;
use serde::Serialize;

use crate::columns::{FactTime, Numeric};

/// The facts `market_trades`, and the candles `market_candles_1m`.
#[derive(Clone, Copy, Debug)]
pub struct MarketTrades;

/// One trade.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TradeFact {
    /// Its position in the log.
    pub position: u64,
    /// Its revision in `market-INSTRUMENT`.
    pub revision: u64,
    /// What was traded.
    pub instrument: String,
    /// When the exchange says it was.
    pub traded_at: FactTime,
    /// In USD per unit of the instrument.
    pub price: Numeric,
    /// In USD.
    pub size_usd: Numeric,
    /// `buy` or `sell`: which side crossed the spread.
    pub taker_side: &'static str,
}

impl Facts for MarketTrades {
    type Event = MarketEvent;
    type Fact = TradeFact;

    const NAME: &'static str = "market_trades";
    const VERSION: u32 = 1;
    const DDL: &'static str = include_str!("market_trades.sql");

    fn facts(event: &Recorded<MarketEvent>, facts: &mut Vec<TradeFact>) {
        let MarketEvent::TradeRecorded(trade) = &event.event;
        facts.push(TradeFact {
            position: event.position.0,
            revision: event.revision.0,
            instrument: trade.instrument.clone(),
            traded_at: FactTime(trade.traded_at),
            price: trade.price.into(),
            size_usd: trade.size.into(),
            taker_side: trade.taker_side.as_str(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::prints;

    #[test]
    fn a_trade_becomes_one_fact_in_the_order_of_the_columns() {
        let mut facts = Vec::new();
        for event in prints() {
            MarketTrades::facts(&event, &mut facts);
        }
        assert_eq!(facts.len(), 3);
        let json = serde_json::to_string(&facts[2]).expect("serialises");
        let expected = concat!(
            r#"{"position":2,"revision":2,"instrument":"XBTUSD","#,
            r#""traded_at":"1970-01-01 00:00:03.000000","price":"13880.50000000","#,
            r#""size_usd":"100.00000000","taker_side":"sell"}"#
        );
        assert_eq!(json, expected);
    }
}
