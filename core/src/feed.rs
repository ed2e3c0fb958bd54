//! The seam between the store and its projection workers: a feed of one context's events in log order. The
//! in-process feed and Kafka are its two implementations; workers cannot tell them apart.

use std::sync::Arc;

use futures::stream::BoxStream;

use crate::event::{Position, RecordedEvent};
use crate::family::Family;

/// Some events in order, and how far they reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The events that were asked for, in order. May be empty when only `through` moved. Live subscriptions share them.
    pub events: Arc<Vec<RecordedEvent>>,
    /// Every event asked for up to and including this position has been delivered.
    pub through: Option<Position>,
    /// Nothing more is known to wait behind this batch.
    pub caught_up: bool,
}

/// Why a feed ended. The worker opens it again from its checkpoint, with back-off, unless the family says damage.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the feed of context {context} broke off")]
pub struct FeedError {
    /// The context that was followed.
    pub context: String,
    /// The family of the cause.
    pub family: Family,
    /// The cause.
    #[source]
    pub source: Arc<dyn std::error::Error + Send + Sync>,
}

/// Delivers the events of a context, gap-free, without doubles and in log order, and then goes on live.
pub trait Feed: Send + Sync + 'static {
    /// The events of `context` after position `after` (from the first one where there is none), for the consumer
    /// `group` (a projection's name). Dropping the stream ends it.
    fn follow(
        &self,
        context: &'static str,
        group: &str,
        after: Option<Position>,
    ) -> BoxStream<'static, Result<Batch, FeedError>>;

    /// Tells the feed that `group` has made everything up to `through` durable, so that it need not come again.
    fn acknowledge(&self, context: &'static str, group: &str, through: Position);
}
