//! A group of consumers that share the events of a stream or of the whole log, as a pure state machine: what happens comes in
//! by calls, time with them, and what is to be done goes out as effects. Every event that is fed is given to consumers until
//! one acknowledges or skips it, or it is parked; no two consumers have the same event at once; none has more than it takes.
//! The checkpoint never passes an event that is not done.

mod describe;
mod dispatch;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use annals_core::EventId;
use hashbrown::HashMap;

use super::consumers::{About, Consumer, ConsumerId, Consumers, Ticket};
use super::measure::Meter;
use super::message::{Message, Origin};
use super::pins::Pins;
use super::progress::Progress;
use super::settings::Settings;

pub(crate) use describe::{ConsumerDescription, Description};

/// What the group wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Give the event to the consumer.
    Send {
        /// To whom.
        consumer: ConsumerId,
        /// By what it may be called back.
        ticket: Ticket,
        /// What.
        message: Message,
    },
    /// Write a link to the event to the parked events, and then call [`Group::parked`].
    Park {
        /// What.
        message: Message,
        /// Why.
        reason: String,
    },
    /// Write that everything through this place is done, and then call [`Group::checkpointed`].
    Checkpoint(u64),
    /// The parked events before this one need not be kept.
    Truncate(u64),
}

/// What a consumer wants done with an event that it does not acknowledge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Give it to someone again.
    Retry,
    /// Lay it aside.
    Park,
    /// Forget it.
    Skip,
    /// Nothing: it goes on waiting for the event's time to run out.
    Stop,
}

#[derive(Clone, Debug)]
struct InFlight {
    message: Message,
    consumer: ConsumerId,
    since: Duration,
    deadline: Option<Duration>,
}

/// An event to be given again, and who had it last.
#[derive(Clone, Debug)]
struct Retry {
    message: Message,
    last: Option<ConsumerId>,
}

/// The checkpoint: how far it is, and what came since.
#[derive(Clone, Debug)]
struct Checkpoints {
    written: Option<u64>,
    writing: Option<u64>,
    last: Duration,
    /// Events done since.
    done: u32,
    /// Times since that nothing was found in a stretch of the log.
    passes: u32,
}

/// From how many bytes of events on, waiting, in flight or to be given again, no more are taken in.
const HELD_BYTES_MAX: usize = 64 << 20;
/// So many stretches of the log without an event are worth a checkpoint.
const PASSES_MAX: u32 = 1000;

/// The group.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    settings: Settings,
    consumers: Consumers,
    pins: Pins,
    /// First in line.
    retries: VecDeque<Retry>,
    fresh: VecDeque<Message>,
    in_flight: HashMap<Ticket, InFlight>,
    deadlines: BTreeSet<(Duration, Ticket)>,
    /// Events whose link is being written.
    parking: usize,
    /// Bytes of the events that it has.
    held_bytes: usize,
    source: Progress,
    replayed: Progress,
    /// The last parked event that need not be kept.
    truncated: Option<u64>,
    checkpoints: Checkpoints,
    effects: VecDeque<Effect>,
    meter: Meter,
    next_consumer: u64,
    next_ticket: u64,
}

impl Group {
    /// A group that goes on after a checkpoint. `replayed` is the last parked event that is not there any more.
    pub(crate) fn new(
        settings: Settings,
        checkpoint: Option<u64>,
        replayed: Option<u64>,
        now: Duration,
    ) -> Group {
        Group {
            settings,
            consumers: Consumers::default(),
            pins: Pins::new(),
            retries: VecDeque::new(),
            fresh: VecDeque::new(),
            in_flight: HashMap::new(),
            deadlines: BTreeSet::new(),
            parking: 0,
            held_bytes: 0,
            source: Progress::after(checkpoint),
            replayed: Progress::after(replayed),
            truncated: replayed,
            checkpoints: Checkpoints {
                written: checkpoint,
                writing: None,
                last: now,
                done: 0,
                passes: 0,
            },
            effects: VecDeque::new(),
            meter: Meter::new(now),
            next_consumer: 0,
            next_ticket: 0,
        }
    }

    /// What is to be done next; nothing once all was told.
    pub(crate) fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// How many more events of its source it wants to be fed.
    pub(crate) fn room(&self) -> usize {
        self.room_beside(self.fresh.len())
    }

    /// How many more of its parked events it wants to be fed.
    pub(crate) fn replay_room(&self) -> usize {
        self.room_beside(self.retries.len())
    }

    fn room_beside(&self, waiting: usize) -> usize {
        if self.held_bytes >= HELD_BYTES_MAX {
            return 0;
        }
        self.settings.buffer().saturating_sub(waiting + self.parking)
    }

