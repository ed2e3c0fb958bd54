//! The demo's strategy: moving-average cross-over, one pair of windows an account. Pure and exact: prices are whole
//! ticks, sums are integers, so the same prints and the same account events always lead to the same orders.
//!
//! For account `i` of `n`: the fast window is `240 + 48 × (i mod 16)` prints, the slow one `5 + (i div 16) mod 8` times
//! that. When the fast average rises above the slow one, an account without a position buys for `500 + 25 × (i mod 20)`
//! USD; when it falls below, an account with a position sells all of it. Whatever order is still open is cancelled
//! first. Accounts of even number place market orders, the others limit orders at the print's price.

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

/// Ticks to the USD: BitMEX quoted XBTUSD in steps of half a dollar; four decimals leave room for other instruments.
const TICKS_PER_USD: i64 = 10_000;
/// The prints of the slowest window of all.
pub(super) const SLOWEST_PRINTS: usize = (240 + 48 * 15) * 12;

/// What an account wants to do at a print.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Intent {
    /// Withdraw the open order.
    Cancel {
        /// The order.
        order: String,
    },
    /// Buy.
    Buy {
        /// How much of the base currency.
        quantity: Decimal,
        /// The limit, or none for a market order.
        limit: Option<Decimal>,
    },
    /// Sell the whole position.
    Sell {
        /// How much of the base currency.
        quantity: Decimal,
        /// The limit, or none for a market order.
        limit: Option<Decimal>,
    },
}

/// One account's rule and what it knows of itself.
#[derive(Clone, Debug, PartialEq)]
struct Trader {
    /// The windows, in prints.
    fast: u16,
    slow: u16,
    notional: Decimal,
    limit_orders: bool,
    fast_is_above: Option<bool>,
    open_order: Option<String>,
    position: Decimal,
}

/// All accounts of the demo.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Desk {
    traders: Vec<Trader>,
    /// `sums[k]` is the sum of the first `k` prices, for the last [`SLOWEST_PRINTS`] and some more.
    sums: Vec<i64>,
}

impl Desk {
    /// A desk of `accounts` accounts that has seen no print.
    pub(super) fn new(accounts: usize) -> Desk {
        let trader = |i: usize| {
            let of = |i: usize| u16::try_from(i).expect("a remainder is small");
            let fast = 240 + 48 * of(i % 16);
            Trader {
                fast,
                slow: fast * (5 + of((i / 16) % 8)),
                notional: Decimal::from(500 + 25 * (i % 20)),
                limit_orders: i % 2 == 1,
                fast_is_above: None,
                open_order: None,
                position: Decimal::ZERO,
            }
        };
        Desk { traders: (0..accounts).map(trader).collect(), sums: vec![0] }
    }

    /// Takes note of an account's open order; none once it is closed.
    pub(super) fn set_open_order(&mut self, account: usize, order: Option<String>) {
        self.traders[account].open_order = order;
    }

    /// Takes note of an account's position, in the base currency.
    pub(super) fn set_position(&mut self, account: usize, position: Decimal) {
        self.traders[account].position = position;
    }

    /// The price of the next print, and what the accounts do about it: account number and intent, in order.
    pub(super) fn print(&mut self, price: Decimal, intents: &mut Vec<(usize, Intent)>) {
        self.remember(price);
        let last = self.sums.len() - 1;
        for (account, trader) in self.traders.iter_mut().enumerate() {
            if last < usize::from(trader.slow) {
                continue;
            }
            let sum = |window: u16| self.sums[last] - self.sums[last - usize::from(window)];
            // fast average > slow average, without a division.
            let fast = sum(trader.fast) * i64::from(trader.slow);
            let slow = sum(trader.slow) * i64::from(trader.fast);
            let above = fast > slow;
            let was = trader.fast_is_above.replace(above);
            if was.is_some_and(|was| was != above) {
                trader.cross(account, above, price, intents);
            }
        }
    }

