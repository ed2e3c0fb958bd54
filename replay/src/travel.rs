//! Time travel: a stream's state, or a read model's row, at any past moment, and what each event changed in it. It is
//! the same fold that the engine runs live, stopped early; nothing here writes, and nothing is asked of a database.
//!
//! [`Travel`] answers three questions about a [`Subject`]: its state at a [`Point`], its history, and the difference
//! between two points.

mod changes;
mod error;
mod folds;
mod journey;
mod payload;
mod point;
mod report;
mod walk;

#[cfg(test)]
mod tests;

pub use changes::{FieldChange, apply_changes, changes_between};
pub use error::TravelError;
pub use folds::{Folds, ReadModelInfo};
pub use journey::{Keep, Travel, Window};
pub use payload::raw_json;
pub use point::{InvalidPoint, Point, Subject};
pub use report::{Change, Difference, FoldKind, History, Place, Snapshot};
