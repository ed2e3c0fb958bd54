//! One event on its way to a consumer.

use std::hash::Hasher as _;
use std::sync::Arc;

use annals_core::{EventId, RecordedEvent};
use siphasher::sip::SipHasher13;

use super::super::correlation::correlation;
use super::settings::Strategy;

/// Where an event came from; what its being done means differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// From what the group follows: its revision in the stream, or its position in the whole log.
    Source(u64),
    /// From the group's parked events: the revision there of the link to it.
    Parked(u64),
}

/// An event and the link that led to it; one of them is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resolved {
    /// The event; nothing where a link leads nowhere.
    pub(crate) event: Option<RecordedEvent>,
    /// The link, where there was one and it was to be resolved.
    pub(crate) link: Option<RecordedEvent>,
}

impl Resolved {
    /// The event that stands in what the group follows: the link, where there is one.
    pub(crate) fn original(&self) -> Option<&RecordedEvent> {
        self.link.as_ref().or(self.event.as_ref())
    }

    /// What is the same for events that are to go to one consumer.
    pub(crate) fn pin(&self, strategy: Strategy) -> u64 {
        let event = self.event.as_ref().or(self.link.as_ref());
        let Some(event) = event else { return 0 };
        match strategy {
            Strategy::DispatchToSingle | Strategy::RoundRobin => 0,
            Strategy::Pinned => hash(event.stream.as_str()),
            Strategy::PinnedByCorrelation => match correlation(event) {
                Some(correlation) => hash(&correlation),
                None => hash(event.stream.as_str()),
            },
        }
    }
}

/// An event on its way, and how often it was tried before. Clones share the event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// What consumers name it by.
    pub(crate) id: EventId,
    /// Where it came from.
    pub(crate) origin: Origin,
    /// The same for events that are to go to one consumer.
    pub(crate) pin: u64,
    /// How often it was given to a consumer that did not finish it.
    pub(crate) retry_count: u32,
    /// The event.
    pub(crate) content: Arc<Resolved>,
}

impl Message {
    /// An event that no consumer was given yet.
    pub(crate) fn new(content: Resolved, origin: Origin, strategy: Strategy) -> Option<Message> {
        let id = content.original()?.id;
        let pin = content.pin(strategy);
        Some(Message { id, origin, pin, retry_count: 0, content: Arc::new(content) })
    }

    /// How many bytes it is held with.
    pub(crate) fn bytes(&self) -> usize {
        let of = |event: &RecordedEvent| {
            size_of::<RecordedEvent>() + event.data.len() + event.metadata.len()
        };
        [&self.content.event, &self.content.link].into_iter().flatten().map(of).sum()
    }
}

fn hash(text: &str) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(text.as_bytes());
    hasher.finish()
}
