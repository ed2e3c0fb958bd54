-- The last price of each instrument. Prices and volumes in USD.
CREATE TABLE {table} (
    instrument text PRIMARY KEY,
    price numeric(28, 8) NOT NULL,
    traded_at timestamptz NOT NULL,
    trades bigint NOT NULL,
    volume_usd numeric(28, 8) NOT NULL,
    revision bigint NOT NULL
);
