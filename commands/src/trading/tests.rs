//! The account's rules, given/when/then. Amounts are round, so that what is expected can be checked
//! by hand.

use annals_core::testing::{Given, given};
use annals_core::{Decider, Timestamp};
use annals_events::TradingEvent;
use annals_events::market::Side::{self, Buy, Sell};
use annals_events::trading::{
    AccountOpened, CancellationReason, CashDeposited, CashWithdrawn, Fill, OrderAccepted,
    OrderCancelled, OrderKind, OrderPlaced, OrderRejected, RejectionReason,
};
use rust_decimal::Decimal;

use super::{Account, AccountCommand, AccountRefusal};
use crate::amounts::{Amount, Price, Quantity};
use crate::names::{AccountId, Instrument, OrderId};

const AT: Timestamp = Timestamp(1_000_000);

fn number(text: &str) -> Decimal {
    text.parse().expect("a decimal")
}

pub(super) fn account() -> AccountId {
    AccountId::new("A001").expect("a name")
}

fn open(owner: Option<&str>) -> AccountCommand {
    let owner = owner.map(str::to_owned);
    AccountCommand::OpenAccount { account: account(), owner, at: None }
}

fn deposit(amount: &str) -> AccountCommand {
    let amount = Amount::new(number(amount)).expect("fits");
    AccountCommand::Deposit { account: account(), amount, at: Some(AT) }
}

fn withdraw(amount: &str) -> AccountCommand {
    let amount = Amount::new(number(amount)).expect("fits");
    AccountCommand::Withdraw { account: account(), amount, at: None }
}

fn place(order: &str, side: Side, quantity: &str, limit: Option<&str>) -> AccountCommand {
    AccountCommand::PlaceOrder {
        account: account(),
        order: OrderId::new(order).expect("a name"),
        instrument: Instrument::new("XBTUSD").expect("a name"),
        side,
        kind: if limit.is_some() { OrderKind::Limit } else { OrderKind::Market },
        quantity: Quantity::new(number(quantity)).expect("fits"),
        limit_price: limit.map(|limit| Price::new(number(limit)).expect("fits")),
        as_of: 10,
        at: None,
    }
}

fn fill(order: &str, print: u64, price: &str, quantity: &str) -> AccountCommand {
    AccountCommand::FillOrder {
        account: account(),
        order: OrderId::new(order).expect("a name"),
        print,
        price: Price::new(number(price)).expect("fits"),
        quantity: Quantity::new(number(quantity)).expect("fits"),
        traded_at: AT,
    }
}

fn cancel(order: &str) -> AccountCommand {
    let order = OrderId::new(order).expect("a name");
    AccountCommand::CancelOrder { account: account(), order, as_of: 12, at: None }
}

/// The account after these commands, each of which is obeyed.
fn after(commands: impl IntoIterator<Item = AccountCommand>) -> Given<Account> {
    let mut history = Vec::new();
    let mut state = Account::default();
    for command in commands {
        let events = state.decide(command).expect("the history obeys");
        state = events.iter().fold(state, Account::evolve);
        history.extend(events);
    }
    given(history)
}

/// An open account with cash and, where `position` is given, that much bought at 5,000.
fn funded(cash: &str, position: Option<&str>) -> Vec<AccountCommand> {
    let mut commands = vec![open(None), deposit(cash)];
    if let Some(quantity) = position {
        commands.push(place("first", Buy, quantity, Some("5000")));
        commands.push(fill("first", 11, "5000", quantity));
    }
    commands
}

#[test]
fn an_account_is_opened_once() {
    let opened = TradingEvent::AccountOpened(AccountOpened {
        account: "A001".to_owned(),
        owner: Some("Ada".to_owned()),
        currency: "USD".to_owned(),
        opened_at: None,
    });
    let given = given::<Account>([]).when(open(Some("Ada"))).then([opened]);
    let given = given.when(open(Some("Ada"))).then_nothing();
    given.when(open(Some("Bob"))).refused(AccountRefusal::Taken { account: "A001".to_owned() });
}

#[test]
fn nothing_happens_to_an_account_that_is_not_open() {
    let commands = [
        deposit("1"),
        withdraw("1"),
        place("1", Buy, "1", None),
        cancel("1"),
        fill("1", 11, "1", "1"),
    ];
    for command in commands {
        let unopened = AccountRefusal::Unopened { account: "A001".to_owned() };
        given::<Account>([]).when(command).refused(unopened);
    }
}

