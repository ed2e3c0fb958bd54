//! A protocol over a store in memory, for the tests of its services.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use annals_core::EventStore;
use annals_core::clock::{SimulatedClock, Timestamp};
use annals_core::disk::SimulatedDisk;
use annals_core::memory::MemoryStore;
use annals_core::random::SeededRandom;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::access::Users;
use super::service::{Parts, Protocol, Settings};
use crate::log::{Log, LogOptions};

/// When the tests take place.
pub(crate) const EPOCH: Timestamp = Timestamp(1_700_000_000_000_000);

/// Two servers over one store do not make the same ids.
static SEEDS: AtomicU64 = AtomicU64::new(0);

/// A log on an empty disk. Its segments are small: one is filled with zeros in no time, whatever else the machine does.
pub(crate) fn log(clock: &SimulatedClock) -> Arc<Log> {
    let (disk, clock) = (Arc::new(SimulatedDisk::new(1)), Arc::new(clock.clone()));
    let options = LogOptions { segment_bytes: 1 << 20, ..LogOptions::default() };
    let log = Log::open(disk, Path::new("log"), clock, Arc::new(SeededRandom::new(2)), options);
    log.expect("an empty disk")
}

/// A protocol over an empty store.
pub(crate) fn protocol() -> Arc<Protocol> {
    let clock = SimulatedClock::new(EPOCH);
    protocol_over(Arc::new(MemoryStore::new(clock.clone())), &clock)
}

/// A protocol over this store.
pub(crate) fn protocol_over(store: Arc<dyn EventStore>, clock: &SimulatedClock) -> Arc<Protocol> {
    Protocol::new(parts_over(store, clock))
}

/// A protocol over this store for its users.
pub(crate) async fn secured_over(
    store: Arc<dyn EventStore>,
    clock: &SimulatedClock,
) -> Arc<Protocol> {
    let parts = parts_over(store, clock);
    let (clock, random) = (Arc::clone(&parts.clock), Arc::clone(&parts.random));
    let users = Users::open(Arc::clone(&parts.store), clock, random).await;
    Protocol::for_users(parts, Some(users.expect("users that can be read")))
}

fn parts_over(store: Arc<dyn EventStore>, clock: &SimulatedClock) -> Parts {
    Parts {
        store,
        clock: Arc::new(clock.clone()),
        random: Arc::new(SeededRandom::new(SEEDS.fetch_add(1, Ordering::Relaxed))),
        open: Arc::new(Semaphore::new(8)),
        stopping: CancellationToken::new(),
        asked_to_stop: CancellationToken::new(),
        settings: Settings {
            host: "127.0.0.1".to_owned(),
            port: 2113,
            event_bytes_max: 1000,
            append_bytes_max: 3000,
            write_timeout: Duration::from_secs(3),
            system_projections: Some(BTreeSet::new()),
        },
    }
}
