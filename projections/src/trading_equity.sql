-- What each account is worth at the last prices, in USD. A view, because it moves with every tick:
-- nothing is written for it. A position without any price counts at its cost.
CREATE OR REPLACE VIEW trading_equity AS
SELECT
    accounts.account,
    accounts.cash,
    coalesce(held.position_value, 0)::numeric(28, 8) AS position_value,
    coalesce(held.position_value - held.position_cost, 0)::numeric(28, 8) AS unrealised_pnl,
    accounts.realised_pnl,
    accounts.fees,
    (accounts.cash + coalesce(held.position_value, 0))::numeric(28, 8) AS equity
FROM trading_accounts AS accounts
LEFT JOIN (
    SELECT
        positions.account,
        sum(round(coalesce(positions.quantity * last.price, positions.cost), 8)) AS position_value,
        sum(positions.cost) AS position_cost
    FROM trading_positions AS positions
    LEFT JOIN market_last_price AS last ON last.instrument = positions.instrument
    GROUP BY positions.account
) AS held ON held.account = accounts.account;
