//! The domain events and their Avro codec. The Rust types are the source; the published contract in
//! `schemas/avro/` is generated from them, and a test keeps the two in step. What has been
//! published stays readable for ever. Nothing here decides anything: `commands/` makes these
//! events, `projections/` folds them.

pub mod avro;
mod codec;
pub mod market;
pub mod trading;

pub use market::MarketEvent;
pub use trading::TradingEvent;
