//! The paper exchange against real accounts: live, restored, and its rules one by one.

use std::collections::BTreeMap;

use annals_core::{Decider, Timestamp};
use annals_events::TradingEvent;
use annals_events::market::{Side, TradeRecorded};
use annals_events::trading::OrderKind;
use proptest::prelude::*;
use rust_decimal::Decimal;

use super::{PaperExchange, fill_command_id};
use crate::amounts::{Amount, Price, Quantity};
use crate::names::{AccountId, Instrument, OrderId};
use crate::trading::{Account, AccountCommand};
use crate::units::{quantity_of, units};

/// Accounts and an exchange that see each other's doings at once.
#[derive(Default)]
struct World {
    accounts: BTreeMap<String, Account>,
    exchange: PaperExchange,
    /// Every event with the print after which it happened.
    history: Vec<(u64, TradingEvent)>,
}

impl World {
    fn obey(&mut self, print: u64, command: AccountCommand) -> Vec<TradingEvent> {
        let account = self.accounts.entry(Account::target(&command).to_owned()).or_default();
        let events = account.decide(command).unwrap_or_default();
        for event in &events {
            *account = std::mem::take(account).evolve(event);
            self.exchange.learn(event);
            self.history.push((print, event.clone()));
        }
        events
    }

    /// Shows a print to the exchange and obeys it; the fills that follow, as order and quantity.
    fn print(&mut self, print: u64, price: &str, size: &str) -> Vec<(String, Decimal)> {
        let mut commands = Vec::new();
        self.exchange.print(print, &trade("XBTUSD", price, size), &mut commands);
        let mut fills = Vec::new();
        for command in commands {
            for event in self.obey(print, command) {
                if let TradingEvent::OrderPartiallyFilled(fill) | TradingEvent::OrderFilled(fill) =
                    event
                {
                    fills.push((fill.order, fill.quantity.normalize()));
                }
            }
        }
        fills
    }
}

fn number(text: &str) -> Decimal {
    text.parse().expect("a decimal")
}

fn trade(instrument: &str, price: &str, size: &str) -> TradeRecorded {
    TradeRecorded {
        instrument: instrument.to_owned(),
        traded_at: Timestamp(0),
        price: number(price),
        size: number(size),
        taker_side: Side::Buy,
    }
}

fn account(name: &str) -> AccountId {
    AccountId::new(name).expect("a name")
}

fn place(
    of: &str,
    order: &str,
    side: Side,
    quantity: Decimal,
    limit: Option<Decimal>,
    as_of: u64,
) -> AccountCommand {
    AccountCommand::PlaceOrder {
        account: account(of),
        order: OrderId::new(order).expect("a name"),
        instrument: Instrument::new("XBTUSD").expect("a name"),
        side,
        kind: if limit.is_some() { OrderKind::Limit } else { OrderKind::Market },
        quantity: Quantity::new(quantity).expect("fits"),
        limit_price: limit.map(|limit| Price::new(limit).expect("fits")),
        as_of,
        at: None,
    }
}

fn world(accounts: &[&str], cash: i64) -> World {
    let mut world = World::default();
    for name in accounts {
        let open = AccountCommand::OpenAccount { account: account(name), owner: None, at: None };
        let amount = Amount::new(Decimal::from(cash)).expect("fits");
        world.obey(0, open);
        world.obey(0, AccountCommand::Deposit { account: account(name), amount, at: None });
    }
    world
}

fn buy(world: &mut World, of: &str, order: &str, quantity: &str, limit: Option<&str>, as_of: u64) {
    let command = place(of, order, Side::Buy, number(quantity), limit.map(number), as_of);
    world.obey(as_of, command);
}

#[test]
fn a_limit_is_filled_by_a_later_print_at_its_price_or_through_it() {
    let mut world = world(&["A"], 1_000_000);
    buy(&mut world, "A", "1", "1", Some("5000"), 3);
    assert_eq!(world.print(3, "4000", "1000000"), []);
    assert_eq!(world.print(4, "5000.5", "1000000"), []);
    assert_eq!(world.print(5, "5000", "1000"), [("1".to_owned(), number("0.2"))]);
    assert_eq!(world.print(6, "4000", "1000000"), [("1".to_owned(), number("0.8"))]);
    assert_eq!(world.exchange.open_orders(), 0);
}

