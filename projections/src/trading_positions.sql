-- The positions. Quantities in units of the instrument, amounts in USD.
CREATE TABLE {table} (
    id text PRIMARY KEY,
    account text NOT NULL,
    instrument text NOT NULL,
    quantity numeric(28, 8) NOT NULL,
    cost numeric(28, 8) NOT NULL,
    average_price numeric(28, 8) NOT NULL,
    realised_pnl numeric(28, 8) NOT NULL,
    fees numeric(28, 8) NOT NULL,
    bought numeric(28, 8) NOT NULL,
    sold numeric(28, 8) NOT NULL,
    fills bigint NOT NULL,
    last_print bigint NOT NULL,
    changed_at timestamptz NOT NULL
);
CREATE INDEX ON {table} (account);
