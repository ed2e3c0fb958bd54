//! The fills as facts, with the traded volume by account and hour over them.

use annals_core::{Facts, Recorded};
use annals_events::TradingEvent;
use serde::Serialize;

use crate::columns::{FactTime, Numeric};

/// The facts `trading_fills`, and the volumes `trading_volume_1h`.
#[derive(Clone, Copy, Debug)]
pub struct TradingFills;

/// One fill; quantities in units of the instrument, amounts in USD.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FillFact {
    /// Its position in the log.
    pub position: u64,
    /// The account.
    pub account: String,
    /// The order, as its account names it.
    pub order_id: String,
    /// What was traded.
    pub instrument: String,
    /// `buy` or `sell`.
    pub side: &'static str,
    /// The print that filled it (a revision of `market-INSTRUMENT`).
    pub print: u64,
    /// When the print was traded.
    pub filled_at: FactTime,
    /// The print's price.
    pub price: Numeric,
    /// How much was traded.
    pub quantity: Numeric,
    /// Price × quantity.
    pub notional: Numeric,
    /// The fee.
    pub fee: Numeric,
    /// What a sell gained over its average cost, before fees.
    pub realised_pnl: Numeric,
}

impl Facts for TradingFills {
    type Event = TradingEvent;
    type Fact = FillFact;

    const NAME: &'static str = "trading_fills";
    const VERSION: u32 = 1;
    const DDL: &'static str = include_str!("trading_fills.sql");

    fn facts(event: &Recorded<TradingEvent>, facts: &mut Vec<FillFact>) {
        let fill = match &event.event {
            TradingEvent::OrderPartiallyFilled(fill) | TradingEvent::OrderFilled(fill) => fill,
            TradingEvent::AccountOpened(_)
            | TradingEvent::CashDeposited(_)
            | TradingEvent::CashWithdrawn(_)
            | TradingEvent::OrderPlaced(_)
            | TradingEvent::OrderAccepted(_)
            | TradingEvent::OrderRejected(_)
            | TradingEvent::OrderCancelled(_) => return,
        };
        facts.push(FillFact {
            position: event.position.0,
            account: fill.account.clone(),
            order_id: fill.order.clone(),
            instrument: fill.instrument.clone(),
            side: fill.side.as_str(),
            print: fill.print,
            filled_at: FactTime(fill.filled_at),
            price: fill.price.into(),
            quantity: fill.quantity.into(),
            notional: fill.notional.into(),
            fee: fill.fee.into(),
            realised_pnl: fill.realised_pnl.into(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::story;

    #[test]
    fn a_fill_becomes_one_fact_and_nothing_else_does() {
        let mut facts = Vec::new();
        for event in story() {
            TradingFills::facts(&event, &mut facts);
        }
        assert_eq!(facts.len(), 3);
        let json = serde_json::to_string(&facts[2]).expect("serialises");
        let expected = concat!(
            r#"{"position":8,"account":"A001","order_id":"2","instrument":"XBTUSD","#,
            r#""side":"sell","print":9,"filled_at":"1970-01-01 00:00:00.009000","#,
            r#""price":"6000.00000000","quantity":"0.01000000","notional":"60.00000000","#,
            r#""fee":"0.03750000","realised_pnl":"10.00000000"}"#
        );
        assert_eq!(json, expected);
    }
}
