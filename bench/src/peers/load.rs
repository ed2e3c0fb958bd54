//! The load: callers that each wait for their answer before they ask again, a warm-up that does not count, and the
//! calls that fall wholly into the time that does.

use std::future::Future;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::PeerError;

/// How long a load goes on before it counts, and how long it then counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// What does not count.
    pub(crate) warm_up: Duration,
    /// What counts.
    pub(crate) counted: Duration,
}

/// The instants between which calls count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    begin: Instant,
    end: Instant,
}

impl Window {
    /// Begins after the warm-up from now on.
    pub(crate) fn from_now(timing: Timing) -> Window {
        let begin = Instant::now() + timing.warm_up;
        Window { begin, end: begin + timing.counted }
    }

    /// Whether nobody is to ask again.
    pub(crate) fn is_over_at(&self, now: Instant) -> bool {
        now >= self.end
    }
}

/// What one caller, or all of them, did.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    /// Until each counted call was answered.
    pub(crate) took: Vec<Duration>,
    /// Events of the counted calls.
    pub(crate) counted: u64,
    /// Events of all calls, the warm-up's included.
    pub(crate) acknowledged: u64,
}

impl Calls {
    /// Adds a call.
    pub(crate) fn add(
        &mut self,
        window: &Window,
        (asked, answered): (Instant, Instant),
        events: u64,
    ) {
        self.acknowledged += events;
        // A call belongs to the window in which it was answered: what began in the warm-up costs no less.
        if answered >= window.begin && answered < window.end {
            self.counted += events;
            self.took.push(answered - asked);
        }
    }

    fn join(mut self, mut other: Calls) -> Calls {
        self.took.append(&mut other.took);
        self.counted += other.counted;
        self.acknowledged += other.acknowledged;
        self
    }
}

/// One connection that appends.
pub(crate) trait Caller: Send + 'static {
    /// Appends until the window is over, and waits for every answer.
    fn drive(self, window: Window) -> impl Future<Output = Result<Calls, PeerError>> + Send;
}

/// One append, with how many events it holds, answered once it is durable.
pub(crate) trait Unary: Send + 'static {
    /// Appends once.
    fn call(&mut self) -> impl Future<Output = Result<u64, PeerError>> + Send;
}

impl<U: Unary> Caller for U {
    async fn drive(mut self, window: Window) -> Result<Calls, PeerError> {
        let mut calls = Calls::default();
        let mut asked = Instant::now();
        while !window.is_over_at(asked) {
            let events = self.call().await?;
            let answered = Instant::now();
            calls.add(&window, (asked, answered), events);
            asked = answered;
        }
        Ok(calls)
    }
}

/// Lets all callers append at the same time.
pub(crate) async fn drive(callers: Vec<impl Caller>, timing: Timing) -> Result<Calls, PeerError> {
    let window = Window::from_now(timing);
    let mut running = JoinSet::new();
    for caller in callers {
        running.spawn(caller.drive(window));
    }
    let done = running.join_all().await;
    done.into_iter().try_fold(Calls::default(), |sum, calls| Ok(sum.join(calls?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Sleeper(Duration);

    impl Unary for Sleeper {
        async fn call(&mut self) -> Result<u64, PeerError> {
            tokio::time::sleep(self.0).await;
            Ok(3)
        }
    }

    #[test]
    fn only_what_is_answered_after_the_warm_up_and_before_the_end_counts() {
        let (now, hour) = (Instant::now(), Duration::from_hours(1));
        let check = |begin, end, counted| {
            let mut calls = Calls::default();
            calls.add(&Window { begin, end }, (now, now), 3);
            assert_eq!((calls.acknowledged, calls.counted), (3, counted));
            assert_eq!(calls.took.len() as u64 * 3, counted);
        };
        check(now, now + hour, 3);
        check(now + hour, now + 2 * hour, 0);
        check(now, now, 0);
    }

    #[tokio::test]
    async fn every_caller_goes_on_until_the_end_and_is_waited_for() {
        let (warm_up, counted) = (Duration::ZERO, Duration::from_millis(300));
        let callers = vec![Sleeper(Duration::from_millis(20)), Sleeper(Duration::from_millis(450))];
        let calls = drive(callers, Timing { warm_up, counted }).await.expect("nothing fails");
        assert_eq!(calls.counted, 3 * calls.took.len() as u64);
        // The slow one is answered after the end: that is acknowledged, and does not count.
        assert!(calls.counted >= 3 && calls.acknowledged >= calls.counted + 3, "{calls:?}");
        assert!(calls.took.iter().all(|took| *took >= Duration::from_millis(20)), "{calls:?}");
    }
}
