//! The loop of every command: load, decide, append, and on a conflict load again and decide again. It exists once.
//!
//! A stream in use stays in memory, and its next command is decided on the state that the one before left, without
//! waiting for the disk. No caller is told of success before its events are durable, and should an append fail, all
//! that were decided on it fail too ([`ExpectedRevision::Follows`]) and are decided anew.
//!
//! A command id is answered once: the id stands as causation in the events it led to, so a repetition is recognised
//! also after a restart. A command that led to no event is decided again; asking twice for what is already so is safe.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::{BoxFuture, FutureExt, Shared};
use futures::stream::StreamExt;
use hashbrown::HashMap;
use parking_lot::Mutex;
use uuid::Uuid;

use crate::clock::Clock;
use crate::codec::{DecodeError, DomainEvent, Schemas};
use crate::decider::Decider;
use crate::event::{EventId, InvalidName, NewEvent, Position, Revision, StreamName};
use crate::family::Family;
use crate::metadata::Metadata;
use crate::query::{ReadQuery, Start};
use crate::random::Random;
use crate::store::{
    Append, AppendError, Appended, EventStore, ExpectedRevision, ReadError, StreamWrite,
};

/// How often a command is decided again when someone else wrote first.
pub const CONFLICT_RETRIES_MAX: u32 = 8;
/// How many streams stay in memory before the idle ones are let go.
const RESIDENTS_MAX: usize = 100_000;

/// Who asks, and under which id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The command's id; the same id again gives the first answer.
    pub command: Uuid,
    /// The conversation; the command's id where there is none.
    pub correlation: Option<Uuid>,
    /// On whose behalf.
    pub actor: Option<String>,
    /// In which tenant.
    pub tenant: Option<String>,
    /// W3C trace context.
    pub traceparent: Option<String>,
}

impl Envelope {
    /// A command of its own, by nobody in particular.
    pub fn new(command: Uuid) -> Envelope {
        Envelope { command, correlation: None, actor: None, tenant: None, traceparent: None }
    }

    fn metadata(&self) -> Metadata {
        Metadata {
            correlation: self.correlation,
            causation: Some(self.command),
            actor: self.actor.clone(),
            tenant: self.tenant.clone(),
            traceparent: self.traceparent.clone(),
            ..Metadata::default()
        }
    }
}

/// The answer to a command whose events are durable.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer<E> {
    /// The stream that the command was for.
    pub stream: StreamName,
    /// The revision of its last event; the stream's revision where the command led to none.
    pub revision: Option<Revision>,
    /// The position of its last event: what to ask a query not to be before. None where it led to no event.
    pub position: Option<Position>,
    /// What happened.
    pub events: Vec<E>,
}

/// Why a command was not carried out. It changed nothing, but for an append of unknown outcome: repeat that with the
/// same id.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommandError<R: std::error::Error + 'static> {
    /// The domain says no.
    #[error(transparent)]
    Refused(R),
    /// The id of the instance cannot be part of a stream's name.
    #[error("the command names no valid instance")]
    Target(#[source] InvalidName),
    /// The stream could not be loaded.
    #[error("loading stream {stream} failed")]
    Load {
        /// The stream.
        stream: StreamName,
        /// The cause.
        #[source]
        source: ReadError,
    },
    /// The stream holds an event that this version cannot read.
    #[error("stream {stream} cannot be folded")]
    Decode {
        /// The stream.
        stream: StreamName,
        /// The cause.
        #[source]
        source: DecodeError,
    },
    /// The events were not stored.
    #[error("the command's events were not stored")]
    Append(#[source] AppendError),
}

impl<R: std::error::Error> CommandError<R> {
    /// The family of this error.
    pub fn family(&self) -> Family {
        match self {
            CommandError::Refused(_) => Family::Refusal,
            CommandError::Target(_) => Family::Malformed,
            CommandError::Load { source, .. } => source.family(),
            CommandError::Decode { .. } => Family::Damage,
            CommandError::Append(source) => source.family(),
        }
    }
}

type Durable = Shared<BoxFuture<'static, Result<Appended, AppendError>>>;

/// A command that was decided and whose events are on their way to the disk.
pub struct Submitted<E> {
    stream: StreamName,
    revision: Option<Revision>,
    events: Vec<E>,
    append: Option<Durable>,
    kind: Kind,
}

/// How a command was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// By new events.
    Decided,
    /// By no event: it was so already.
    AlreadySo,
    /// As the first time.
    Repeated,
}

