//! What may be asked of an account, and how it says no.

use annals_core::Timestamp;
use annals_events::market::Side;
use annals_events::trading::OrderKind;
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::amounts::{Amount, Price, Quantity};
use crate::names::{AccountId, Instrument, OrderId};

/// What may be asked of an account. Times are RFC 3339; where one is left out, the time of
/// recording holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum AccountCommand {
    /// Opens an account, with no cash.
    OpenAccount {
        /// The account.
        account: AccountId,
        /// Whose it is.
        #[serde(default)]
        owner: Option<String>,
        /// When.
        #[serde(default)]
        #[schemars(with = "Option<String>")]
        at: Option<Timestamp>,
    },
    /// Brings cash in.
    Deposit {
        /// The account.
        account: AccountId,
        /// How much, in USD.
        amount: Amount,
        /// When.
        #[serde(default)]
        #[schemars(with = "Option<String>")]
        at: Option<Timestamp>,
    },
    /// Takes cash out that is not set aside for orders.
    Withdraw {
        /// The account.
        account: AccountId,
        /// How much, in USD.
        amount: Amount,
        /// When.
        #[serde(default)]
        #[schemars(with = "Option<String>")]
        at: Option<Timestamp>,
    },
    /// Places an order.
    PlaceOrder {
        /// The account.
        account: AccountId,
        /// The order, named once for ever within its account.
        order: OrderId,
        /// What to trade.
        instrument: Instrument,
        /// Which way.
        side: Side,
        /// At which price.
        kind: OrderKind,
        /// How much, in units of the instrument.
        quantity: Quantity,
        /// The worst price accepted, in USD; of a limit order, and of that only.
        #[serde(default)]
        limit_price: Option<Price>,
        /// The last print known (a revision of `market-INSTRUMENT`): only later ones fill the
        /// order.
        #[serde(default)]
        as_of: u64,
        /// When.
        #[serde(default)]
        #[schemars(with = "Option<String>")]
        at: Option<Timestamp>,
    },
    /// Fills an order from a print; what the paper exchange asks for.
    FillOrder {
        /// The account.
        account: AccountId,
        /// The order.
        order: OrderId,
        /// The print (a revision of `market-INSTRUMENT`).
        print: u64,
        /// The print's price, in USD.
        price: Price,
        /// How much of the print is for this order, in units of the instrument.
        quantity: Quantity,
        /// When the print was traded.
        #[schemars(with = "String")]
        traded_at: Timestamp,
    },
    /// Gives up what is left of an order.
    CancelOrder {
        /// The account.
        account: AccountId,
        /// The order.
        order: OrderId,
        /// The last print known (a revision of `market-INSTRUMENT`).
        #[serde(default)]
        as_of: u64,
        /// When.
        #[serde(default)]
        #[schemars(with = "Option<String>")]
        at: Option<Timestamp>,
    },
}

/// How an account says no.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccountRefusal {
    /// The account was never opened.
    #[error("account {account} is not open; open it first")]
    Unopened {
        /// The account.
        account: String,
    },
    /// Someone else has it.
    #[error("account {account} is open already, for another owner")]
    Taken {
        /// The account.
        account: String,
    },
    /// More than the free cash.
    #[error("account {account} has {free} USD free, which is less than {amount}")]
    Overdrawn {
        /// The account.
        account: String,
        /// Its cash that is not set aside.
        free: Decimal,
        /// What was asked for.
        amount: Decimal,
    },
    /// A balance would pass what an account may hold.
    #[error("{balance} of account {account} would pass {largest}")]
    Oversized {
        /// The account.
        account: String,
        /// Which balance.
        balance: &'static str,
        /// The most that it may be.
        largest: u64,
    },
    /// The name is in use for another order, or for one that has ended.
    #[error("account {account} has had an order {order} already")]
    Reused {
        /// The account.
        account: String,
        /// The order.
        order: String,
    },
    /// A limit order without a limit price.
    #[error("a limit order needs a limit_price")]
    Unpriced,
    /// A market order with a limit price.
    #[error("a market order takes no limit_price")]
    Overpriced,
    /// There never was such an order.
    #[error("account {account} has no order {order}")]
    Unknown {
        /// The account.
        account: String,
        /// The order.
        order: String,
    },
    /// The order has ended.
    #[error("order {order} of account {account} is not open any more")]
    Ended {
        /// The account.
        account: String,
        /// The order.
        order: String,
    },
    /// More than is left of the order.
    #[error("order {order} has {remaining} left, which is less than {quantity}")]
    Overfilled {
        /// The order.
        order: String,
        /// What is left of it.
        remaining: Decimal,
        /// What it was to be filled with.
        quantity: Decimal,
    },
    /// The print was known when the order was decided.
    #[error("order {order} was decided as of print {as_of}, so print {print} does not fill it")]
    Early {
        /// The order.
        order: String,
        /// The last print known then.
        as_of: u64,
        /// The print that was to fill it.
        print: u64,
    },
    /// The price is worse than the limit.
    #[error("order {order} has the limit {limit}, which {price} does not keep")]
    Unfavourable {
        /// The order.
        order: String,
        /// Its limit price.
        limit: Decimal,
        /// The price that it was to be filled at.
        price: Decimal,
    },
}
