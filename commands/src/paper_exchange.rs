//! The paper exchange: fills open orders from real prints. A process manager: it watches the market
//! and the accounts, and asks accounts to fill. A limit order fills when a print later than its
//! `as_of` trades at its price or through it; a market order takes the next prints. A print is
//! shared among the orders it meets in the order of their acceptance and never gives more than its
//! size.
//!
//! Its state is a fold of trading events alone, so it is restored from history: the events up to
//! any print give the state in which it stood live. Live, feed it each print, carry out the
//! commands that follow, in order, and let it see their events before the instrument's next print.
//! Where a runner lets it run ahead of the accounts instead, nothing is asked for twice.

use std::collections::{BTreeMap, HashMap};

use annals_core::{Process, Recorded, Timestamp};
use annals_events::market::{Side, TradeRecorded};
use annals_events::trading::{Fill, OrderPlaced};
use annals_events::{MarketEvent, TradingEvent};
use rust_decimal::Decimal;
use uuid::Uuid;

use crate::amounts::{Price, Quantity};
use crate::names::{AccountId, OrderId};
use crate::trading::AccountCommand;
use crate::units::{decimal, quantity_of, units};

#[cfg(test)]
mod tests;

/// What the paper exchange watches.
#[derive(Clone, Debug, PartialEq)]
pub enum Observed {
    /// A print.
    Market(Recorded<MarketEvent>),
    /// What an account did.
    Trading(Box<Recorded<TradingEvent>>),
}

/// The open orders of every instrument.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PaperExchange {
    books: HashMap<String, Book>,
    /// Orders that are placed but not accepted yet, and the books of those that are.
    orders: HashMap<OrderKey, Known>,
    /// How many orders were accepted so far.
    accepted: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct OrderKey {
    account: String,
    order: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Known {
    Placed(Box<OrderPlaced>),
    Open { instrument: String, acceptance: u64 },
}

/// The open orders of one instrument, by number of acceptance.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Book {
    orders: BTreeMap<u64, OpenOrder>,
    /// A print above this meets no buy: the highest price that a buy takes.
    highest_buy: i128,
    /// A print below this meets no sell: the lowest price that a sell takes.
    lowest_sell: i128,
}

/// Prices and quantities in units of 10⁻⁸.
#[derive(Clone, Debug, PartialEq, Eq)]
struct OpenOrder {
    account: String,
    order: String,
    side: Side,
    /// The worst price it takes; of a market order, any.
    worst_price: i128,
    as_of: u64,
    /// What is left of it, less what was asked for already.
    remaining: i128,
    /// The last print it was filled, or asked to be filled, from.
    last_print: Option<u64>,
}

impl Default for Book {
    fn default() -> Book {
        Book { orders: BTreeMap::new(), highest_buy: i128::MIN, lowest_sell: i128::MAX }
    }
}

impl Process for PaperExchange {
    type Event = Observed;
    type Command = AccountCommand;

    fn react(&mut self, event: &Observed, commands: &mut Vec<AccountCommand>) {
        match event {
            Observed::Market(recorded) => {
                let MarketEvent::TradeRecorded(trade) = &recorded.event;
                self.print(recorded.revision.0, trade, commands);
            }
            Observed::Trading(recorded) => self.learn(&recorded.event),
        }
    }
}

impl PaperExchange {
    /// Takes note of what an account did. Never leads to commands.
    pub fn learn(&mut self, event: &TradingEvent) {
        match event {
            TradingEvent::OrderPlaced(placed) => {
                let key = OrderKey::new(&placed.account, &placed.order);
                self.orders.insert(key, Known::Placed(Box::new(placed.clone())));
            }
            TradingEvent::OrderAccepted(event) => self.open(&event.account, &event.order),
            TradingEvent::OrderPartiallyFilled(fill) => self.fill(fill),
            TradingEvent::OrderRejected(event) => self.end(&event.account, &event.order),
            TradingEvent::OrderFilled(event) => self.end(&event.account, &event.order),
            TradingEvent::OrderCancelled(event) => self.end(&event.account, &event.order),
            TradingEvent::AccountOpened(_)
            | TradingEvent::CashDeposited(_)
            | TradingEvent::CashWithdrawn(_) => {}
        }
    }

    /// Shares the print with this revision in its market's stream among the orders that it meets,
    /// and appends the fills to ask for to `commands`. A print that meets none costs two
    /// comparisons.
    pub fn print(&mut self, print: u64, trade: &TradeRecorded, commands: &mut Vec<AccountCommand>) {
        if let Some(book) = self.books.get_mut(&trade.instrument) {
            let price = units(trade.price);
            if price > 0 && (price <= book.highest_buy || price >= book.lowest_sell) {
                book.share(print, price, trade, commands);
            }
        }
    }

