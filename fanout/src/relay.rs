//! The relay: publishes the log's events to one topic a context, in log order, each once. It is a fold whose
//! checkpoint is the topic itself: after any stop it reads the last record of each topic and goes on behind it.
//!
//! Only one relay of a store is active. What holds that: within a process, a relay waits until the one before it is
//! gone, its records with it; between processes, the store does, for only one process can have an embedded store
//! open. Where several processes relay one remote store, each sees by the offsets of its records that it is not
//! alone, stops, and goes on behind the other's last record; until then events can stand on a topic twice. That, and
//! what a relay killed an instant ago had on the way, no relay can prevent, so a feed takes no position twice. What
//! can never happen is a gap: every relay publishes without one from a record that was there.
//!
//! Nothing is given up: a full queue slows the reading of the store, a failure stops the relay and it begins again,
//! with back-off, at the topics' ends.

use std::sync::Arc;
use std::time::Duration;

use annals_core::codec::{SchemaFingerprint, Schemas};
use annals_core::event::Position;
use annals_core::family::Family;
use annals_core::{EventStore, ReadError, chain};
use hashbrown::HashSet;
use parking_lot::Mutex;
use rdkafka::error::KafkaError;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::publisher::{Publisher, told};
use crate::registry::RegistryError;
use crate::settings::KafkaSettings;
use crate::topic::TopicError;

const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// What a relay publishes, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayOptions {
    /// The cluster and its topics.
    pub kafka: KafkaSettings,
    /// The schema registry, such as `http://127.0.0.1:8081/apis/ccompat/v7`.
    pub registry: String,
    /// The contexts, one topic each.
    pub contexts: Vec<String>,
}

/// Why a relay stopped. It begins again by itself, unless it was told to stop.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RelayError {
    /// A topic is not what it must be, or out of reach.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// The registry has no id for a schema.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The store could not be read.
    #[error("reading the store for the relay failed")]
    Store(#[from] ReadError),
    /// The store ended a subscription.
    #[error("the store ended the relay's subscription")]
    StoreEnded,
    /// The producer could not be made.
    #[error("the relay's producer could not be made")]
    Producer(#[source] KafkaError),
    /// The log does not hold the schema that an event was written with.
    #[error("event {position} was written with schema {:016x}, which the log does not hold", fingerprint.0)]
    UnknownSchema {
        /// The event.
        position: Position,
        /// The schema.
        fingerprint: SchemaFingerprint,
    },
    /// An event is larger than a topic takes.
    #[error("event {position} is too large for a record of {limit} bytes: allow larger ones")]
    TooLarge {
        /// The event.
        position: Position,
        /// The most bytes a record can have, as set.
        limit: u32,
    },
    /// The producer did not take a record.
    #[error("event {position} could not be handed to the producer for topic {topic}")]
    Send {
        /// The topic.
        topic: String,
        /// The event.
        position: Position,
        /// What happened.
        #[source]
        source: KafkaError,
    },
    /// The cluster did not take a record.
    #[error("event {position} was not taken by topic {topic}")]
    Delivery {
        /// The topic.
        topic: String,
        /// The event.
        position: Position,
        /// What happened.
        #[source]
        source: KafkaError,
    },
    /// Another relay, or another program, writes to the topic.
    #[error(
        "someone else writes to topic {topic}: a record stands at offset {found} instead of {expected}. Is a second \
         relay of this store running?"
    )]
    OtherWriter {
        /// The topic.
        topic: String,
        /// The offset that the record should have had.
        expected: i64,
        /// The one it has.
        found: i64,
    },
}

impl RelayError {
    /// The family of this error.
    pub fn family(&self) -> Family {
        match self {
            RelayError::Topic(error) => error.family(),
            RelayError::Registry(error) => error.family(),
            RelayError::Store(error) => error.family(),
            RelayError::Producer(_) => Family::Malformed,
            RelayError::UnknownSchema { .. } => Family::Damage,
            RelayError::TooLarge { .. } => Family::TooMuch,
            RelayError::OtherWriter { .. } => Family::Conflict,
            RelayError::StoreEnded | RelayError::Send { .. } | RelayError::Delivery { .. } => {
                Family::Unavailable
            }
        }
    }
}

/// What a relay is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayState {
    /// It looks for the topics and their ends.
    Starting,
    /// It publishes.
    Running,
    /// It failed and begins again in a moment.
    Waiting,
    /// It was told to stop and has.
    Stopped,
}

