//! Reads and subscriptions as streams. The next batch of a read is fetched while the consumer
//! handles the last one; nothing more is fetched ahead, so memory stays bounded and no thread waits
//! for a slow consumer.

use std::sync::Arc;

use annals_core::{Batch, ReadError, ReadQuery, Revision, StreamName};
use futures::future::{BoxFuture, FutureExt};
use futures::stream::{BoxStream, StreamExt, unfold};

use super::reader::Read;
use super::shared::{Durable, Shared};
use super::subscription::{Subscription, blocking, ended};
use super::sync::spawn_blocking;

type Step = BoxFuture<'static, Result<(Read, Option<Batch>), ReadError>>;

enum State {
    Begin(Arc<Shared>, Box<ReadQuery>, Durable),
    Wait(Step),
    /// Everything was fetched; what closes the read is left.
    Done(Box<Read>),
    End,
}

/// A read as a stream.
pub(crate) fn read(shared: Arc<Shared>, query: ReadQuery) -> BoxStream<'static, Batches> {
    let end = *shared.durable.borrow();
    let begin = State::Begin(shared, Box::new(query), end);
    unfold(begin, |state| async {
        let step = match state {
            State::Begin(shared, query, end) => begin_read(shared, query, end),
            State::Wait(step) => step,
            State::Done(read) => return Some((Ok(read.last_batch()?), State::End)),
            State::End => return None,
        };
        Some(match step.await {
            Err(error) => (Err(error), State::End),
            Ok((read, Some(batch))) if read.is_done() => (Ok(batch), State::Done(Box::new(read))),
            Ok((read, Some(batch))) if read.is_costly() => {
                (Ok(batch), State::Wait(fetch_in_turn(read)))
            }
            Ok((read, Some(batch))) => (Ok(batch), State::Wait(fetch(read))),
            Ok((read, None)) => (Ok(read.last_batch()?), State::End),
        })
    })
    .boxed()
}

/// What such a stream gives.
pub(crate) type Batches = Result<Batch, ReadError>;

fn begin_read(shared: Arc<Shared>, query: Box<ReadQuery>, end: Durable) -> Step {
    blocking(move || {
        let mut read = Read::begin(shared, &query, end)?;
        let batch = read.next_batch()?;
        Ok((read, batch))
    })
    .boxed()
}

/// Begins to fetch the next batch at once.
fn fetch(mut read: Read) -> Step {
    let task = spawn_blocking(move || {
        let batch = read.next_batch()?;
        Ok((read, batch))
    });
    ended(task).boxed()
}

/// Fetches the next batch once there is a place for one that takes long.
fn fetch_in_turn(read: Read) -> Step {
    async move {
        let shared = Arc::clone(read.shared());
        let _place = shared.costly.acquire().await;
        fetch(read).await
    }
    .boxed()
}

/// A stream's last durable revision.
pub(crate) async fn stream_head(
    shared: Arc<Shared>,
    stream: StreamName,
) -> Result<Option<Revision>, ReadError> {
    blocking(move || {
        let end = shared.durable.borrow().events;
        Ok(shared.index.head_before(&stream, end)?)
    })
    .await
}

/// A subscription as a stream.
pub(crate) fn subscribe(shared: Arc<Shared>, query: ReadQuery) -> BoxStream<'static, Batches> {
    let begin = Some(Subscription::new(shared, query));
    unfold(begin, |state| async {
        let mut subscription = state?;
        match subscription.next_batch().await {
            Ok(batch) => Some((Ok(batch), Some(subscription))),
            Err(error) => Some((Err(error), None)),
        }
    })
    .boxed()
}
