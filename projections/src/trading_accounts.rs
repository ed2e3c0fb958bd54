//! The accounts: cash, what is set aside, and the sums of all that moved it. A row an account. In
//! every row `cash = deposits − withdrawals − bought + sold − fees`, to the last digit.

use annals_core::{Projection, Recorded, RowKey, RowScope, Timestamp};
use annals_events::TradingEvent;
use annals_events::market::Side;
use annals_events::trading::{AccountOpened, Fill};
use serde::{Deserialize, Serialize};

use crate::columns::Numeric;

/// The read model `trading_accounts`.
#[derive(Clone, Copy, Debug)]
pub struct TradingAccounts;

/// One account; amounts in USD.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountRow {
    /// The account.
    pub account: String,
    /// Whose it is.
    pub owner: Option<String>,
    /// What its cash is counted in.
    pub currency: String,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// Its cash, with what is set aside.
    pub cash: Numeric,
    /// The cash set aside for limit buys.
    pub reserved: Numeric,
    /// What its sells gained over their average cost, before fees.
    pub realised_pnl: Numeric,
    /// The fees of its fills.
    pub fees: Numeric,
    /// What came in.
    pub deposits: Numeric,
    /// What went out.
    pub withdrawals: Numeric,
    /// The notional of its buys.
    pub bought: Numeric,
    /// The notional of its sells.
    pub sold: Numeric,
    /// How many orders were placed.
    pub orders: u64,
    /// How many of them were rejected.
    pub rejected: u64,
    /// How many are open.
    pub open_orders: u64,
    /// How many fills there were.
    pub fills: u64,
}

impl Projection for TradingAccounts {
    type Event = TradingEvent;
    type Row = AccountRow;

    const NAME: &'static str = "trading_accounts";
    const VERSION: u32 = 1;
    const KEY: &'static str = "account";
    const SCOPE: RowScope = RowScope::OneStream;
    const DDL: &'static str = include_str!("trading_accounts.sql");

    fn keys(event: &Recorded<TradingEvent>, keys: &mut Vec<RowKey>) {
        keys.push(event.event.account().to_owned());
    }

    fn apply(
        _: &str,
        row: Option<AccountRow>,
        event: &Recorded<TradingEvent>,
    ) -> Option<AccountRow> {
        if let TradingEvent::AccountOpened(opened) = &event.event {
            return Some(AccountRow::opened(opened, opened.opened_at.unwrap_or(event.time)));
        }
        let mut row = row?;
        match &event.event {
            TradingEvent::AccountOpened(_) => {} // Seen to above.
            TradingEvent::CashDeposited(deposited) => {
                row.cash = deposited.cash.into();
                row.deposits += deposited.amount;
            }
            TradingEvent::CashWithdrawn(withdrawn) => {
                row.cash = withdrawn.cash.into();
                row.withdrawals += withdrawn.amount;
            }
            TradingEvent::OrderPlaced(_) => row.orders += 1,
            TradingEvent::OrderAccepted(accepted) => {
                row.reserved = accepted.account_reserved.into();
                row.open_orders += 1;
            }
            TradingEvent::OrderRejected(_) => row.rejected += 1,
            TradingEvent::OrderPartiallyFilled(fill) => row.fill(fill),
            TradingEvent::OrderFilled(fill) => {
                row.fill(fill);
                row.close_order();
            }
            TradingEvent::OrderCancelled(cancelled) => {
                row.reserved = cancelled.account_reserved.into();
                row.close_order();
            }
        }
        Some(row)
    }
}

impl AccountRow {
    fn opened(event: &AccountOpened, opened_at: Timestamp) -> AccountRow {
        AccountRow {
            account: event.account.clone(),
            owner: event.owner.clone(),
            currency: event.currency.clone(),
            opened_at,
            cash: Numeric::default(),
            reserved: Numeric::default(),
            realised_pnl: Numeric::default(),
            fees: Numeric::default(),
            deposits: Numeric::default(),
            withdrawals: Numeric::default(),
            bought: Numeric::default(),
            sold: Numeric::default(),
            orders: 0,
            rejected: 0,
            open_orders: 0,
            fills: 0,
        }
    }

    fn fill(&mut self, fill: &Fill) {
        self.cash = fill.cash.into();
        self.reserved = fill.account_reserved.into();
        self.realised_pnl += fill.realised_pnl;
        self.fees += fill.fee;
        match fill.side {
            Side::Buy => self.bought += fill.notional,
            Side::Sell => self.sold += fill.notional,
        }
        self.fills += 1;
    }

    fn close_order(&mut self) {
        self.open_orders = self.open_orders.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{fold, millis, number, story};

    #[test]
    fn an_account_row_tells_its_cash_and_the_sums_that_led_to_it() {
        let rows = fold::<TradingAccounts>(&story());
        let expected = AccountRow {
            account: "A001".to_owned(),
            owner: Some("Ada".to_owned()),
            currency: "USD".to_owned(),
            opened_at: millis(10),
            cash: number("899.8875").into(),
            reserved: number("0").into(),
            realised_pnl: number("10").into(),
            fees: number("0.1125").into(),
            deposits: number("1000").into(),
            withdrawals: number("60").into(),
            bought: number("100").into(),
            sold: number("60").into(),
            orders: 3,
            rejected: 1,
            open_orders: 0,
            fills: 3,
        };
        assert_eq!(rows, [("A001".to_owned(), expected)].into());
    }

    #[test]
    fn in_every_row_cash_is_what_the_sums_say() {
        let rows = fold::<TradingAccounts>(&story());
        for row in rows.values() {
            let sums = row.deposits.0 - row.withdrawals.0 - row.bought.0 + row.sold.0 - row.fees.0;
            assert_eq!(row.cash.0, sums);
        }
    }
}
