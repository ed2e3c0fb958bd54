//! The orders, from their placing to their end. A row an order.

use annals_core::{Projection, Recorded, RowKey, RowScope, Timestamp};
use annals_events::TradingEvent;
use annals_events::trading::{Fill, OrderPlaced};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::columns::Numeric;

/// The read model `trading_orders`.
#[derive(Clone, Copy, Debug)]
pub struct TradingOrders;

/// One order; quantities in units of the instrument, amounts in USD.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRow {
    /// `ACCOUNT/ORDER`.
    pub id: String,
    /// The account.
    pub account: String,
    /// The order, as its account names it.
    pub order_id: String,
    /// What is traded.
    pub instrument: String,
    /// `buy` or `sell`.
    pub side: String,
    /// `market` or `limit`.
    pub kind: String,
    /// How much was asked for.
    pub quantity: Numeric,
    /// The worst price accepted; of a limit order.
    pub limit_price: Option<Numeric>,
    /// `placed`, `open`, `partially_filled`, `filled`, `cancelled` or `rejected`.
    pub status: String,
    /// Why it was rejected or cancelled.
    pub reason: Option<String>,
    /// How much was traded.
    pub filled: Numeric,
    /// How much is, or was at its end, still to be traded.
    pub remaining: Numeric,
    /// Price × quantity over its fills.
    pub notional: Numeric,
    /// The fees of its fills.
    pub fees: Numeric,
    /// What its fills gained over the average cost; of a sell.
    pub realised_pnl: Numeric,
    /// The cash set aside for it.
    pub reserved: Numeric,
    /// How many fills there were.
    pub fills: u64,
    /// The last print known when it was decided (a revision of `market-INSTRUMENT`).
    pub as_of: u64,
    /// The last print that filled it.
    pub last_print: Option<u64>,
    /// When it was placed.
    pub placed_at: Timestamp,
    /// When its last fill was traded, or when it was cancelled.
    pub changed_at: Timestamp,
}

impl Projection for TradingOrders {
    type Event = TradingEvent;
    type Row = OrderRow;

    const NAME: &'static str = "trading_orders";
    const VERSION: u32 = 1;
    const KEY: &'static str = "id";
    const SCOPE: RowScope = RowScope::OneStream;
    const DDL: &'static str = include_str!("trading_orders.sql");

    fn keys(event: &Recorded<TradingEvent>, keys: &mut Vec<RowKey>) {
        let order = match &event.event {
            TradingEvent::OrderPlaced(event) => &event.order,
            TradingEvent::OrderAccepted(event) => &event.order,
            TradingEvent::OrderRejected(event) => &event.order,
            TradingEvent::OrderPartiallyFilled(fill) | TradingEvent::OrderFilled(fill) => {
                &fill.order
            }
            TradingEvent::OrderCancelled(event) => &event.order,
            TradingEvent::AccountOpened(_)
            | TradingEvent::CashDeposited(_)
            | TradingEvent::CashWithdrawn(_) => return,
        };
        keys.push(format!("{}/{order}", event.event.account()));
    }

    fn apply(key: &str, row: Option<OrderRow>, event: &Recorded<TradingEvent>) -> Option<OrderRow> {
        if let TradingEvent::OrderPlaced(placed) = &event.event {
            return Some(OrderRow::placed(key, placed, placed.placed_at.unwrap_or(event.time)));
        }
        let mut row = row?;
        match &event.event {
            TradingEvent::OrderAccepted(accepted) => {
                "open".clone_into(&mut row.status);
                row.reserved = accepted.reserved_cash.into();
            }
            TradingEvent::OrderRejected(rejected) => {
                "rejected".clone_into(&mut row.status);
                row.reason = Some(rejected.reason.as_str().to_owned());
            }
            TradingEvent::OrderPartiallyFilled(fill) => row.fill(fill, "partially_filled"),
            TradingEvent::OrderFilled(fill) => row.fill(fill, "filled"),
            TradingEvent::OrderCancelled(cancelled) => {
                "cancelled".clone_into(&mut row.status);
                row.reason = Some(cancelled.reason.as_str().to_owned());
                row.reserved += -cancelled.reserved_released;
                row.changed_at = cancelled.cancelled_at.unwrap_or(event.time);
            }
            TradingEvent::OrderPlaced(_)
            | TradingEvent::AccountOpened(_)
            | TradingEvent::CashDeposited(_)
            | TradingEvent::CashWithdrawn(_) => {}
        }
        Some(row)
    }
}

impl OrderRow {
    fn placed(id: &str, event: &OrderPlaced, placed_at: Timestamp) -> OrderRow {
        OrderRow {
            id: id.to_owned(),
            account: event.account.clone(),
            order_id: event.order.clone(),
            instrument: event.instrument.clone(),
            side: event.side.as_str().to_owned(),
            kind: event.kind.as_str().to_owned(),
            quantity: event.quantity.into(),
            limit_price: event.limit_price.map(Numeric),
            status: "placed".to_owned(),
            reason: None,
            filled: Decimal::ZERO.into(),
            remaining: event.quantity.into(),
            notional: Decimal::ZERO.into(),
            fees: Decimal::ZERO.into(),
            realised_pnl: Decimal::ZERO.into(),
            reserved: Decimal::ZERO.into(),
            fills: 0,
            as_of: event.as_of,
            last_print: None,
            placed_at,
            changed_at: placed_at,
        }
    }

    fn fill(&mut self, fill: &Fill, status: &str) {
        status.clone_into(&mut self.status);
        self.filled += fill.quantity;
        self.remaining = fill.remaining.into();
        self.notional += fill.notional;
        self.fees += fill.fee;
        self.realised_pnl += fill.realised_pnl;
        self.reserved += -fill.reserved_released;
        self.fills += 1;
        self.last_print = Some(fill.print);
        self.changed_at = fill.filled_at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{fold, millis, number, story};

    #[test]
    fn an_order_row_follows_its_fills() {
        let rows = fold::<TradingOrders>(&story());
        let expected = OrderRow {
            id: "A001/1".to_owned(),
            account: "A001".to_owned(),
            order_id: "1".to_owned(),
            instrument: "XBTUSD".to_owned(),
            side: "buy".to_owned(),
            kind: "limit".to_owned(),
            quantity: number("0.02").into(),
            limit_price: Some(number("5000").into()),
            status: "filled".to_owned(),
            reason: None,
            filled: number("0.02").into(),
            remaining: number("0").into(),
            notional: number("100").into(),
            fees: number("0.075").into(),
            realised_pnl: number("0").into(),
            reserved: number("0").into(),
            fills: 2,
            as_of: 4,
            last_print: Some(6),
            placed_at: millis(1_000),
            changed_at: millis(6),
        };
        assert_eq!(rows.get("A001/1"), Some(&expected));
    }

    #[test]
    fn an_order_that_is_cancelled_or_rejected_says_why() {
        let rows = fold::<TradingOrders>(&story());
        let told = |key: &str| rows.get(key).map(|row| (row.status.as_str(), row.reason.clone()));
        assert_eq!(told("A001/2"), Some(("cancelled", Some("requested".to_owned()))));
        assert_eq!(told("A001/3"), Some(("rejected", Some("insufficient_cash".to_owned()))));
        assert_eq!(rows.len(), 3);
    }
}
