-- The trades, one row each. Prices in USD per unit of the instrument, sizes in USD.
CREATE TABLE IF NOT EXISTS market_trades{g} (
    position UInt64,
    revision UInt64,
    instrument LowCardinality(String),
    traded_at DateTime64(6, 'UTC'),
    price Decimal(38, 8),
    size_usd Decimal(38, 8),
    taker_side LowCardinality(String)
) ENGINE = MergeTree
ORDER BY (instrument, traded_at, position)
SETTINGS non_replicated_deduplication_window = 10000;

-- One-minute candles as states that merge: a minute that arrives in several inserts gives the
-- same candle.
CREATE TABLE IF NOT EXISTS market_candles_1m_states{g} (
    instrument LowCardinality(String),
    minute DateTime('UTC'),
    open AggregateFunction(argMin, Decimal(38, 8), UInt64),
    high SimpleAggregateFunction(max, Decimal(38, 8)),
    low SimpleAggregateFunction(min, Decimal(38, 8)),
    close AggregateFunction(argMax, Decimal(38, 8), UInt64),
    volume_usd SimpleAggregateFunction(sum, Decimal(38, 8)),
    trades SimpleAggregateFunction(sum, UInt64)
) ENGINE = AggregatingMergeTree
ORDER BY (instrument, minute)
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS market_candles_1m_feed{g}
TO market_candles_1m_states{g} AS
SELECT
    t.instrument AS instrument,
    toStartOfMinute(t.traded_at) AS minute,
    argMinState(t.price, t.position) AS open,
    max(t.price) AS high,
    min(t.price) AS low,
    argMaxState(t.price, t.position) AS close,
    sum(t.size_usd) AS volume_usd,
    count() AS trades
FROM market_trades{g} AS t
GROUP BY instrument, minute;

CREATE OR REPLACE VIEW market_trades AS
SELECT * FROM market_trades{g};

-- The candles as people read them.
CREATE OR REPLACE VIEW market_candles_1m AS
SELECT
    c.instrument AS instrument,
    c.minute AS minute,
    argMinMerge(c.open) AS open,
    CAST(max(c.high), 'Decimal(38, 8)') AS high,
    CAST(min(c.low), 'Decimal(38, 8)') AS low,
    argMaxMerge(c.close) AS close,
    sum(c.volume_usd) AS volume_usd,
    sum(c.trades) AS trades
FROM market_candles_1m_states{g} AS c
GROUP BY instrument, minute;
