//! Wakes live subscriptions when there is something new. A few are woken by the writer itself, at once; many by a thread of
//! its own, which then waits for a moment that grows with their number, so that each finds more to take and the writer
//! is not held up.

use std::time::Duration;

use super::shared::Shared;
use super::sync::{Condvar, Mutex, watch};
use super::writer::PoisonOnPanic;

/// So many subscriptions are woken by the writer.
pub(crate) const FEW: usize = 64;
/// The wait between two wakes, for each subscription.
const PAUSE: Duration = Duration::from_micros(2);

#[derive(Default)]
struct State {
    news: bool,
    /// The thread waits for its moment to end, not for news.
    pausing: bool,
    stopped: bool,
}

/// What live subscriptions wait for.
pub(crate) struct Live {
    wakes: watch::Sender<()>,
    state: Mutex<State>,
    changed: Condvar,
}

impl Live {
    pub(crate) fn new() -> Live {
        Live { wakes: watch::Sender::new(()), state: Mutex::default(), changed: Condvar::new() }
    }

    /// Ends waiting each time that something may be new.
    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.wakes.subscribe()
    }

    /// Something is durable that was not before.
    pub(crate) fn tell(&self) {
        if self.wakes.receiver_count() <= FEW {
            self.wakes.send_replace(());
            return;
        }
        let mut state = self.state.lock();
        if !std::mem::replace(&mut state.news, true) && !state.pausing {
            self.changed.notify_one();
        }
    }

    /// Wakes all, and ends the thread.
    pub(crate) fn stop(&self) {
        self.state.lock().stopped = true;
        self.changed.notify_one();
        self.wakes.send_replace(());
    }

    /// The thread.
    pub(crate) fn run(&self, shared: &Shared) {
        let guard = PoisonOnPanic::guarding(shared);
        let mut state = self.state.lock();
        while !state.stopped {
            if !std::mem::take(&mut state.news) {
                self.changed.wait(&mut state);
                continue;
            }
            drop(state);
            self.wakes.send_replace(());
            let receivers = u32::try_from(self.wakes.receiver_count()).unwrap_or(u32::MAX);
            state = self.state.lock();
            if !state.stopped {
                state.pausing = true;
                self.changed.wait_for(&mut state, PAUSE.saturating_mul(receivers));
                state.pausing = false;
            }
        }
        guard.finished();
    }
}
