//! Trading: an account with its cash, positions and orders. One stream holds all of it, because the
//! rule that cash never goes below zero spans them. Spot rules: no selling short, no credit. Cash
//! is USD.
//!
//! - A limit buy sets aside what it costs at its limit, with the fee; as it fills, what it no
//!   longer needs is freed.
//! - A market buy sets nothing aside; each fill takes what free cash pays for, and it ends when
//!   that is nothing more.
//! - A sell sets its quantity aside.
//! - A fill is at the print's price, never worse than the limit. The fee is 0.075 % of the
//!   notional, rounded up on the order as a whole, so pieces cost no more than one fill. It is no
//!   part of a position's cost or of realised P&L.
//! - A sell takes its share of the position's average cost with it: realised P&L is its notional
//!   less that share.
//!
//! So at every moment and to the last digit: cash = deposits − withdrawals − Σ buys + Σ sells − Σ
//! fees, and Σ realised P&L = Σ sells − Σ buys + the cost of what is held.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use annals_core::{Decider, Timestamp};
use annals_events::TradingEvent;
use annals_events::market::Side;
use annals_events::trading::{
    AccountOpened, CancellationReason, CashDeposited, CashWithdrawn, Fill, OrderAccepted,
    OrderCancelled, OrderKind, OrderPlaced, OrderRejected, RejectionReason,
};
use rust_decimal::Decimal;
use serde::Serialize;

use crate::amounts::{Amount, Price};
use crate::names::{AccountId, OrderId};
use crate::units::{cost, decimal, units};

mod fill;
mod request;

pub use request::{AccountCommand, AccountRefusal};

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

/// What cash is counted in.
pub const CURRENCY: &str = "USD";

/// One account, as far as the next command needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Account {
    opened: bool,
    owner: Option<String>,
    cash: Decimal,
    /// Of the cash, what is set aside for limit buys.
    reserved: Decimal,
    positions: BTreeMap<String, Position>,
    orders: BTreeMap<String, OpenOrder>,
    /// Orders that ended; shared between copies of the state, because it only grows.
    ended: Arc<BTreeSet<String>>,
}

/// What is held of an instrument.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct Position {
    quantity: Decimal,
    /// What it cost in USD, without fees.
    cost: Decimal,
    /// Of the quantity, what is set aside for sells.
    reserved: Decimal,
}

/// An order that may still be filled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct OpenOrder {
    instrument: String,
    side: Side,
    kind: OrderKind,
    quantity: Decimal,
    limit_price: Option<Decimal>,
    as_of: u64,
    remaining: Decimal,
    /// The notional of its fills so far, in USD.
    notional: Decimal,
    /// The cash set aside for it, in USD.
    reserved: Decimal,
    last_print: Option<u64>,
}

impl Decider for Account {
    type Command = AccountCommand;
    type Event = TradingEvent;
    type Refusal = AccountRefusal;

    const CATEGORY: &'static str = "account";

    fn target(command: &AccountCommand) -> &str {
        match command {
            AccountCommand::OpenAccount { account, .. }
            | AccountCommand::Deposit { account, .. }
            | AccountCommand::Withdraw { account, .. }
            | AccountCommand::PlaceOrder { account, .. }
            | AccountCommand::FillOrder { account, .. }
            | AccountCommand::CancelOrder { account, .. } => account.as_str(),
        }
    }

    fn decide(&self, command: AccountCommand) -> Result<Vec<TradingEvent>, AccountRefusal> {
        match command {
            AccountCommand::OpenAccount { account, owner, at } => self.open(account, owner, at),
            other if !self.opened => {
                Err(AccountRefusal::Unopened { account: Account::target(&other).to_owned() })
            }
            AccountCommand::Deposit { account, amount, at } => self.deposit(account, amount, at),
            AccountCommand::Withdraw { account, amount, at } => self.withdraw(account, amount, at),
            AccountCommand::PlaceOrder {
                account,
                order,
                instrument,
                side,
                kind,
                quantity,
                limit_price,
                as_of,
                at,
            } => self.place(OrderPlaced {
                account: account.into(),
                order: order.into(),
                instrument: instrument.into(),
                side,
                kind,
                quantity: quantity.get(),
                limit_price: limit_price.map(Price::get),
                as_of,
                placed_at: at,
            }),
            AccountCommand::FillOrder { account, order, print, price, quantity, traded_at } => {
                self.fill(account, order, &fill::Offer { print, price, quantity, traded_at })
            }
            AccountCommand::CancelOrder { account, order, as_of, at } => {
                self.cancel(account, order, as_of, at)
            }
        }
    }

