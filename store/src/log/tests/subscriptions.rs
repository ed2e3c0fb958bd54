//! Subscriptions under concurrent appends: gap-free, without doubles, in order, from memory or from
//! the disk.

use std::sync::Arc;

use annals_core::disk::SimulatedDisk;
use annals_core::random::SeededRandom;
use annals_core::{
    Append, EventStore, Filter, Position, ReadError, ReadQuery, RecordedEvent, Start,
};
use futures::StreamExt;

use super::{Log, LogOptions, append, block_on, event, open_with, small, stream, write};

const EVENTS: u64 = 3_000;

fn parallel<T>(future: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build();
    runtime.expect("a runtime starts").block_on(future)
}

/// Appends [`EVENTS`] events in appends of random size to two streams.
async fn produce(log: Arc<Log>, seed: u64) {
    let random = SeededRandom::new(seed);
    let mut next = 0;
    while next < EVENTS {
        let count = (1 + random.below(20)).min(EVENTS - next);
        let events = (next..next + count).map(|id| event(u128::from(id) + 1, vec![1; 20]));
        let name = if random.below(3) == 0 { "account-B" } else { "account-A" };
        log.append(Append::to(write(name, events.collect()))).await.unwrap();
        next += count;
    }
}

/// Follows until `through` has reached the last event; sees to it that `through` and positions only
/// grow.
async fn follow(log: &Log, query: ReadQuery, slow: bool) -> Vec<RecordedEvent> {
    let mut events: Vec<RecordedEvent> = Vec::new();
    let mut through = None;
    let mut batches = log.subscribe(query);
    while through < Some(Position(EVENTS - 1)) {
        let batch = batches.next().await.expect("it does not end").expect("it does not fail");
        assert!(batch.through >= through, "{:?} after {through:?}", batch.through);
        for event in batch.events.iter() {
            assert!(Some(event.position) <= batch.through, "an event beyond through");
            assert!(events.last().is_none_or(|last| last.position < event.position));
        }
        through = batch.through;
        events.extend(Arc::unwrap_or_clone(batch.events));
        if slow {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }
    events
}

fn check_seam(tail_bytes_max: usize, seed: u64) {
    let disk = SimulatedDisk::new(1);
    let options = LogOptions { segment_bytes: 64 << 10, tail_bytes_max, ..small() };
    let log = open_with(&disk, options).unwrap();
    parallel(async {
        let producer = tokio::spawn(produce(Arc::clone(&log), seed));
        let mut followers = Vec::new();
        for number in 0..12_u64 {
            let log = Arc::clone(&log);
            followers.push(tokio::spawn(async move {
                let query = match number % 4 {
                    0 => ReadQuery::all(),
                    1 => ReadQuery::stream(stream("account-B")),
                    2 => ReadQuery::all().from(Start::After(Position(100 * number))),
                    _ => ReadQuery::all().filtered(Filter {
                        stream_prefixes: vec!["account-A".to_owned()],
                        ..Filter::default()
                    }),
                };
                (number, follow(&log, query, number >= 8).await)
            }));
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        producer.await.unwrap();
        let all = super::read(&log, ReadQuery::all()).await.unwrap();
        assert_eq!(all.len() as u64, EVENTS);
        for follower in followers {
            let (number, events) = follower.await.unwrap();
            let expected = all.iter().filter(|event| match number % 4 {
                0 => true,
                1 => event.stream.as_str() == "account-B",
                2 => event.position.0 > 100 * number,
                _ => event.stream.as_str() == "account-A",
            });
            assert!(expected.eq(&events), "follower {number} of seed {seed}");
        }
    });
}

#[test]
fn catching_up_and_going_live_has_no_seam() {
    for seed in 0..4 {
        check_seam(64 << 20, seed);
    }
}

#[test]
fn a_slow_subscription_falls_back_to_the_disk() {
    for seed in 0..4 {
        check_seam(4 << 10, seed);
    }
}

#[test]
fn a_subscription_from_the_end_sees_only_what_comes_and_ends_when_the_log_is_closed() {
    let disk = SimulatedDisk::new(1);
    let log = open_with(&disk, small()).unwrap();
    block_on(async {
        log.append(append("s", 1, vec![1])).await.unwrap();
        let mut live = log.subscribe(ReadQuery::all().from(Start::End));
        let batch = live.next().await.unwrap().unwrap();
        assert_eq!((batch.events.len(), batch.through), (0, Some(Position(0))));
        assert!(batch.caught_up);
        log.append(append("s", 2, vec![2])).await.unwrap();
        let batch = live.next().await.unwrap().unwrap();
        assert_eq!((batch.events.len(), batch.through), (1, Some(Position(1))));
        log.close();
        assert!(matches!(live.next().await, Some(Err(ReadError::Fault { .. }))));
        assert!(live.next().await.is_none());
    });
}

/// More than the writer wakes itself.
#[test]
fn many_subscriptions_get_everything_in_order_and_end_with_the_log() {
    const MANY: usize = 300;
    let log = open_with(&SimulatedDisk::new(1), small()).unwrap();
    parallel(async {
        let mut subscriptions: Vec<_> =
            (0..MANY).map(|_| log.subscribe(ReadQuery::all().from(Start::End))).collect();
        for id in 1..=200 {
            log.append(append("s", id, vec![1; 30])).await.unwrap();
        }
        for live in &mut subscriptions {
            let mut next = 0;
            while next < 200 {
                let waited = tokio::time::timeout(std::time::Duration::from_secs(20), live.next());
                for event in waited.await.expect("it is woken").unwrap().unwrap().events.iter() {
                    assert_eq!(event.position, Position(next));
                    next += 1;
                }
            }
        }
        log.append(append("s", 201, vec![1])).await.unwrap();
        log.close();
        for live in &mut subscriptions {
            let last = live.next().await.unwrap().unwrap();
            assert_eq!(last.events.len(), 1);
            assert!(matches!(live.next().await, Some(Err(ReadError::Fault { .. }))));
        }
    });
}
