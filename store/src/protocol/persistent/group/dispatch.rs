//! Who gets which event next.

use std::collections::VecDeque;
use std::time::Duration;

use super::super::consumers::{ConsumerId, Ticket};
use super::super::message::Message;
use super::{Effect, Group, InFlight, Retry};

impl Group {
    /// Gives out what can be given.
    pub(super) fn dispatch(&mut self, now: Duration) {
        if self.settings.strategy.is_pinned() {
            return self.dispatch_pinned(now);
        }
        while !(self.retries.is_empty() && self.fresh.is_empty()) {
            let Some(consumer) = self.consumers.next(self.settings.strategy) else { return };
            let retry = self.retries.pop_front().map(|retry| retry.message);
            if let Some(message) = retry.or_else(|| self.fresh.pop_front()) {
                self.give(message, consumer, now);
            }
        }
    }

    fn dispatch_pinned(&mut self, now: Duration) {
        let mut kept = VecDeque::new();
        while self.consumers.have_room()
            && let Some(retry) = self.retries.pop_front()
        {
            match self.free_owner(retry.message.pin) {
                Some(owner) => self.give(retry.message, owner, now),
                None => kept.push_back(retry),
            }
        }
        kept.append(&mut self.retries);
        self.retries = kept;
        let mut kept = VecDeque::new();
        while self.consumers.have_room()
            && let Some(message) = self.fresh.pop_front()
        {
            match self.free_owner(message.pin) {
                Some(owner) => self.give(message, owner, now),
                None => kept.push_back(message),
            }
        }
        kept.append(&mut self.fresh);
        self.fresh = kept;
    }

    fn free_owner(&mut self, pin: u64) -> Option<ConsumerId> {
        let owner = self.pins.owner(pin)?;
        self.consumers.get_mut(owner).filter(|owner| owner.has_room()).map(|owner| owner.id)
    }

    fn give(&mut self, message: Message, id: ConsumerId, now: Duration) {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let Some(consumer) = self.consumers.get_mut(id) else {
            debug_assert!(false, "events are given to consumers that are there");
            return self.retries.push_front(Retry { message, last: None });
        };
        consumer.give(message.id, ticket);
        consumer.meter.count();
        self.meter.count();
        if self.settings.strategy.is_pinned() {
            self.pins.given(message.pin, id);
        }
        let deadline = self.settings.message_timeout.map(|timeout| now + timeout);
        self.deadlines.extend(deadline.map(|deadline| (deadline, ticket)));
        let held = InFlight { message: message.clone(), consumer: id, since: now, deadline };
        self.in_flight.insert(ticket, held);
        self.effects.push_back(Effect::Send { consumer: id, ticket, message });
    }
}
