//! What holds for an account whatever is asked of it, in any order.

use annals_core::{Decider, Timestamp};
use annals_events::TradingEvent;
use annals_events::market::Side;
use annals_events::trading::{Fill, OrderKind};
use proptest::prelude::*;
use rust_decimal::Decimal;

use super::{Account, AccountCommand};
use crate::amounts::{Amount, Price, Quantity};
use crate::names::{Instrument, OrderId};
use crate::trading::tests::account;

/// A command in small numbers, so that orders, prints and balances meet often.
fn commands() -> impl Strategy<Value = Vec<AccountCommand>> {
    let order = || (0..8_u8).prop_map(|n| OrderId::new(n.to_string()).expect("a name"));
    let instrument = || {
        any::<bool>()
            .prop_map(|one| Instrument::new(if one { "ONE" } else { "TWO" }).expect("a name"))
    };
    // Prices and quantities with awkward digits, so that rounding has something to do.
    let price =
        || (1..40_000_i64).prop_map(|n| Price::new(Decimal::new(n * 333_333, 8)).expect("fits"));
    let quantity =
        || (1..3_000_i64).prop_map(|n| Quantity::new(Decimal::new(n * 777_777, 8)).expect("fits"));
    let amount = || (1..50_000_i64).prop_map(|n| Amount::new(Decimal::new(n, 2)).expect("fits"));
    let side = || prop_oneof![Just(Side::Buy), Just(Side::Sell)];
    let place = (order(), instrument(), side(), quantity(), prop::option::of(price()), 0..20_u64)
        .prop_map(|(order, instrument, side, quantity, limit_price, as_of)| {
            let kind = if limit_price.is_some() { OrderKind::Limit } else { OrderKind::Market };
            let (account, at) = (account(), None);
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
            }
        });
    let fill =
        (order(), 0..60_u64, price(), quantity()).prop_map(|(order, print, price, quantity)| {
            AccountCommand::FillOrder {
                account: account(),
                order,
                print,
                price,
                quantity,
                traded_at: Timestamp(0),
            }
        });
    let deposit = amount().prop_map(|amount| {
        let (account, at) = (account(), None);
        AccountCommand::Deposit { account, amount, at }
    });
    let withdraw = amount().prop_map(|amount| {
        let (account, at) = (account(), None);
        AccountCommand::Withdraw { account, amount, at }
    });
    let command = prop_oneof![
        1 => deposit,
        1 => withdraw,
        4 => place,
        9 => fill,
        1 => order().prop_map(|order| AccountCommand::CancelOrder {
            account: account(), order, as_of: 0, at: None,
        }),
    ];
    prop::collection::vec(command, 1..120).prop_map(|rest| {
        let open = AccountCommand::OpenAccount { account: account(), owner: None, at: None };
        let amount = Amount::new(Decimal::from(700)).expect("fits");
        let deposit = AccountCommand::Deposit { account: account(), amount, at: None };
        [open, deposit].into_iter().chain(rest).collect()
    })
}

/// Sums over all that happened, kept apart from the account.
#[derive(Default)]
struct Sums {
    cash: Decimal,
    realised: Decimal,
    bought: Decimal,
    sold: Decimal,
    held: Decimal,
}

impl Sums {
    fn add(&mut self, event: &TradingEvent) {
        match event {
            TradingEvent::CashDeposited(deposited) => self.cash += deposited.amount,
            TradingEvent::CashWithdrawn(withdrawn) => self.cash -= withdrawn.amount,
            TradingEvent::OrderPartiallyFilled(fill) | TradingEvent::OrderFilled(fill) => {
                self.fill(fill);
            }
            TradingEvent::AccountOpened(_)
            | TradingEvent::OrderPlaced(_)
            | TradingEvent::OrderAccepted(_)
            | TradingEvent::OrderRejected(_)
            | TradingEvent::OrderCancelled(_) => {}
        }
    }

    fn fill(&mut self, fill: &Fill) {
        self.cash -= fill.fee;
        self.realised += fill.realised_pnl;
        match fill.side {
            Side::Buy => {
                self.cash -= fill.notional;
                self.bought += fill.notional;
                self.held += fill.quantity;
            }
            Side::Sell => {
                self.cash += fill.notional;
                self.sold += fill.notional;
                self.held -= fill.quantity;
            }
        }
    }
}

fn check(account: &Account, sums: &Sums) -> Result<(), TestCaseError> {
    let zero = Decimal::ZERO;
    prop_assert_eq!(account.cash, sums.cash, "cash is conserved");
    prop_assert!(account.reserved >= zero && account.free() >= zero, "cash is never negative");
    let reserves: Decimal = account.orders.values().map(|order| order.reserved).sum();
    prop_assert_eq!(account.reserved, reserves, "what is set aside is what orders need");
    let (mut held, mut cost) = (zero, zero);
    for (instrument, position) in &account.positions {
        let sells = account.orders.values();
        let sells = sells.filter(|o| o.side == Side::Sell && &o.instrument == instrument);
        let aside: Decimal = sells.map(|order| order.remaining).sum();
        prop_assert_eq!(position.reserved, aside, "what is set aside is what sells need");
        prop_assert!(position.quantity >= position.reserved, "nothing is sold short");
        prop_assert!(position.cost >= zero);
        held += position.quantity;
        cost += position.cost;
    }
    prop_assert_eq!(held, sums.held, "quantity is conserved");
    prop_assert_eq!(sums.realised, sums.sold - sums.bought + cost, "realised P&L is exact");
    for order in account.orders.values() {
        prop_assert!(order.remaining > zero, "an open order has something left");
        prop_assert!(order.remaining <= order.quantity, "and never more than it was");
        prop_assert_eq!(order.reserved, order.reserve(), "its reserve is its worst cost");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn money_and_quantity_are_conserved_whatever_is_asked(commands in commands()) {
        let (mut account, mut sums) = (Account::default(), Sums::default());
        let mut history = Vec::new();
        for command in commands {
            let Ok(events) = account.decide(command) else { continue };
            for event in &events {
                sums.add(event);
                account = account.evolve(event);
            }
            check(&account, &sums)?;
            history.extend(events);
        }
        let replayed = history.iter().fold(Account::default(), Account::evolve);
        prop_assert_eq!(replayed, account, "a replay gives the live state");
    }

    #[test]
    fn a_command_repeated_at_once_changes_nothing_or_is_refused(commands in commands()) {
        let mut account = Account::default();
        for command in commands {
            let events = account.decide(command.clone()).unwrap_or_default();
            account = events.iter().fold(account, Account::evolve);
            let moves_cash = matches!(
                command,
                AccountCommand::Deposit { .. } | AccountCommand::Withdraw { .. }
            );
            // Deposits and withdrawals are told apart by their command ids alone.
            if !moves_cash {
                let again = account.decide(command).unwrap_or_default();
                prop_assert_eq!(again, vec![]);
            }
        }
    }
}
