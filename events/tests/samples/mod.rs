//! One event of each type, for the tests of the codec.

use annals_core::{DomainEvent, Position, RecordedEvent, Revision, StreamName, Timestamp};
use annals_events::market::{Side, TradeRecorded};
use annals_events::trading::{
    AccountOpened, CancellationReason, CashDeposited, CashWithdrawn, Fill, OrderAccepted,
    OrderCancelled, OrderKind, OrderPlaced, OrderRejected, RejectionReason,
};
use annals_events::{MarketEvent, TradingEvent};
use bytes::Bytes;
use rust_decimal::Decimal;

/// A decimal from its text.
pub(crate) fn number(text: &str) -> Decimal {
    text.parse().expect("a decimal")
}

/// A trade.
pub(crate) fn trade() -> MarketEvent {
    MarketEvent::TradeRecorded(TradeRecorded {
        instrument: "XBTUSD".to_owned(),
        traded_at: Timestamp(1_514_764_802_610_000),
        price: number("13873.5"),
        size: number("3000"),
        taker_side: Side::Sell,
    })
}

/// One event of each type of trading, in the order of the enum.
pub(crate) fn trading() -> Vec<TradingEvent> {
    let (account, order) = ("A001".to_owned(), "A001-17".to_owned());
    let instrument = "XBTUSD".to_owned();
    let at = Some(Timestamp(1_514_764_802_610_007));
    let fill = Fill {
        account: account.clone(),
        order: order.clone(),
        instrument: instrument.clone(),
        side: Side::Buy,
        print: 70_000,
        filled_at: Timestamp(1_514_764_802_610_000),
        price: number("13873.5"),
        quantity: number("0.00000001"),
        notional: number("0.00013873"),
        fee: number("0.00000011"),
        realised_pnl: number("-12.5"),
        remaining: number("0.5"),
        reserved_released: number("0.00013884"),
        cash: number("99999999999.99999999"),
        account_reserved: number("7000"),
        position_quantity: number("1"),
        position_cost: number("13000"),
        position_average_price: number("13000"),
    };
    let filled = Fill { remaining: Decimal::ZERO, ..fill.clone() };
    vec![
        TradingEvent::AccountOpened(AccountOpened {
            account: account.clone(),
            owner: Some("Ada Ålesund".to_owned()),
            currency: "USD".to_owned(),
            opened_at: at,
        }),
        TradingEvent::CashDeposited(CashDeposited {
            account: account.clone(),
            amount: number("1000"),
            cash: number("1000.25"),
            deposited_at: None,
        }),
        TradingEvent::CashWithdrawn(CashWithdrawn {
            account: account.clone(),
            amount: number("0.25"),
            cash: number("1000"),
            withdrawn_at: at,
        }),
        TradingEvent::OrderPlaced(OrderPlaced {
            account: account.clone(),
            order: order.clone(),
            instrument: instrument.clone(),
            side: Side::Buy,
            kind: OrderKind::Limit,
            quantity: number("0.5"),
            limit_price: Some(number("14000")),
            as_of: 69_999,
            placed_at: at,
        }),
        TradingEvent::OrderAccepted(OrderAccepted {
            account: account.clone(),
            order: order.clone(),
            instrument: instrument.clone(),
            reserved_cash: number("7005.25"),
            reserved_quantity: number("0"),
            account_reserved: number("7005.25"),
        }),
        TradingEvent::OrderRejected(OrderRejected {
            account: account.clone(),
            order: order.clone(),
            reason: RejectionReason::InsufficientCash,
        }),
        TradingEvent::OrderPartiallyFilled(fill),
        TradingEvent::OrderFilled(filled),
        TradingEvent::OrderCancelled(OrderCancelled {
            account,
            order,
            instrument,
            remaining: number("0.25"),
            reserved_released: number("3500"),
            account_reserved: number("0"),
            reason: CancellationReason::CashExhausted,
            as_of: 70_001,
            cancelled_at: None,
        }),
    ]
}

/// The event as a store would give it back.
pub(crate) fn recorded<E: DomainEvent>(event: &E) -> RecordedEvent {
    let schema = event.schema();
    RecordedEvent {
        id: annals_core::EventId(uuid::Uuid::from_u128(7)),
        stream: StreamName::new("sample-1").expect("a name"),
        revision: Revision(3),
        position: Position(9),
        event_type: schema.event_type.clone(),
        time: Timestamp(0),
        schema: schema.fingerprint,
        metadata: Bytes::new(),
        data: event.encode(),
    }
}
