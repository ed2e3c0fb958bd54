//! A small history that every projection's test folds, and the fold itself. The amounts are round,
//! so that what is expected can be checked by hand.

use std::collections::BTreeMap;

use annals_core::{Position, Projection, Recorded, Revision, StreamName, Timestamp};
use annals_events::market::{Side, TradeRecorded};
use annals_events::trading::{
    AccountOpened, CancellationReason, CashDeposited, CashWithdrawn, Fill, OrderAccepted,
    OrderCancelled, OrderKind, OrderPlaced, OrderRejected, RejectionReason,
};
use annals_events::{MarketEvent, TradingEvent};
use rust_decimal::Decimal;

pub(crate) fn number(text: &str) -> Decimal {
    text.parse().expect("a decimal")
}

pub(crate) fn millis(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// The rows of a history.
pub(crate) fn fold<P: Projection>(events: &[Recorded<P::Event>]) -> BTreeMap<String, P::Row> {
    let mut rows = BTreeMap::new();
    for event in events {
        let mut keys = Vec::new();
        P::keys(event, &mut keys);
        for key in keys {
            let row = rows.remove(&key);
            if let Some(row) = P::apply(&key, row, event) {
                rows.insert(key, row);
            }
        }
    }
    rows
}

fn recorded<E>(stream: &str, number: usize, event: E) -> Recorded<E> {
    let number = u64::try_from(number).expect("small");
    Recorded {
        stream: StreamName::new(stream).expect("a name"),
        revision: Revision(number),
        position: Position(number),
        time: millis(1_000),
        event,
    }
}

/// Three prints of one instrument.
pub(crate) fn prints() -> Vec<Recorded<MarketEvent>> {
    let print = |at, price, size, taker_side| {
        MarketEvent::TradeRecorded(TradeRecorded {
            instrument: "XBTUSD".to_owned(),
            traded_at: millis(at),
            price: number(price),
            size: number(size),
            taker_side,
        })
    };
    let events = [
        print(1_000, "13873", "10", Side::Buy),
        print(2_000, "13890", "200", Side::Buy),
        print(3_000, "13880.5", "100", Side::Sell),
    ];
    let events = events.into_iter().enumerate();
    events.map(|(index, event)| recorded("market-XBTUSD", index, event)).collect()
}

fn placed(order: &str, side: Side, quantity: &str, limit_price: Option<&str>) -> TradingEvent {
    TradingEvent::OrderPlaced(OrderPlaced {
        account: "A001".to_owned(),
        order: order.to_owned(),
        instrument: "XBTUSD".to_owned(),
        side,
        kind: if limit_price.is_some() { OrderKind::Limit } else { OrderKind::Market },
        quantity: number(quantity),
        limit_price: limit_price.map(number),
        as_of: 4,
        placed_at: None,
    })
}

fn accepted(order: &str, reserved_cash: &str, reserved_quantity: &str) -> TradingEvent {
    TradingEvent::OrderAccepted(OrderAccepted {
        account: "A001".to_owned(),
        order: order.to_owned(),
        instrument: "XBTUSD".to_owned(),
        reserved_cash: number(reserved_cash),
        reserved_quantity: number(reserved_quantity),
        account_reserved: number(reserved_cash),
    })
}

fn bought(print: u64, remaining: &str, cash: &str, reserved: &str, position: &str) -> Fill {
    Fill {
        account: "A001".to_owned(),
        order: "1".to_owned(),
        instrument: "XBTUSD".to_owned(),
        side: Side::Buy,
        print,
        filled_at: millis(i64::try_from(print).expect("small")),
        price: number("5000"),
        quantity: number("0.01"),
        notional: number("50"),
        fee: number("0.0375"),
        realised_pnl: number("0"),
        remaining: number(remaining),
        reserved_released: number("50.0375"),
        cash: number(cash),
        account_reserved: number(reserved),
        position_quantity: number(position),
        position_cost: number(position) * number("5000"),
        position_average_price: number("5000"),
    }
}

/// An account that deposits 1,000 USD, buys 0.02 in two fills, sells half of it with a gain, gives
/// up the rest of that order, is refused another and withdraws 60.
pub(crate) fn story() -> Vec<Recorded<TradingEvent>> {
    let account = "A001".to_owned();
    let sold = Fill {
        order: "2".to_owned(),
        side: Side::Sell,
        price: number("6000"),
        notional: number("60"),
        realised_pnl: number("10"),
        remaining: number("0.01"),
        reserved_released: number("0"),
        ..bought(9, "0", "959.8875", "0", "0.01")
    };
    let events = [
        TradingEvent::AccountOpened(AccountOpened {
            account: account.clone(),
            owner: Some("Ada".to_owned()),
            currency: "USD".to_owned(),
            opened_at: Some(millis(10)),
        }),
        TradingEvent::CashDeposited(CashDeposited {
            account: account.clone(),
            amount: number("1000"),
            cash: number("1000"),
            deposited_at: None,
        }),
        placed("1", Side::Buy, "0.02", Some("5000")),
        accepted("1", "100.075", "0"),
        TradingEvent::OrderPartiallyFilled(bought(5, "0.01", "949.9625", "50.0375", "0.01")),
        TradingEvent::OrderFilled(bought(6, "0", "899.925", "0", "0.02")),
        placed("2", Side::Sell, "0.02", None),
        accepted("2", "0", "0.02"),
        TradingEvent::OrderPartiallyFilled(sold),
        TradingEvent::OrderCancelled(OrderCancelled {
            account: account.clone(),
            order: "2".to_owned(),
            instrument: "XBTUSD".to_owned(),
            remaining: number("0.01"),
            reserved_released: number("0"),
            account_reserved: number("0"),
            reason: CancellationReason::Requested,
            as_of: 9,
            cancelled_at: None,
        }),
        placed("3", Side::Buy, "100", Some("5000")),
        TradingEvent::OrderRejected(OrderRejected {
            account: account.clone(),
            order: "3".to_owned(),
            reason: RejectionReason::InsufficientCash,
        }),
        TradingEvent::CashWithdrawn(CashWithdrawn {
            account,
            amount: number("60"),
            cash: number("899.8875"),
            withdrawn_at: None,
        }),
    ];
    let events = events.into_iter().enumerate();
    events.map(|(index, event)| recorded("account-A001", index, event)).collect()
}
