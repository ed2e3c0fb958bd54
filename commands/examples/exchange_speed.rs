//! How fast prints pass by open orders that they do not meet, and by ones that they do:
//! `cargo run --release -p annals-commands --example exchange_speed`.
#![allow(clippy::print_stdout, reason = "figures are its purpose")]

use std::time::Instant;

use annals_commands::PaperExchange;
use annals_core::Timestamp;
use annals_events::TradingEvent;
use annals_events::market::{Side, TradeRecorded};
use annals_events::trading::{OrderAccepted, OrderKind, OrderPlaced};
use rust_decimal::Decimal;

const PRINTS: u64 = 1_000_000;
const ORDERS: u32 = 200;

fn exchange(limit: Decimal) -> PaperExchange {
    let mut exchange = PaperExchange::default();
    for number in 0..ORDERS {
        let (account, order) = (format!("A{number:03}"), "1".to_owned());
        let instrument = "XBTUSD".to_owned();
        exchange.learn(&TradingEvent::OrderPlaced(OrderPlaced {
            account: account.clone(),
            order: order.clone(),
            instrument: instrument.clone(),
            side: Side::Buy,
            kind: OrderKind::Limit,
            quantity: Decimal::from(1_000_000),
            limit_price: Some(limit),
            as_of: 0,
            placed_at: None,
        }));
        exchange.learn(&TradingEvent::OrderAccepted(OrderAccepted {
            account,
            order,
            instrument,
            reserved_cash: Decimal::ZERO,
            reserved_quantity: Decimal::ZERO,
            account_reserved: Decimal::ZERO,
        }));
    }
    exchange
}

fn main() {
    let trade = TradeRecorded {
        instrument: "XBTUSD".to_owned(),
        traded_at: Timestamp(0),
        price: Decimal::new(138_735, 1),
        size: Decimal::from(3000),
        taker_side: Side::Sell,
    };
    for (what, limit) in [("meet none of", 10_000), ("each meet the first of", 20_000)] {
        let mut exchange = exchange(Decimal::from(limit));
        let mut commands = Vec::new();
        let mut asked = 0;
        let start = Instant::now();
        for print in 1..=PRINTS {
            exchange.print(print, &trade, &mut commands);
            asked += commands.len();
            commands.clear();
        }
        let took = start.elapsed();
        println!(
            "{PRINTS} prints that {what} {ORDERS} orders: {took:.2?}, {asked} fills asked for"
        );
    }
}