#[test]
fn a_market_order_takes_the_next_prints() {
    let mut world = world(&["A"], 1_000_000);
    buy(&mut world, "A", "1", "1", None, 3);
    assert_eq!(world.print(4, "5000", "2500"), [("1".to_owned(), number("0.5"))]);
    assert_eq!(world.print(5, "9000", "9000"), [("1".to_owned(), number("0.5"))]);
    world.obey(5, place("A", "2", Side::Sell, number("1"), None, 5));
    assert_eq!(world.print(6, "1", "1"), [("2".to_owned(), number("1"))]);
}

#[test]
fn a_print_is_shared_in_the_order_of_acceptance() {
    let mut world = world(&["A", "B", "C"], 1_000_000);
    buy(&mut world, "B", "first", "0.3", Some("5000"), 1);
    buy(&mut world, "A", "second", "0.3", None, 1);
    buy(&mut world, "C", "third", "0.3", Some("5001"), 1);
    let fills = world.print(2, "5000", "2000");
    let expected = [("first".to_owned(), number("0.3")), ("second".to_owned(), number("0.1"))];
    assert_eq!(fills, expected);
    let fills = world.print(3, "5001", "5001");
    let expected = [("second".to_owned(), number("0.2")), ("third".to_owned(), number("0.3"))];
    assert_eq!(fills, expected);
}

#[test]
fn prints_of_another_instrument_fill_nothing() {
    let mut world = world(&["A"], 1_000_000);
    buy(&mut world, "A", "1", "1", None, 3);
    let mut commands = Vec::new();
    world.exchange.print(4, &trade("ETHUSD", "1", "100"), &mut commands);
    assert_eq!(commands, []);
}

#[test]
fn a_fill_under_way_is_not_asked_for_again() {
    let mut world = world(&["A"], 1_000_000);
    buy(&mut world, "A", "1", "1", None, 3);
    let mut commands = Vec::new();
    world.exchange.print(4, &trade("XBTUSD", "5000", "4000"), &mut commands);
    world.exchange.print(4, &trade("XBTUSD", "5000", "4000"), &mut commands);
    world.exchange.print(5, &trade("XBTUSD", "5000", "4000"), &mut commands);
    world.exchange.print(6, &trade("XBTUSD", "5000", "4000"), &mut commands);
    assert_eq!(commands.len(), 2, "0.8 of print 4 and 0.2 of print 5");
    for command in commands {
        assert_eq!(world.obey(5, command).len(), 1);
    }
    assert_eq!(world.exchange.open_orders(), 0);
}

#[test]
fn the_event_of_an_earlier_fill_does_not_undo_a_later_one() {
    let mut world = world(&["A"], 1_000_000);
    buy(&mut world, "A", "1", "1", None, 3);
    let mut commands = Vec::new();
    world.exchange.print(4, &trade("XBTUSD", "5000", "2000"), &mut commands);
    world.exchange.print(5, &trade("XBTUSD", "5000", "2000"), &mut commands);
    for command in commands.drain(..1) {
        world.obey(5, command);
    }
    world.exchange.print(6, &trade("XBTUSD", "5000", "5000"), &mut commands);
    let last = commands.pop().expect("print 6 is asked for the rest");
    assert!(
        matches!(&last, AccountCommand::FillOrder { quantity, .. } if quantity.get() == number("0.2")),
        "0.4 and 0.4 of 1 were asked for already: {last:?}"
    );
}

#[test]
fn an_order_that_ends_is_forgotten() {
    let mut world = world(&["A"], 1_000_000);
    buy(&mut world, "A", "1", "1", Some("5000"), 3);
    buy(&mut world, "A", "rejected", "1000000", Some("5000"), 3);
    let order = OrderId::new("1").expect("a name");
    world.obey(3, AccountCommand::CancelOrder { account: account("A"), order, as_of: 3, at: None });
    assert_eq!(world.print(4, "5000", "1000"), []);
    assert!(world.exchange.orders.is_empty() && world.exchange.books.is_empty());
}

