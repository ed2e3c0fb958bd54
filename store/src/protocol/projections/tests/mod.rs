//! Projections over a store: the one in memory, and the log.

mod kills;
mod linking;
mod managing;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use annals_core::clock::{SimulatedClock, SystemClock};
use annals_core::disk::SimulatedDisk;
use annals_core::memory::MemoryStore;
use annals_core::random::SystemRandom;
use annals_core::{EventStore, NewEvent, ReadQuery, RecordedEvent, StreamName};
use futures::TryStreamExt;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::super::service::{Parts, Protocol, Settings};
use super::super::testing::EPOCH;
use super::super::wire::v1::projections::statistics_resp::Details;
use super::super::writes::{Expected, Proposal, Written};
use super::management::SystemProjections;
use super::system::SystemProjection;
use super::testing::{naive, new_event};
use crate::{Log, LogOptions};

/// Nothing here takes so long.
const LIMIT: Duration = Duration::from_mins(1);

/// A server's projections over a store.
struct World {
    store: Arc<dyn EventStore>,
    protocol: Arc<Protocol>,
    projections: Arc<SystemProjections>,
    stopping: CancellationToken,
}

fn name(name: &str) -> StreamName {
    StreamName::new(name).expect("a name")
}

/// The store in memory, and the log on a simulated disk.
fn both() -> [Arc<dyn EventStore>; 2] {
    let disk = Arc::new(SimulatedDisk::new(5));
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
    let log = Log::open(disk, "log", clock, random, LogOptions::default()).expect("a log");
    [Arc::new(MemoryStore::new(SimulatedClock::new(EPOCH))), log]
}

impl World {
    /// A server that is told to run these in a store that was told nothing of them.
    async fn over(store: &Arc<dyn EventStore>, initially: &[SystemProjection]) -> World {
        let world = World::of(store, Some(initially.iter().copied().collect()));
        world.projections.start().await;
        world
    }

    /// A server whose projections have not started.
    fn of(store: &Arc<dyn EventStore>, initially: Option<BTreeSet<SystemProjection>>) -> World {
        let stopping = CancellationToken::new();
        let protocol = Protocol::new(Parts {
            store: Arc::clone(store),
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
            open: Arc::new(Semaphore::new(10)),
            stopping: stopping.clone(),
            asked_to_stop: CancellationToken::new(),
            settings: Settings {
                host: "127.0.0.1".to_owned(),
                port: 1,
                event_bytes_max: 10_000,
                // Little, so that batches are small and many.
                append_bytes_max: 3_000,
                write_timeout: LIMIT,
                system_projections: initially,
            },
        });
        let projections = Arc::new(SystemProjections::new(&protocol));
        World { store: Arc::clone(store), protocol, projections, stopping }
    }

    /// As over both stores, with all projections running.
    async fn both() -> Vec<World> {
        let mut worlds = Vec::new();
        for store in both() {
            worlds.push(World::over(&store, &SystemProjection::ALL).await);
        }
        worlds
    }

    async fn append(&self, stream: &str, events: Vec<NewEvent>) -> Written {
        let proposal = Proposal::new(name(stream), Expected::Any, events);
        self.protocol.write(&proposal).await.expect("room")
    }

    /// An event a number.
    async fn note(&self, stream: &str, numbers: std::ops::Range<u128>) {
        let events = numbers.map(|number| new_event(number, "note.Taken", Some("c")));
        self.append(stream, events.collect()).await;
    }

    async fn read(&self, query: ReadQuery) -> Vec<RecordedEvent> {
        let batches = self.store.read(query);
        let batches: Vec<_> = batches.try_collect().await.expect("a read");
        batches.iter().flat_map(|batch| batch.events.iter().cloned()).collect()
    }

    /// What the links of a stream name that a reader is shown.
    async fn links(&self, stream: &str) -> Vec<String> {
        let events = self.read(ReadQuery::stream(name(stream))).await;
        events.iter().map(|event| String::from_utf8_lossy(&event.data).into_owned()).collect()
    }

    async fn statistics(&self, projection: SystemProjection) -> Details {
        let told = self.projections.statistics(&[projection]).await;
        told.expect("it is managed").into_iter().next().expect("it is told of")
    }

    /// Waits until a projection has written all that there is.
    async fn settled(&self, projection: SystemProjection) -> Details {
        let same = async {
            loop {
                let told = self.statistics(projection).await;
                let done = told.buffered_events == 0 && told.writes_in_progress == 0;
                if told.progress >= 100.0 && done {
                    return told;
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(LIMIT, same).await.unwrap_or_else(|_| panic!("{projection} never settles"))
    }

    async fn all_settle(&self) {
        for projection in SystemProjection::ALL {
            self.settled(projection).await;
        }
    }

    /// Whether each stream of links shows what it is to show: every link once, in order, and no other.
    async fn check(&self, projections: &[SystemProjection]) {
        let log = self.read(ReadQuery::all()).await;
        for projection in projections {
            self.settled(*projection).await;
            let expected = naive(*projection, &log);
            let mut found = BTreeMap::new();
            for stream in expected.keys() {
                found.insert(stream.clone(), self.links(stream).await);
            }
            assert_eq!(found, expected, "{projection}");
        }
    }

    /// Ends the server as one ends that is told to.
    async fn stop(self) {
        self.stopping.cancel();
        timeout(LIMIT, self.projections.close()).await.expect("an end in time");
    }
}
