//! All groups of a store. They are loaded as the server starts, each going on from its checkpoint; whoever asks before that is
//! done waits for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use annals_core::{EventId, ReadQuery, Revision, StreamName};
use bytes::Bytes;
use futures::TryStreamExt;
use tokio::sync::{Mutex, MutexGuard, mpsc, oneshot};

use super::super::errors::{GroupTrouble, ProtocolError};
use super::super::names::check_prefixes;
pub(crate) use super::super::names::whole_log;
use super::super::service::Protocol;
use super::configuration::{
    Begin, CONFIGURATIONS, Configuration, GroupKey, REMOVED, SAVED, StartFrom, Wanted, apply,
};
use super::consumers::{About, ConsumerId};
use super::group::Action;
use super::keeping::{Keeping, parked_stream};
use super::runner::{Connected, GroupState, Request, Runner};
use super::settings::Settings;

/// How long after the groups could not be read they are tried again.
const LOAD_AGAIN: Duration = Duration::from_secs(1);
/// So many requests wait for a group; whoever sends more waits too.
const REQUESTS_WAITING: usize = 256;

/// A group that runs.
#[derive(Clone)]
pub(crate) struct Running {
    configuration: Arc<Configuration>,
    requests: mpsc::Sender<Request>,
}

/// What a group is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Which group.
    pub(crate) key: GroupKey,
    /// Which events of the whole log.
    pub(crate) wanted: Option<Wanted>,
    /// Where to start.
    pub(crate) start_from: StartFrom,
    /// Its settings.
    pub(crate) settings: Settings,
}

type Map = BTreeMap<GroupKey, Running>;

/// All groups.
pub(crate) struct Groups {
    protocol: Arc<Protocol>,
    running: Mutex<Option<Map>>,
}

fn trouble(trouble: GroupTrouble, key: &GroupKey) -> ProtocolError {
    ProtocolError::Group { trouble, stream: key.source.to_string(), group: key.group.clone() }
}

/// The error of a group that ended while it was asked.
fn ended() -> ProtocolError {
    ProtocolError::NotReady("the subscription group is starting again".to_owned())
}

impl Running {
    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, ProtocolError> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())
    }

    /// A consumer comes.
    pub(crate) async fn connect(&self, about: About) -> Result<Connected, ProtocolError> {
        self.ask(|reply| Request::Connect(about, reply)).await?
    }

    /// How it is.
    pub(crate) async fn describe(&self) -> Result<GroupState, ProtocolError> {
        self.ask(Request::Describe).await
    }

    /// Takes up parked events again.
    pub(crate) async fn replay(&self, before: Option<u64>) -> Result<(), ProtocolError> {
        self.ask(|reply| Request::Replay(before, reply)).await?
    }

    /// Lets go of parked events.
    pub(crate) async fn truncate(&self, before: Option<u64>) -> Result<(), ProtocolError> {
        self.ask(|reply| Request::Truncate(before, reply)).await?
    }

    /// A consumer has finished events. False once the group has ended.
    pub(crate) async fn acknowledge(&self, consumer: ConsumerId, events: Vec<EventId>) -> bool {
        self.requests.send(Request::Acknowledge(consumer, events)).await.is_ok()
    }

    /// A consumer has not finished events. False once the group has ended.
    pub(crate) async fn reject(
        &self,
        consumer: ConsumerId,
        events: Vec<EventId>,
        action: Action,
        reason: String,
    ) -> bool {
        self.requests.send(Request::Reject(consumer, events, action, reason)).await.is_ok()
    }

    /// A consumer goes.
    pub(crate) async fn leave(&self, consumer: ConsumerId) {
        drop(self.requests.send(Request::Leave(consumer)).await);
    }

    /// What clients know a subscription by.
    pub(crate) fn subscription_id(&self) -> String {
        self.configuration.key.subscription_id()
    }

    /// Ends it; its consumers are told this.
    async fn stop(&self, why: ProtocolError) {
        // There is no answer but that it has ended, also where it had before.
        drop(self.ask(|stopped| Request::Stop(why, stopped)).await);
    }
}