#[test]
fn a_fill_command_has_one_id_for_ever() {
    let id = fill_command_id("A001", "17", 70_000);
    assert_eq!(id, fill_command_id("A001", "17", 70_000));
    assert_eq!(id.to_string(), "f6065af8-d842-5149-98e6-9f361694687c");
    assert_ne!(id, fill_command_id("A0011", "7", 70_000));
    assert_ne!(id, fill_command_id("A001", "17", 70_001));
}

/// What one step of a market day does.
#[derive(Clone, Debug)]
enum Step {
    Print { price: i64, size: i64 },
    Place { account: usize, side: Side, quantity: i64, limit: Option<i64> },
    Cancel { account: usize, order: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let side = prop_oneof![2 => Just(Side::Buy), 1 => Just(Side::Sell)];
    let place = (0..3_usize, side, 1..3_000_000_i64, prop::option::of(90..110_i64)).prop_map(
        |(account, side, quantity, limit)| Step::Place { account, side, quantity, limit },
    );
    let step = prop_oneof![
        5 => (90..110_i64, 1..300_i64).prop_map(|(price, size)| Step::Print { price, size }),
        3 => place,
        1 => (0..3_usize, 0..30_usize).prop_map(|(account, order)| Step::Cancel { account, order }),
    ];
    prop::collection::vec(step, 1..80)
}

const NAMES: [&str; 3] = ["A", "B", "C"];

/// Runs a day; the world at its end and the exchange as it stood after each print.
fn live(steps: &[Step]) -> Result<(World, Vec<PaperExchange>), TestCaseError> {
    let mut world = world(&NAMES, 4);
    let mut after = vec![world.exchange.clone()];
    let (mut print, mut orders) = (0, 0);
    for step in steps {
        match *step {
            Step::Print { price, size } => {
                // What was placed since the last print belongs to it.
                after[print] = world.exchange.clone();
                print += 1;
                let (price, size) = (format!("{price}.7"), format!("0.{size:03}"));
                let fills = world.print(print as u64, &price, &size);
                let given: Decimal = fills.iter().map(|(_, quantity)| quantity).sum();
                let most = quantity_of(units(number(&size)), units(number(&price)));
                prop_assert!(units(given) <= most, "a print gives no more than its size");
                after.push(world.exchange.clone());
            }
            Step::Place { account, side, quantity, limit } => {
                let name = format!("{orders}");
                orders += 1;
                let (quantity, limit) = (Decimal::new(quantity, 8), limit.map(Decimal::from));
                let command = place(NAMES[account], &name, side, quantity, limit, print as u64);
                world.obey(print as u64, command);
            }
            Step::Cancel { account: of, order } => {
                let order = OrderId::new(order.to_string()).expect("a name");
                let (account, as_of) = (account(NAMES[of]), print as u64);
                let cancel = AccountCommand::CancelOrder { account, order, as_of, at: None };
                world.obey(as_of, cancel);
            }
        }
    }
    after[print] = world.exchange.clone();
    Ok((world, after))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn restored_from_history_it_stands_where_it_stood_live(steps in steps()) {
        let (world, after) = live(&steps)?;
        for (print, stood) in after.iter().enumerate() {
            let mut restored = PaperExchange::default();
            for (at, event) in &world.history {
                if *at <= print as u64 {
                    restored.learn(event);
                }
            }
            prop_assert_eq!(&restored, stood, "as of print {}", print);
        }
    }

    #[test]
    fn the_prices_that_meet_no_order_are_skipped_and_no_others(steps in steps()) {
        let (world, _) = live(&steps)?;
        for price in 85..115_u32 {
            let mut by_thresholds = world.exchange.clone();
            let mut commands = Vec::new();
            by_thresholds.print(1_000, &trade("XBTUSD", &price.to_string(), "9"), &mut commands);
            let meets = world.exchange.books.values().flat_map(|book| book.orders.values());
            let price = i128::from(price) * 100_000_000;
            let meets = meets.filter(|order| order.takes(1_000, price)).count();
            prop_assert_eq!(commands.is_empty(), meets == 0);
        }
    }
}