    /// New events, in order. One that is not behind those before it is left out.
    pub(crate) fn feed(&mut self, messages: impl IntoIterator<Item = Message>, now: Duration) {
        for message in messages {
            let bytes = message.bytes();
            let is_new = match message.origin {
                Origin::Source(place) => self.source.begin(place),
                Origin::Parked(place) => self.replayed.begin(place),
            };
            match message.origin {
                _ if !is_new => continue,
                Origin::Source(_) => self.fresh.push_back(message),
                Origin::Parked(_) => self.retries.push_back(Retry { message, last: None }),
            }
            self.held_bytes += bytes;
        }
        self.dispatch(now);
    }

    /// The source holds nothing more that is wanted up to this place.
    pub(crate) fn pass(&mut self, place: u64, now: Duration) {
        if self.source.reached() < Some(place) {
            self.source.pass(place);
            self.checkpoints.passes = self.checkpoints.passes.saturating_add(1);
            self.check_checkpoint(now);
        }
    }

    /// A parked event need not come again: there is nothing behind the link at this place.
    pub(crate) fn pass_parked(&mut self, place: u64) {
        self.replayed.pass(place);
        self.truncate();
    }

    /// A consumer came. Nothing where there are as many as there may be.
    pub(crate) fn connect(&mut self, about: About, now: Duration) -> Option<ConsumerId> {
        let most = usize::try_from(self.settings.max_subscriber_count).unwrap_or(usize::MAX);
        if most > 0 && self.consumers.len() >= most {
            return None;
        }
        let id = ConsumerId(self.next_consumer);
        self.next_consumer += 1;
        self.consumers.push(Consumer::new(id, about, now));
        if self.settings.strategy.is_pinned() {
            self.pins.join(id);
        }
        self.dispatch(now);
        Some(id)
    }

    /// A consumer went: others get what it had.
    pub(crate) fn leave(&mut self, id: ConsumerId, now: Duration) {
        let Some(consumer) = self.consumers.remove(id) else { return };
        if self.settings.strategy.is_pinned() {
            let left: Vec<_> = self.consumers.iter().map(|consumer| consumer.id).collect();
            self.pins.leave(id, &left);
        }
        for ticket in consumer.held().into_iter().rev() {
            if let Some(mut message) = self.forget(ticket) {
                message.retry_count += 1;
                self.retries.push_front(Retry { message, last: None });
            }
        }
        self.dispatch(now);
    }

    /// A consumer has finished these events.
    pub(crate) fn acknowledge(&mut self, id: ConsumerId, events: &[EventId], now: Duration) {
        for event in events {
            if let Some(message) = self.take_from(id, *event, now) {
                self.held_bytes -= message.bytes();
                self.finish(message.origin);
            }
        }
        self.dispatch(now);
        self.check_checkpoint(now);
    }

    /// A consumer has not finished these events.
    pub(crate) fn reject(
        &mut self,
        id: ConsumerId,
        events: &[EventId],
        action: Action,
        reason: &str,
        now: Duration,
    ) {
        if action == Action::Stop {
            return;
        }
        for event in events {
            let Some(message) = self.take_from(id, *event, now) else { continue };
            match action {
                Action::Retry => self.retry(message, id, reason),
                Action::Park => self.park(message, reason.to_owned()),
                Action::Skip => {
                    self.held_bytes -= message.bytes();
                    self.finish(message.origin);
                }
                Action::Stop => {}
            }
        }
        self.dispatch(now);
        self.check_checkpoint(now);
    }

    /// A link to the event is among the parked events.
    pub(crate) fn parked(&mut self, origin: Origin, now: Duration) {
        self.parking = self.parking.saturating_sub(1);
        self.finish(origin);
        self.check_checkpoint(now);
    }

    /// The consumer did not take what it was given: it goes back, and the consumer gets nothing before [`Group::go_on`].
    pub(crate) fn hold_up(&mut self, id: ConsumerId, ticket: Ticket) {
        if let Some(consumer) = self.consumers.get_mut(id) {
            consumer.held_up = true;
        }
        if let Some(message) = self.forget(ticket) {
            self.retries.push_back(Retry { message, last: None });
        }
    }

    /// The consumer takes events again.
    pub(crate) fn go_on(&mut self, id: ConsumerId, now: Duration) {
        if let Some(consumer) = self.consumers.get_mut(id) {
            consumer.held_up = false;
            self.dispatch(now);
        }
    }

    /// The checkpoint stands there.
    pub(crate) fn checkpointed(&mut self, written: bool, now: Duration) {
        let place = self.checkpoints.writing.take();
        if written {
            self.checkpoints.written = place;
        }
        self.check_checkpoint(now);
    }

