//! Read models with their row type erased: a fold takes decoded events, asks for the rows it lacks, applies, and tells
//! which rows changed. It does no I/O; the live worker, the rebuild and the verification all run this one fold.

use std::sync::Arc;

use annals_core::{Projection, Recorded, RowKey, RowScope};
use hashbrown::HashMap;
use serde_json::Value;

use crate::columns::columns_of;
use crate::decoding::{Decoded, Decoder, FoldError, TypedDecoder, guarded};

/// What is known of a read model without its type.
#[derive(Clone, Debug)]
pub struct ReadModelSpec {
    /// Its name, and that of its view.
    pub name: &'static str,
    /// The version of its meaning and columns.
    pub version: u32,
    /// The context whose events it reads.
    pub context: &'static str,
    /// The column that holds the row key.
    pub key: &'static str,
    /// Whether rows gather several streams.
    pub scope: RowScope,
    /// SQL that creates `{table}`.
    pub ddl: &'static str,
    /// The columns, in order.
    pub columns: &'static [&'static str],
}

/// What a fold starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoldStart {
    /// From rows stored elsewhere: the fold asks for those it lacks.
    Stored,
    /// From nothing, at the first event: a row the fold does not hold does not exist.
    Empty,
}

/// A read model, with its types erased.
pub trait ReadModel: Send + Sync {
    /// What it is.
    fn spec(&self) -> &ReadModelSpec;

    /// Decodes the events of its context. Read models of one event type share the form of what is decoded.
    fn decoder(&self) -> Arc<dyn Decoder>;

    /// A new fold.
    fn fold(&self, start: FoldStart) -> Box<dyn RowFold>;

    /// The rows that each event touches: index of the event, and key.
    ///
    /// # Errors
    /// [`FoldError::Panicked`].
    fn touched(&self, events: &Decoded) -> Result<Vec<(usize, RowKey)>, FoldError>;
}

/// The rows that changed since the last [`RowFold::committed`].
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// New contents of rows: JSON objects whose fields are the columns, ordered by key.
    pub upserts: Vec<Value>,
    /// Keys of rows that are no more, in order.
    pub deletes: Vec<RowKey>,
}

impl Changes {
    /// How many rows.
    pub fn len(&self) -> usize {
        self.upserts.len() + self.deletes.len()
    }

    /// Whether no row changed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A fold in progress. For each batch: `stage`, `load` what it asked for, `apply`, write `changes`, `committed`. After
/// any error, or when the write failed, `clear` it (it then starts from stored rows again) or drop it.
pub trait RowFold: Send + Sync {
    /// Takes the next events and answers the keys whose rows it needs first. [`FoldStart::Empty`] needs none.
    ///
    /// # Errors
    /// [`FoldError::Panicked`].
    fn stage(&mut self, events: Decoded) -> Result<Vec<RowKey>, FoldError>;

    /// Gives it the rows it asked for, as JSON objects; the others asked for do not exist.
    ///
    /// # Errors
    /// [`FoldError::StoredRow`].
    fn load(&mut self, rows: Vec<Value>) -> Result<(), FoldError>;

    /// Folds the staged events.
    ///
    /// # Errors
    /// [`FoldError::Panicked`].
    fn apply(&mut self) -> Result<(), FoldError>;

    /// What changed since the last [`RowFold::committed`]; a row that is what it was before is not among it.
    ///
    /// # Errors
    /// [`FoldError::NewRow`].
    fn changes(&self) -> Result<Changes, FoldError>;

    /// The changes are durable. A fold from stored rows may now forget rows.
    fn committed(&mut self);

    /// Forgets everything.
    fn clear(&mut self);

    /// One row, as JSON; nothing where there is none, or the fold does not hold it.
    ///
    /// # Errors
    /// [`FoldError::NewRow`].
    fn row(&self, key: &str) -> Result<Option<Value>, FoldError>;

    /// The rows it holds.
    fn len(&self) -> usize;

    /// Whether it holds no row.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The keys of the rows it holds, in order.
    fn keys(&self) -> Vec<RowKey>;

