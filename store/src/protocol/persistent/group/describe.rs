//! What a group tells about itself.

use std::time::Duration;

use super::super::consumers::About;
use super::super::measure::Reading;
use super::super::settings::Settings;
use super::Group;

/// A group as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Description {
    /// What it was told.
    pub(crate) settings: Settings,
    /// Its consumers.
    pub(crate) consumers: Vec<ConsumerDescription>,
    /// Events given out.
    pub(crate) given: Reading,
    /// The place of the last checkpoint.
    pub(crate) checkpoint: Option<u64>,
    /// The last place of its source that it has looked at.
    pub(crate) reached: Option<u64>,
    /// Events that no consumer was given yet.
    pub(crate) waiting: usize,
    /// Events to be given again.
    pub(crate) retries: usize,
    /// Events that consumers have.
    pub(crate) in_flight: usize,
}

/// A consumer as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConsumerDescription {
    /// Who it is.
    pub(crate) about: About,
    /// Events given to it.
    pub(crate) given: Reading,
    /// How long it took, where that is measured.
    pub(crate) times: Vec<(&'static str, i64)>,
    /// Events that it has.
    pub(crate) in_flight: usize,
}

impl Group {
    /// Tells how it is now. What came since the last time is counted from here on.
    pub(crate) fn describe(&mut self, now: Duration) -> Description {
        let consumers = self.consumers.iter_mut().map(|consumer| ConsumerDescription {
            about: consumer.about.clone(),
            given: consumer.meter.read(now),
            times: consumer.times.measurements(),
            in_flight: consumer.in_flight(),
        });
        Description {
            consumers: consumers.collect(),
            settings: self.settings.clone(),
            given: self.meter.read(now),
            checkpoint: self.checkpoints.written,
            reached: self.source.reached(),
            waiting: self.fresh.len(),
            retries: self.retries.len(),
            in_flight: self.in_flight.len(),
        }
    }
}
