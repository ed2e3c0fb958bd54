//! What a group is told when it is made or changed, and how it is kept.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// More events than these are not held for consumers, whatever a group is told.
const BUFFER_MAX: u32 = 65_536;

/// How events are shared out among the consumers of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Strategy {
    /// To the first consumer until it has as many as it takes, then to the next.
    DispatchToSingle,
    /// In turn.
    RoundRobin,
    /// Events of one stream to one consumer, while it stays.
    Pinned,
    /// Events of one conversation to one consumer, while it stays.
    PinnedByCorrelation,
}

impl Strategy {
    /// The name that clients know it by.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Strategy::DispatchToSingle => "DispatchToSingle",
            Strategy::RoundRobin => "RoundRobin",
            Strategy::Pinned => "Pinned",
            Strategy::PinnedByCorrelation => "PinnedByCorrelation",
        }
    }

    /// The strategy of that name.
    pub(crate) fn named(name: &str) -> Option<Strategy> {
        let all = [
            Strategy::DispatchToSingle,
            Strategy::RoundRobin,
            Strategy::Pinned,
            Strategy::PinnedByCorrelation,
        ];
        all.into_iter().find(|strategy| strategy.name() == name)
    }

    /// Whether it matters which consumer an event goes to.
    pub(crate) fn is_pinned(self) -> bool {
        match self {
            Strategy::DispatchToSingle | Strategy::RoundRobin => false,
            Strategy::Pinned | Strategy::PinnedByCorrelation => true,
        }
    }
}

/// What a group is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// Whether links are answered as the events they name.
    pub(crate) resolve_links: bool,
    /// Whether how long consumers take is measured.
    pub(crate) extra_statistics: bool,
    /// How long a consumer may take; nothing is for ever.
    pub(crate) message_timeout: Option<Duration>,
    /// An event that was tried so often is parked instead of being tried again.
    pub(crate) max_retry_count: u32,
    /// How long after the last checkpoint the next is written.
    pub(crate) checkpoint_after: Duration,
    /// With how many events done at least.
    pub(crate) min_checkpoint_count: u32,
    /// How many events done are worth a checkpoint at once.
    pub(crate) max_checkpoint_count: u32,
    /// How many consumers there may be; 0 is any number.
    pub(crate) max_subscriber_count: u32,
    /// How many new events are held while the group is live.
    pub(crate) live_buffer_size: u32,
    /// How many are read at once.
    pub(crate) read_batch_size: u32,
    /// How many older events are held.
    pub(crate) history_buffer_size: u32,
    /// How events are shared out.
    pub(crate) strategy: Strategy,
}

impl Settings {
    /// Why a group cannot be run so; nothing where it can.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        if self.history_buffer_size <= self.read_batch_size {
            return Some("Buffer size must be greater than read batch size.");
        }
        if self.max_checkpoint_count > 0 && self.max_checkpoint_count < self.min_checkpoint_count {
            return Some("Max checkpoint count must not be less than min checkpoint count.");
        }
        None
    }

    /// How many events that no consumer was given yet are held.
    pub(crate) fn buffer(&self) -> usize {
        let most = self.live_buffer_size.max(self.history_buffer_size).clamp(1, BUFFER_MAX);
        usize::try_from(most).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strategy_is_found_by_its_name() {
        let strategy = Strategy::PinnedByCorrelation;
        assert_eq!(Strategy::named(strategy.name()), Some(strategy));
        assert_eq!(Strategy::named("pinned"), None);
    }
}