    /// Whether the row of this key equals a stored one, as values of the row type: `1.5` equals `1.50`.
    ///
    /// # Errors
    /// [`FoldError::StoredRow`].
    fn matches(&self, key: &str, stored: Option<&Value>) -> Result<bool, FoldError>;

    /// A stored row in its canonical form: read as the row type and written again.
    ///
    /// # Errors
    /// [`FoldError::StoredRow`].
    fn canonical(&self, row: Value) -> Result<Value, FoldError>;
}

/// Rows kept between batches by a fold from stored rows; beyond that the untouched ones are forgotten.
const CACHED_ROWS_MAX: usize = 200_000;

pub(crate) struct TypedReadModel<P: Projection> {
    spec: ReadModelSpec,
    projection: std::marker::PhantomData<fn() -> P>,
}

impl<P: Projection> TypedReadModel<P> {
    pub(crate) fn new() -> TypedReadModel<P> {
        let columns = columns_of::<P::Row>()
            .expect("the row of a read model is a struct without flattened fields");
        assert!(columns.contains(&P::KEY), "the key column of {} is a field of its row", P::NAME);
        TypedReadModel {
            spec: ReadModelSpec {
                name: P::NAME,
                version: P::VERSION,
                context: <P::Event as annals_core::DomainEvent>::CONTEXT,
                key: P::KEY,
                scope: P::SCOPE,
                ddl: P::DDL,
                columns,
            },
            projection: std::marker::PhantomData,
        }
    }
}

impl<P: Projection> ReadModel for TypedReadModel<P> {
    fn spec(&self) -> &ReadModelSpec {
        &self.spec
    }

    fn decoder(&self) -> Arc<dyn Decoder> {
        Arc::new(TypedDecoder::<P::Event>::new())
    }

    fn fold(&self, start: FoldStart) -> Box<dyn RowFold> {
        Box::new(TypedFold::<P>::new(start))
    }

    fn touched(&self, events: &Decoded) -> Result<Vec<(usize, RowKey)>, FoldError> {
        touches::<P>(events.events())
    }
}

fn touches<P: Projection>(
    events: &[Recorded<P::Event>],
) -> Result<Vec<(usize, RowKey)>, FoldError> {
    let mut touched = Vec::with_capacity(events.len());
    let mut keys = Vec::new();
    guarded(P::NAME, events, |index, event| {
        P::keys(event, &mut keys);
        touched.extend(keys.drain(..).map(|key| (index, key)));
    })?;
    Ok(touched)
}

/// A row in memory.
struct Slot<R> {
    key: RowKey,
    row: Option<R>,
    before: Before<R>,
}

/// What stood in a row at the last commit.
enum Before<R> {
    /// The same: nothing has touched it since.
    Untouched,
    /// This, or no row.
    Was(Option<R>),
}

struct TypedFold<P: Projection> {
    start: FoldStart,
    places: HashMap<RowKey, usize>,
    slots: Vec<Slot<P::Row>>,
    /// Slots touched since the last commit.
    touched: Vec<usize>,
    staged: Option<Decoded>,
    /// Event index and slot, in order.
    work: Vec<(usize, usize)>,
    cached_rows_max: usize,
}

impl<P: Projection> TypedFold<P> {
    fn new(start: FoldStart) -> TypedFold<P> {
        TypedFold {
            start,
            places: HashMap::new(),
            slots: Vec::new(),
            touched: Vec::new(),
            staged: None,
            work: Vec::new(),
            cached_rows_max: CACHED_ROWS_MAX,
        }
    }

    fn json(row: &P::Row) -> Result<Value, FoldError> {
        serde_json::to_value(row)
            .map_err(|error| FoldError::NewRow { projection: P::NAME, reason: error.to_string() })
    }

    fn typed(row: Value) -> Result<P::Row, FoldError> {
        let key = row.get(P::KEY).and_then(Value::as_str).unwrap_or_default().to_owned();
        serde_json::from_value(row).map_err(|error| FoldError::StoredRow {
            projection: P::NAME,
            key,
            reason: error.to_string(),
        })
    }
}

impl<P: Projection> RowFold for TypedFold<P> {
    fn stage(&mut self, events: Decoded) -> Result<Vec<RowKey>, FoldError> {
        self.work.clear();
        let mut missing = Vec::new();
        for (index, key) in touches::<P>(events.events())? {
            let place = if let Some(place) = self.places.get(&key) {
                *place
            } else {
                let place = self.slots.len();
                self.slots.push(Slot { key: key.clone(), row: None, before: Before::Untouched });
                if self.start == FoldStart::Stored {
                    missing.push(key.clone());
                }
                self.places.insert(key, place);
                place
            };
            self.work.push((index, place));
        }
        self.staged = Some(events);
        Ok(missing)
    }

