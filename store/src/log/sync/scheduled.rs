//! Locks, threads and tasks of a test's schedule, in the shape of those that the log uses otherwise. Before each thing
//! that another thread can see, the schedule may go on with that one. Only one thread ever runs at a time.

#![allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "called as what they stand for")]

use std::convert::Infallible;
use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use shuttle::rand::Rng;
use shuttle::sync::atomic::AtomicBool;

pub(crate) use shuttle::future::{JoinHandle, yield_now};
pub(crate) use shuttle::sync::atomic::AtomicU32;
pub(crate) use shuttle::thread;
pub(crate) use tokio::runtime::RuntimeFlavor;

/// One of so many times, a runtime ends before a task had its turn.
const TASKS_DROPPED: u32 = 4;

/// The schedule may go on with another thread here.
pub(crate) fn turn() {
    AtomicBool::new(false).load(Ordering::SeqCst);
}

/// A lock that a panic does not poison.
#[derive(Default)]
pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

/// A lock that is held; what it holds is only missing while it waits.
pub(crate) struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    held: Option<shuttle::sync::MutexGuard<'a, T>>,
}

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Mutex<T> {
        Mutex(shuttle::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        MutexGuard { mutex: self, held: Some(held) }
    }
}

impl<T> MutexGuard<'_, T> {
    /// Who gets it next is the schedule's choice anyway.
    pub(crate) fn unlock_fair(guard: MutexGuard<'_, T>) {
        drop(guard);
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.held.as_ref().expect("it is held")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.held.as_mut().expect("it is held")
    }
}

/// What a thread waits for that holds a lock.
#[derive(Default)]
pub(crate) struct Condvar(shuttle::sync::Condvar);

impl Condvar {
    pub(crate) fn new() -> Condvar {
        Condvar::default()
    }

    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let held = guard.held.take().expect("it is held");
        guard.held = Some(self.0.wait(held).unwrap_or_else(PoisonError::into_inner));
    }

    /// No clock runs in a schedule: the time may be over as soon as others have had a turn.
    pub(crate) fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, _time: Duration) {
        drop(guard.held.take());
        thread::yield_now();
        guard.held = guard.mutex.lock().held;
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// A lock for one that changes or many that read.
#[derive(Default)]
pub(crate) struct RwLock<T>(shuttle::sync::RwLock<T>);

impl<T> RwLock<T> {
    pub(crate) fn new(value: T) -> RwLock<T> {
        RwLock(shuttle::sync::RwLock::new(value))
    }

    pub(crate) fn read(&self) -> shuttle::sync::RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> shuttle::sync::RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tokio's, with a turn before each use; a schedule runs no other thread within one.
pub(crate) mod watch {
    use super::turn;
    use tokio::sync::watch;

    pub(crate) struct Sender<T>(watch::Sender<T>);
    pub(crate) struct Receiver<T>(watch::Receiver<T>);

    impl<T> Sender<T> {
        pub(crate) fn new(value: T) -> Sender<T> {
            Sender(watch::Sender::new(value))
        }

        pub(crate) fn borrow(&self) -> watch::Ref<'_, T> {
            turn();
            self.0.borrow()
        }

        pub(crate) fn send_replace(&self, value: T) {
            turn();
            self.0.send_replace(value);
        }

        pub(crate) fn send_modify(&self, modify: impl FnOnce(&mut T)) {
            turn();
            self.0.send_modify(modify);
        }

        pub(crate) fn receiver_count(&self) -> usize {
            turn();
            self.0.receiver_count()
        }

        pub(crate) fn subscribe(&self) -> Receiver<T> {
            turn();
            Receiver(self.0.subscribe())
        }
    }

    impl<T> Receiver<T> {
        pub(crate) fn mark_unchanged(&mut self) {
            turn();
            self.0.mark_unchanged();
        }

        pub(crate) async fn changed(&mut self) -> Result<(), watch::error::RecvError> {
            turn();
            self.0.changed().await
        }
    }
}

/// The runtime of a test: every thread of a schedule is in it.
pub(crate) struct Handle;

impl Handle {
    pub(crate) fn current() -> Handle {
        Handle
    }

    pub(crate) fn try_current() -> Result<Handle, Infallible> {
        Ok(Handle)
    }

    pub(crate) fn runtime_flavor(&self) -> RuntimeFlavor {
        RuntimeFlavor::MultiThread
    }

    /// Begins a task; or drops it, as a runtime does that ends.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if shuttle::rand::thread_rng().gen_ratio(1, TASKS_DROPPED) {
            drop(task);
        } else {
            drop(shuttle::future::spawn(task));
        }
    }
}

/// Runs a step that may wait.
pub(crate) fn block_in_place<T>(step: impl FnOnce() -> T) -> T {
    turn();
    step()
}

/// Runs a step that may wait, on a thread of its own.
pub(crate) fn spawn_blocking<T: Send + 'static>(
    step: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    shuttle::future::spawn(async move { step() })
}
