//! Copies between stores in memory: what is copied, in which order, and what a copy that was cut off leaves to the next.

use std::sync::atomic::{AtomicUsize, Ordering};

use annals_core::clock::SystemClock;
use annals_core::codec::SCHEMAS_STREAM;
use annals_core::memory::MemoryStore;
use annals_core::metadata::Metadata;
use annals_core::{
    Append, AppendError, Appended, Batch, EventId, EventType, ExpectedRevision, ReadError,
    Revision, SchemaFingerprint, StoreIdentity, StreamName, StreamWrite,
};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;

fn stream(name: &str) -> StreamName {
    StreamName::new(name).expect("a valid name")
}

fn event(number: u128, event_type: &str) -> NewEvent {
    let metadata = Metadata { actor: Some(format!("a{number}")), ..Metadata::default() };
    NewEvent {
        id: EventId(Uuid::from_u128(number)),
        event_type: EventType::new(event_type).expect("a valid name"),
        schema: SchemaFingerprint(7),
        metadata: metadata.encode(),
        data: Bytes::from(number.to_string()),
    }
}

async fn put(store: &dyn EventStore, name: &str, event: NewEvent) {
    let (stream, expected) = (stream(name), ExpectedRevision::Any);
    let write = StreamWrite { stream, expected, events: vec![event] };
    store.append(Append::to(write)).await.expect("room in memory");
}

/// A store whose events stand in these streams, one after the other.
async fn store_of(names: &[&str]) -> MemoryStore {
    let store = MemoryStore::new(SystemClock);
    for (number, name) in names.iter().enumerate() {
        put(&store, name, event(number as u128, "test.Happened")).await;
    }
    store
}

async fn copied(from: &dyn EventStore, to: &dyn EventStore) -> Result<Copied, CopyError> {
    copy(from, to, |_, _, _| {}).await
}

fn shown(store: &MemoryStore) -> Vec<String> {
    store
        .events()
        .iter()
        .map(|event| format!("{}@{} {}", event.revision, event.stream, event.id.0.as_u128()))
        .collect()
}

#[tokio::test]
async fn a_copy_is_the_same_in_the_same_order_and_again_adds_nothing() {
    let from = store_of(&["a-1", "b-1", "a-1", "a-1", "c-1", "b-1"]).await;
    put(&from, SCHEMAS_STREAM, event(6, "$schema")).await;
    let to = MemoryStore::new(SystemClock);
    let first = copied(&from, &to).await.expect("a copy");
    assert_eq!(shown(&to), shown(&from));
    assert_eq!((first.events, first.appended, first.streams), (7, 7, 3));
    let again = copied(&from, &to).await.expect("a copy");
    assert_eq!((again.events, again.appended), (7, 0));
    assert_eq!(again.digest, first.digest);
    assert_eq!(shown(&to), shown(&from));
}

#[tokio::test]
async fn an_id_that_stands_twice_in_a_stream_is_copied_twice() {
    let from = store_of(&["a-1", "b-1"]).await;
    let expected = ExpectedRevision::Behind(Some(Revision(0)));
    let events = vec![event(0, "test.Happened")];
    let write = StreamWrite { stream: stream("a-1"), expected, events };
    from.append(Append::to(write)).await.expect("it is another event");
    let to = MemoryStore::new(SystemClock);
    assert_eq!(copied(&from, &to).await.expect("a copy").appended, 3);
    assert_eq!(shown(&to), ["0@a-1 0", "0@b-1 1", "1@a-1 0"]);
}

#[tokio::test]
async fn system_streams_stay_behind_and_metadata_comes_last() {
    let from = store_of(&["$$a-1", "a-1", "$stats-1", "$$$stats-1", "a-1"]).await;
    put(&from, "b-1", event(90, "$streamDeleted")).await;
    put(&from, SCHEMAS_STREAM, event(91, "$schema")).await;
    let to = store_of(&["other-1"]).await;
    put(&to, SCHEMAS_STREAM, event(80, "$schema")).await;
    let done = copied(&from, &to).await.expect("a copy");
    let expected =
        ["0@other-1 0", "0@$schemas 80", "0@a-1 1", "1@a-1 4", "1@$schemas 91", "0@$$a-1 0"];
    assert_eq!(shown(&to), expected);
    assert_eq!((done.system_events, done.tombstones, done.other_streams), (2, 1, 1));
}

#[tokio::test]
async fn a_target_that_holds_something_else_is_refused() {
    let from = store_of(&["a-1", "a-1"]).await;
    let to = store_of(&["b-1", "a-1"]).await;
    let error = copied(&from, &to).await.expect_err("event 1 stands where 0 is to be");
    assert!(matches!(error, CopyError::Differs { events: 1, .. }), "{error}");
    let longer = store_of(&["a-1", "a-1", "a-1"]).await;
    let error = copied(&from, &longer).await.expect_err("it has one more");
    assert!(matches!(error, CopyError::Counts { expected: 2, found: 3, .. }), "{error}");
}

/// A store that takes so many appends and then fails, as one does that is killed.
struct Dying(MemoryStore, AtomicUsize);

impl EventStore for Dying {
    fn append(&self, append: Append) -> BoxFuture<'static, Result<Appended, AppendError>> {
        let left =
            self.1.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        match left {
            Ok(_) => self.0.append(append),
            Err(_) => Box::pin(async { Err(AppendError::Unknown("it died".to_owned())) }),
        }
    }

    fn read(&self, query: ReadQuery) -> BoxStream<'static, Result<Batch, ReadError>> {
        self.0.read(query)
    }

    fn subscribe(&self, query: ReadQuery) -> BoxStream<'static, Result<Batch, ReadError>> {
        self.0.subscribe(query)
    }

    fn stream_head(
        &self,
        stream: &StreamName,
    ) -> BoxFuture<'static, Result<Option<Revision>, ReadError>> {
        self.0.stream_head(stream)
    }

    fn head(&self) -> Option<Position> {
        self.0.head()
    }

    fn identity(&self) -> StoreIdentity {
        self.0.identity()
    }
}

proptest! {
    #[test]
    fn a_copy_cut_off_anywhere_goes_on(
        names in proptest::collection::vec(prop_oneof![Just("a-1"), Just("b-1"), Just("$$a-1"), Just("c-1")], 1..40),
        lives in proptest::collection::vec(0_usize..8, 0..4),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let from = store_of(&names).await;
            let to = MemoryStore::new(SystemClock);
            for life in lives {
                let dying = Dying(to.clone(), AtomicUsize::new(life));
                copied(&from, &dying).await.ok();
            }
            copied(&from, &to).await.expect("a copy");
            for name in ["a-1", "b-1", "$$a-1", "c-1"] {
                let of = |store: &MemoryStore| -> Vec<(Revision, EventId, Bytes)> {
                    let events = store.events().into_iter().filter(|event| event.stream.as_str() == name);
                    events.map(|event| (event.revision, event.id, event.data)).collect()
                };
                assert_eq!(of(&to), of(&from), "{name}");
            }
            assert_eq!(to.events().len(), from.events().len());
        });
    }
}
