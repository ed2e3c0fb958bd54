//! Single events of a store: the first of a read, the one of a revision, and the one that a link names.

use annals_core::{EventStore, ReadError, ReadQuery, RecordedEvent, Revision, Start, StreamName};
use futures::TryStreamExt;

/// The first event of a read; nothing where it has none.
pub(super) async fn first_of(
    store: &dyn EventStore,
    query: ReadQuery,
) -> Result<Option<RecordedEvent>, ReadError> {
    let mut batches = store.read(query);
    while let Some(batch) = batches.try_next().await? {
        if let Some(event) = batch.events.first() {
            return Ok(Some(event.clone()));
        }
    }
    Ok(None)
}

/// The event of that revision; nothing where it is not shown.
pub(super) async fn event_at(
    store: &dyn EventStore,
    stream: StreamName,
    revision: Revision,
) -> Result<Option<RecordedEvent>, ReadError> {
    let query = ReadQuery::stream(stream).from(Start::Revision(revision)).limit(1);
    Ok(first_of(store, query).await?.filter(|event| event.revision == revision))
}

/// What a link's data, `REVISION@STREAM`, names.
pub(super) fn link_target(data: &[u8]) -> Option<(Revision, StreamName)> {
    let (revision, stream) = std::str::from_utf8(data).ok()?.split_once('@')?;
    Some((Revision(revision.parse().ok()?), StreamName::new(stream).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_names_a_revision_and_a_stream() {
        let target = |data: &str| {
            link_target(data.as_bytes()).map(|(revision, stream)| (revision.0, stream.to_string()))
        };
        assert_eq!(target("7@order-1"), Some((7, "order-1".to_owned())));
        assert_eq!(target("7@a@b"), Some((7, "a@b".to_owned())));
        for wrong in ["", "7", "7@", "@a", "-1@a", "x@a"] {
            assert_eq!(target(wrong), None, "{wrong}");
        }
    }
}
