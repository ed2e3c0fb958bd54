//! Facts with their type erased: events become lines of JSON for an append-only ClickHouse table.

use std::marker::PhantomData;
use std::sync::Arc;

use annals_core::{DomainEvent, Facts};

use crate::decoding::{Decoded, Decoder, FoldError, TypedDecoder, guarded};

/// What is known of facts without their type.
#[derive(Clone, Debug)]
pub struct FactsSpec {
    /// Their name, and that of their view.
    pub name: &'static str,
    /// The version of their meaning and columns.
    pub version: u32,
    /// The context whose events they follow from.
    pub context: &'static str,
    /// SQL that creates the tables, materialized views and views; `{g}` marks what belongs to one generation.
    pub ddl: &'static str,
}

/// Lines of JSON, one a fact.
#[derive(Clone, Debug, Default)]
pub struct FactsBuffer {
    /// The lines, each with its `\n`.
    pub lines: Vec<u8>,
    /// How many.
    pub rows: usize,
}

/// A facts table, with its types erased.
pub trait FactsTable: Send + Sync {
    /// What it is.
    fn spec(&self) -> &FactsSpec;

    /// Decodes the events of its context.
    fn decoder(&self) -> Arc<dyn Decoder>;

    /// Appends the facts that follow from `events`. After an error the buffer holds what is to be thrown away.
    ///
    /// # Errors
    /// [`FoldError::Panicked`] and [`FoldError::NewRow`].
    fn facts(&self, events: &Decoded, buffer: &mut FactsBuffer) -> Result<(), FoldError>;
}

pub(crate) struct TypedFacts<F> {
    spec: FactsSpec,
    facts: PhantomData<fn() -> F>,
}

impl<F: Facts> TypedFacts<F> {
    pub(crate) fn new() -> TypedFacts<F> {
        TypedFacts {
            spec: FactsSpec {
                name: F::NAME,
                version: F::VERSION,
                context: F::Event::CONTEXT,
                ddl: F::DDL,
            },
            facts: PhantomData,
        }
    }
}

impl<F: Facts> FactsTable for TypedFacts<F> {
    fn spec(&self) -> &FactsSpec {
        &self.spec
    }

    fn decoder(&self) -> Arc<dyn Decoder> {
        Arc::new(TypedDecoder::<F::Event>::new())
    }

    fn facts(&self, events: &Decoded, buffer: &mut FactsBuffer) -> Result<(), FoldError> {
        let mut facts = Vec::new();
        let mut failed = None;
        guarded(F::NAME, events.events::<F::Event>(), |_, event| {
            F::facts(event, &mut facts);
            for fact in facts.drain(..) {
                if let Err(error) = serde_json::to_writer(&mut buffer.lines, &fact) {
                    failed.get_or_insert(error);
                }
                buffer.lines.push(b'\n');
                buffer.rows += 1;
            }
        })?;
        failed.map_or(Ok(()), |error| {
            Err(FoldError::NewRow { projection: F::NAME, reason: error.to_string() })
        })
    }
}
