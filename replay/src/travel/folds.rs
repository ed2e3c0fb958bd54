//! The folds of a domain with their types erased: deciders by stream category, projections by read model, codecs by
//! context. The domain's `register` functions fill it; nothing here knows a domain.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use annals_core::{
    Decider, DeciderRegistry, DecodeError, DomainEvent, Facts, Projection, ProjectionRegistry,
    Recorded, RecordedEvent, RowKey, RowScope, Schemas,
};
use serde::Serialize;
use serde_json::Value;

use super::payload::raw_json;

/// The folds of a domain.
#[derive(Default)]
pub struct Folds {
    deciders: BTreeMap<&'static str, Box<dyn OpenStream>>,
    read_models: BTreeMap<&'static str, Box<dyn OpenRow>>,
    codecs: BTreeMap<&'static str, Render>,
}

type Render = fn(&RecordedEvent, &Schemas) -> Result<Value, DecodeError>;

/// What is known about a read model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadModelInfo {
    /// Its name.
    pub name: &'static str,
    /// The context whose events it reads.
    pub context: &'static str,
    /// The column that holds the row key.
    pub key: &'static str,
    /// Whether its rows gather several streams.
    pub scope: RowScope,
}

/// A fold of one subject on its way through history.
pub(super) trait Lens: Send {
    /// Decodes an event and tells whether it touches the subject; if so, it is what `fold` takes in next.
    fn look(&mut self, event: &RecordedEvent, schemas: &Schemas) -> Result<bool, DecodeError>;

    /// Folds in the event last looked at.
    fn fold(&mut self);

    /// The state now; `None` where the subject does not exist.
    fn state(&self) -> Result<Option<Value>, serde_json::Error>;
}

trait OpenStream: Send + Sync {
    fn open(&self) -> Box<dyn Lens>;
}

trait OpenRow: Send + Sync {
    fn info(&self) -> ReadModelInfo;
    fn open(&self, key: &str) -> Box<dyn Lens>;
}

impl Folds {
    /// The folds that these deciders and projections register.
    pub fn of(deciders: impl FnOnce(&mut Folds), projections: impl FnOnce(&mut Folds)) -> Folds {
        let mut folds = Folds::default();
        deciders(&mut folds);
        projections(&mut folds);
        folds
    }

    /// The read models, by name.
    pub fn read_models(&self) -> impl Iterator<Item = ReadModelInfo> + '_ {
        self.read_models.values().map(|model| model.info())
    }

    /// The stream categories that a decider folds.
    pub fn categories(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.deciders.keys().copied()
    }

    /// The contexts whose events can be decoded.
    pub fn contexts(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.codecs.keys().copied()
    }

    /// An event as people read it: decoded where a codec knows its context, else [`raw_json`].
    ///
    /// # Errors
    /// [`DecodeError`] when the event is of a known context and does not decode.
    pub fn event_json(
        &self,
        event: &RecordedEvent,
        schemas: &Schemas,
    ) -> Result<Value, DecodeError> {
        match self.codecs.get(event.event_type.context()) {
            Some(render) => render(event, schemas),
            None => Ok(raw_json(&event.data)),
        }
    }

    /// The lens for a stream of this category; `None` where no decider folds it.
    pub(super) fn stream(&self, category: &str) -> Option<Box<dyn Lens>> {
        self.deciders.get(category).map(|decider| decider.open())
    }

    /// What is known of a read model, and the lens for one of its rows.
    pub(super) fn row(
        &self,
        read_model: &str,
        key: &str,
    ) -> Option<(ReadModelInfo, Box<dyn Lens>)> {
        self.read_models.get(read_model).map(|model| (model.info(), model.open(key)))
    }

    fn codec<E: DomainEvent>(&mut self) {
        self.codecs
            .entry(E::CONTEXT)
            .or_insert(|event, schemas| E::decode(event, schemas).map(|event| event.to_json()));
    }
}

