//! How fast events are encoded and decoded, on one core: `cargo run --release -p annals-events
//! --example codec_speed`.
#![allow(clippy::print_stdout, reason = "figures are its purpose")]

use std::hint::black_box;
use std::time::Instant;

use annals_core::{
    DomainEvent, EventId, Position, RecordedEvent, Revision, Schemas, StreamName, Timestamp,
};
use annals_events::MarketEvent;
use annals_events::market::{Side, TradeRecorded};
use bytes::Bytes;
use rust_decimal::Decimal;

const EVENTS: u32 = 2_000_000;

fn rate(what: &str, mut run: impl FnMut()) {
    let best = (0..5)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..EVENTS {
                run();
            }
            f64::from(EVENTS) / start.elapsed().as_secs_f64()
        })
        .fold(0.0, f64::max);
    println!("{what}: {:.2} M/s (best of 5)", best / 1e6);
}

fn main() {
    let event = MarketEvent::TradeRecorded(TradeRecorded {
        instrument: "XBTUSD".to_owned(),
        traded_at: Timestamp(1_514_764_802_610_000),
        price: Decimal::new(138_735, 1),
        size: Decimal::from(3000),
        taker_side: Side::Sell,
    });
    let schema = event.schema();
    let recorded = RecordedEvent {
        id: EventId(uuid::Uuid::nil()),
        stream: StreamName::new("market-XBTUSD").expect("a name"),
        revision: Revision(0),
        position: Position(0),
        event_type: schema.event_type.clone(),
        time: Timestamp(0),
        schema: schema.fingerprint,
        metadata: Bytes::new(),
        data: event.encode(),
    };
    let schemas = Schemas::default();
    println!("market.TradeRecorded, {} bytes", recorded.data.len());
    rate("encode", || drop(black_box(black_box(&event).encode())));
    rate("decode", || drop(black_box(MarketEvent::decode(black_box(&recorded), &schemas))));
}
