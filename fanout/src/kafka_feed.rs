//! The feed over Kafka: one consumer for each context and group that is followed, reading the topic's one partition
//! by itself (no consumer group protocol: which worker is active is settled in PostgreSQL). The offsets that it
//! commits only shorten the search at the next start; the truth about where a worker is stands beside its rows.

use std::sync::Arc;

use annals_core::event::Position;
use annals_core::feed::{Batch, Feed, FeedError};
use annals_core::store::StoreIdentity;
use futures::stream::{BoxStream, StreamExt};
use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::reader::{self, Marks, Plan};
use crate::record;
use crate::settings::KafkaSettings;
use crate::topic::TopicError;

/// Batches that wait between a reader and its consumer.
const BATCHES_WAITING: usize = 2;

/// How far each group is with each context.
type Followed = HashMap<(&'static str, String), Arc<Mutex<Marks>>>;

/// Delivers a context's events from its topic; clones share it.
#[derive(Clone)]
pub struct KafkaFeed {
    settings: KafkaSettings,
    source: String,
    followed: Arc<Mutex<Followed>>,
}

impl KafkaFeed {
    /// A feed of the topics of the store with this identity; another store's events are an error. Nothing is asked
    /// of the cluster yet.
    pub fn new(settings: KafkaSettings, identity: StoreIdentity) -> KafkaFeed {
        KafkaFeed { settings, source: record::source(identity), followed: Arc::default() }
    }
}

impl Feed for KafkaFeed {
    /// Waits for a topic that is not there yet. Following a context for a group a second time takes the first one's
    /// place as to what [`KafkaFeed::acknowledge`] refers to.
    fn follow(
        &self,
        context: &'static str,
        group: &str,
        after: Option<Position>,
    ) -> BoxStream<'static, Result<Batch, FeedError>> {
        let marks: Arc<Mutex<Marks>> = Arc::default();
        self.followed.lock().insert((context, group.to_owned()), Arc::clone(&marks));
        let plan = Plan {
            settings: self.settings.clone(),
            topic: self.settings.topic(context),
            group: group.to_owned(),
            source: self.source.clone(),
            after,
            marks,
        };
        let (sender, batches) = mpsc::channel(BATCHES_WAITING);
        std::thread::spawn(move || reader::run(plan, &sender));
        let failed = move |error: TopicError| FeedError {
            context: context.to_owned(),
            family: error.family(),
            source: Arc::new(error),
        };
        ReceiverStream::new(batches).map(move |batch| batch.map_err(failed)).boxed()
    }

    fn acknowledge(&self, context: &'static str, group: &str, through: Position) {
        let marks = self.followed.lock().get(&(context, group.to_owned())).cloned();
        if let Some(marks) = marks {
            marks.lock().acknowledge(through);
        }
    }
}
