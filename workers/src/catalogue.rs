//! The catalogue: every read model, facts table and SQL view of a domain, with types erased, in the order in which the
//! domain registered them.

use std::sync::Arc;

use annals_core::{Facts, Projection, ProjectionRegistry};

use crate::facts::{FactsTable, TypedFacts};
use crate::fold::{ReadModel, TypedReadModel};

/// A SQL view over read models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ViewSpec {
    /// Its name.
    pub name: &'static str,
    /// The column that identifies its rows.
    pub key: &'static str,
    /// `CREATE OR REPLACE VIEW name AS …`.
    pub sql: &'static str,
}

/// What a domain projects. Names are unique over read models, facts and views.
#[derive(Clone, Default)]
pub struct Catalogue {
    read_models: Vec<Arc<dyn ReadModel>>,
    facts: Vec<Arc<dyn FactsTable>>,
    views: Vec<ViewSpec>,
}

impl Catalogue {
    /// An empty catalogue: hand it to the domain's `projections::register`.
    pub fn new() -> Catalogue {
        Catalogue::default()
    }

    /// The read models.
    pub fn read_models(&self) -> &[Arc<dyn ReadModel>] {
        &self.read_models
    }

    /// The facts tables.
    pub fn facts_tables(&self) -> &[Arc<dyn FactsTable>] {
        &self.facts
    }

    /// The SQL views.
    pub fn views(&self) -> &[ViewSpec] {
        &self.views
    }

    /// The read model of that name.
    pub fn find_read_model(&self, name: &str) -> Option<&Arc<dyn ReadModel>> {
        self.read_models.iter().find(|model| model.spec().name == name)
    }

    /// The facts table of that name.
    pub fn find_facts(&self, name: &str) -> Option<&Arc<dyn FactsTable>> {
        self.facts.iter().find(|facts| facts.spec().name == name)
    }

    /// The names of everything that has a checkpoint: read models, then facts.
    pub fn names(&self) -> Vec<&'static str> {
        let read_models = self.read_models.iter().map(|model| model.spec().name);
        read_models.chain(self.facts.iter().map(|facts| facts.spec().name)).collect()
    }

    fn check_new(&self, name: &str) {
        let taken = self.names().contains(&name) || self.views.iter().any(|v| v.name == name);
        assert!(!taken, "projection {name} is registered twice");
        let plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        let digits =
            name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit());
        assert!(plain || digits, "projection name {name} is made of a-z, 0-9 and _");
        assert!(name.len() <= 48, "projection name {name} is 48 bytes long at most");
    }
}

impl ProjectionRegistry for Catalogue {
    fn read_model<P: Projection>(&mut self) {
        self.check_new(P::NAME);
        self.read_models.push(Arc::new(TypedReadModel::<P>::new()));
    }

    fn facts<F: Facts>(&mut self) {
        self.check_new(F::NAME);
        self.facts.push(Arc::new(TypedFacts::<F>::new()));
    }

    fn view(&mut self, name: &'static str, key: &'static str, sql: &'static str) {
        self.check_new(name);
        self.views.push(ViewSpec { name, key, sql });
    }
}
