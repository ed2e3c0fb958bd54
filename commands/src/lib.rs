//! The deciders and process managers: how the domain answers commands and what follows from events.
//! Pure: no I/O, no clock, no randomness; times and ids come with the command.

use annals_core::DeciderRegistry;

pub mod amounts;
pub mod market;
pub mod names;
pub mod paper_exchange;
pub mod trading;
mod units;

pub use market::{Market, MarketCommand, MarketRefusal};
pub use paper_exchange::PaperExchange;
pub use trading::{Account, AccountCommand, AccountRefusal};

/// Lists every decider.
pub fn register(registry: &mut impl DeciderRegistry) {
    registry.decider::<Market>();
    registry.decider::<Account>();
}
