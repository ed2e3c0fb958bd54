//! The market: it records the trades that an exchange printed, in the order of their time. Prices
//! and sizes that make no sense never get here: they do not deserialise.

use annals_core::{Decider, Timestamp};
use annals_events::MarketEvent;
use annals_events::market::{Side, TradeRecorded};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::amounts::{Amount, Price};
use crate::names::Instrument;

/// The most trades in one command, and so in one append.
pub const TRADES_MAX: usize = 4096;

/// One instrument's market, as far as recording the next trade needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Market {
    /// The time of the last trade.
    last_traded_at: Option<Timestamp>,
    /// How many trades there are.
    trades: u64,
}

/// What may be asked of a market.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum MarketCommand {
    /// Records trades, in the order in which the exchange printed them. All of them are recorded,
    /// or none.
    RecordTrades {
        /// What was traded.
        instrument: Instrument,
        /// The trades, at most 4096.
        trades: Vec<Trade>,
    },
}

/// One trade, as the exchange printed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Trade {
    /// When the exchange says it was; RFC 3339, kept to the microsecond.
    #[schemars(with = "String")]
    pub traded_at: Timestamp,
    /// In USD per unit of the instrument.
    pub price: Price,
    /// In USD.
    pub size: Amount,
    /// Which side crossed the spread.
    pub taker_side: Side,
}

/// How the market says no.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MarketRefusal {
    /// There is nothing to record.
    #[error("the command holds no trades; at least one is needed")]
    Empty,
    /// There is too much at once.
    #[error("the command holds {trades} trades; at most {TRADES_MAX} go into one")]
    Oversized {
        /// How many there are.
        trades: usize,
    },
    /// A trade is older than the one before it.
    #[error("trade {index} was traded at {traded_at}, before the trade ahead of it at {last}")]
    OutOfOrder {
        /// Which trade of the command, counted from 0.
        index: usize,
        /// Its time.
        traded_at: Timestamp,
        /// The time of the trade ahead of it.
        last: Timestamp,
    },
}

impl Decider for Market {
    type Command = MarketCommand;
    type Event = MarketEvent;
    type Refusal = MarketRefusal;

    const CATEGORY: &'static str = "market";

    fn target(command: &MarketCommand) -> &str {
        let MarketCommand::RecordTrades { instrument, .. } = command;
        instrument.as_str()
    }

    fn decide(&self, command: MarketCommand) -> Result<Vec<MarketEvent>, MarketRefusal> {
        let MarketCommand::RecordTrades { instrument, trades } = command;
        if trades.is_empty() {
            return Err(MarketRefusal::Empty);
        }
        if trades.len() > TRADES_MAX {
            return Err(MarketRefusal::Oversized { trades: trades.len() });
        }
        let mut last = self.last_traded_at;
        let recorded = trades.into_iter().enumerate().map(|(index, trade)| {
            if let Some(last) = last
                && trade.traded_at < last
            {
                let traded_at = trade.traded_at;
                return Err(MarketRefusal::OutOfOrder { index, traded_at, last });
            }
            last = Some(trade.traded_at);
            Ok(MarketEvent::TradeRecorded(TradeRecorded {
                instrument: instrument.as_str().to_owned(),
                traded_at: trade.traded_at,
                price: trade.price.get(),
                size: trade.size.get(),
                taker_side: trade.taker_side,
            }))
        });
        recorded.collect()
    }

    fn evolve(self, event: &MarketEvent) -> Market {
        let MarketEvent::TradeRecorded(trade) = event;
        Market { last_traded_at: Some(trade.traded_at), trades: self.trades + 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use annals_core::testing::given;
    use rust_decimal::Decimal;

    fn trade(millis: i64) -> Trade {
        Trade {
            traded_at: Timestamp::from_millis(millis),
            price: Price::new(Decimal::from(13_873)).expect("fits"),
            size: Amount::new(Decimal::from(10)).expect("fits"),
            taker_side: Side::Buy,
        }
    }

    fn recorded(millis: i64) -> MarketEvent {
        MarketEvent::TradeRecorded(TradeRecorded {
            instrument: "XBTUSD".to_owned(),
            traded_at: Timestamp::from_millis(millis),
            price: Decimal::from(13_873),
            size: Decimal::from(10),
            taker_side: Side::Buy,
        })
    }

    fn record(millis: &[i64]) -> MarketCommand {
        MarketCommand::RecordTrades {
            instrument: Instrument::new("XBTUSD").expect("a name"),
            trades: millis.iter().copied().map(trade).collect(),
        }
    }

    #[test]
    fn trades_are_recorded_one_event_each() {
        given::<Market>([]).when(record(&[1, 2, 2])).then([recorded(1), recorded(2), recorded(2)]);
    }

    #[test]
    fn a_trade_at_the_time_of_the_last_one_is_recorded() {
        given::<Market>([recorded(5)]).when(record(&[5])).then([recorded(5)]);
    }

    #[test]
    fn time_never_goes_back() {
        let out_of_order = |index, at, last| MarketRefusal::OutOfOrder {
            index,
            traded_at: Timestamp::from_millis(at),
            last: Timestamp::from_millis(last),
        };
        given::<Market>([recorded(5)]).when(record(&[4])).refused(out_of_order(0, 4, 5));
        given::<Market>([]).when(record(&[1, 3, 2])).refused(out_of_order(2, 2, 3));
    }

    #[test]
    fn an_empty_or_oversized_command_is_refused() {
        given::<Market>([]).when(record(&[])).refused(MarketRefusal::Empty);
        let many = vec![1; TRADES_MAX + 1];
        let refusal = MarketRefusal::Oversized { trades: TRADES_MAX + 1 };
        given::<Market>([]).when(record(&many)).refused(refusal);
    }

    #[test]
    fn a_command_is_addressed_by_its_kebab_case_name_and_refuses_unknown_fields() {
        let json = serde_json::to_value(record(&[1])).expect("serialises");
        assert_eq!(json["record-trades"]["trades"][0]["price"], "13873");
        assert_eq!(serde_json::from_value::<MarketCommand>(json).ok(), Some(record(&[1])));
        let wrong = r#"{"record-trades": {"instrument": "XBTUSD", "trades": [], "speed": 1}}"#;
        let error = serde_json::from_str::<MarketCommand>(wrong).expect_err("is refused");
        assert!(error.to_string().contains("unknown field `speed`"), "{error}");
    }
}
