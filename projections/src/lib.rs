//! The read models and facts: what the domain's events look like as rows. Each is a pure fold in
//! one file, with the SQL of its table beside it; the same event always gives the same row, live,
//! in a rebuild and at any past moment. No row takes its meaning from the clock of the machine:
//! where a command gave no time, the time of recording stands.

use annals_core::ProjectionRegistry;

pub mod columns;
pub mod market_last_price;
pub mod market_trades;
pub mod trading_accounts;
pub mod trading_fills;
pub mod trading_orders;
pub mod trading_positions;

#[cfg(test)]
mod history;

pub use market_last_price::MarketLastPrice;
pub use market_trades::MarketTrades;
pub use trading_accounts::TradingAccounts;
pub use trading_fills::TradingFills;
pub use trading_orders::TradingOrders;
pub use trading_positions::TradingPositions;

/// Lists every read model, facts and view.
pub fn register(registry: &mut impl ProjectionRegistry) {
    registry.read_model::<MarketLastPrice>();
    registry.read_model::<TradingAccounts>();
    registry.read_model::<TradingOrders>();
    registry.read_model::<TradingPositions>();
    registry.facts::<MarketTrades>();
    registry.facts::<TradingFills>();
    registry.view("trading_equity", "account", include_str!("trading_equity.sql"));
}
