//! The demo's totals, read from the views alone: what they say is what a client would see.

use std::sync::Arc;

use annals_core::codec::SCHEMAS_STREAM;
use annals_core::{EventStore, Filter, ReadQuery, StreamName};
use futures::StreamExt;
use rust_decimal::Decimal;
use sqlx::Row;

use super::DemoError;
use crate::engine::{Engine, Views};

/// What the views hold.
pub(super) struct Totals {
    pub(super) trades: u64,
    pub(super) volume_usd: Decimal,
    pub(super) last_price: Decimal,
    pub(super) events: u64,
    pub(super) accounts: u64,
    pub(super) orders: u64,
    pub(super) fills: u64,
    pub(super) candles: u64,
    pub(super) store_bytes: Option<u64>,
}

const TOTALS: &str = "\
    SELECT \
        (SELECT coalesce(sum(trades), 0)::bigint FROM market_last_price) AS trades, \
        (SELECT coalesce(sum(volume_usd), 0) FROM market_last_price) AS volume_usd, \
        (SELECT coalesce(max(price), 0) FROM market_last_price) AS last_price, \
        (SELECT count(*) FROM trading_accounts) AS accounts, \
        (SELECT count(*) FROM trading_orders) AS orders, \
        (SELECT coalesce(sum(fills), 0)::bigint FROM trading_accounts) AS fills";

/// Reads the totals.
pub(super) async fn read(engine: &Engine, views: &Views) -> Result<Totals, DemoError> {
    let row = sqlx::query(TOTALS).fetch_one(&views.pool).await.map_err(DemoError::Postgres)?;
    let count = |column: &str| -> Result<u64, DemoError> {
        let count: i64 = row.try_get(column).map_err(DemoError::Postgres)?;
        Ok(u64::try_from(count).unwrap_or(0))
    };
    let decimal = |column: &str| -> Result<Decimal, DemoError> {
        let value: Decimal = row.try_get(column).map_err(DemoError::Postgres)?;
        Ok(value.normalize())
    };
    Ok(Totals {
        trades: count("trades")?,
        volume_usd: decimal("volume_usd")?,
        last_price: decimal("last_price")?,
        events: events(engine).await?,
        accounts: count("accounts")?,
        orders: count("orders")?,
        fills: count("fills")?,
        candles: candles(views).await?,
        store_bytes: engine.log.as_ref().map(|log| log.stats().bytes),
    })
}

/// The events in the log, but for its own that hold schemas.
pub(super) async fn events(engine: &Engine) -> Result<u64, DemoError> {
    let Some(log) = &engine.log else {
        let filter = Filter { no_system: true, ..Filter::default() };
        return count(&engine.store, ReadQuery::all().filtered(filter)).await;
    };
    let stream = StreamName::new(SCHEMAS_STREAM).expect("a valid constant");
    Ok(log.stats().events - count(&engine.store, ReadQuery::stream(stream)).await?)
}

async fn count(store: &Arc<dyn EventStore>, query: ReadQuery) -> Result<u64, DemoError> {
    let mut batches = store.read(query);
    let mut events = 0;
    while let Some(batch) = batches.next().await {
        events += batch.map_err(DemoError::Read)?.events.len() as u64;
    }
    Ok(events)
}

async fn candles(views: &Views) -> Result<u64, DemoError> {
    let lines = lines(views, "SELECT count() FROM market_candles_1m").await?;
    Ok(lines.first().and_then(|line| line.parse().ok()).unwrap_or(0))
}

/// The closing price of each candle: hours since the first one, and USD.
#[allow(clippy::cast_possible_truncation, reason = "dots of a plot")]
pub(super) async fn closes(views: &Views) -> Result<Vec<(f32, f32)>, DemoError> {
    let sql =
        "SELECT toUnixTimestamp(minute), toFloat64(close) FROM market_candles_1m ORDER BY minute";
    let lines = lines(views, sql).await?;
    let parsed = lines.iter().filter_map(|line| {
        let (minute, close) = line.split_once('\t')?;
        Some((minute.parse::<f64>().ok()?, close.parse::<f64>().ok()?))
    });
    let points: Vec<(f64, f64)> = parsed.collect();
    let first = points.first().map_or(0.0, |point| point.0);
    let point = |(minute, close): &(f64, f64)| (((minute - first) / 3600.0) as f32, *close as f32);
    Ok(points.iter().map(point).collect())
}

/// The lines that ClickHouse answers.
pub(super) async fn lines(views: &Views, sql: &str) -> Result<Vec<String>, DemoError> {
    let analytics = views.analytics.as_ref().ok_or(DemoError::NoViews)?;
    analytics.lines(sql).await.map_err(DemoError::ClickHouse)
}
