//! What a group keeps in the store beside its configuration: its checkpoints, and links to its parked events.

use std::sync::Arc;

use annals_core::{
    Append, AppendError, Appended, Batch, Content, EventId, EventStore, EventType,
    ExpectedRevision, Metadata, NewEvent, ReadError, ReadQuery, RecordedEvent, Retention, Revision,
    SchemaFingerprint, Start, StreamName, StreamWrite,
};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::super::names;
use super::super::service::Protocol;
use super::configuration::{Configuration, GroupKey};
use super::message::{Message, Origin, Resolved};

/// The type of a checkpoint.
const CHECKPOINT: &str = "$SubscriptionCheckpoint";
/// So many links are followed at once.
const LINKS_AT_ONCE: usize = 16;

/// The store, through the protocol that links are followed by.
#[derive(Clone)]
pub(crate) struct Keeping {
    pub(crate) protocol: Arc<Protocol>,
}

/// What of a group stands in the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Everything through this place is done.
    pub(crate) checkpoint: Option<u64>,
    /// The first parked event that is there.
    pub(crate) parked_from: u64,
    /// Behind the last parked event.
    pub(crate) parked_end: u64,
}

#[derive(Serialize, Deserialize)]
struct Checkpoint {
    group: Uuid,
    through: u64,
}

/// The stream of a group's checkpoints.
///
/// # Errors
/// Where the name would be too long.
pub(crate) fn checkpoint_stream(
    key: &GroupKey,
) -> Result<StreamName, annals_core::event::InvalidName> {
    StreamName::new(format!("$persistentsubscription-{}-checkpoint", key.subscription_id()))
}

/// The stream of a group's parked events.
///
/// # Errors
/// Where the name would be too long.
pub(crate) fn parked_stream(key: &GroupKey) -> Result<StreamName, annals_core::event::InvalidName> {
    StreamName::new(format!("$persistentsubscription-{}-parked", key.subscription_id()))
}

/// What an append comes to.
pub(crate) type Appending = BoxFuture<'static, Result<Appended, AppendError>>;

impl Keeping {
    /// The store itself.
    pub(crate) fn store(&self) -> &dyn EventStore {
        &*self.protocol.parts.store
    }

    /// A JSON event of our own.
    pub(crate) fn event(&self, event_type: &str, data: Bytes, custom: Bytes) -> NewEvent {
        NewEvent {
            id: EventId(self.protocol.parts.random.uuid_v7(self.protocol.parts.clock.now())),
            event_type: EventType::new(event_type).expect("a name of ours is right"),
            schema: SchemaFingerprint::NONE,
            metadata: Metadata { content: Some(Content::Json), custom, ..Metadata::default() }
                .encode(),
            data,
        }
    }

    /// Appends one event.
    pub(crate) fn append(&self, stream: StreamName, event: NewEvent) -> Appending {
        let expected = ExpectedRevision::Any;
        self.store().append(Append::to(StreamWrite { stream, expected, events: vec![event] }))
    }

    /// Writes a checkpoint.
    pub(crate) fn save_checkpoint(&self, of: &Configuration, through: u64) -> Option<Appending> {
        let stream = checkpoint_stream(&of.key).ok()?;
        let data = serde_json::to_vec(&Checkpoint { group: of.id, through }).ok()?;
        Some(self.append(stream, self.event(CHECKPOINT, data.into(), Bytes::new())))
    }

    /// The link to an event that is parked.
    pub(crate) fn link(&self, message: &Message, reason: &str) -> Option<NewEvent> {
        let original = message.content.original()?;
        let number = names::shown_revision(original);
        let data = format!("{number}@{}", original.stream);
        let custom = json!({
            "Added": self.protocol.parts.clock.now(),
            "Reason": reason,
            "SubscriptionEventNumber": original.revision.0,
        });
        Some(self.event(names::LINK, data.into(), custom.to_string().into()))
    }

    /// Lets go of parked events before this one.
    pub(crate) fn truncate_parked(&self, key: &GroupKey, before: u64) -> Option<Appending> {
        let stream = Retention::stream_of(&parked_stream(key).ok()?)?;
        let data = json!({ "$tb": before }).to_string();
        Some(self.append(stream, self.event(names::METADATA, data.into(), Bytes::new())))
    }