/// What a relay is doing, and what went wrong last.
#[derive(Clone, Debug)]
pub struct RelayStatus {
    /// What it is doing.
    pub state: RelayState,
    /// Why it last began again; none where it never had to.
    pub error: Option<Arc<RelayError>>,
    /// How often it has begun again since it last got anywhere.
    pub attempts: u32,
}

/// The relay of a store.
pub struct Relay;

impl Relay {
    /// Starts publishing in the background, from where the topics end; needs a tokio runtime. The registry and the
    /// cluster may still be down: the relay waits for them.
    pub fn start(
        store: Arc<dyn EventStore>,
        schemas: Schemas,
        options: RelayOptions,
    ) -> RelayHandle {
        let (published, told) = watch::channel(None);
        let (stop, stopped) = watch::channel(false);
        let starting = RelayStatus { state: RelayState::Starting, error: None, attempts: 0 };
        let (status, seen) = watch::channel(starting);
        let supervisor = Supervisor { store, schemas, options, published, status, stop: stopped };
        let task = tokio::spawn(supervisor.run());
        RelayHandle { published: told, status: seen, stop, task: Some(task) }
    }
}

/// A running relay. Dropping it ends the relay at once, without waiting for what is on the way.
pub struct RelayHandle {
    published: watch::Receiver<Option<Position>>,
    status: watch::Receiver<RelayStatus>,
    stop: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
}

impl RelayHandle {
    /// Every event of the relayed contexts up to this position stands on its topic, acknowledged by the cluster.
    pub fn published(&self) -> watch::Receiver<Option<Position>> {
        self.published.clone()
    }

    /// What the relay is doing.
    pub fn status(&self) -> watch::Receiver<RelayStatus> {
        self.status.clone()
    }

    /// Ends the relay after what it has handed over is acknowledged, or 10 seconds.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        if let Some(task) = self.task.take()
            && let Err(error) = task.await
            && error.is_panic()
        {
            tracing::error!(%error, "the relay panicked");
        }
    }
}

impl Drop for RelayHandle {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Keeps one relay running.
struct Supervisor {
    store: Arc<dyn EventStore>,
    schemas: Schemas,
    options: RelayOptions,
    published: watch::Sender<Option<Position>>,
    status: watch::Sender<RelayStatus>,
    stop: watch::Receiver<bool>,
}

impl Supervisor {
    async fn run(mut self) {
        let mut attempts = 0_u32;
        while !*self.stop.borrow() {
            let before = *self.published.borrow();
            let Err(error) = self.once().await else { break };
            attempts = if *self.published.borrow() > before { 1 } else { attempts + 1 };
            let pause = PAUSE_MAX.min(PAUSE_MIN * 2_u32.pow((attempts - 1).min(10)));
            let trouble = chain(&error);
            let passes = matches!(error.family(), Family::Unavailable | Family::Conflict);
            if passes && attempts < 10 {
                tracing::warn!(error = trouble, attempts, ?pause, "the relay begins again");
            } else {
                tracing::error!(error = trouble, attempts, ?pause, "the relay begins again");
            }
            metrics::counter!("annals_relay_restarts_total").increment(1);
            let error = Some(Arc::new(error));
            self.status.send_replace(RelayStatus { state: RelayState::Waiting, error, attempts });
            // Being told to stop and the end of the pause lead to the same look at `stop`.
            tokio::time::timeout(pause, told(&mut self.stop)).await.ok();
        }
        self.status.send_modify(|status| status.state = RelayState::Stopped);
    }

    async fn once(&mut self) -> Result<(), RelayError> {
        let token = Active::enter(&self.store, &self.options.kafka).await;
        let mut publisher = Publisher::open(
            Arc::clone(&self.store),
            self.schemas.clone(),
            &self.options,
            self.published.clone(),
            token,
        )
        .await?;
        self.status.send_modify(|status| status.state = RelayState::Running);
        let ended = publisher.run(&mut self.stop).await;
        publisher.close().await;
        ended
    }
}

/// The relays active in this process: one for each store and set of topics.
static ACTIVE: Mutex<Option<HashSet<String>>> = Mutex::new(None);

/// Leave to be the store's one relay in this process; ends when dropped.
pub(crate) struct Active(String);

impl Active {
    async fn enter(store: &Arc<dyn EventStore>, kafka: &KafkaSettings) -> Active {
        let name = format!("{} {} {}", store.identity().id, kafka.brokers, kafka.topic_prefix);
        loop {
            if ACTIVE.lock().get_or_insert_default().insert(name.clone()) {
                return Active(name);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        if let Some(active) = ACTIVE.lock().as_mut() {
            active.remove(&self.0);
        }
    }
}