impl Groups {
    /// The groups of a store.
    pub(crate) fn new(protocol: Arc<Protocol>) -> Groups {
        Groups { protocol, running: Mutex::new(None) }
    }

    /// Whether they are loaded, and nobody changes them now.
    #[cfg(test)]
    pub(crate) fn are_loaded(&self) -> bool {
        self.running.try_lock().is_ok_and(|running| running.is_some())
    }

    fn keeping(&self) -> Keeping {
        Keeping { protocol: Arc::clone(&self.protocol) }
    }

    async fn run(&self, configuration: Arc<Configuration>) -> Result<Running, ProtocolError> {
        let keeping = self.keeping();
        let kept = keeping.load(&configuration).await?;
        let (requests, receiver) = mpsc::channel(REQUESTS_WAITING);
        let stopping = self.protocol.parts.stopping.clone();
        let runner = Runner::new(Arc::clone(&configuration), kept, keeping, receiver, stopping);
        tokio::spawn(runner.run());
        Ok(Running { configuration, requests })
    }

    /// Loads the groups, once they can be read; nothing where the server stops before.
    pub(crate) async fn load(&self) {
        while let Err(error) = self.loaded().await.map(drop) {
            tracing::warn!(
                ?error,
                "persistent subscriptions could not be loaded and are tried again"
            );
            let stopping = &self.protocol.parts.stopping;
            if stopping.run_until_cancelled(tokio::time::sleep(LOAD_AGAIN)).await.is_none() {
                return;
            }
        }
    }

