//! Copies the events of one store into another, whatever kind each is. What the target holds already is found by reading
//! it, so a copy that was killed at any moment goes on where it was, and made again it copies what is new. Each stream's
//! events are counted and chained by a digest on both sides, before anything is appended behind them and at the end.
//! Positions and times are the target's own. Streams of a server's own (`$…`) stay behind, but for Annals' schemas and the
//! metadata of streams that are copied.

mod error;
mod order;
mod streams;

use std::sync::Arc;

use annals_core::{EventStore, Filter, NewEvent, Position, ReadQuery, RecordedEvent};
use futures::StreamExt;

pub use error::{CopyError, Side};

use crate::kurrent;
use order::InOrder;
use streams::{Kind, Sum, Sums, kind_of};

/// What was copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Events of the source that the target holds now.
    pub events: u64,
    /// Those of them that were appended by this copy.
    pub appended: u64,
    /// The streams that they stand in.
    pub streams: u64,
    /// The SHA-256 over the streams' names, counts and digests, the same on both sides.
    pub digest: [u8; 32],
    /// Events of the source server's own streams, which stay behind.
    pub system_events: u64,
    /// Tombstones, which stay behind: what they deleted for good must be deleted again.
    pub tombstones: u64,
    /// Streams of the target that the source does not have; they are as they were.
    pub other_streams: u64,
}

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The target is read for what it holds.
    Looking,
    /// The source is read, and what the target lacks is appended.
    Copying,
    /// The target is read again.
    Verifying,
}

/// Copies what `to` lacks of `from`, and verifies it. `told` hears the phase, a position and the last one.
///
/// # Errors
/// [`CopyError`]; what was appended stays, and the next copy goes on from there.
pub async fn copy(
    from: &dyn EventStore,
    to: &dyn EventStore,
    mut told: impl FnMut(Phase, Option<Position>, Option<Position>),
) -> Result<Copied, CopyError> {
    let mut held = Sums::default();
    let looked = each(to, Side::To, None, |event, end| {
        told(Phase::Looking, Some(event.position), end);
        held.add(&event);
    });
    let looked = looked.await?;

    let mut copied = Copied::default();
    let mut source = Sums::default();
    let mut order = InOrder::new(to);
    let mut batches = from.read(everything());
    let end = from.head();
    while let Some(batch) = batches.next().await {
        let batch = batch.map_err(|source| CopyError::Read { side: Side::From, source })?;
        for event in batch.events.iter() {
            told(Phase::Copying, Some(event.position), end);
            match kind_of(event) {
                Kind::System => copied.system_events += 1,
                Kind::Tombstone => copied.tombstones += 1,
                Kind::Schema => {
                    source.add(event);
                    if !held.has_schema(event.id) {
                        order.schema(new_event(event)).await?;
                        copied.appended += 1;
                    }
                }
                kind @ (Kind::Event | Kind::Metadata) => {
                    let sum = source.add(event).expect("events of these kinds are counted");
                    if is_held(&held, event, sum)? {
                        continue;
                    }
                    copied.appended += 1;
                    let (stream, new) = (event.stream.clone(), new_event(event));
                    if kind == Kind::Metadata {
                        order.later(stream, sum.count - 1, new);
                    } else {
                        order.append(stream, sum.count - 1, new).await?;
                    }
                }
            }
        }
    }
    order.finish().await?;

    each(to, Side::To, looked, |event, end| {
        told(Phase::Verifying, Some(event.position), end);
        held.add(&event);
    })
    .await?;
    source.check(&held)?;
    copied.events = source.events();
    copied.streams = source.streams();
    copied.other_streams = held.streams() - source.streams();
    copied.digest = source.digest();
    Ok(copied)
}

/// Whether the target has the event that the source's stream has come to. Where it has no more, all before are compared.
fn is_held(held: &Sums, event: &RecordedEvent, sum: Sum) -> Result<bool, CopyError> {
    let Some(other) = held.of(&event.stream) else { return Ok(false) };
    if sum.count == other.count && sum.chain != other.chain {
        return Err(CopyError::Differs { stream: event.stream.clone(), events: sum.count });
    }
    Ok(sum.count <= other.count)
}

fn everything() -> ReadQuery {
    ReadQuery::all().filtered(Filter::default())
}

/// The event as Annals has it, also where a server kept it as another writer's.
fn new_event(event: &RecordedEvent) -> NewEvent {
    let (metadata, schema) = kurrent::normal(&event.metadata, event.schema);
    NewEvent {
        id: event.id,
        event_type: event.event_type.clone(),
        schema,
        metadata,
        data: event.data.clone(),
    }
}

/// Reads a store behind a position; how far that went.
async fn each(
    store: &dyn EventStore,
    side: Side,
    after: Option<Position>,
    mut seen: impl FnMut(RecordedEvent, Option<Position>),
) -> Result<Option<Position>, CopyError> {
    let end = store.head();
    let query = match after {
        Some(position) => everything().from(annals_core::Start::After(position)),
        None => everything(),
    };
    let mut batches = store.read(query);
    let mut last = after;
    while let Some(batch) = batches.next().await {
        let batch = batch.map_err(|source| CopyError::Read { side, source })?;
        for event in Arc::unwrap_or_clone(batch.events) {
            last = last.max(Some(event.position));
            seen(event, end);
        }
    }
    Ok(last)
}

#[cfg(test)]
mod tests;
