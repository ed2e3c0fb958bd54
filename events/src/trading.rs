//! What happens in trading: accounts, cash, orders and their fills. Stream: `account-ID`. Amounts
//! are in USD, quantities in units of the instrument (XBT), both with eight digits after the point.
//! An event carries the balances that it leaves behind, so that a reader copies them and never
//! works them out in a way of its own.

use std::collections::HashSet;

use annals_core::Timestamp;
use apache_avro::schema::{Name, NamespaceRef};
use apache_avro::{AvroSchema, AvroSchemaComponent, Schema};
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::avro;
use crate::codec::domain_events;
use crate::market::Side;

domain_events! {
    /// What happens in trading.
    TradingEvent of "trading" {
        AccountOpened(AccountOpened),
        CashDeposited(CashDeposited),
        CashWithdrawn(CashWithdrawn),
        OrderPlaced(OrderPlaced),
        OrderAccepted(OrderAccepted),
        OrderRejected(OrderRejected),
        OrderPartiallyFilled(Fill),
        OrderFilled(Fill),
        OrderCancelled(OrderCancelled),
    }
}

/// An account was opened, with no cash and no positions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
#[avro(namespace = "trading")]
pub struct AccountOpened {
    /// The account.
    pub account: String,
    /// Whose it is, as the client names them.
    #[serde(default)]
    pub owner: Option<String>,
    /// What its cash is counted in: `USD`.
    pub currency: String,
    /// When, as the command said; where it did not, the time of recording holds.
    #[serde(default, with = "avro::optional_timestamp")]
    #[avro(with = avro::optional_time, default = "null")]
    pub opened_at: Option<Timestamp>,
}

/// Cash came in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
#[avro(namespace = "trading")]
pub struct CashDeposited {
    /// The account.
    pub account: String,
    /// How much, in USD; positive.
    #[avro(with = avro::decimal)]
    pub amount: Decimal,
    /// The account's cash after it, in USD.
    #[avro(with = avro::decimal)]
    pub cash: Decimal,
    /// When, as the command said; where it did not, the time of recording holds.
    #[serde(default, with = "avro::optional_timestamp")]
    #[avro(with = avro::optional_time, default = "null")]
    pub deposited_at: Option<Timestamp>,
}

/// Cash went out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
#[avro(namespace = "trading")]
pub struct CashWithdrawn {
    /// The account.
    pub account: String,
    /// How much, in USD; positive.
    #[avro(with = avro::decimal)]
    pub amount: Decimal,
    /// The account's cash after it, in USD.
    #[avro(with = avro::decimal)]
    pub cash: Decimal,
    /// When, as the command said; where it did not, the time of recording holds.
    #[serde(default, with = "avro::optional_timestamp")]
    #[avro(with = avro::optional_time, default = "null")]
    pub withdrawn_at: Option<Timestamp>,
}

/// Someone asked for an order; it is accepted or rejected in the same breath.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
#[avro(namespace = "trading")]
pub struct OrderPlaced {
    /// The account.
    pub account: String,
    /// The order, named once for ever within its account.
    pub order: String,
    /// What to trade.
    pub instrument: String,
    /// Which way.
    pub side: Side,
    /// At which price.
    pub kind: OrderKind,
    /// How much, in units of the instrument; positive.
    #[avro(with = avro::decimal)]
    pub quantity: Decimal,
    /// The worst price accepted, in USD; of a limit order only.
    #[serde(default)]
    #[avro(with = avro::optional_decimal, default = "null")]
    pub limit_price: Option<Decimal>,
    /// The last print known when it was decided (a revision of `market-INSTRUMENT`): only later
    /// ones fill it.
    #[avro(with = avro::long)]
    pub as_of: u64,
    /// When, as the command said; where it did not, the time of recording holds.
    #[serde(default, with = "avro::optional_timestamp")]
    #[avro(with = avro::optional_time, default = "null")]
    pub placed_at: Option<Timestamp>,
}