    /// The groups, once they are loaded.
    async fn loaded(&self) -> Result<MutexGuard<'_, Option<Map>>, ProtocolError> {
        let mut running = self.running.lock().await;
        if running.is_none() {
            let mut map = Map::new();
            for (key, configuration) in self.configurations().await? {
                map.insert(key, self.run(Arc::new(configuration)).await?);
            }
            *running = Some(map);
        }
        Ok(running)
    }

    async fn configurations(&self) -> Result<BTreeMap<GroupKey, Configuration>, ProtocolError> {
        let stream = StreamName::new(CONFIGURATIONS).expect("a name of ours is right");
        let mut batches = self.protocol.parts.store.read(ReadQuery::stream(stream));
        let mut found = BTreeMap::new();
        while let Some(batch) = batches.try_next().await? {
            for event in batch.events.iter() {
                apply(&mut found, event.event_type.as_str(), &event.data).map_err(|error| {
                    let at = event.revision;
                    ProtocolError::Damage(format!(
                        "{CONFIGURATIONS} at {at} cannot be read: {error}"
                    ))
                })?;
            }
        }
        Ok(found)
    }

    async fn write(&self, event_type: &str, data: Vec<u8>) -> Result<(), ProtocolError> {
        let keeping = self.keeping();
        let stream = StreamName::new(CONFIGURATIONS).expect("a name of ours is right");
        keeping.append(stream, keeping.event(event_type, data.into(), Bytes::new())).await?;
        Ok(())
    }

    async fn save(&self, configuration: &Configuration) -> Result<(), ProtocolError> {
        let data = serde_json::to_vec(configuration);
        self.write(SAVED, data.map_err(|error| ProtocolError::Malformed(error.to_string()))?).await
    }

    /// Where a group begins that is told to start there now.
    async fn begin(&self, asked: &Asked) -> Result<Begin, ProtocolError> {
        let store = &self.protocol.parts.store;
        Ok(match asked.start_from {
            StartFrom::Start => Begin::First,
            StartFrom::At(place) => Begin::At(place),
            StartFrom::End if asked.key.is_all() => {
                store.head().map_or(Begin::First, |head| Begin::Behind(head.0))
            }
            StartFrom::End => {
                let head = store.stream_head(&asked.key.source).await?;
                head.map_or(Begin::First, |Revision(head)| Begin::Behind(head))
            }
        })
    }

    async fn configure(
        &self,
        asked: &Asked,
        before: Option<&Configuration>,
    ) -> Result<Configuration, ProtocolError> {
        if let Some(fault) = asked.settings.fault() {
            return Err(trouble(GroupTrouble::Failed(fault.to_owned()), &asked.key));
        }
        if let Some(wanted) = &asked.wanted {
            check_prefixes(&wanted.prefixes)?;
            wanted.filter()?;
        }
        let parts = &self.protocol.parts;
        Ok(Configuration {
            key: asked.key.clone(),
            id: before.map_or_else(|| parts.random.uuid_v7(parts.clock.now()), |before| before.id),
            wanted: before.map_or_else(|| asked.wanted.clone(), |before| before.wanted.clone()),
            start_from: asked.start_from,
            begin: self.begin(asked).await?,
            settings: asked.settings.clone(),
        })
    }

    /// Makes a group.
    pub(crate) async fn create(&self, asked: &Asked) -> Result<(), ProtocolError> {
        let mut running = self.loaded().await?;
        let map = running.get_or_insert_default();
        if map.contains_key(&asked.key) {
            return Err(trouble(GroupTrouble::Exists, &asked.key));
        }
        let configuration = self.configure(asked, None).await?;
        self.save(&configuration).await?;
        map.insert(asked.key.clone(), self.run(Arc::new(configuration)).await?);
        Ok(())
    }

    /// Changes a group. Its consumers are dropped, and find it as it is now when they come again.
    pub(crate) async fn update(&self, asked: &Asked) -> Result<(), ProtocolError> {
        let mut running = self.loaded().await?;
        let map = running.get_or_insert_default();
        let found = map.get(&asked.key);
        let before = found.ok_or_else(|| trouble(GroupTrouble::DoesNotExist, &asked.key))?;
        let configuration = self.configure(asked, Some(&before.configuration)).await?;
        self.save(&configuration).await?;
        before.stop(trouble(GroupTrouble::Dropped, &asked.key)).await;
        map.insert(asked.key.clone(), self.run(Arc::new(configuration)).await?);
        Ok(())
    }

    /// Deletes a group.
    pub(crate) async fn delete(&self, key: &GroupKey) -> Result<(), ProtocolError> {
        let mut running = self.loaded().await?;
        let map = running.get_or_insert_default();
        let gone = map.get(key).ok_or_else(|| trouble(GroupTrouble::DoesNotExist, key))?;
        let data = serde_json::to_vec(key);
        let data = data.map_err(|error| ProtocolError::Malformed(error.to_string()))?;
        self.write(REMOVED, data).await?;
        gone.stop(trouble(GroupTrouble::DoesNotExist, key)).await;
        map.remove(key);
        // A later group of the same name does not take up what this one parked.
        let keeping = self.keeping();
        let parked =
            parked_stream(key).map_err(|error| ProtocolError::Malformed(error.to_string()))?;
        if let Some(Revision(last)) = keeping.store().stream_head(&parked).await?
            && let Some(truncated) = keeping.truncate_parked(key, last + 1)
        {
            truncated.await?;
        }
        Ok(())
    }

    /// The group of that name.
    pub(crate) async fn find(&self, key: &GroupKey) -> Result<Running, ProtocolError> {
        let running = self.loaded().await?;
        let found = running.as_ref().and_then(|map| map.get(key)).cloned();
        found.ok_or_else(|| trouble(GroupTrouble::DoesNotExist, key))
    }

    /// The groups that follow this stream, or the whole log; all, where none is named.
    pub(crate) async fn list(
        &self,
        of: Option<&StreamName>,
    ) -> Result<Vec<Running>, ProtocolError> {
        let running = self.loaded().await?;
        let all = running.iter().flat_map(BTreeMap::iter);
        let all = all.filter(|(key, _)| of.is_none_or(|of| *of == key.source));
        let found: Vec<_> = all.map(|(_, running)| running.clone()).collect();
        match of {
            Some(of) if found.is_empty() => {
                let key = GroupKey { source: of.clone(), group: String::new() };
                Err(trouble(GroupTrouble::DoesNotExist, &key))
            }
            Some(_) | None => Ok(found),
        }
    }

    /// Starts all groups again.
    pub(crate) async fn restart(&self) -> Result<(), ProtocolError> {
        let mut running = self.loaded().await?;
        for (key, group) in running.take().iter().flatten() {
            group.stop(trouble(GroupTrouble::Dropped, key)).await;
        }
        drop(running);
        self.loaded().await.map(drop)
    }
}
