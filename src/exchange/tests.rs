//! The running exchange over the store in memory, with the real deciders.

use annals_commands::Market;
use annals_core::clock::SystemClock;
use annals_core::memory::MemoryStore;
use annals_core::random::SystemRandom;
use serde_json::json;

use super::*;

struct Venue {
    store: MemoryStore,
    schemas: Schemas,
    accounts: Arc<Executor<Account>>,
    market: Arc<Executor<Market>>,
}

impl Venue {
    async fn open() -> Venue {
        let store = MemoryStore::new(SystemClock);
        let schemas = Schemas::default();
        let shared: Arc<dyn EventStore> = Arc::new(store.clone());
        for of_context in [MarketEvent::schemas(), TradingEvent::schemas()] {
            schemas.publish(&*shared, of_context).await.expect("published");
        }
        let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
        let accounts =
            Executor::new(shared.clone(), schemas.clone(), clock.clone(), random.clone());
        let market = Executor::new(shared, schemas.clone(), clock, random);
        Venue { store, schemas, accounts: Arc::new(accounts), market: Arc::new(market) }
    }

    fn start(&self) -> RunningExchange {
        let store = Arc::new(self.store.clone());
        RunningExchange::start(store, self.schemas.clone(), Arc::clone(&self.accounts))
    }

    async fn give(&self, command: serde_json::Value) {
        let command = serde_json::from_value(command).expect("a command");
        let envelope = Envelope::new(Uuid::new_v4());
        self.accounts.execute(command, &envelope).await.expect("accepted");
    }

    async fn print(&self, millis: u32, price: &str) {
        let trade = json!({
            "traded_at": format!("2018-01-01T00:00:00.{millis:03}Z"),
            "price": price, "size": "1000", "taker_side": "sell",
        });
        let command = json!({"record-trades": {"instrument": "XBTUSD", "trades": [trade]}});
        let command = serde_json::from_value(command).expect("a command");
        let envelope = Envelope::new(Uuid::new_v4());
        self.market.execute(command, &envelope).await.expect("recorded");
    }

    fn fills(&self) -> Vec<u64> {
        let fills = self.store.events().into_iter().filter_map(|recorded| {
            if recorded.event_type.context() != TradingEvent::CONTEXT {
                return None;
            }
            match TradingEvent::decode(&recorded, &self.schemas).expect("decodes") {
                TradingEvent::OrderPartiallyFilled(fill) | TradingEvent::OrderFilled(fill) => {
                    Some(fill.print)
                }
                TradingEvent::AccountOpened(_)
                | TradingEvent::CashDeposited(_)
                | TradingEvent::CashWithdrawn(_)
                | TradingEvent::OrderPlaced(_)
                | TradingEvent::OrderAccepted(_)
                | TradingEvent::OrderRejected(_)
                | TradingEvent::OrderCancelled(_) => None,
            }
        });
        fills.collect()
    }

    /// Waits until the fills are these, for ten seconds at most.
    async fn filled(&self, expected: &[u64]) {
        for _ in 0..1000 {
            if self.fills() == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(self.fills(), expected);
    }
}

async fn with_an_open_buy() -> Venue {
    let venue = Venue::open().await;
    venue.print(1, "10000").await;
    venue.give(json!({"open-account": {"account": "A1"}})).await;
    venue.give(json!({"deposit": {"account": "A1", "amount": "5000"}})).await;
    let order = json!({
        "account": "A1", "order": "o1", "instrument": "XBTUSD", "side": "buy", "kind": "limit",
        "quantity": "0.15", "limit_price": "10000", "as_of": 0,
    });
    venue.give(json!({"place-order": order})).await;
    venue
}

#[tokio::test]
async fn an_order_is_filled_by_the_prints_that_come_after_it() {
    let venue = with_an_open_buy().await;
    let exchange = venue.start();
    venue.print(2, "10001").await;
    venue.print(3, "10000").await;
    venue.filled(&[2]).await;
    venue.print(4, "9990").await;
    venue.filled(&[2, 3]).await;
    exchange.stop().await;
}

#[tokio::test]
async fn what_was_not_done_before_a_stop_is_done_after_it_and_nothing_twice() {
    let venue = with_an_open_buy().await;
    venue.print(2, "10000").await;
    let exchange = venue.start();
    venue.filled(&[1]).await;
    exchange.stop().await;
    venue.print(3, "10000").await;
    let exchange = venue.start();
    venue.filled(&[1, 2]).await;
    exchange.stop().await;
    let exchange = venue.start();
    venue.print(4, "10000").await;
    venue.give(json!({"deposit": {"account": "A1", "amount": "1"}})).await;
    exchange.stop().await;
    assert_eq!(venue.fills(), [1, 2]);
}