/// The order just placed is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
#[avro(namespace = "trading")]
pub struct OrderAccepted {
    /// The account.
    pub account: String,
    /// The order.
    pub order: String,
    /// What is traded.
    pub instrument: String,
    /// The cash set aside for it, in USD: of a limit buy its worst cost and fee, otherwise 0.
    #[avro(with = avro::decimal)]
    pub reserved_cash: Decimal,
    /// The quantity set aside for it: of a sell all of it, otherwise 0.
    #[avro(with = avro::decimal)]
    pub reserved_quantity: Decimal,
    /// The account's reserved cash after it, in USD.
    #[avro(with = avro::decimal)]
    pub account_reserved: Decimal,
}

/// The order just placed is refused by a rule of trading. It never opens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
#[avro(namespace = "trading")]
pub struct OrderRejected {
    /// The account.
    pub account: String,
    /// The order.
    pub order: String,
    /// By which rule.
    pub reason: RejectionReason,
}

/// Some of an order was traded by one print. Of `OrderPartiallyFilled`, which leaves it open, and
/// of `OrderFilled`, which ends it with `remaining` 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
#[avro(namespace = "trading")]
pub struct Fill {
    /// The account.
    pub account: String,
    /// The order.
    pub order: String,
    /// What was traded.
    pub instrument: String,
    /// Which way.
    pub side: Side,
    /// The print that filled it: its revision in `market-INSTRUMENT`.
    #[avro(with = avro::long)]
    pub print: u64,
    /// When the print was traded.
    #[serde(with = "avro::timestamp")]
    #[avro(with = avro::time)]
    pub filled_at: Timestamp,
    /// The print's price, in USD.
    #[avro(with = avro::decimal)]
    pub price: Decimal,
    /// How much was traded, in units of the instrument; positive.
    #[avro(with = avro::decimal)]
    pub quantity: Decimal,
    /// Price × quantity in USD, rounded down to eight digits.
    #[avro(with = avro::decimal)]
    pub notional: Decimal,
    /// The fee of this fill, in USD.
    #[avro(with = avro::decimal)]
    pub fee: Decimal,
    /// What a sell gained over its average cost before fees, in USD; of a buy 0.
    #[avro(with = avro::decimal)]
    pub realised_pnl: Decimal,
    /// What of the order is still to be traded.
    #[avro(with = avro::decimal)]
    pub remaining: Decimal,
    /// How much less cash is set aside for the order after it, in USD.
    #[avro(with = avro::decimal)]
    pub reserved_released: Decimal,
    /// The account's cash after it, in USD.
    #[avro(with = avro::decimal)]
    pub cash: Decimal,
    /// The account's reserved cash after it, in USD.
    #[avro(with = avro::decimal)]
    pub account_reserved: Decimal,
    /// The position in the instrument after it.
    #[avro(with = avro::decimal)]
    pub position_quantity: Decimal,
    /// What the position cost, in USD, without fees.
    #[avro(with = avro::decimal)]
    pub position_cost: Decimal,
    /// Cost over quantity in USD, rounded to eight digits; 0 where there is no position.
    #[avro(with = avro::decimal)]
    pub position_average_price: Decimal,
}

/// What was left of an order will not be traded any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
#[avro(namespace = "trading")]
pub struct OrderCancelled {
    /// The account.
    pub account: String,
    /// The order.
    pub order: String,
    /// What was to be traded.
    pub instrument: String,
    /// How much of it is given up.
    #[avro(with = avro::decimal)]
    pub remaining: Decimal,
    /// The cash that is free again, in USD.
    #[avro(with = avro::decimal)]
    pub reserved_released: Decimal,
    /// The account's reserved cash after it, in USD.
    #[avro(with = avro::decimal)]
    pub account_reserved: Decimal,
    /// Why.
    pub reason: CancellationReason,
    /// The last print known when it was decided (a revision of `market-INSTRUMENT`).
    #[avro(with = avro::long)]
    pub as_of: u64,
    /// When, as the command said; where it did not, the time of recording holds.
    #[serde(default, with = "avro::optional_timestamp")]
    #[avro(with = avro::optional_time, default = "null")]
    pub cancelled_at: Option<Timestamp>,
}

