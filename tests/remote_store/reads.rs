//! Reads against a store in memory that holds the same, and subscriptions that go on live.

use std::sync::Arc;
use std::time::Duration;

use annals_core::clock::SystemClock;
use annals_core::memory::MemoryStore;
use annals_core::query::{EventQuery, Pattern};
use annals_core::{
    EventStore, ExpectedRevision, Filter, Position, ReadQuery, RecordedEvent, Revision, Start,
};
use futures::StreamExt;

use crate::remote::{all, connect, events, id, ids, on_server, put, stream};

const EVENTS: u64 = 60;

/// Queries of all kinds; positions are those of the n-th event of the store asked.
fn queries(stored: &[RecordedEvent]) -> Vec<ReadQuery> {
    let at = |place: usize| stored[place].position;
    let starts = [
        Start::Edge,
        Start::Position(at(0)),
        Start::Position(at(17)),
        Start::After(at(17)),
        Start::After(at(59)),
        Start::Position(at(59)),
    ];
    let no_system = || Filter { no_system: true, ..Filter::default() };
    let filters = [
        no_system(),
        Filter { type_prefixes: vec!["test.".to_owned()], ..no_system() },
        Filter { stream_prefixes: vec!["s-2".to_owned()], ..no_system() },
        Filter { stream_pattern: Some(Pattern::new("^s-(?!1)").expect("right")), ..no_system() },
        Filter { query: EventQuery::tagged(["number:20".to_owned()]), ..no_system() },
    ];
    let mut queries = Vec::new();
    for filter in &filters {
        for start in starts {
            let query = ReadQuery::all().filtered(filter.clone()).from(start);
            queries.extend([query.clone(), query.clone().limit(5), query.clone().backwards()]);
            queries.push(query.backwards().limit(3));
        }
    }
    for start in [
        Start::Edge,
        Start::Revision(Revision(4)),
        Start::Revision(Revision(99)),
        Start::After(at(30)),
    ] {
        let query = ReadQuery::stream(stream("s-1")).from(start);
        queries.extend([query.clone(), query.clone().limit(2), query.clone().backwards()]);
        queries.push(query.backwards().limit(2));
    }
    queries.push(ReadQuery::stream(stream("unheard-1")));
    queries
}

#[test]
fn reads_are_those_of_a_store_in_memory() {
    on_server(async |store, _| {
        let model = MemoryStore::new(SystemClock);
        for number in 0..EVENTS {
            let name = format!("s-{}", number % 3);
            for store in [&*store as &dyn EventStore, &model] {
                put(store, &name, ExpectedRevision::Any, &[number]).await.expect("room");
            }
        }
        let (here, there) = (events(&*store, all()).await, events(&model, all()).await);
        assert_eq!(here.len(), 60);
        for (ours, models) in queries(&here).into_iter().zip(queries(&there)) {
            let found = events(&*store, ours.clone()).await;
            let expected = events(&model, models).await;
            assert_eq!(ids(&found), ids(&expected), "{ours:?}");
            for (found, expected) in found.iter().zip(&expected) {
                assert_eq!(found.revision, expected.revision, "{ours:?}");
                assert_eq!(found.data, expected.data, "{ours:?}");
            }
        }
        let time = here[40].time;
        let found = events(&*store, all().from(Start::Time(time))).await;
        assert_eq!(
            found,
            here.iter().filter(|event| event.time >= time).cloned().collect::<Vec<_>>()
        );
    });
}

#[test]
fn a_read_tells_how_far_it_looked() {
    on_server(async |store, _| {
        put(&*store, "s-1", ExpectedRevision::Any, &[1, 2]).await.expect("room");
        let nothing = Filter { type_prefixes: vec!["unheard.".to_owned()], ..Filter::default() };
        let mut batches = store.read(ReadQuery::all().filtered(nothing));
        let mut through = None;
        while let Some(batch) = batches.next().await {
            through = batch.expect("a read").through;
        }
        assert!(through.is_some());
        assert_eq!(through, store.head());
    });
}

/// Follows until `count` events came; the events, and how far the last batch reached.
async fn followed(
    store: &dyn EventStore,
    query: ReadQuery,
    count: usize,
) -> (Vec<RecordedEvent>, Option<Position>) {
    let mut batches = store.subscribe(query);
    let mut found = Vec::new();
    let mut through = None;
    while found.len() < count {
        let batch = tokio::time::timeout(Duration::from_secs(30), batches.next()).await;
        let batch = batch.expect("it comes in time").expect("it goes on").expect("no fault");
        assert!(batch.through >= through, "it goes back");
        through = batch.through;
        found.extend(Arc::unwrap_or_clone(batch.events));
    }
    (found, through)
}

#[test]
fn subscriptions_go_on_live_without_gap_or_double() {
    on_server(async |store, server| {
        const COUNT: u64 = 2_000;
        let other = connect(server).await;
        let writing = tokio::spawn(async move {
            for number in 0..COUNT {
                let name = format!("s-{}", number % 3);
                put(&*other, &name, ExpectedRevision::Any, &[number]).await.expect("room");
            }
        });
        let count = usize::try_from(COUNT).expect("small");
        let of_type = Filter { type_prefixes: vec!["test.".to_owned()], ..Filter::default() };
        let of_stream = ReadQuery::stream(stream("s-1")).from(Start::Revision(Revision(3)));
        let ((everything, _), (of_type, _), (of_stream, _)) = tokio::join!(
            followed(&*store, all(), count),
            followed(&*store, all().filtered(of_type), count * 2 / 3),
            followed(&*store, of_stream, count / 3 - 3),
        );
        writing.await.expect("it wrote");
        let numbers = |keep: fn(&u64) -> bool| (0..COUNT).filter(keep).map(id).collect::<Vec<_>>();
        assert_eq!(ids(&everything), numbers(|_| true));
        assert!(ids(&of_type).starts_with(&numbers(|number| number % 3 != 2)[..count * 2 / 3 - 1]));
        assert_eq!(ids(&of_stream), numbers(|number| number % 3 == 1)[3..][..of_stream.len()]);
    });
}

#[test]
fn a_subscription_begins_where_it_is_asked_to() {
    on_server(async |store, _| {
        put(&*store, "s-1", ExpectedRevision::Any, &[0, 1, 2, 3]).await.expect("room");
        let stored = events(&*store, all()).await;
        let mut live = store.subscribe(all().from(Start::End));
        put(&*store, "s-1", ExpectedRevision::Any, &[4]).await.expect("room");
        for (start, expected) in [
            (Start::Position(stored[1].position), 1..5),
            (Start::After(stored[1].position), 2..5),
            (Start::Edge, 0..5),
        ] {
            let (found, through) =
                followed(&*store, all().from(start), expected.clone().count()).await;
            assert_eq!(ids(&found), expected.map(id).collect::<Vec<_>>(), "{start:?}");
            assert_eq!(through, store.head());
        }
        let batch = loop {
            let batch = live.next().await.expect("it goes on").expect("no fault");
            if !batch.events.is_empty() {
                break batch;
            }
        };
        assert_eq!(ids(&batch.events), [id(4)]);
        // Where nothing more is, that is told.
        let head = store.head().expect("events");
        let mut at_end = store.subscribe(all().from(Start::After(head)));
        let batch = at_end.next().await.expect("it goes on").expect("no fault");
        assert_eq!((batch.through, batch.caught_up), (Some(head), true));
    });
}