#[test]
fn cash_comes_in_and_goes_out_but_never_below_zero() {
    let deposited = TradingEvent::CashDeposited(CashDeposited {
        account: "A001".to_owned(),
        amount: number("100.5"),
        cash: number("100.5"),
        deposited_at: Some(AT),
    });
    let withdrawn = TradingEvent::CashWithdrawn(CashWithdrawn {
        account: "A001".to_owned(),
        amount: number("100.5"),
        cash: number("0"),
        withdrawn_at: None,
    });
    let given = after([open(None)]).when(deposit("100.5")).then([deposited]);
    let given = given.when(withdraw("100.5")).then([withdrawn]);
    given.when(withdraw("0.00000001")).refused(AccountRefusal::Overdrawn {
        account: "A001".to_owned(),
        free: number("0"),
        amount: number("0.00000001"),
    });
}

#[test]
fn cash_has_a_bound() {
    let largest = deposit("1000000000000");
    after([open(None), largest.clone()]).when(largest).refused(AccountRefusal::Oversized {
        account: "A001".to_owned(),
        balance: "the cash",
        largest: 1_000_000_000_000,
    });
}

fn placed(order: &str, side: Side, quantity: &str, limit: Option<&str>) -> TradingEvent {
    TradingEvent::OrderPlaced(OrderPlaced {
        account: "A001".to_owned(),
        order: order.to_owned(),
        instrument: "XBTUSD".to_owned(),
        side,
        kind: if limit.is_some() { OrderKind::Limit } else { OrderKind::Market },
        quantity: number(quantity),
        limit_price: limit.map(number),
        as_of: 10,
        placed_at: None,
    })
}

fn accepted(order: &str, cash: &str, quantity: &str, account_reserved: &str) -> TradingEvent {
    TradingEvent::OrderAccepted(OrderAccepted {
        account: "A001".to_owned(),
        order: order.to_owned(),
        instrument: "XBTUSD".to_owned(),
        reserved_cash: number(cash),
        reserved_quantity: number(quantity),
        account_reserved: number(account_reserved),
    })
}

fn rejected(order: &str, reason: RejectionReason) -> TradingEvent {
    let (account, order) = ("A001".to_owned(), order.to_owned());
    TradingEvent::OrderRejected(OrderRejected { account, order, reason })
}

#[test]
fn a_limit_buy_sets_its_worst_cost_and_fee_aside() {
    // 0.02 at 5,000 is 100 USD; the fee is 0.075.
    let given = after(funded("150", None))
        .when(place("1", Buy, "0.02", Some("5000")))
        .then([placed("1", Buy, "0.02", Some("5000")), accepted("1", "100.075", "0", "100.075")]);
    given.when(withdraw("49.92500001")).refused(AccountRefusal::Overdrawn {
        account: "A001".to_owned(),
        free: number("49.925"),
        amount: number("49.92500001"),
    });
}

#[test]
fn a_limit_buy_beyond_the_free_cash_is_rejected() {
    let order = || place("1", Buy, "0.02", Some("5000"));
    let no = rejected("1", RejectionReason::InsufficientCash);
    let events = [placed("1", Buy, "0.02", Some("5000")), no];
    after(funded("100.07499999", None)).when(order()).then(events);
    let yes = accepted("1", "100.075", "0", "100.075");
    let events = [placed("1", Buy, "0.02", Some("5000")), yes];
    after(funded("100.075", None)).when(order()).then(events);
}

#[test]
fn a_market_buy_needs_some_free_cash_and_sets_none_aside() {
    let order = || place("1", Buy, "7", None);
    let events = [placed("1", Buy, "7", None), accepted("1", "0", "0", "0")];
    after(funded("0.01", None)).when(order()).then(events);
    let no = rejected("1", RejectionReason::InsufficientCash);
    after([open(None)]).when(order()).then([placed("1", Buy, "7", None), no]);
}

#[test]
fn a_sell_needs_a_position_that_is_not_set_aside() {
    let given = after(funded("1000", Some("0.02")))
        .when(place("1", Sell, "0.015", None))
        .then([placed("1", Sell, "0.015", None), accepted("1", "0", "0.015", "0")]);
    let no = rejected("2", RejectionReason::InsufficientPosition);
    let given = given
        .when(place("2", Sell, "0.00500001", Some("6000")))
        .then([placed("2", Sell, "0.00500001", Some("6000")), no]);
    let events = [placed("3", Sell, "0.005", Some("6000")), accepted("3", "0", "0.005", "0")];
    given.when(place("3", Sell, "0.005", Some("6000"))).then(events);
}