    fn evolve(mut self, event: &TradingEvent) -> Account {
        match event {
            TradingEvent::AccountOpened(event) => {
                self.opened = true;
                self.owner.clone_from(&event.owner);
            }
            TradingEvent::CashDeposited(CashDeposited { cash, .. })
            | TradingEvent::CashWithdrawn(CashWithdrawn { cash, .. }) => self.cash = *cash,
            TradingEvent::OrderPlaced(event) => {
                self.orders.insert(event.order.clone(), OpenOrder::placed(event));
            }
            TradingEvent::OrderAccepted(event) => {
                self.reserved = event.account_reserved;
                if let Some(order) = self.orders.get_mut(&event.order) {
                    order.reserved = event.reserved_cash;
                }
                if let Some(position) = self.positions.get_mut(&event.instrument) {
                    position.reserved += event.reserved_quantity;
                }
            }
            TradingEvent::OrderRejected(event) => self.end(&event.order),
            TradingEvent::OrderPartiallyFilled(fill) => self.take_fill(fill),
            TradingEvent::OrderFilled(fill) => {
                self.take_fill(fill);
                self.end(&fill.order);
            }
            TradingEvent::OrderCancelled(event) => {
                self.reserved = event.account_reserved;
                let sells = self.orders.get(&event.order).is_some_and(|o| o.side == Side::Sell);
                if let Some(position) = self.positions.get_mut(&event.instrument)
                    && sells
                {
                    position.reserved -= event.remaining;
                }
                self.end(&event.order);
            }
        }
        self
    }
}

impl OpenOrder {
    fn placed(event: &OrderPlaced) -> OpenOrder {
        OpenOrder {
            instrument: event.instrument.clone(),
            side: event.side,
            kind: event.kind,
            quantity: event.quantity,
            limit_price: event.limit_price,
            as_of: event.as_of,
            remaining: event.quantity,
            notional: Decimal::ZERO,
            reserved: Decimal::ZERO,
            last_print: None,
        }
    }

    /// The cash that `remaining` may still take at worst: of a limit buy only.
    fn reserve(&self) -> Decimal {
        match (self.side, self.limit_price) {
            (Side::Buy, Some(limit)) => {
                decimal(cost(units(self.notional), units(limit), units(self.remaining)))
            }
            (Side::Buy, None) | (Side::Sell, _) => Decimal::ZERO,
        }
    }

    /// Whether placing the one would be placing the other again.
    fn is_same_request(&self, other: &OpenOrder) -> bool {
        self.instrument == other.instrument
            && self.side == other.side
            && self.kind == other.kind
            && self.quantity == other.quantity
            && self.limit_price == other.limit_price
            && self.as_of == other.as_of
    }
}

impl Account {
    /// Cash that is not set aside.
    fn free(&self) -> Decimal {
        self.cash - self.reserved
    }

    fn open(
        &self,
        account: AccountId,
        owner: Option<String>,
        at: Option<Timestamp>,
    ) -> Result<Vec<TradingEvent>, AccountRefusal> {
        if self.opened && self.owner == owner {
            return Ok(vec![]); // Already so: a retry, not an error.
        }
        if self.opened {
            return Err(AccountRefusal::Taken { account: account.into() });
        }
        Ok(vec![TradingEvent::AccountOpened(AccountOpened {
            account: account.into(),
            owner,
            currency: CURRENCY.to_owned(),
            opened_at: at,
        })])
    }

    fn deposit(
        &self,
        account: AccountId,
        amount: Amount,
        at: Option<Timestamp>,
    ) -> Result<Vec<TradingEvent>, AccountRefusal> {
        let cash = self.cash + amount.get();
        within(account.as_str(), "the cash", cash)?;
        Ok(vec![TradingEvent::CashDeposited(CashDeposited {
            account: account.into(),
            amount: amount.get(),
            cash,
            deposited_at: at,
        })])
    }

    fn withdraw(
        &self,
        account: AccountId,
        amount: Amount,
        at: Option<Timestamp>,
    ) -> Result<Vec<TradingEvent>, AccountRefusal> {
        let (account, amount, free) = (account.into(), amount.get(), self.free());
        if amount > free {
            return Err(AccountRefusal::Overdrawn { account, free, amount });
        }
        let cash = self.cash - amount;
        let withdrawn = CashWithdrawn { account, amount, cash, withdrawn_at: at };
        Ok(vec![TradingEvent::CashWithdrawn(withdrawn)])
    }