    fn remember(&mut self, price: Decimal) {
        if self.sums.len() > 16 * SLOWEST_PRINTS {
            self.sums.drain(..self.sums.len() - SLOWEST_PRINTS - 1);
            let base = self.sums[0];
            self.sums.iter_mut().for_each(|sum| *sum -= base);
        }
        let ticks =
            (price * Decimal::from(TICKS_PER_USD)).trunc().to_i64().unwrap_or(i64::MAX >> 24);
        let sum = self.sums[self.sums.len() - 1];
        self.sums.push(sum + ticks);
    }
}

impl Trader {
    fn cross(
        &self,
        account: usize,
        above: bool,
        price: Decimal,
        intents: &mut Vec<(usize, Intent)>,
    ) {
        if let Some(order) = &self.open_order {
            intents.push((account, Intent::Cancel { order: order.clone() }));
        }
        let limit = self.limit_orders.then_some(price);
        let flat = self.position.is_zero();
        if above && flat {
            let quantity = (self.notional / price).trunc_with_scale(6);
            if !quantity.is_zero() {
                intents.push((account, Intent::Buy { quantity, limit }));
            }
        } else if !above && !flat {
            intents.push((account, Intent::Sell { quantity: self.position, limit }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Prices that fall, rise and fall again, each long enough for the slowest window.
    fn waves() -> impl Iterator<Item = Decimal> {
        let leg = i64::try_from(2 * SLOWEST_PRINTS).expect("small");
        (0..3 * leg).map(move |i| {
            let height = if (i / leg) % 2 == 0 { leg - i % leg } else { i % leg };
            Decimal::new(100_000 + height, 1)
        })
    }

    fn run(desk: &mut Desk, prices: impl Iterator<Item = Decimal>) -> Vec<(usize, Intent)> {
        let mut all = Vec::new();
        for price in prices {
            let mut intents = Vec::new();
            desk.print(price, &mut intents);
            for (account, intent) in &intents {
                match intent {
                    Intent::Buy { quantity, .. } => desk.set_position(*account, *quantity),
                    Intent::Sell { .. } => desk.set_position(*account, Decimal::ZERO),
                    Intent::Cancel { .. } => {}
                }
            }
            all.extend(intents);
        }
        all
    }

    #[test]
    fn each_account_buys_once_on_the_rise_and_sells_once_on_the_fall() {
        let mut desk = Desk::new(128);
        let intents = run(&mut desk, waves());
        for account in 0..128 {
            let mine: Vec<_> = intents.iter().filter(|(a, _)| *a == account).collect();
            assert_eq!(mine.len(), 2, "account {account}: {mine:?}");
            let Intent::Buy { quantity: bought, limit } = &mine[0].1 else { panic!("{mine:?}") };
            let Intent::Sell { quantity: sold, .. } = &mine[1].1 else { panic!("{mine:?}") };
            assert_eq!(bought, sold);
            assert_eq!(limit.is_some(), account % 2 == 1);
        }
    }

    #[test]
    fn an_open_order_is_cancelled_first() {
        let mut desk = Desk::new(1);
        desk.set_open_order(0, Some("o1".to_owned()));
        let first = run(&mut desk, waves()).into_iter().next();
        assert_eq!(first, Some((0, Intent::Cancel { order: "o1".to_owned() })));
    }

    #[test]
    fn a_desk_that_saw_only_the_slowest_window_decides_the_same() {
        let prices: Vec<_> = waves().collect();
        let cut = prices.len() / 2 + 77;
        let mut whole = Desk::new(16);
        let positions = run(&mut whole, prices[..cut].iter().copied());
        let mut resumed = Desk::new(16);
        run(&mut resumed, prices[cut - SLOWEST_PRINTS - 1..cut].iter().copied());
        for (account, intent) in positions {
            match intent {
                Intent::Buy { quantity, .. } => resumed.set_position(account, quantity),
                Intent::Sell { .. } => resumed.set_position(account, Decimal::ZERO),
                Intent::Cancel { .. } => {}
            }
        }
        let rest = || prices[cut..].iter().copied();
        assert_eq!(run(&mut resumed, rest()), run(&mut whole, rest()));
    }
}
