//! The feed inside one process: a subscription to the store, filtered by context. It holds nothing, so there is nothing
//! to acknowledge; back-pressure is the stream's own, because the store reads only when it is polled.

use std::sync::Arc;

use annals_core::event::Position;
use annals_core::feed::{Batch, Feed, FeedError};
use annals_core::{EventStore, Filter, ReadQuery, Start};
use futures::stream::{BoxStream, StreamExt};

/// Delivers a context's events straight from the store; clones share it.
#[derive(Clone)]
pub struct InProcessFeed {
    store: Arc<dyn EventStore>,
}

impl InProcessFeed {
    /// A feed over this store.
    pub fn new(store: Arc<dyn EventStore>) -> InProcessFeed {
        InProcessFeed { store }
    }
}

impl Feed for InProcessFeed {
    fn follow(
        &self,
        context: &'static str,
        _group: &str,
        after: Option<Position>,
    ) -> BoxStream<'static, Result<Batch, FeedError>> {
        let start = after.map_or(Start::Edge, Start::After);
        let query = ReadQuery::all().filtered(Filter::context(context)).from(start);
        let failed = move |error: annals_core::store::ReadError| FeedError {
            context: context.to_owned(),
            family: error.family(),
            source: Arc::new(error),
        };
        self.store.subscribe(query).map(move |batch| batch.map_err(failed)).boxed()
    }

    fn acknowledge(&self, _context: &'static str, _group: &str, _through: Position) {}
}
