-- The accounts. Amounts in USD; cash = deposits - withdrawals - bought + sold - fees.
CREATE TABLE {table} (
    account text PRIMARY KEY,
    owner text,
    currency text NOT NULL,
    opened_at timestamptz NOT NULL,
    cash numeric(28, 8) NOT NULL,
    reserved numeric(28, 8) NOT NULL,
    realised_pnl numeric(28, 8) NOT NULL,
    fees numeric(28, 8) NOT NULL,
    deposits numeric(28, 8) NOT NULL,
    withdrawals numeric(28, 8) NOT NULL,
    bought numeric(28, 8) NOT NULL,
    sold numeric(28, 8) NOT NULL,
    orders bigint NOT NULL,
    rejected bigint NOT NULL,
    open_orders bigint NOT NULL,
    fills bigint NOT NULL
);