#[test]
fn placing_an_order_again_changes_nothing_and_another_of_its_name_is_refused() {
    let reused = || AccountRefusal::Reused { account: "A001".to_owned(), order: "1".to_owned() };
    let first = place("1", Buy, "0.01", Some("5000"));
    let mut commands = funded("1000", None);
    commands.push(first.clone());
    after(commands.clone()).when(first).then_nothing();
    after(commands.clone()).when(place("1", Buy, "0.02", Some("5000"))).refused(reused());
    commands.push(cancel("1"));
    after(commands).when(place("1", Buy, "0.01", Some("5000"))).refused(reused());
}

#[test]
fn a_limit_order_has_a_limit_price_and_a_market_order_has_none() {
    let with_kind = |limit, of| {
        let mut command = place("1", Buy, "1", limit);
        if let AccountCommand::PlaceOrder { kind, .. } = &mut command {
            *kind = of;
        }
        after(funded("1", None)).when(command)
    };
    with_kind(None, OrderKind::Limit).refused(AccountRefusal::Unpriced);
    with_kind(Some("1"), OrderKind::Market).refused(AccountRefusal::Overpriced);
}

fn a_fill(order: &str, side: Side, print: u64) -> Fill {
    Fill {
        account: "A001".to_owned(),
        order: order.to_owned(),
        instrument: "XBTUSD".to_owned(),
        side,
        print,
        filled_at: AT,
        price: number("5000"),
        quantity: number("0.01"),
        notional: number("50"),
        fee: number("0.0375"),
        realised_pnl: number("0"),
        remaining: number("0"),
        reserved_released: number("50.0375"),
        cash: number("0"),
        account_reserved: number("0"),
        position_quantity: number("0.01"),
        position_cost: number("50"),
        position_average_price: number("5000"),
    }
}

#[test]
fn a_buy_is_filled_in_pieces_at_the_prints_prices() {
    let mut commands = funded("1000", None);
    commands.push(place("1", Buy, "0.02", Some("5000")));
    let partly = Fill {
        remaining: number("0.01"),
        cash: number("949.9625"),
        account_reserved: number("50.0375"),
        ..a_fill("1", Buy, 11)
    };
    // The second print is cheaper: 40 USD, with a fee of 0.03. All that was set aside is free
    // again.
    let wholly = Fill {
        price: number("4000"),
        notional: number("40"),
        fee: number("0.03"),
        cash: number("909.9325"),
        position_quantity: number("0.02"),
        position_cost: number("90"),
        position_average_price: number("4500"),
        ..a_fill("1", Buy, 12)
    };
    after(commands)
        .when(fill("1", 11, "5000", "0.01"))
        .then([TradingEvent::OrderPartiallyFilled(partly)])
        .when(fill("1", 12, "4000", "0.01"))
        .then([TradingEvent::OrderFilled(wholly)]);
}

#[test]
fn a_sell_realises_its_gain_over_the_average_cost() {
    let mut commands = funded("1000", Some("0.02"));
    commands.push(place("1", Sell, "0.01", Some("6000")));
    let sold = Fill {
        price: number("6000"),
        notional: number("60"),
        fee: number("0.045"),
        realised_pnl: number("10"),
        reserved_released: number("0"),
        cash: number("959.88"),
        ..a_fill("1", Sell, 12)
    };
    after(commands).when(fill("1", 12, "6000", "0.01")).then([TradingEvent::OrderFilled(sold)]);
}

#[test]
fn a_market_buy_takes_what_cash_pays_for_and_ends() {
    // 50.0375 USD pay for 0.01 at 5,000 with its fee, exactly.
    let mut commands = funded("50.0375", None);
    commands.push(place("1", Buy, "0.02", None));
    let bought =
        Fill { remaining: number("0.01"), reserved_released: number("0"), ..a_fill("1", Buy, 11) };
    let exhausted = TradingEvent::OrderCancelled(OrderCancelled {
        account: "A001".to_owned(),
        order: "1".to_owned(),
        instrument: "XBTUSD".to_owned(),
        remaining: number("0.01"),
        reserved_released: number("0"),
        account_reserved: number("0"),
        reason: CancellationReason::CashExhausted,
        as_of: 11,
        cancelled_at: Some(AT),
    });
    after(commands.clone())
        .when(fill("1", 11, "5000", "0.02"))
        .then([TradingEvent::OrderPartiallyFilled(bought), exhausted]);
    commands.push(withdraw("50.0375"));
    let nothing = TradingEvent::OrderCancelled(OrderCancelled {
        account: "A001".to_owned(),
        order: "1".to_owned(),
        instrument: "XBTUSD".to_owned(),
        remaining: number("0.02"),
        reserved_released: number("0"),
        account_reserved: number("0"),
        reason: CancellationReason::CashExhausted,
        as_of: 11,
        cancelled_at: Some(AT),
    });
    after(commands).when(fill("1", 11, "5000", "0.02")).then([nothing]);
}

