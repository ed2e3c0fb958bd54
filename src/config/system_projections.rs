//! Which of KurrentDB's system projections run in a store that was told nothing of them yet.

use std::collections::BTreeSet;

use annals_store::protocol::projections::SystemProjection;
use serde::{Deserialize, Serialize};

/// Which of KurrentDB's system projections run: `false`, `true`, or their names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SystemProjections {
    /// All of them, or none.
    All(bool),
    /// These.
    Named(BTreeSet<SystemProjection>),
}

impl SystemProjections {
    /// Their names.
    pub fn named(&self) -> BTreeSet<SystemProjection> {
        match self {
            SystemProjections::All(true) => SystemProjection::ALL.into(),
            SystemProjections::All(false) => BTreeSet::new(),
            SystemProjections::Named(named) => named.clone(),
        }
    }
}
