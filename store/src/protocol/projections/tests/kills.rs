//! Projections whose server is killed at any moment, or is not alone, or whose store fails.

use std::sync::atomic::{AtomicU32, Ordering};

use annals_core::{
    Append, AppendError, Appended, Batch, Position, ReadError, Revision, StoreIdentity,
};
use futures::future::BoxFuture;
use futures::stream::BoxStream;

use super::*;

/// Runs `life` in a runtime of its own, all of whose tasks then end where they are.
fn live<T>(life: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().expect("a runtime");
    let lived = runtime.block_on(life);
    runtime.shutdown_timeout(Duration::from_secs(5));
    lived
}

/// The same for every run of the test, and different for each life.
fn millis(life: u64) -> Duration {
    Duration::from_micros(life.wrapping_mul(0x9E37_79B9_7F4A_7C15) % 12_000)
}

#[test]
fn whatever_is_killed_no_link_is_lost_doubled_or_out_of_order() {
    for store in both() {
        for life in 0..60 {
            live(async {
                let world = World::over(&store, &SystemProjection::ALL).await;
                for (place, stream) in ["a-1", "b-1", "c-7", "lone"].into_iter().enumerate() {
                    let first = u128::from(life) * 100 + place as u128 * 20;
                    world.note(stream, first..first + 7).await;
                }
                if life % 7 == 3 {
                    let reset = world.projections.reset(SystemProjection::ByCategory).await;
                    reset.expect("it is managed");
                }
                sleep(millis(life)).await;
            });
        }
        live(async {
            let world = World::over(&store, &[]).await;
            world.check(&SystemProjection::ALL).await;
            world.stop().await;
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_on_one_store_write_no_link_twice() {
    for store in both() {
        let one = World::over(&store, &SystemProjection::ALL).await;
        let two = World::over(&store, &SystemProjection::ALL).await;
        for round in 0..30 {
            let world = if round % 2 == 0 { &one } else { &two };
            world.note("a-1", round * 10..round * 10 + 9).await;
            world.note(&format!("b-{round}"), 0..3).await;
            sleep(Duration::from_millis(15)).await;
        }
        one.check(&SystemProjection::ALL).await;
        two.stop().await;
        one.check(&SystemProjection::ALL).await;
        one.stop().await;
    }
}

/// A store that fails when it is told to.
struct Failing {
    store: MemoryStore,
    /// So many appends of links still go well.
    left: AtomicU32,
    refused: AtomicU32,
}

impl Failing {
    fn after(left: u32) -> Arc<Failing> {
        let store = MemoryStore::new(SimulatedClock::new(EPOCH));
        let (left, refused) = (AtomicU32::new(left), AtomicU32::new(0));
        Arc::new(Failing { store, left, refused })
    }

    /// Waits until so many appends were refused.
    async fn refuses(&self, count: u32) {
        while self.refused.load(Ordering::SeqCst) < count {
            sleep(Duration::from_millis(5)).await;
        }
    }
}

impl EventStore for Failing {
    fn append(&self, append: Append) -> BoxFuture<'static, Result<Appended, AppendError>> {
        let takes_one = |left: u32| left.checked_sub(1);
        if append.writes.len() > 2
            && self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, takes_one).is_err()
        {
            let refused = self.refused.fetch_add(1, Ordering::SeqCst);
            // Of every second one it is not told that it went well.
            if refused % 2 == 1 {
                drop(self.store.append(append));
            }
            let text = "the disk does not answer".to_owned();
            return Box::pin(async move { Err(AppendError::Unknown(text)) });
        }
        self.store.append(append)
    }

    fn read(&self, query: ReadQuery) -> BoxStream<'static, Result<Batch, ReadError>> {
        self.store.read(query)
    }

    fn subscribe(&self, query: ReadQuery) -> BoxStream<'static, Result<Batch, ReadError>> {
        self.store.subscribe(query)
    }

    fn stream_head(
        &self,
        stream: &StreamName,
    ) -> BoxFuture<'static, Result<Option<Revision>, ReadError>> {
        self.store.stream_head(stream)
    }

    fn head(&self) -> Option<Position> {
        self.store.head()
    }

    fn identity(&self) -> StoreIdentity {
        self.store.identity()
    }
}

#[tokio::test]
async fn what_the_store_refuses_is_tried_again_and_told() {
    let failing = Failing::after(0);
    let store: Arc<dyn EventStore> = Arc::<Failing>::clone(&failing);
    let world = World::over(&store, &[SystemProjection::ByCategory]).await;
    world.note("a-1", 0..40).await;
    let began = tokio::time::Instant::now();
    while failing.refused.load(Ordering::SeqCst) < 4 {
        let told = world.statistics(SystemProjection::ByCategory).await;
        let is_refused = failing.refused.load(Ordering::SeqCst) > 0;
        assert_eq!(is_refused, !told.state_reason.is_empty(), "{told:?}");
        sleep(Duration::from_millis(5)).await;
    }
    let waited = began.elapsed();
    assert!(waited >= Duration::from_millis(700), "it waits longer each time: {waited:?}");
    let told = world.statistics(SystemProjection::ByCategory).await;
    let expected = "links could not be written: the outcome of the append is not known: \
                    the disk does not answer";
    assert_eq!((told.status.as_str(), told.state_reason.as_str()), ("Running", expected));
    failing.left.store(u32::MAX, Ordering::SeqCst);
    world.check(&[SystemProjection::ByCategory]).await;
    world.note("a-1", 40..45).await;
    world.check(&[SystemProjection::ByCategory]).await;
    let told = world.statistics(SystemProjection::ByCategory).await;
    assert_eq!(told.state_reason, "");
    world.stop().await;
}

#[tokio::test]
async fn a_reset_that_is_cut_off_goes_on_where_it_was() {
    let failing = Failing::after(u32::MAX);
    let store: Arc<dyn EventStore> = Arc::<Failing>::clone(&failing);
    let world = World::over(&store, &[SystemProjection::ByCategory]).await;
    world.note("a-1", 0..100).await;
    world.check(&[SystemProjection::ByCategory]).await;
    failing.left.store(2, Ordering::SeqCst);
    world.projections.reset(SystemProjection::ByCategory).await.expect("it is managed");
    failing.refuses(1).await;
    let anew = world.links("$ce-a").await.len();
    assert!((1..100).contains(&anew), "{anew} links");
    world.stop().await;
    failing.left.store(u32::MAX, Ordering::SeqCst);
    let world = World::over(&store, &[]).await;
    world.check(&[SystemProjection::ByCategory]).await;
    assert_eq!(world.statistics(SystemProjection::ByCategory).await.version, 1);
    world.stop().await;
}