    fn place(&self, placed: OrderPlaced) -> Result<Vec<TradingEvent>, AccountRefusal> {
        match (placed.kind, placed.limit_price) {
            (OrderKind::Limit, None) => return Err(AccountRefusal::Unpriced),
            (OrderKind::Market, Some(_)) => return Err(AccountRefusal::Overpriced),
            (OrderKind::Limit, Some(_)) | (OrderKind::Market, None) => {}
        }
        let order = OpenOrder::placed(&placed);
        let (account, name) = (placed.account.clone(), placed.order.clone());
        if self.orders.get(&name).is_some_and(|known| known.is_same_request(&order)) {
            return Ok(vec![]); // Already so: a retry, not an error.
        }
        if self.orders.contains_key(&name) || self.ended.contains(&name) {
            return Err(AccountRefusal::Reused { account, order: name });
        }
        let verdict = if let Some(reason) = self.reason_against(&order) {
            TradingEvent::OrderRejected(OrderRejected { account, order: name, reason })
        } else {
            let reserved_cash = order.reserve();
            let sells = order.side == Side::Sell;
            TradingEvent::OrderAccepted(OrderAccepted {
                account,
                order: name,
                instrument: order.instrument,
                reserved_cash,
                reserved_quantity: if sells { order.quantity } else { Decimal::ZERO },
                account_reserved: self.reserved + reserved_cash,
            })
        };
        Ok(vec![TradingEvent::OrderPlaced(placed), verdict])
    }

    /// Why an order is not accepted, if so.
    fn reason_against(&self, order: &OpenOrder) -> Option<RejectionReason> {
        let enough_cash = match order.kind {
            OrderKind::Limit => order.reserve() <= self.free(),
            OrderKind::Market => self.free() > Decimal::ZERO,
        };
        let position = self.positions.get(&order.instrument);
        let held = position.map_or(Decimal::ZERO, |held| held.quantity - held.reserved);
        match order.side {
            Side::Buy if !enough_cash => Some(RejectionReason::InsufficientCash),
            Side::Sell if order.quantity > held => Some(RejectionReason::InsufficientPosition),
            Side::Buy | Side::Sell => None,
        }
    }

    fn cancel(
        &self,
        account: AccountId,
        name: OrderId,
        as_of: u64,
        at: Option<Timestamp>,
    ) -> Result<Vec<TradingEvent>, AccountRefusal> {
        if self.ended.contains(name.as_str()) {
            return Ok(vec![]); // Already so: a retry, not an error.
        }
        let Some(order) = self.orders.get(name.as_str()) else {
            return Err(AccountRefusal::Unknown { account: account.into(), order: name.into() });
        };
        Ok(vec![TradingEvent::OrderCancelled(OrderCancelled {
            account: account.into(),
            order: name.into(),
            instrument: order.instrument.clone(),
            remaining: order.remaining,
            reserved_released: order.reserved,
            account_reserved: self.reserved - order.reserved,
            reason: CancellationReason::Requested,
            as_of,
            cancelled_at: at,
        })])
    }

    fn take_fill(&mut self, fill: &Fill) {
        self.cash = fill.cash;
        self.reserved = fill.account_reserved;
        if let Some(order) = self.orders.get_mut(&fill.order) {
            order.remaining = fill.remaining;
            order.notional += fill.notional;
            order.reserved -= fill.reserved_released;
            order.last_print = Some(fill.print);
        }
        let position = self.positions.entry(fill.instrument.clone()).or_default();
        position.quantity = fill.position_quantity;
        position.cost = fill.position_cost;
        if fill.side == Side::Sell {
            position.reserved -= fill.quantity;
        }
        if position.quantity.is_zero() {
            self.positions.remove(&fill.instrument);
        }
    }

    fn end(&mut self, order: &str) {
        self.orders.remove(order);
        Arc::make_mut(&mut self.ended).insert(order.to_owned());
    }
}

/// Refuses a balance beyond what arithmetic and columns are made for.
fn within(account: &str, balance: &'static str, value: Decimal) -> Result<(), AccountRefusal> {
    if value > Decimal::from(Amount::LARGEST) {
        let largest = Amount::LARGEST;
        return Err(AccountRefusal::Oversized { account: account.to_owned(), balance, largest });
    }
    Ok(())
}
