//! The positions: what each account holds of each instrument, and what it gained there. A row an
//! account and instrument; it stays when the position is closed.

use annals_core::{Projection, Recorded, RowKey, RowScope, Timestamp};
use annals_events::TradingEvent;
use annals_events::market::Side;
use annals_events::trading::Fill;
use serde::{Deserialize, Serialize};

use crate::columns::Numeric;

/// The read model `trading_positions`.
#[derive(Clone, Copy, Debug)]
pub struct TradingPositions;

/// One account's position in one instrument; quantities in units of it, amounts in USD.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PositionRow {
    /// `ACCOUNT/INSTRUMENT`.
    pub id: String,
    /// The account.
    pub account: String,
    /// The instrument.
    pub instrument: String,
    /// How much is held.
    pub quantity: Numeric,
    /// What it cost, without fees.
    pub cost: Numeric,
    /// Cost over quantity, rounded; 0 where nothing is held.
    pub average_price: Numeric,
    /// What its sells gained over their average cost, before fees.
    pub realised_pnl: Numeric,
    /// The fees of its fills.
    pub fees: Numeric,
    /// How much was bought.
    pub bought: Numeric,
    /// How much was sold.
    pub sold: Numeric,
    /// How many fills there were.
    pub fills: u64,
    /// The last print that changed it.
    pub last_print: u64,
    /// When that print was traded.
    pub changed_at: Timestamp,
}

fn fill_of(event: &TradingEvent) -> Option<&Fill> {
    match event {
        TradingEvent::OrderPartiallyFilled(fill) | TradingEvent::OrderFilled(fill) => Some(fill),
        TradingEvent::AccountOpened(_)
        | TradingEvent::CashDeposited(_)
        | TradingEvent::CashWithdrawn(_)
        | TradingEvent::OrderPlaced(_)
        | TradingEvent::OrderAccepted(_)
        | TradingEvent::OrderRejected(_)
        | TradingEvent::OrderCancelled(_) => None,
    }
}

impl Projection for TradingPositions {
    type Event = TradingEvent;
    type Row = PositionRow;

    const NAME: &'static str = "trading_positions";
    const VERSION: u32 = 1;
    const KEY: &'static str = "id";
    const SCOPE: RowScope = RowScope::OneStream;
    const DDL: &'static str = include_str!("trading_positions.sql");

    fn keys(event: &Recorded<TradingEvent>, keys: &mut Vec<RowKey>) {
        if let Some(fill) = fill_of(&event.event) {
            keys.push(format!("{}/{}", fill.account, fill.instrument));
        }
    }

    fn apply(
        key: &str,
        row: Option<PositionRow>,
        event: &Recorded<TradingEvent>,
    ) -> Option<PositionRow> {
        let Some(fill) = fill_of(&event.event) else { return row };
        let mut row = row.unwrap_or_else(|| PositionRow {
            id: key.to_owned(),
            account: fill.account.clone(),
            instrument: fill.instrument.clone(),
            quantity: Numeric::default(),
            cost: Numeric::default(),
            average_price: Numeric::default(),
            realised_pnl: Numeric::default(),
            fees: Numeric::default(),
            bought: Numeric::default(),
            sold: Numeric::default(),
            fills: 0,
            last_print: fill.print,
            changed_at: fill.filled_at,
        });
        row.quantity = fill.position_quantity.into();
        row.cost = fill.position_cost.into();
        row.average_price = fill.position_average_price.into();
        row.realised_pnl += fill.realised_pnl;
        row.fees += fill.fee;
        match fill.side {
            Side::Buy => row.bought += fill.quantity,
            Side::Sell => row.sold += fill.quantity,
        }
        row.fills += 1;
        row.last_print = fill.print;
        row.changed_at = fill.filled_at;
        Some(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{fold, millis, number, story};

    #[test]
    fn a_position_row_holds_what_the_fills_left() {
        let rows = fold::<TradingPositions>(&story());
        let expected = PositionRow {
            id: "A001/XBTUSD".to_owned(),
            account: "A001".to_owned(),
            instrument: "XBTUSD".to_owned(),
            quantity: number("0.01").into(),
            cost: number("50").into(),
            average_price: number("5000").into(),
            realised_pnl: number("10").into(),
            fees: number("0.1125").into(),
            bought: number("0.02").into(),
            sold: number("0.01").into(),
            fills: 3,
            last_print: 9,
            changed_at: millis(9),
        };
        assert_eq!(rows, [("A001/XBTUSD".to_owned(), expected)].into());
    }
}
