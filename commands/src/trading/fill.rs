//! The rule of filling: what one print does to one order.

use annals_core::Timestamp;
use annals_events::TradingEvent;
use annals_events::market::Side;
use annals_events::trading::{CancellationReason, Fill, OrderCancelled};
use rust_decimal::Decimal;

use super::{Account, AccountRefusal, OpenOrder, Position, within};
use crate::amounts::{Price, Quantity};
use crate::names::{AccountId, OrderId};
use crate::units::{affordable, average, decimal, fee, notional, share, units};

/// What a print offers to one order.
pub(super) struct Offer {
    /// The print's revision in its market's stream.
    pub(super) print: u64,
    /// Its price, in USD.
    pub(super) price: Price,
    /// How much of it is for this order, in units of the instrument.
    pub(super) quantity: Quantity,
    /// When it was traded.
    pub(super) traded_at: Timestamp,
}

impl Account {
    pub(super) fn fill(
        &self,
        account: AccountId,
        name: OrderId,
        offer: &Offer,
    ) -> Result<Vec<TradingEvent>, AccountRefusal> {
        let (account, name) = (String::from(account), String::from(name));
        let Some(order) = self.orders.get(&name) else {
            return Err(if self.ended.contains(&name) {
                AccountRefusal::Ended { account, order: name }
            } else {
                AccountRefusal::Unknown { account, order: name }
            });
        };
        if order.last_print.is_some_and(|last| offer.print <= last) {
            return Ok(vec![]); // Already so: a retry, not an error.
        }
        order.admits(&name, offer)?;
        let quantity = self.paid_for(order, offer);
        let mut events = Vec::with_capacity(2);
        if quantity > 0 {
            let fill = self.filled(&account, &name, order, offer, quantity)?;
            events.push(if fill.remaining.is_zero() {
                TradingEvent::OrderFilled(fill)
            } else {
                TradingEvent::OrderPartiallyFilled(fill)
            });
        }
        if quantity < units(offer.quantity.get()) {
            events.push(TradingEvent::OrderCancelled(OrderCancelled {
                account,
                order: name,
                instrument: order.instrument.clone(),
                remaining: order.remaining - decimal(quantity),
                reserved_released: Decimal::ZERO, // Market buys set nothing aside.
                account_reserved: self.reserved,
                reason: CancellationReason::CashExhausted,
                as_of: offer.print,
                cancelled_at: Some(offer.traded_at),
            }));
        }
        Ok(events)
    }

    /// How much of the offer, in units, is taken: all of it, but for a market buy what free cash
    /// pays for.
    fn paid_for(&self, order: &OpenOrder, offer: &Offer) -> i128 {
        let offered = units(offer.quantity.get());
        match (order.side, order.limit_price) {
            (Side::Buy, None) => {
                let price = units(offer.price.get());
                affordable(units(self.free()), units(order.notional), price, offered)
            }
            (Side::Buy, Some(_)) | (Side::Sell, _) => offered,
        }
    }

    /// The fill of `quantity` units, with every balance after it.
    fn filled(
        &self,
        account: &str,
        name: &str,
        order: &OpenOrder,
        offer: &Offer,
        quantity: i128,
    ) -> Result<Fill, AccountRefusal> {
        let notional = notional(units(offer.price.get()), quantity);
        let fee = fee(units(order.notional), notional);
        let nothing = Position::default();
        let held = self.positions.get(&order.instrument).unwrap_or(&nothing);
        let (held_quantity, held_cost) = (units(held.quantity), units(held.cost));
        let (cash_change, realised, position_quantity, position_cost) = match order.side {
            Side::Buy => (-notional - fee, 0, held_quantity + quantity, held_cost + notional),
            Side::Sell => {
                let sold = share(held_cost, quantity, held_quantity);
                (notional - fee, notional - sold, held_quantity - quantity, held_cost - sold)
            }
        };
        let remaining = order.remaining - decimal(quantity);
        let after =
            OpenOrder { remaining, notional: order.notional + decimal(notional), ..order.clone() };
        let reserved_released = order.reserved - after.reserve();
        let fill = Fill {
            account: account.to_owned(),
            order: name.to_owned(),
            instrument: order.instrument.clone(),
            side: order.side,
            print: offer.print,
            filled_at: offer.traded_at,
            price: offer.price.get(),
            quantity: decimal(quantity),
            notional: decimal(notional),
            fee: decimal(fee),
            realised_pnl: decimal(realised),
            remaining,
            reserved_released,
            cash: self.cash + decimal(cash_change),
            account_reserved: self.reserved - reserved_released,
            position_quantity: decimal(position_quantity),
            position_cost: decimal(position_cost),
            position_average_price: decimal(average(position_cost, position_quantity)),
        };
        within(account, "the cash", fill.cash)?;
        within(account, "a position", fill.position_quantity)?;
        within(account, "the cost of a position", fill.position_cost)?;
        Ok(fill)
    }
}

impl OpenOrder {
    /// Whether the order may be filled with the offer at all.
    fn admits(&self, name: &str, offer: &Offer) -> Result<(), AccountRefusal> {
        let order = || name.to_owned();
        let (price, quantity) = (offer.price.get(), offer.quantity.get());
        if offer.print <= self.as_of {
            let (as_of, print) = (self.as_of, offer.print);
            return Err(AccountRefusal::Early { order: order(), as_of, print });
        }
        if quantity > self.remaining {
            let remaining = self.remaining;
            return Err(AccountRefusal::Overfilled { order: order(), remaining, quantity });
        }
        match (self.limit_price, self.side) {
            (Some(limit), Side::Buy) if price > limit => {
                Err(AccountRefusal::Unfavourable { order: order(), limit, price })
            }
            (Some(limit), Side::Sell) if price < limit => {
                Err(AccountRefusal::Unfavourable { order: order(), limit, price })
            }
            (_, Side::Buy | Side::Sell) => Ok(()),
        }
    }
}
