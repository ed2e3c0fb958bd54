//! Where the log takes its locks, threads and tasks from, so that its tests can choose who runs next: compiled with
//! `cfg(schedules)`, as `annals-schedules` does, each of them is a place where a test's schedule may go on with another
//! thread. `Arc`, `oneshot` and `OnceLock` need no such place; nobody waits for what only they could bring.

#[cfg(schedules)]
mod scheduled;

#[cfg(schedules)]
pub(crate) use scheduled::*;

#[cfg(not(schedules))]
pub(crate) use {
    parking_lot::{Condvar, Mutex, MutexGuard, RwLock},
    std::sync::atomic::AtomicU32,
    std::thread,
    tokio::runtime::{Handle, RuntimeFlavor},
    tokio::sync::watch,
    tokio::task::{JoinHandle, block_in_place, spawn_blocking, yield_now},
};
