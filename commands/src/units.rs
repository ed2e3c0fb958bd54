//! Exact arithmetic on money and quantities, in whole units of 10⁻⁸. The bounds of `amounts` keep
//! every product within 128 bits: a price and a quantity have at most 17 digits, an amount 20.
//! Nothing here rounds in secret.

use annals_events::avro::DECIMAL_SCALE;
use rust_decimal::Decimal;

/// One, in units.
const ONE: i128 = 100_000_000;
/// The fee: 0.075 % of the notional, as a fraction.
const FEE: (i128, i128) = (75, 100_000);

/// A decimal of at most eight digits after the point, in units.
pub(crate) fn units(value: Decimal) -> i128 {
    let missing = DECIMAL_SCALE.checked_sub(value.scale());
    match missing {
        Some(missing) => value.mantissa() * 10_i128.pow(missing),
        None => value.mantissa() / 10_i128.pow(value.scale() - DECIMAL_SCALE),
    }
}

/// Units as a decimal without idle zeros.
pub(crate) fn decimal(units: i128) -> Decimal {
    Decimal::from_i128_with_scale(units, DECIMAL_SCALE).normalize()
}

/// Price × quantity, rounded down: the sum over the parts of a quantity never passes the whole.
pub(crate) fn notional(price: i128, quantity: i128) -> i128 {
    price * quantity / ONE
}

/// How much a size in USD buys at a price, rounded down.
pub(crate) fn quantity_of(size: i128, price: i128) -> i128 {
    size * ONE / price
}

/// The fee on all of an order's notional so far, rounded up.
fn fee_of(notional: i128) -> i128 {
    (notional * FEE.0 + FEE.1 - 1) / FEE.1
}

/// The fee of one fill: what it adds to the fee of the order as a whole. So an order filled in
/// pieces pays to the last digit what it would have paid at once, and a reserve made for the whole
/// is enough for the pieces.
pub(crate) fn fee(notional_before: i128, notional: i128) -> i128 {
    fee_of(notional_before + notional) - fee_of(notional_before)
}

/// What buying `quantity` at `price` takes, fee included, when the order had `notional_before`.
/// Grows with quantity.
pub(crate) fn cost(notional_before: i128, price: i128, quantity: i128) -> i128 {
    let notional = notional(price, quantity);
    notional + fee(notional_before, notional)
}

/// The largest quantity up to `wanted` that `cash` pays for.
pub(crate) fn affordable(cash: i128, notional_before: i128, price: i128, wanted: i128) -> i128 {
    let (mut paid_for, mut too_much) = (0, wanted + 1);
    if cost(notional_before, price, wanted) <= cash {
        return wanted;
    }
    while too_much - paid_for > 1 {
        let middle = paid_for + (too_much - paid_for) / 2;
        if cost(notional_before, price, middle) <= cash {
            paid_for = middle;
        } else {
            too_much = middle;
        }
    }
    paid_for
}

/// The part of `cost` that `quantity` out of `held` carries, rounded down; all of it when all is
/// sold.
pub(crate) fn share(cost: i128, quantity: i128, held: i128) -> i128 {
    cost * quantity / held
}

/// Cost over quantity, rounded half up; 0 for nothing.
pub(crate) fn average(cost: i128, quantity: i128) -> i128 {
    if quantity == 0 { 0 } else { (cost * ONE + quantity / 2) / quantity }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_reserve_for_the_whole_is_enough_for_the_pieces(
            limit in 1..1_000_000_000_000_i128,
            pieces in prop::collection::vec((1..1_000_000_000_i128, 0..2_i128), 1..20),
        ) {
            let whole: i128 = pieces.iter().map(|(quantity, _)| quantity).sum();
            let (mut spent, mut before) = (0, 0);
            for (quantity, better) in pieces {
                let price = (limit - better).max(1);
                spent += cost(before, price, quantity);
                before += notional(price, quantity);
            }
            prop_assert!(spent <= cost(0, limit, whole));
        }

        #[test]
        fn an_order_filled_in_pieces_pays_the_fee_of_the_whole(
            notionals in prop::collection::vec(0..10_000_000_000_i128, 1..20),
        ) {
            let (mut paid, mut before) = (0, 0);
            for notional in notionals {
                paid += fee(before, notional);
                before += notional;
            }
            prop_assert_eq!(paid, fee(0, before));
        }

        #[test]
        fn what_is_affordable_is_paid_for_and_one_more_is_not(
            cash in 0..10_000_000_000_000_i128,
            before in 0..10_000_000_000_i128,
            price in 1..100_000_000_000_000_000_i128,
            wanted in 1..100_000_000_000_000_000_i128,
        ) {
            let quantity = affordable(cash, before, price, wanted);
            prop_assert!(quantity == 0 || cost(before, price, quantity) <= cash);
            prop_assert!(quantity == wanted || cost(before, price, quantity + 1) > cash);
        }

        #[test]
        fn units_survive_being_a_decimal(value in -(10_i128.pow(27))..10_i128.pow(27)) {
            prop_assert_eq!(units(decimal(value)), value);
        }
    }
}