    /// What of a group stands in the store.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn load(&self, of: &Configuration) -> Result<Kept, ReadError> {
        let malformed =
            |error: annals_core::event::InvalidName| ReadError::Malformed(error.to_string());
        let parked = parked_stream(&of.key).map_err(malformed)?;
        let checkpoints = checkpoint_stream(&of.key).map_err(malformed)?;
        let last = self.last(checkpoints).await?;
        let checkpoint =
            last.and_then(|last| serde_json::from_slice::<Checkpoint>(&last.data).ok());
        let parked_end =
            self.store().stream_head(&parked).await?.map_or(0, |Revision(last)| last + 1);
        let retention = match Retention::stream_of(&parked) {
            Some(metastream) => self.last(metastream).await?,
            None => None,
        };
        let retention = retention.map(|event| Retention::parse(&event.data)).unwrap_or_default();
        Ok(Kept {
            checkpoint: checkpoint.filter(|it| it.group == of.id).map(|it| it.through),
            parked_from: retention.truncate_before.unwrap_or(0).min(parked_end),
            parked_end,
        })
    }

    /// The last event of a stream.
    async fn last(&self, stream: StreamName) -> Result<Option<RecordedEvent>, ReadError> {
        self.protocol.first_of(ReadQuery::stream(stream).backwards().limit(1)).await
    }

    /// The event, and the one it stands for where it is a link that is to be resolved.
    async fn resolve(&self, event: RecordedEvent, links: bool) -> Result<Resolved, ReadError> {
        if !links || event.event_type.as_str() != names::LINK {
            return Ok(Resolved { event: Some(event), link: None });
        }
        let target = self.protocol.linked(&event).await?;
        Ok(Resolved { event: target, link: Some(event) })
    }

    /// What a group follows, from behind a place on.
    pub(crate) fn follow(
        &self,
        of: &Arc<Configuration>,
        after: Option<u64>,
    ) -> Result<BoxStream<'static, Result<Fed, ReadError>>, ReadError> {
        let filter = of.wanted.as_ref().map(super::configuration::Wanted::filter).transpose()?;
        let query = ReadQuery {
            source: of.source(),
            start: of.start(after),
            filter: filter.unwrap_or_default(),
            ..ReadQuery::all()
        };
        let (keeping, of) = (self.clone(), Arc::clone(of));
        let links = of.settings.resolve_links;
        let batches = self.store().subscribe(query).map_ok(move |batch| {
            let parts = if links { parts(&batch) } else { vec![batch] };
            stream::iter(parts.into_iter().map(Ok::<_, ReadError>))
        });
        let fed = batches.try_flatten().then(move |batch| {
            let (keeping, of) = (keeping.clone(), Arc::clone(&of));
            async move { keeping.feed(batch?, &of).await }
        });
        Ok(fed.boxed())
    }

    async fn feed(&self, batch: Batch, of: &Configuration) -> Result<Fed, ReadError> {
        let all = of.key.is_all();
        let place = |event: &RecordedEvent| if all { event.position.0 } else { event.revision.0 };
        let (links, strategy) = (of.settings.resolve_links, of.settings.strategy);
        let through = if all { batch.through.map(|through| through.0) } else { None };
        let shown = batch.events.iter().filter(|event| !names::is_hidden(event, all)).cloned();
        let messages = if links {
            let resolving = shown.map(|event| async move {
                let origin = Origin::Source(place(&event));
                let resolved = self.resolve(event, links).await?;
                Ok::<_, ReadError>(Message::new(resolved, origin, strategy))
            });
            // Collected first: what is lazy would borrow the batch across a wait.
            let resolving: Vec<_> = resolving.collect();
            let found = stream::iter(resolving).buffered(LINKS_AT_ONCE);
            found.try_collect::<Vec<_>>().await?.into_iter().flatten().collect()
        } else {
            let message = |event: RecordedEvent| {
                let origin = Origin::Source(place(&event));
                Message::new(Resolved { event: Some(event), link: None }, origin, strategy)
            };
            shown.filter_map(message).collect()
        };
        Ok(Fed { messages, through, caught_up: batch.caught_up })
    }

    /// The parked events of a group, from one on and before another.
    pub(crate) fn replay(
        &self,
        of: &Arc<Configuration>,
        from: u64,
        end: u64,
    ) -> Result<BoxStream<'static, Result<Replayed, ReadError>>, ReadError> {
        let parked =
            parked_stream(&of.key).map_err(|error| ReadError::Malformed(error.to_string()))?;
        let query = ReadQuery::stream(parked)
            .from(Start::Revision(Revision(from)))
            .limit(end.saturating_sub(from));
        let links = self.store().read(query).map_ok(|batch| {
            let events: Vec<_> = batch.events.iter().cloned().map(Ok).collect();
            stream::iter(events)
        });
        let (keeping, of) = (self.clone(), Arc::clone(of));
        let replayed = links.try_flatten().and_then(move |link| {
            let (keeping, of) = (keeping.clone(), Arc::clone(&of));
            async move { keeping.replayed(&link, &of).await }
        });
        Ok(replayed.try_filter(move |it| futures::future::ready(it.place < end)).boxed())
    }

    async fn replayed(
        &self,
        link: &RecordedEvent,
        of: &Configuration,
    ) -> Result<Replayed, ReadError> {
        let place = link.revision.0;
        let Some(event) = self.protocol.linked(link).await? else {
            return Ok(Replayed { place, message: None });
        };
        let resolved = self.resolve(event, of.settings.resolve_links).await?;
        let message = Message::new(resolved, Origin::Parked(place), of.settings.strategy);
        Ok(Replayed { place, message })
    }
}

/// A batch in parts of so few events that what their links name has room in memory.
fn parts(batch: &Batch) -> Vec<Batch> {
    let part = |events: &[RecordedEvent]| Batch {
        events: Arc::new(events.to_vec()),
        through: events.last().map(|event| event.position),
        caught_up: false,
    };
    let mut parts: Vec<_> = batch.events.chunks(LINKS_AT_ONCE).map(part).collect();
    let last = Batch { events: Arc::default(), ..batch.clone() };
    match parts.last_mut() {
        Some(part) => *part = Batch { events: Arc::clone(&part.events), ..last },
        None => parts.push(last),
    }
    parts
}

/// New events for a group.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fed {
    /// In order.
    pub(crate) messages: std::collections::VecDeque<Message>,
    /// The whole log was looked at through this position; nothing where one stream is followed.
    pub(crate) through: Option<u64>,
    /// Nothing more was there then.
    pub(crate) caught_up: bool,
}

/// A parked event.
#[derive(Clone, Debug)]
pub(crate) struct Replayed {
    /// The revision of the link to it.
    pub(crate) place: u64,
    /// The event; nothing where it is not there any more.
    pub(crate) message: Option<Message>,
}