#[test]
fn a_fill_that_was_taken_already_changes_nothing() {
    let mut commands = funded("1000", None);
    commands.push(place("1", Buy, "0.02", Some("5000")));
    commands.push(fill("1", 12, "5000", "0.01"));
    let given = after(commands).when(fill("1", 12, "5000", "0.01")).then_nothing();
    given.when(fill("1", 11, "5000", "0.01")).then_nothing();
}

#[test]
fn an_order_is_never_overfilled_nor_filled_early_nor_at_a_worse_price() {
    let mut commands = funded("1000", Some("0.02"));
    commands.push(place("buy", Buy, "0.01", Some("5000")));
    commands.push(place("sell", Sell, "0.01", Some("6000")));
    let refused = |command, refusal| after(commands.clone()).when(command).refused(refusal);
    refused(
        fill("buy", 11, "5000", "0.01000001"),
        AccountRefusal::Overfilled {
            order: "buy".to_owned(),
            remaining: number("0.01"),
            quantity: number("0.01000001"),
        },
    );
    let early = AccountRefusal::Early { order: "buy".to_owned(), as_of: 10, print: 10 };
    refused(fill("buy", 10, "5000", "0.01"), early);
    for (order, limit, price) in [("buy", "5000", "5000.5"), ("sell", "6000", "5999.5")] {
        let refusal = AccountRefusal::Unfavourable {
            order: order.to_owned(),
            limit: number(limit),
            price: number(price),
        };
        refused(fill(order, 11, price, "0.01"), refusal);
    }
}

#[test]
fn an_order_that_ended_is_not_filled_and_one_that_never_was_is_unknown() {
    let (account, order) = ("A001".to_owned(), "first".to_owned());
    let ended = AccountRefusal::Ended { account: account.clone(), order };
    let given = || after(funded("1000", Some("0.02")));
    given().when(fill("first", 12, "5000", "0.01")).refused(ended);
    let unknown = AccountRefusal::Unknown { account, order: "9".to_owned() };
    given().when(fill("9", 12, "5000", "0.01")).refused(unknown.clone());
    given().when(cancel("9")).refused(unknown);
}

#[test]
fn cancelling_frees_what_was_set_aside_and_again_changes_nothing() {
    let mut commands = funded("1000", Some("0.02"));
    commands.push(place("buy", Buy, "0.02", Some("5000")));
    commands.push(place("sell", Sell, "0.02", None));
    let cancelled = |order: &str, released, remaining| {
        TradingEvent::OrderCancelled(OrderCancelled {
            account: "A001".to_owned(),
            order: order.to_owned(),
            instrument: "XBTUSD".to_owned(),
            remaining: number(remaining),
            reserved_released: number(released),
            account_reserved: number("0"),
            reason: CancellationReason::Requested,
            as_of: 12,
            cancelled_at: None,
        })
    };
    let given = after(commands).when(cancel("buy")).then([cancelled("buy", "100.075", "0.02")]);
    let given = given.when(cancel("buy")).then_nothing();
    let given = given.when(cancel("sell")).then([cancelled("sell", "0", "0.02")]);
    let events = [placed("again", Sell, "0.02", None), accepted("again", "0", "0.02", "0")];
    given.when(place("again", Sell, "0.02", None)).then(events);
}

#[test]
fn commands_read_the_json_that_people_write() {
    let json = r#"{"place-order": {"account": "A001", "order": "1", "instrument": "XBTUSD",
        "side": "buy", "kind": "limit", "quantity": "0.5", "limit_price": "5000.5"}}"#;
    let command: AccountCommand = serde_json::from_str(json).expect("it reads");
    assert_eq!(Account::target(&command), "A001");
    let reads = |fields: &str| {
        let json = format!(r#"{{"deposit": {{"account": "A001", {fields}}}}}"#);
        serde_json::from_str::<AccountCommand>(&json).map_err(|error| error.to_string())
    };
    assert!(reads(r#""amount": "1""#).is_ok());
    assert!(reads(r#""amount": "-1""#).expect_err("negative").contains("must be positive"));
    assert!(reads(r#""amount": "1", "speed": 2"#).expect_err("unknown").contains("speed"));
    assert!(reads(r#""at": "2018-01-01T00:00:00Z""#).expect_err("missing").contains("amount"));
}
