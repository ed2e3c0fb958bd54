//! Projections: read models as folds into rows, and facts for analytics. `apply` works per row, which gives batching,
//! rebuilds in parallel by key, row-level time travel and verification without a line by the domain author.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::DomainEvent;
use crate::event::Recorded;

/// The primary key of a read model's row, as text.
pub type RowKey = String;

/// Whether a row gathers events of one stream or of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowScope {
    /// Every event of a row is of one stream: the projection may be split over partitions.
    OneStream,
    /// A row gathers several streams: it is fed in total order.
    ManyStreams,
}

/// A read model: rows of a PostgreSQL table, folded from events. Implemented by a unit struct.
pub trait Projection: Send + Sync + 'static {
    /// The events it reads: those of one context.
    type Event: DomainEvent;
    /// A row. Its fields are the table's columns, in name and order; decimals serialise as text, times as RFC 3339.
    type Row: Serialize + DeserializeOwned + Clone + PartialEq + Send + Sync + 'static;

    /// The name of the read model, `context_plural`; also the name of its table.
    const NAME: &'static str;
    /// Grows with each change of meaning or columns; a live table of another version is rebuilt.
    const VERSION: u32;
    /// The column that holds the row key.
    const KEY: &'static str;
    /// Whether rows gather several streams.
    const SCOPE: RowScope;
    /// SQL that creates the table as `{table}` and its indexes; statements end with `;`.
    const DDL: &'static str;

    /// Names the rows that `event` touches.
    fn keys(event: &Recorded<Self::Event>, keys: &mut Vec<RowKey>);

    /// The row after `event`; `None` where there is no such row (any more). It cannot fail.
    fn apply(key: &str, row: Option<Self::Row>, event: &Recorded<Self::Event>)
    -> Option<Self::Row>;
}

/// Append-only facts for a ClickHouse table; the aggregates over them are materialized views in the same SQL.
pub trait Facts: Send + Sync + 'static {
    /// The events it reads: those of one context.
    type Event: DomainEvent;
    /// A row. Its first columns are `position` (`UInt64`) and so on, as in the table.
    type Fact: Serialize + Send + Sync + 'static;

    /// The name of the facts, `context_plural`; also the name of the table.
    const NAME: &'static str;
    /// Grows with each change of meaning or columns.
    const VERSION: u32;
    /// SQL that creates the table, the aggregates' tables, the materialized views that fill them and the views that
    /// read them; statements end with `;`. Objects named with `{g}` at the end belong to one generation of the facts.
    const DDL: &'static str;

    /// Appends the facts that follow from `event`, most often one or none.
    fn facts(event: &Recorded<Self::Event>, facts: &mut Vec<Self::Fact>);
}

/// Receives every projection of a domain, with its type; the domain lists them once, whoever runs them implements this.
pub trait ProjectionRegistry {
    /// Takes note of a read model.
    fn read_model<P: Projection>(&mut self);

    /// Takes note of facts.
    fn facts<F: Facts>(&mut self);

    /// Takes note of a SQL view over read models, queried like one: `CREATE OR REPLACE VIEW name AS …`. `key` is the
    /// column that identifies its rows.
    fn view(&mut self, name: &'static str, key: &'static str, sql: &'static str);
}