/// At which price an order trades.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OrderKind {
    /// At whatever price the next prints have.
    Market,
    /// At its limit or better.
    Limit,
}

/// Why an order was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RejectionReason {
    /// A buy needs more cash than is free.
    InsufficientCash,
    /// A sell needs more of the instrument than is held and free; there is no selling short.
    InsufficientPosition,
}

/// Why an order ended before all of it was traded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancellationReason {
    /// Its account asked for it.
    Requested,
    /// A market buy ran out of cash.
    CashExhausted,
}

impl OrderKind {
    /// Every one of them, in the order of the schema.
    pub const ALL: [OrderKind; 2] = [OrderKind::Market, OrderKind::Limit];

    /// The name as the schemas and the rows have it: `market` or `limit`.
    pub fn as_str(self) -> &'static str {
        match self {
            OrderKind::Market => "market",
            OrderKind::Limit => "limit",
        }
    }
}

impl RejectionReason {
    /// Every one of them, in the order of the schema.
    pub const ALL: [RejectionReason; 2] =
        [RejectionReason::InsufficientCash, RejectionReason::InsufficientPosition];

    /// The name as the schemas and the rows have it, such as `insufficient_cash`.
    pub fn as_str(self) -> &'static str {
        match self {
            RejectionReason::InsufficientCash => "insufficient_cash",
            RejectionReason::InsufficientPosition => "insufficient_position",
        }
    }
}

impl CancellationReason {
    /// Every one of them, in the order of the schema.
    pub const ALL: [CancellationReason; 2] =
        [CancellationReason::Requested, CancellationReason::CashExhausted];

    /// The name as the schemas and the rows have it: `requested` or `cash_exhausted`.
    pub fn as_str(self) -> &'static str {
        match self {
            CancellationReason::Requested => "requested",
            CancellationReason::CashExhausted => "cash_exhausted",
        }
    }
}

impl TradingEvent {
    /// The account that it happened to.
    pub fn account(&self) -> &str {
        match self {
            TradingEvent::AccountOpened(event) => &event.account,
            TradingEvent::CashDeposited(event) => &event.account,
            TradingEvent::CashWithdrawn(event) => &event.account,
            TradingEvent::OrderPlaced(event) => &event.account,
            TradingEvent::OrderAccepted(event) => &event.account,
            TradingEvent::OrderRejected(event) => &event.account,
            TradingEvent::OrderPartiallyFilled(fill) | TradingEvent::OrderFilled(fill) => {
                &fill.account
            }
            TradingEvent::OrderCancelled(event) => &event.account,
        }
    }
}

impl AvroSchemaComponent for OrderKind {
    fn get_schema_in_ctxt(names: &mut HashSet<Name>, _: NamespaceRef) -> Schema {
        avro::enumeration(names, "trading.OrderKind", OrderKind::ALL.map(OrderKind::as_str))
    }
}

impl AvroSchemaComponent for RejectionReason {
    fn get_schema_in_ctxt(names: &mut HashSet<Name>, _: NamespaceRef) -> Schema {
        avro::enumeration(
            names,
            "trading.RejectionReason",
            RejectionReason::ALL.map(RejectionReason::as_str),
        )
    }
}

impl AvroSchemaComponent for CancellationReason {
    fn get_schema_in_ctxt(names: &mut HashSet<Name>, _: NamespaceRef) -> Schema {
        avro::enumeration(
            names,
            "trading.CancellationReason",
            CancellationReason::ALL.map(CancellationReason::as_str),
        )
    }
}