    /// How many orders are open.
    pub fn open_orders(&self) -> usize {
        self.books.values().map(|book| book.orders.len()).sum()
    }

    fn open(&mut self, account: &str, order: &str) {
        let key = OrderKey::new(account, order);
        let Some(Known::Placed(placed)) = self.orders.remove(&key) else { return };
        let acceptance = self.accepted;
        self.accepted += 1;
        let worst_price = match (placed.limit_price, placed.side) {
            (Some(limit), _) => units(limit),
            (None, Side::Buy) => i128::MAX,
            (None, Side::Sell) => 0,
        };
        let open = OpenOrder {
            account: placed.account,
            order: placed.order,
            side: placed.side,
            worst_price,
            as_of: placed.as_of,
            remaining: units(placed.quantity),
            last_print: None,
        };
        let book = self.books.entry(placed.instrument.clone()).or_default();
        book.orders.insert(acceptance, open);
        book.measure();
        self.orders.insert(key, Known::Open { instrument: placed.instrument, acceptance });
    }

    fn fill(&mut self, fill: &Fill) {
        let key = OrderKey::new(&fill.account, &fill.order);
        let Some(Known::Open { instrument, acceptance }) = self.orders.get(&key) else { return };
        let book = self.books.get_mut(instrument);
        let order = book.and_then(|book| book.orders.get_mut(acceptance));
        // A later print was asked for already: `remaining` is ahead of this event.
        if let Some(order) = order
            && order.last_print.is_none_or(|last| last <= fill.print)
        {
            order.remaining = units(fill.remaining);
            order.last_print = Some(fill.print);
        }
    }

    fn end(&mut self, account: &str, order: &str) {
        let known = self.orders.remove(&OrderKey::new(account, order));
        let Some(Known::Open { instrument, acceptance }) = known else { return };
        if let Some(book) = self.books.get_mut(&instrument) {
            book.orders.remove(&acceptance);
            book.measure();
            if book.orders.is_empty() {
                self.books.remove(&instrument);
            }
        }
    }
}

impl OrderKey {
    fn new(account: &str, order: &str) -> OrderKey {
        OrderKey { account: account.to_owned(), order: order.to_owned() }
    }
}

impl Book {
    /// Works out the prices that meet an order, anew.
    fn measure(&mut self) {
        let worst = |side: Side| {
            let of_side = self.orders.values().filter(move |order| order.side == side);
            of_side.map(|order| order.worst_price)
        };
        let highest_buy = worst(Side::Buy).max().unwrap_or(i128::MIN);
        let lowest_sell = worst(Side::Sell).min().unwrap_or(i128::MAX);
        (self.highest_buy, self.lowest_sell) = (highest_buy, lowest_sell);
    }

    fn share(
        &mut self,
        print: u64,
        price: i128,
        trade: &TradeRecorded,
        commands: &mut Vec<AccountCommand>,
    ) {
        let mut left = quantity_of(units(trade.size), price);
        for order in self.orders.values_mut().filter(|order| order.takes(print, price)) {
            let quantity = left.min(order.remaining);
            let Some(command) = order.ask(print, quantity, trade.price, trade.traded_at) else {
                return; // Nothing is left of the print.
            };
            commands.push(command);
            order.remaining -= quantity;
            order.last_print = Some(print);
            left -= quantity;
        }
    }
}

impl OpenOrder {
    fn takes(&self, print: u64, price: i128) -> bool {
        let favourable = match self.side {
            Side::Buy => price <= self.worst_price,
            Side::Sell => price >= self.worst_price,
        };
        favourable
            && self.remaining > 0
            && print > self.as_of
            && self.last_print.is_none_or(|last| last < print)
    }

    /// The command to fill; none where the quantity, or the price, is not one.
    fn ask(
        &self,
        print: u64,
        quantity: i128,
        price: Decimal,
        traded_at: Timestamp,
    ) -> Option<AccountCommand> {
        Some(AccountCommand::FillOrder {
            account: AccountId::new(self.account.as_str()).ok()?,
            order: OrderId::new(self.order.as_str()).ok()?,
            print,
            price: Price::new(price).ok()?,
            quantity: Quantity::new(decimal(quantity)).ok()?,
            traded_at,
        })
    }
}

/// The id of the command that fills an order from a print: the same for ever, so a fill that is
/// asked for again after a restart is answered as the first time. UUID version 5 over the three
/// names.
pub fn fill_command_id(account: &str, order: &str, print: u64) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("fill\n{account}\n{order}\n{print}").as_bytes())
}
