//! From recorded bytes to the events of one context, with the event's type erased so that one decoded batch serves
//! every projection of that context. What cannot be decoded or folded is an error with its place, never skipped.

use std::any::{Any, TypeId};
use std::cell::Cell;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use annals_core::{
    DecodeError, DomainEvent, Family, Position, Recorded, RecordedEvent, Schemas, StreamName,
};

/// Why a projection cannot go past an event.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FoldError {
    /// The event does not decode.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The projection's code panicked on the event.
    #[error("projection {projection} panicked on event {position} of stream {stream}: {message}")]
    Panicked {
        /// The projection.
        projection: &'static str,
        /// The event's place in the log.
        position: Position,
        /// The event's stream.
        stream: StreamName,
        /// What the panic said.
        message: String,
    },
    /// A stored row is not what the projection's row type says.
    #[error("row {key:?} of projection {projection} does not read back: {reason}")]
    StoredRow {
        /// The projection.
        projection: &'static str,
        /// The row's key, as far as it is known.
        key: String,
        /// What the reader said.
        reason: String,
    },
    /// A row or fact cannot be written as JSON.
    #[error("projection {projection} made a row that has no JSON form: {reason}")]
    NewRow {
        /// The projection.
        projection: &'static str,
        /// What the writer said.
        reason: String,
    },
}

impl FoldError {
    /// The place of the event, where one is to blame.
    pub fn position(&self) -> Option<Position> {
        match self {
            FoldError::Decode(
                DecodeError::UnknownType { position, .. }
                | DecodeError::UnknownSchema { position, .. }
                | DecodeError::Payload { position, .. },
            )
            | FoldError::Panicked { position, .. } => Some(*position),
            FoldError::StoredRow { .. } | FoldError::NewRow { .. } => None,
        }
    }

    /// Whether reading the log's schemas again may help.
    pub fn lacks_schema(&self) -> bool {
        match self {
            FoldError::Decode(DecodeError::UnknownSchema { .. }) => true,
            FoldError::Decode(DecodeError::UnknownType { .. } | DecodeError::Payload { .. })
            | FoldError::Panicked { .. }
            | FoldError::StoredRow { .. }
            | FoldError::NewRow { .. } => false,
        }
    }

    /// The family of this error: what is stored cannot be read.
    pub fn family(&self) -> Family {
        Family::Damage
    }
}

/// Some decoded events of one context, in order; clones share them.
#[derive(Clone)]
pub struct Decoded {
    events: Arc<dyn Any + Send + Sync>,
    length: usize,
}

impl Decoded {
    /// Wraps decoded events.
    pub fn new<E: DomainEvent>(events: Vec<Recorded<E>>) -> Decoded {
        Decoded { length: events.len(), events: Arc::new(events) }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The events with their type.
    ///
    /// # Panics
    /// When they are of another type: decoder and projection come from one catalogue entry, so that is our own bug.
    pub fn events<E: DomainEvent>(&self) -> &[Recorded<E>] {
        self.events
            .downcast_ref::<Vec<Recorded<E>>>()
            .expect("a batch is folded by a projection of the type that decoded it")
    }
}

/// Decodes the events of one context.
pub trait Decoder: Send + Sync {
    /// The context.
    fn context(&self) -> &'static str;

    /// Which event type it decodes to: projections of one type can share what is decoded.
    fn event_type(&self) -> TypeId;

    /// Decodes all of `events`, which are of this context.
    ///
    /// # Errors
    /// [`FoldError::Decode`] at the first event that does not decode.
    fn decode(&self, events: &[RecordedEvent], schemas: &Schemas) -> Result<Decoded, FoldError>;
}

/// The decoder of one event type.
pub(crate) struct TypedDecoder<E>(PhantomData<fn() -> E>);

impl<E> TypedDecoder<E> {
    pub(crate) fn new() -> TypedDecoder<E> {
        TypedDecoder(PhantomData)
    }
}

impl<E: DomainEvent> Decoder for TypedDecoder<E> {
    fn context(&self) -> &'static str {
        E::CONTEXT
    }

    fn event_type(&self) -> TypeId {
        TypeId::of::<E>()
    }

    fn decode(&self, events: &[RecordedEvent], schemas: &Schemas) -> Result<Decoded, FoldError> {
        let mut decoded = Vec::with_capacity(events.len());
        for recorded in events {
            let event = E::decode(recorded, schemas)?;
            decoded.push(Recorded {
                stream: recorded.stream.clone(),
                revision: recorded.revision,
                position: recorded.position,
                time: recorded.time,
                event,
            });
        }
        Ok(Decoded::new(decoded))
    }
}

/// Runs a projection's code over `events`; `each` gets the index of every event in turn. A panic becomes an error
/// that names the event it happened on; what `each` had changed by then must be thrown away.
pub(crate) fn guarded<E: DomainEvent>(
    projection: &'static str,
    events: &[Recorded<E>],
    mut each: impl FnMut(usize, &Recorded<E>),
) -> Result<(), FoldError> {
    let at = Cell::new(0);
    let run = || {
        for (index, event) in events.iter().enumerate() {
            at.set(index);
            each(index, event);
        }
    };
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let message = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "the panic carried no text".to_owned());
        let event = &events[at.get()];
        let (position, stream) = (event.position, event.stream.clone());
        FoldError::Panicked { projection, position, stream, message }
    })
}