    /// Time has come to this.
    pub(crate) fn tick(&mut self, now: Duration) {
        while let Some((deadline, ticket)) = self.deadlines.first().copied() {
            if deadline > now {
                break;
            }
            let consumer = self.in_flight.get(&ticket).map(|held| held.consumer);
            let (Some(consumer), Some(message)) = (consumer, self.forget(ticket)) else {
                self.deadlines.remove(&(deadline, ticket));
                continue;
            };
            self.retry(message, consumer, "the consumer took too long");
        }
        self.dispatch(now);
        self.check_checkpoint(now);
    }

    /// The parked events from this one on were not taken up again.
    pub(crate) fn replayed(&self) -> u64 {
        self.replayed.reached().map_or(0, |reached| reached + 1)
    }

    /// The last place of its source that it was told of.
    pub(crate) fn reached(&self) -> Option<u64> {
        self.source.reached()
    }

    /// When [`Group::tick`] is to be called next.
    pub(crate) fn next_tick(&self) -> Option<Duration> {
        let deadline = self.deadlines.first().map(|(deadline, _)| *deadline);
        let checkpoint = (self.checkpoints.writing.is_none() && self.is_worth_a_checkpoint())
            .then(|| self.checkpoints.last + self.settings.checkpoint_after);
        deadline.into_iter().chain(checkpoint).min()
    }

    /// What a last checkpoint says, where it is not written yet.
    pub(crate) fn unwritten(&self) -> Option<u64> {
        self.source.done().filter(|done| Some(*done) > self.checkpoints.written)
    }

    /// What the consumer had of this event.
    fn take_from(&mut self, id: ConsumerId, event: EventId, now: Duration) -> Option<Message> {
        let extra = self.settings.extra_statistics;
        if let Some(ticket) = self.consumers.get_mut(id).and_then(|held| held.ticket(event)) {
            let since = self.in_flight.get(&ticket)?.since;
            if let Some(consumer) = self.consumers.get_mut(id).filter(|_| extra) {
                consumer.times.add(now.saturating_sub(since));
            }
            return self.forget(ticket);
        }
        // It took too long, but nobody else has it yet.
        let late = |retry: &Retry| retry.last == Some(id) && retry.message.id == event;
        let place = self.retries.iter().position(late)?;
        self.retries.remove(place).map(|retry| retry.message)
    }

    /// The event is with no consumer any more.
    fn forget(&mut self, ticket: Ticket) -> Option<Message> {
        let held = self.in_flight.remove(&ticket)?;
        if let Some(deadline) = held.deadline {
            self.deadlines.remove(&(deadline, ticket));
        }
        if let Some(consumer) = self.consumers.get_mut(held.consumer) {
            consumer.take_back(held.message.id, ticket);
        }
        if self.settings.strategy.is_pinned() {
            self.pins.taken_back(held.message.pin);
        }
        Some(held.message)
    }

    fn retry(&mut self, mut message: Message, last: ConsumerId, reason: &str) {
        if message.retry_count >= self.settings.max_retry_count {
            let tries = u64::from(message.retry_count) + 1;
            let text = if reason.is_empty() { "" } else { ": " };
            return self.park(message, format!("tried {tries} times{text}{reason}"));
        }
        message.retry_count += 1;
        self.retries.push_back(Retry { message, last: Some(last) });
    }

    fn park(&mut self, message: Message, reason: String) {
        self.held_bytes -= message.bytes();
        self.parking += 1;
        self.effects.push_back(Effect::Park { message, reason });
    }

    fn finish(&mut self, origin: Origin) {
        match origin {
            Origin::Source(place) => {
                if self.source.finish(place) {
                    self.checkpoints.done = self.checkpoints.done.saturating_add(1);
                }
            }
            Origin::Parked(place) => {
                if self.replayed.finish(place) {
                    self.truncate();
                }
            }
        }
    }

    /// Lets go of parked events once all that were taken up again are done.
    fn truncate(&mut self) {
        if self.replayed.open() == 0 && self.replayed.reached() > self.truncated {
            self.truncated = self.replayed.reached();
            self.effects.extend(self.truncated.map(|last| Effect::Truncate(last + 1)));
        }
    }

    fn is_worth_a_checkpoint(&self) -> bool {
        let few = self.settings.min_checkpoint_count.max(1);
        let enough = self.checkpoints.done >= few || self.checkpoints.passes >= PASSES_MAX;
        enough && self.source.done() > self.checkpoints.written
    }

    fn check_checkpoint(&mut self, now: Duration) {
        if self.checkpoints.writing.is_some() || !self.is_worth_a_checkpoint() {
            return;
        }
        let many = self.checkpoints.done >= self.settings.max_checkpoint_count.max(1);
        if many || now >= self.checkpoints.last + self.settings.checkpoint_after {
            let done = self.source.done();
            self.checkpoints =
                Checkpoints { writing: done, last: now, done: 0, passes: 0, ..self.checkpoints };
            self.effects.extend(done.map(Effect::Checkpoint));
        }
    }
}
