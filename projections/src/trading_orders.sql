-- The orders. Quantities in units of the instrument, amounts in USD.
CREATE TABLE {table} (
    id text PRIMARY KEY,
    account text NOT NULL,
    order_id text NOT NULL,
    instrument text NOT NULL,
    side text NOT NULL,
    kind text NOT NULL,
    quantity numeric(28, 8) NOT NULL,
    limit_price numeric(28, 8),
    status text NOT NULL,
    reason text,
    filled numeric(28, 8) NOT NULL,
    remaining numeric(28, 8) NOT NULL,
    notional numeric(28, 8) NOT NULL,
    fees numeric(28, 8) NOT NULL,
    realised_pnl numeric(28, 8) NOT NULL,
    reserved numeric(28, 8) NOT NULL,
    fills bigint NOT NULL,
    as_of bigint NOT NULL,
    last_print bigint,
    placed_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL
);
CREATE INDEX ON {table} (account, status);
