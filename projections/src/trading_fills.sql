-- The fills, one row each. Quantities in units of the instrument, amounts in USD.
CREATE TABLE IF NOT EXISTS trading_fills{g} (
    position UInt64,
    account LowCardinality(String),
    order_id String,
    instrument LowCardinality(String),
    side LowCardinality(String),
    print UInt64,
    filled_at DateTime64(6, 'UTC'),
    price Decimal(38, 8),
    quantity Decimal(38, 8),
    notional Decimal(38, 8),
    fee Decimal(38, 8),
    realised_pnl Decimal(38, 8)
) ENGINE = MergeTree
ORDER BY (account, filled_at, position)
SETTINGS non_replicated_deduplication_window = 10000;

-- What each account traded in each hour, as sums that merge.
CREATE TABLE IF NOT EXISTS trading_volume_1h_sums{g} (
    account LowCardinality(String),
    hour DateTime('UTC'),
    volume_usd SimpleAggregateFunction(sum, Decimal(38, 8)),
    quantity SimpleAggregateFunction(sum, Decimal(38, 8)),
    fees SimpleAggregateFunction(sum, Decimal(38, 8)),
    fills SimpleAggregateFunction(sum, UInt64)
) ENGINE = AggregatingMergeTree
ORDER BY (account, hour)
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS trading_volume_1h_feed{g}
TO trading_volume_1h_sums{g} AS
SELECT
    f.account AS account,
    toStartOfHour(f.filled_at) AS hour,
    sum(f.notional) AS volume_usd,
    sum(f.quantity) AS quantity,
    sum(f.fee) AS fees,
    count() AS fills
FROM trading_fills{g} AS f
GROUP BY account, hour;

CREATE OR REPLACE VIEW trading_fills AS
SELECT * FROM trading_fills{g};

-- The volumes as people read them.
CREATE OR REPLACE VIEW trading_volume_1h AS
SELECT
    v.account AS account,
    v.hour AS hour,
    sum(v.volume_usd) AS volume_usd,
    sum(v.quantity) AS quantity,
    sum(v.fees) AS fees,
    sum(v.fills) AS fills
FROM trading_volume_1h_sums{g} AS v
GROUP BY account, hour;
