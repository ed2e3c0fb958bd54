//! What is counted and timed of a group and its consumers.

use std::collections::VecDeque;
use std::time::Duration;

/// So many of the last events are timed.
const TIMED: usize = 1000;

/// Counts events.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    since: Duration,
    total: u64,
    told: u64,
}

/// What a meter tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    /// Events a second, since it began.
    pub(crate) average: i32,
    /// Events since it began.
    pub(crate) total: i64,
    /// Events since it was read last.
    pub(crate) since_last: i64,
}

impl Meter {
    /// Begins to count.
    pub(crate) fn new(now: Duration) -> Meter {
        Meter { since: now, total: 0, told: 0 }
    }

    /// One more.
    pub(crate) fn count(&mut self) {
        self.total += 1;
    }

    /// Tells what was counted.
    pub(crate) fn read(&mut self, now: Duration) -> Reading {
        let millis = now.saturating_sub(self.since).as_millis().max(1);
        let average = u128::from(self.total) * 1000 / millis;
        let since_last = self.total - std::mem::replace(&mut self.told, self.total);
        Reading {
            average: i32::try_from(average).unwrap_or(i32::MAX),
            total: i64::try_from(self.total).unwrap_or(i64::MAX),
            since_last: i64::try_from(since_last).unwrap_or(i64::MAX),
        }
    }
}

/// How long a consumer took for its last events.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times(VecDeque<Duration>);

impl Times {
    /// One more took this long.
    pub(crate) fn add(&mut self, time: Duration) {
        if self.0.len() == TIMED {
            self.0.pop_front();
        }
        self.0.push_back(time);
    }

    /// In milliseconds: the mean, and what so many of them did not pass.
    pub(crate) fn measurements(&self) -> Vec<(&'static str, i64)> {
        let mut sorted: Vec<_> = self.0.iter().copied().collect();
        sorted.sort_unstable();
        let Some(count) = u32::try_from(sorted.len()).ok().filter(|count| *count > 0) else {
            return Vec::new();
        };
        let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        let at = |per_mille: usize| {
            millis(sorted[(sorted.len() * per_mille / 1000).min(sorted.len() - 1)])
        };
        vec![
            ("Mean", millis(sorted.iter().sum::<Duration>() / count)),
            ("Median", at(500)),
            ("Fastest", millis(sorted[0])),
            ("Quintile 1", at(200)),
            ("Quintile 2", at(400)),
            ("Quintile 3", at(600)),
            ("Quintile 4", at(800)),
            ("Quintile 5", at(1000)),
            ("90%", at(900)),
            ("95%", at(950)),
            ("99%", at(990)),
            ("99.5%", at(995)),
            ("99.9%", at(999)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meter_tells_what_came_since_it_was_read() {
        let mut meter = Meter::new(Duration::from_secs(10));
        (0..30).for_each(|_| meter.count());
        let read = meter.read(Duration::from_secs(13));
        assert_eq!(read, Reading { average: 10, total: 30, since_last: 30 });
        meter.count();
        assert_eq!(meter.read(Duration::from_secs(13)).since_last, 1);
    }

    #[test]
    fn the_last_thousand_are_timed() {
        let mut times = Times::default();
        assert_eq!(times.measurements(), []);
        (0..2000).for_each(|time| times.add(Duration::from_millis(time)));
        let told = times.measurements();
        for expected in [("Fastest", 1000), ("Median", 1500), ("90%", 1900), ("Quintile 5", 1999)] {
            assert!(told.contains(&expected), "{expected:?} in {told:?}");
        }
    }
}