    fn load(&mut self, rows: Vec<Value>) -> Result<(), FoldError> {
        for row in rows {
            let key = row.get(P::KEY).and_then(Value::as_str).unwrap_or_default();
            let Some(place) = self.places.get(key).copied() else {
                let reason = "it was not asked for".to_owned();
                let (projection, key) = (P::NAME, key.to_owned());
                return Err(FoldError::StoredRow { projection, key, reason });
            };
            self.slots[place].row = Some(Self::typed(row)?);
        }
        Ok(())
    }

    fn apply(&mut self) -> Result<(), FoldError> {
        let Some(decoded) = self.staged.take() else { return Ok(()) };
        let (slots, touched) = (&mut self.slots, &mut self.touched);
        let mut work = self.work.drain(..).peekable();
        guarded(P::NAME, decoded.events::<P::Event>(), |index, event| {
            while let Some((_, place)) = work.next_if(|(of, _)| *of == index) {
                let slot = &mut slots[place];
                if matches!(slot.before, Before::Untouched) {
                    slot.before = Before::Was(slot.row.clone());
                    touched.push(place);
                }
                slot.row = P::apply(&slot.key, slot.row.take(), event);
            }
        })
    }

    fn changes(&self) -> Result<Changes, FoldError> {
        let differs = |slot: &&Slot<P::Row>| match &slot.before {
            Before::Untouched => false,
            Before::Was(row) => *row != slot.row,
        };
        let mut slots: Vec<_> =
            self.touched.iter().map(|place| &self.slots[*place]).filter(differs).collect();
        slots.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        let mut changes = Changes::default();
        for slot in slots {
            match &slot.row {
                Some(row) => changes.upserts.push(Self::json(row)?),
                None => changes.deletes.push(slot.key.clone()),
            }
        }
        Ok(changes)
    }

    fn committed(&mut self) {
        let keep_only_touched =
            self.start == FoldStart::Stored && self.slots.len() > self.cached_rows_max;
        if keep_only_touched {
            let mut kept = Vec::with_capacity(self.touched.len());
            for place in self.touched.drain(..) {
                let slot = &mut self.slots[place];
                let (key, row) = (std::mem::take(&mut slot.key), slot.row.take());
                kept.push(Slot { key, row, before: Before::Untouched });
            }
            self.places = kept.iter().enumerate().map(|(at, s)| (s.key.clone(), at)).collect();
            self.slots = kept;
        } else {
            for place in self.touched.drain(..) {
                self.slots[place].before = Before::Untouched;
            }
        }
    }

    fn clear(&mut self) {
        *self = TypedFold { cached_rows_max: self.cached_rows_max, ..TypedFold::new(self.start) };
    }

    fn row(&self, key: &str) -> Result<Option<Value>, FoldError> {
        let row = self.places.get(key).and_then(|place| self.slots[*place].row.as_ref());
        row.map(Self::json).transpose()
    }

    fn len(&self) -> usize {
        self.slots.iter().filter(|slot| slot.row.is_some()).count()
    }

    fn keys(&self) -> Vec<RowKey> {
        let held = self.slots.iter().filter(|slot| slot.row.is_some());
        let mut keys: Vec<_> = held.map(|slot| slot.key.clone()).collect();
        keys.sort_unstable();
        keys
    }

    fn matches(&self, key: &str, stored: Option<&Value>) -> Result<bool, FoldError> {
        let row = self.places.get(key).and_then(|place| self.slots[*place].row.as_ref());
        let stored = stored.cloned().map(Self::typed).transpose()?;
        Ok(row == stored.as_ref())
    }

    fn canonical(&self, row: Value) -> Result<Value, FoldError> {
        Self::json(&Self::typed(row)?)
    }
}