impl<E> Submitted<E> {
    /// Whether the same command id was answered before; nothing is written then.
    pub fn is_repeated(&self) -> bool {
        self.kind == Kind::Repeated
    }

    /// The revision of the command's last event, or of the stream where it leads to none.
    pub fn revision(&self) -> Option<Revision> {
        self.revision
    }

    /// What the command leads to, once durable.
    pub fn events(&self) -> &[E] {
        &self.events
    }

    /// Waits until the events, and all that they were decided on, are durable.
    ///
    /// # Errors
    /// The store's; the events are then not stored, or not known to be.
    pub async fn durable(self) -> Result<Answer<E>, AppendError> {
        let appended = match self.append {
            Some(append) => Some(append.await?),
            None => None,
        };
        let position = appended
            .filter(|_| self.kind != Kind::AlreadySo)
            .and_then(|appended| appended.position);
        Ok(Answer { stream: self.stream, revision: self.revision, position, events: self.events })
    }
}

/// Runs the commands of one decider over a store.
pub struct Executor<D: Decider> {
    store: Arc<dyn EventStore>,
    schemas: Schemas,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    residents: Mutex<HashMap<StreamName, Arc<tokio::sync::Mutex<Resident<D>>>>>,
}

/// A stream in memory, as far as it was decided.
struct Resident<D> {
    state: D,
    last: Option<(Revision, EventId)>,
    /// The revisions, first and last, of the events that each command led to.
    answered: HashMap<Uuid, (Revision, Revision)>,
    /// The last append, durable or not; all earlier ones are durable when it is.
    append: Option<Durable>,
    /// Set when an append failed: what is here was never stored.
    stale: Arc<AtomicBool>,
    loaded: bool,
}

impl<D: Decider> Default for Resident<D> {
    fn default() -> Resident<D> {
        Resident {
            state: D::default(),
            last: None,
            answered: HashMap::new(),
            append: None,
            stale: Arc::default(),
            loaded: false,
        }
    }
}

