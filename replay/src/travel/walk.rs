//! The way of one subject through the log, event by event. It reads no more of the log than it must: a stream's events
//! for a stream; a context's events for a row, and once the row's first event has told its stream, where all of a row's
//! events are of one stream, only that stream.

use std::sync::Arc;

use annals_core::{
    Batch, DecodeError, EventStore, Filter, ReadError, ReadQuery, RecordedEvent, Revision,
    RowScope, Schemas, Start,
};
use futures::StreamExt;
use futures::stream::BoxStream;
use serde_json::Value;

use super::error::TravelError;
use super::folds::{EventsLens, Folds, Lens};
use super::point::{Point, Subject};
use super::report::FoldKind;

/// A subject on its way.
pub(super) struct Walk<'a> {
    store: &'a dyn EventStore,
    schemas: &'a Schemas,
    subject: &'a Subject,
    pub(super) fold: FoldKind,
    lens: Box<dyn Lens>,
    batches: BoxStream<'static, Result<Batch, ReadError>>,
    waiting: std::vec::IntoIter<RecordedEvent>,
    /// Whether the row's stream, once known, is all that must be read on.
    narrows: bool,
    /// How many events have touched the subject.
    touched: u64,
}

/// The next thing on the way.
pub(super) enum Step {
    /// An event that touches the subject, and its number; [`Walk::take`] folds it in.
    Event(Box<RecordedEvent>, Revision),
    /// Nothing more up to the points asked for.
    Beyond,
    /// The end of the log.
    End,
}

impl<'a> Walk<'a> {
    /// From the first event on.
    pub(super) fn new(
        store: &'a dyn EventStore,
        schemas: &'a Schemas,
        folds: &Folds,
        subject: &'a Subject,
    ) -> Result<Walk<'a>, TravelError> {
        let (fold, lens, query, narrows) = match subject {
            Subject::Stream { stream } => {
                let query = ReadQuery::stream(stream.clone());
                match folds.stream(stream.category()) {
                    Some(lens) => (FoldKind::Decider, lens, query, false),
                    None => (FoldKind::Events, Box::new(EventsLens) as Box<dyn Lens>, query, false),
                }
            }
            Subject::Row { read_model, key } => {
                let (info, lens) =
                    folds.row(read_model, key).ok_or_else(|| TravelError::UnknownReadModel {
                        name: read_model.clone(),
                        known: folds.read_models().map(|info| info.name).collect(),
                    })?;
                let query = ReadQuery::all().filtered(Filter::context(info.context));
                (FoldKind::ReadModel, lens, query, info.scope == RowScope::OneStream)
            }
        };
        let (batches, waiting) = (store.read(query), Vec::new().into_iter());
        Ok(Walk { store, schemas, subject, fold, lens, batches, waiting, narrows, touched: 0 })
    }

    /// The next event that touches the subject. Where none of `points` can reach the events to come, and the subject
    /// is known to exist, it stops instead of reading on.
    pub(super) async fn next(&mut self, points: &[Point]) -> Result<Step, TravelError> {
        loop {
            let Some(event) = self.event().await? else { return Ok(Step::End) };
            if self.touched > 0 && points.iter().all(|point| point.is_before(&event)) {
                return Ok(Step::Beyond);
            }
            if self.look(&event).await? {
                self.narrow(&event);
                let number = match self.subject {
                    Subject::Stream { .. } => event.revision,
                    Subject::Row { .. } => Revision(self.touched),
                };
                self.touched += 1;
                return Ok(Step::Event(Box::new(event), number));
            }
        }
    }

    /// Folds in the event that came last.
    pub(super) fn take(&mut self) {
        self.lens.fold();
    }

    /// The state so far.
    pub(super) fn state(&self) -> Result<Option<Value>, TravelError> {
        self.lens.state().map_err(|source| {
            let subject = self.subject.clone();
            TravelError::Unshowable { subject, source }
        })
    }

    async fn event(&mut self) -> Result<Option<RecordedEvent>, TravelError> {
        loop {
            if let Some(event) = self.waiting.next() {
                return Ok(Some(event));
            }
            match self.batches.next().await {
                None => return Ok(None),
                Some(Ok(batch)) => self.waiting = Arc::unwrap_or_clone(batch.events).into_iter(),
                Some(Err(source)) => {
                    let subject = self.subject.clone();
                    return Err(TravelError::Read { subject, source });
                }
            }
        }
    }

    /// A schema that was published since the catalogue was loaded is looked up once in the log.
    async fn look(&mut self, event: &RecordedEvent) -> Result<bool, TravelError> {
        let seen = match self.lens.look(event, self.schemas) {
            Err(DecodeError::UnknownSchema { .. }) => {
                let refreshed = self.schemas.refresh(self.store).await;
                refreshed.map_err(|source| {
                    let subject = self.subject.clone();
                    TravelError::Read { subject, source }
                })?;
                self.lens.look(event, self.schemas)
            }
            seen => seen,
        };
        seen.map_err(|source| {
            let subject = self.subject.clone();
            TravelError::Undecodable { subject, source }
        })
    }

    fn narrow(&mut self, event: &RecordedEvent) {
        if std::mem::take(&mut self.narrows) {
            let after = Start::Revision(Revision(event.revision.0.saturating_add(1)));
            let query = ReadQuery::stream(event.stream.clone()).from(after);
            let filter = Filter::context(event.event_type.context());
            self.batches = self.store.read(query.filtered(filter));
            self.waiting = Vec::new().into_iter();
        }
    }
}
