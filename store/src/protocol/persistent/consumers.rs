//! The consumers of a group, in the order in which they came, and whose turn it is.

use std::time::Duration;

use annals_core::EventId;
use hashbrown::HashMap;
use smallvec::SmallVec;

use super::measure::{Meter, Times};
use super::settings::Strategy;

/// Names a consumer within its group, and is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ConsumerId(pub(crate) u64);

/// Names one giving of an event to a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Ticket(pub(crate) u64);

/// Who a consumer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct About {
    /// How many events it takes at once.
    pub(crate) buffer_size: usize,
    /// On whose behalf.
    pub(crate) user: String,
    /// From which address.
    pub(crate) from: String,
    /// What it calls its connection.
    pub(crate) connection: String,
}

/// A consumer.
#[derive(Clone, Debug)]
pub(crate) struct Consumer {
    pub(crate) id: ConsumerId,
    pub(crate) about: About,
    /// What it has, by event; events of several streams may have the same id.
    tickets: HashMap<EventId, SmallVec<[Ticket; 1]>>,
    in_flight: usize,
    /// What it was given before it has not taken yet.
    pub(crate) held_up: bool,
    pub(crate) meter: Meter,
    pub(crate) times: Times,
}

impl Consumer {
    /// A consumer that has nothing.
    pub(crate) fn new(id: ConsumerId, about: About, now: Duration) -> Consumer {
        Consumer {
            id,
            about,
            tickets: HashMap::new(),
            in_flight: 0,
            held_up: false,
            meter: Meter::new(now),
            times: Times::default(),
        }
    }

    /// Whether it takes one more.
    pub(crate) fn has_room(&self) -> bool {
        !self.held_up && self.in_flight < self.about.buffer_size
    }

    /// How many it has.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// It has one more.
    pub(crate) fn give(&mut self, event: EventId, ticket: Ticket) {
        self.tickets.entry(event).or_default().push(ticket);
        self.in_flight += 1;
    }

    /// The first that it was given of this event.
    pub(crate) fn ticket(&self, event: EventId) -> Option<Ticket> {
        self.tickets.get(&event)?.first().copied()
    }

    /// It no longer has that one.
    pub(crate) fn take_back(&mut self, event: EventId, ticket: Ticket) {
        let Some(tickets) = self.tickets.get_mut(&event) else { return };
        let before = tickets.len();
        tickets.retain(|held| *held != ticket);
        self.in_flight -= before - tickets.len();
        if tickets.is_empty() {
            self.tickets.remove(&event);
        }
    }

    /// All that it has, in the order in which it was given.
    pub(crate) fn held(&self) -> Vec<Ticket> {
        let mut held: Vec<_> = self.tickets.values().flatten().copied().collect();
        held.sort_unstable();
        held
    }
}

/// The consumers of a group.
#[derive(Clone, Debug, Default)]
pub(crate) struct Consumers {
    all: Vec<Consumer>,
    /// Whose turn it is.
    turn: usize,
}

impl Consumers {
    /// One more.
    pub(crate) fn push(&mut self, consumer: Consumer) {
        self.all.push(consumer);
    }

    /// One less.
    pub(crate) fn remove(&mut self, id: ConsumerId) -> Option<Consumer> {
        let place = self.all.iter().position(|consumer| consumer.id == id)?;
        if place < self.turn {
            self.turn -= 1;
        }
        Some(self.all.remove(place))
    }

    /// The one of that name.
    pub(crate) fn get_mut(&mut self, id: ConsumerId) -> Option<&mut Consumer> {
        // They came in the order of their ids.
        let place = self.all.binary_search_by_key(&id, |consumer| consumer.id).ok()?;
        self.all.get_mut(place)
    }

    /// All.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Consumer> {
        self.all.iter()
    }

    /// All, to be changed.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Consumer> {
        self.all.iter_mut()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether any takes one more.
    pub(crate) fn have_room(&self) -> bool {
        self.all.iter().any(Consumer::has_room)
    }

    /// The one that the next event goes to, where it does not matter which event it is.
    pub(crate) fn next(&mut self, strategy: Strategy) -> Option<ConsumerId> {
        let start = match strategy {
            Strategy::RoundRobin => self.turn,
            Strategy::DispatchToSingle | Strategy::Pinned | Strategy::PinnedByCorrelation => 0,
        };
        let count = self.all.len();
        let mut places = (0..count).map(|step| (start + step) % count);
        let place = places.find(|place| self.all[*place].has_room())?;
        self.turn = (place + 1) % count;
        Some(self.all[place].id)
    }
}