impl<D: Decider> Executor<D> {
    /// An executor; `schemas` must hold the writer schemas of the events that the store holds.
    pub fn new(
        store: Arc<dyn EventStore>,
        schemas: Schemas,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Executor<D> {
        Executor { store, schemas, clock, random, residents: Mutex::default() }
    }

    /// Decides, appends and waits until the events are durable.
    ///
    /// # Errors
    /// [`CommandError`]; a conflict only after [`CONFLICT_RETRIES_MAX`] further tries.
    pub async fn execute(
        &self,
        command: D::Command,
        envelope: &Envelope,
    ) -> Result<Answer<D::Event>, CommandError<D::Refusal>> {
        let mut tries = 0;
        loop {
            let submitted = self.submit(command.clone(), envelope).await?;
            match submitted.durable().await {
                Ok(answer) => return Ok(answer),
                Err(AppendError::Conflict { .. }) if tries < CONFLICT_RETRIES_MAX => tries += 1,
                Err(error) => return Err(CommandError::Append(error)),
            }
        }
    }

    /// Decides and hands the events to the store, without waiting for the disk: the caller sees what was decided,
    /// may give further commands at once, and must wait for [`Submitted::durable`] before it tells anyone.
    ///
    /// # Errors
    /// [`CommandError`], but for failures of the append, which `durable` tells.
    pub async fn submit(
        &self,
        command: D::Command,
        envelope: &Envelope,
    ) -> Result<Submitted<D::Event>, CommandError<D::Refusal>> {
        let stream =
            StreamName::of(D::CATEGORY, D::target(&command)).map_err(CommandError::Target)?;
        let resident = self.resident(&stream);
        let mut resident = resident.lock().await;
        if resident.stale.load(Ordering::Acquire) {
            *resident = Resident::default();
        }
        if !resident.loaded {
            *resident = self.load(&stream).await?;
        }
        if let Some(&(first, last)) = resident.answered.get(&envelope.command) {
            let append = resident.append.clone();
            drop(resident);
            return self.first_answer(stream, first, last, append).await;
        }
        let events = match resident.state.decide(command) {
            Ok(events) => events,
            Err(refusal) => {
                // What it was refused on must be durable before anyone hears of it.
                let append = resident.append.clone();
                drop(resident);
                if let Some(append) = append {
                    append.await.map_err(CommandError::Append)?;
                }
                return Err(CommandError::Refused(refusal));
            }
        };
        if events.is_empty() {
            let revision = resident.last.map(|last| last.0);
            let append = resident.append.clone();
            let kind = Kind::AlreadySo;
            return Ok(Submitted { stream, revision, events, append, kind });
        }
        Ok(self.append(stream, &mut resident, events, envelope))
    }

    fn resident(&self, stream: &StreamName) -> Arc<tokio::sync::Mutex<Resident<D>>> {
        let mut residents = self.residents.lock();
        if residents.len() >= RESIDENTS_MAX {
            residents.retain(|_, resident| Arc::strong_count(resident) > 1);
        }
        Arc::clone(residents.entry(stream.clone()).or_default())
    }

    async fn load(&self, stream: &StreamName) -> Result<Resident<D>, CommandError<D::Refusal>> {
        let mut resident = Resident::<D> { loaded: true, ..Resident::default() };
        let mut batches = self.store.read(ReadQuery::stream(stream.clone()));
        while let Some(batch) = batches.next().await {
            let batch =
                batch.map_err(|source| CommandError::Load { stream: stream.clone(), source })?;
            for recorded in batch.events.iter() {
                let event = D::Event::decode(recorded, &self.schemas)
                    .map_err(|source| CommandError::Decode { stream: stream.clone(), source })?;
                resident.state = std::mem::take(&mut resident.state).evolve(&event);
                resident.last = Some((recorded.revision, recorded.id));
                if let Some(command) = Metadata::causation_of(&recorded.metadata) {
                    let revision = recorded.revision;
                    resident.answered.entry(command).or_insert((revision, revision)).1 = revision;
                }
            }
        }
        Ok(resident)
    }

    fn append(
        &self,
        stream: StreamName,
        resident: &mut Resident<D>,
        events: Vec<D::Event>,
        envelope: &Envelope,
    ) -> Submitted<D::Event> {
        let now = self.clock.now();
        let metadata = envelope.metadata().encode();
        let new: Vec<NewEvent> = events
            .iter()
            .map(|event| {
                let schema = event.schema();
                NewEvent {
                    id: EventId(self.random.uuid_v7(now)),
                    event_type: schema.event_type.clone(),
                    schema: schema.fingerprint,
                    metadata: metadata.clone(),
                    data: event.encode(),
                }
            })
            .collect();
        let (expected, first) = match resident.last {
            None => (ExpectedRevision::NoStream, Revision(0)),
            Some((revision, id)) => {
                (ExpectedRevision::Follows(revision, id), Revision(revision.0 + 1))
            }
        };
        let revision = Revision(first.0 + new.len() as u64 - 1);
        resident.last = new.last().map(|event| (revision, event.id));
        resident.answered.insert(envelope.command, (first, revision));
        for event in &events {
            resident.state = std::mem::take(&mut resident.state).evolve(event);
        }
        let append = self.store.append(Append::to(StreamWrite {
            stream: stream.clone(),
            expected,
            events: new,
        }));
        let stale = Arc::clone(&resident.stale);
        let append = append
            .inspect(move |result| {
                if result.is_err() {
                    stale.store(true, Ordering::Release);
                }
            })
            .boxed()
            .shared();
        resident.append = Some(append.clone());
        Submitted {
            stream,
            revision: Some(revision),
            events,
            append: Some(append),
            kind: Kind::Decided,
        }
    }

    /// The answer that a command got the first time, read back from the stream.
    async fn first_answer(
        &self,
        stream: StreamName,
        first: Revision,
        last: Revision,
        append: Option<Durable>,
    ) -> Result<Submitted<D::Event>, CommandError<D::Refusal>> {
        if let Some(append) = append {
            append.await.map_err(CommandError::Append)?;
        }
        let query = ReadQuery::stream(stream.clone())
            .from(Start::Revision(first))
            .limit(last.0 - first.0 + 1);
        let mut batches = self.store.read(query);
        let mut events = Vec::new();
        let mut position = None;
        while let Some(batch) = batches.next().await {
            let batch =
                batch.map_err(|source| CommandError::Load { stream: stream.clone(), source })?;
            for recorded in batch.events.iter() {
                let event = D::Event::decode(recorded, &self.schemas)
                    .map_err(|source| CommandError::Decode { stream: stream.clone(), source })?;
                events.push(event);
                position = Some(recorded.position);
            }
        }
        let appended = Appended { position, revisions: [Some(last)].into() };
        let append = futures::future::ready(Ok(appended)).boxed().shared();
        Ok(Submitted {
            stream,
            revision: Some(last),
            events,
            append: Some(append),
            kind: Kind::Repeated,
        })
    }
}

#[cfg(test)]
mod tests;
