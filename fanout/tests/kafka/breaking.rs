//! Services that stop in the middle: everything waits for them, nothing is lost and nothing doubled.

use std::time::Duration;

use annals_core::family::Family;
use annals_core::feed::Feed;
use annals_core::store::EventStore;

use crate::relay::failure;
use crate::services::{UNDISTURBED, services};
use crate::world::{World, published, taken_until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_stops_in_mid_run_costs_time_and_nothing_else() {
    let _alone = UNDISTURBED.write().await;
    let world = World::new(40, "broker").await;
    let relay = world.relay();
    let mut trading = world.feed().follow("trading", "broker", None);
    world.append(3_000).await;
    let mut seen = taken_until(&mut trading, world.store.head()).await;
    for _ in 0..2 {
        // Records on the way and records not yet handed over when the broker goes.
        world.append(20_000).await;
        services().stop("kafka").await;
        world.append(5_000).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        services().start("kafka").await;
        world.append(1_000).await;
        published(&relay, &world).await;
        seen.extend(taken_until(&mut trading, world.store.head()).await);
    }
    assert_eq!(seen, world.events("trading"));
    relay.stop().await;
    world.assert_topics_are_exact();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_waits_for_a_broker_that_is_not_there_yet() {
    let _alone = UNDISTURBED.write().await;
    let world = World::new(41, "later").await;
    world.append(500).await;
    services().stop("kafka").await;
    let relay = world.relay();
    let mut batches = world.feed().follow("market", "later", None);
    let error = failure(&relay).await;
    assert_eq!(error.family(), Family::Unavailable, "{error:?}");
    let first = futures::StreamExt::next(&mut batches).await.expect("an answer");
    assert_eq!(first.expect_err("no broker").family, Family::Unavailable);
    services().start("kafka").await;
    published(&relay, &world).await;
    relay.stop().await;
    world.assert_topics_are_exact();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_is_down_holds_up_only_schemas_that_it_was_not_asked_for() {
    let _alone = UNDISTURBED.write().await;
    let world = World::new(42, "registry").await;
    let relay = world.relay();
    world.append_of("trading.OrderPlaced", 10).await;
    published(&relay, &world).await;
    services().stop("registry").await;
    world.append_of("trading.OrderPlaced", 10).await;
    published(&relay, &world).await;
    world.append_of("trading.OrderFilled", 10).await;
    let error = failure(&relay).await;
    assert_eq!(error.family(), Family::Unavailable, "{error:?}");
    assert!(*relay.published().borrow() < world.store.head());
    services().start("registry").await;
    published(&relay, &world).await;
    relay.stop().await;
    world.assert_topics_are_exact();
}