impl DeciderRegistry for Folds {
    fn decider<D: Decider>(&mut self) {
        self.codec::<D::Event>();
        self.deciders.insert(D::CATEGORY, Box::new(OfDecider::<D>(PhantomData)));
    }
}

impl ProjectionRegistry for Folds {
    fn read_model<P: Projection>(&mut self) {
        self.codec::<P::Event>();
        self.read_models.insert(P::NAME, Box::new(OfProjection::<P>(PhantomData)));
    }

    fn facts<F: Facts>(&mut self) {
        self.codec::<F::Event>();
    }

    fn view(&mut self, _name: &'static str, _key: &'static str, _sql: &'static str) {}
}

struct OfDecider<D>(PhantomData<fn() -> D>);
struct OfProjection<P>(PhantomData<fn() -> P>);

impl<D: Decider> OpenStream for OfDecider<D> {
    fn open(&self) -> Box<dyn Lens> {
        Box::new(StreamLens::<D> { state: None, next: None })
    }
}

impl<P: Projection> OpenRow for OfProjection<P> {
    fn info(&self) -> ReadModelInfo {
        ReadModelInfo { name: P::NAME, context: P::Event::CONTEXT, key: P::KEY, scope: P::SCOPE }
    }

    fn open(&self, key: &str) -> Box<dyn Lens> {
        let (key, keys) = (key.to_owned(), Vec::new());
        Box::new(RowLens::<P> { key, keys, row: None, next: None })
    }
}

/// A stream under its decider. Events of another context in the stream count but change nothing.
struct StreamLens<D: Decider> {
    state: Option<D>,
    next: Option<D::Event>,
}

impl<D: Decider> Lens for StreamLens<D> {
    fn look(&mut self, event: &RecordedEvent, schemas: &Schemas) -> Result<bool, DecodeError> {
        let ours = event.event_type.context() == D::Event::CONTEXT;
        self.next = if ours { Some(D::Event::decode(event, schemas)?) } else { None };
        Ok(true)
    }

    fn fold(&mut self) {
        let state = self.state.take().unwrap_or_default();
        self.state = Some(match self.next.take() {
            Some(event) => state.evolve(&event),
            None => state,
        });
    }

    fn state(&self) -> Result<Option<Value>, serde_json::Error> {
        shown(self.state.as_ref())
    }
}

/// A row under its projection.
struct RowLens<P: Projection> {
    key: RowKey,
    /// Kept from event to event to spare the allocation.
    keys: Vec<RowKey>,
    row: Option<P::Row>,
    next: Option<Recorded<P::Event>>,
}

impl<P: Projection> Lens for RowLens<P> {
    fn look(&mut self, event: &RecordedEvent, schemas: &Schemas) -> Result<bool, DecodeError> {
        let recorded = Recorded {
            stream: event.stream.clone(),
            revision: event.revision,
            position: event.position,
            time: event.time,
            event: P::Event::decode(event, schemas)?,
        };
        self.keys.clear();
        P::keys(&recorded, &mut self.keys);
        let touches = self.keys.contains(&self.key);
        self.next = touches.then_some(recorded);
        Ok(touches)
    }

    fn fold(&mut self) {
        if let Some(event) = self.next.take() {
            self.row = P::apply(&self.key, self.row.take(), &event);
        }
    }

    fn state(&self) -> Result<Option<Value>, serde_json::Error> {
        shown(self.row.as_ref())
    }
}

/// A stream that no decider folds: every event counts, there is no state.
pub(super) struct EventsLens;

impl Lens for EventsLens {
    fn look(&mut self, _event: &RecordedEvent, _schemas: &Schemas) -> Result<bool, DecodeError> {
        Ok(true)
    }

    fn fold(&mut self) {}

    fn state(&self) -> Result<Option<Value>, serde_json::Error> {
        Ok(None)
    }
}

fn shown<T: Serialize>(state: Option<&T>) -> Result<Option<Value>, serde_json::Error> {
    state.map(serde_json::to_value).transpose()
}
