//! The group against what it promises, whatever happens in whatever order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use annals_core::EventId;
use proptest::prelude::*;
use uuid::Uuid;

use super::super::consumers::ConsumerId;
use super::super::message::{Message, Origin};
use super::super::settings::{Settings, Strategy as Sharing};
use super::tests::{about, message, settings};
use super::{Action, Effect, Group};

/// What happens to a group.
#[derive(Clone, Debug)]
enum Step {
    Join(usize),
    Leave(prop::sample::Index),
    Feed(u64, u8),
    Pass(u64),
    Acknowledge(prop::sample::Index),
    Reject(prop::sample::Index, Action),
    Wait(u64),
    HoldUp(prop::sample::Index),
    FinishParking,
    FinishCheckpoint(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let action = prop_oneof![
        Just(Action::Retry),
        Just(Action::Park),
        Just(Action::Skip),
        Just(Action::Stop)
    ];
    let step = prop_oneof![
        2 => (1_usize..4).prop_map(Step::Join),
        1 => any::<prop::sample::Index>().prop_map(Step::Leave),
        6 => (1_u64..3, 0_u8..4).prop_map(|(gap, stream)| Step::Feed(gap, stream)),
        1 => (1_u64..3).prop_map(Step::Pass),
        6 => any::<prop::sample::Index>().prop_map(Step::Acknowledge),
        3 => (any::<prop::sample::Index>(), action).prop_map(|(of, action)| Step::Reject(of, action)),
        2 => (0_u64..40).prop_map(Step::Wait),
        1 => any::<prop::sample::Index>().prop_map(Step::HoldUp),
        1 => Just(Step::FinishParking),
        2 => any::<bool>().prop_map(Step::FinishCheckpoint),
    ];
    prop::collection::vec(step, 1..120)
}

fn strategies() -> impl Strategy<Value = Sharing> {
    prop_oneof![Just(Sharing::DispatchToSingle), Just(Sharing::RoundRobin), Just(Sharing::Pinned)]
}

/// What is known of the group from outside.
struct Model {
    group: Group,
    strategy: Sharing,
    now: Duration,
    place: u64,
    /// Every place fed that is not done.
    open: BTreeSet<u64>,
    streams: BTreeMap<u64, u8>,
    /// How many each consumer takes.
    consumers: BTreeMap<u64, usize>,
    held_up: BTreeSet<u64>,
    /// Who has what, in the order of giving.
    held: Vec<(u64, u64)>,
    tickets: BTreeMap<(u64, u64), super::Ticket>,
    /// Until when.
    deadlines: BTreeMap<(u64, u64), Duration>,
    parking: Vec<Message>,
    checkpointing: bool,
    checkpoint: Option<u64>,
}

fn place_of(message: &Message) -> u64 {
    match message.origin {
        Origin::Source(place) => place,
        Origin::Parked(place) => panic!("nothing was replayed: {place}"),
    }
}

impl Model {
    fn new(settings: Settings) -> Model {
        Model {
            strategy: settings.strategy,
            group: Group::new(settings, None, None, Duration::ZERO),
            now: Duration::ZERO,
            place: 0,
            open: BTreeSet::new(),
            streams: BTreeMap::new(),
            consumers: BTreeMap::new(),
            held_up: BTreeSet::new(),
            held: Vec::new(),
            tickets: BTreeMap::new(),
            deadlines: BTreeMap::new(),
            parking: Vec::new(),
            checkpointing: false,
            checkpoint: None,
        }
    }

    fn drop_where(&mut self, gone: impl Fn(&(u64, u64), Option<&Duration>) -> bool) {
        let deadlines = &self.deadlines;
        self.held.retain(|held| !gone(held, deadlines.get(held)));
    }

    fn settle(&mut self) -> Result<(), TestCaseError> {
        while let Some(effect) = self.group.next_effect() {
            match effect {
                Effect::Send { consumer: ConsumerId(consumer), ticket, message } => {
                    let place = place_of(&message);
                    prop_assert!(self.open.contains(&place), "{place} is done");
                    prop_assert!(
                        self.held.iter().all(|(_, held)| *held != place),
                        "{place} is held"
                    );
                    prop_assert!(!self.held_up.contains(&consumer));
                    if self.strategy.is_pinned() {
                        let stream = self.streams[&place];
                        let elsewhere = (self.held.iter()).any(|(other, held)| {
                            *other != consumer && self.streams[held] == stream
                        });
                        prop_assert!(!elsewhere, "stream {stream} is with two consumers");
                    }
                    self.held.push((consumer, place));
                    self.tickets.insert((consumer, place), ticket);
                    let deadline = self.now + Duration::from_secs(30);
                    self.deadlines.insert((consumer, place), deadline);
                    let count = self.held.iter().filter(|(who, _)| *who == consumer).count();
                    prop_assert!(count <= self.consumers[&consumer]);
                }
                Effect::Park { message, .. } => {
                    prop_assert!(self.open.contains(&place_of(&message)));
                    self.parking.push(message);
                }
                Effect::Checkpoint(place) => {
                    prop_assert!(!self.checkpointing, "two checkpoints at once");
                    let first_open = self.open.first().copied();
                    prop_assert!(first_open.is_none_or(|open| place < open));
                    prop_assert!(self.checkpoint < Some(place) && place <= self.place);
                    self.checkpointing = true;
                }
                Effect::Truncate(before) => prop_assert!(false, "nothing was replayed: {before}"),
            }
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match *step {
            Step::Join(buffer) => {
                if let Some(ConsumerId(id)) = self.group.connect(about(buffer), self.now) {
                    self.consumers.insert(id, buffer);
                }
            }
            Step::Leave(which) => {
                let ids: Vec<_> = self.consumers.keys().copied().collect();
                if !ids.is_empty() {
                    let id = *which.get(&ids);
                    self.consumers.remove(&id);
                    self.drop_where(|(who, _), _| *who == id);
                    self.group.leave(ConsumerId(id), self.now);
                }
            }
            Step::Feed(gap, stream) => {
                if self.group.room() > 0 {
                    self.place += gap;
                    self.open.insert(self.place);
                    self.streams.insert(self.place, stream);
                    let fed = message(self.place, &format!("s-{stream}"), self.strategy);
                    self.group.feed([fed], self.now);
                }
            }
            Step::Pass(gap) => {
                self.place += gap;
                self.group.pass(self.place, self.now);
            }
            Step::Acknowledge(which) if !self.held.is_empty() => {
                self.answer(*which.get(&self.held.clone()), None);
            }
            Step::Reject(which, action) if !self.held.is_empty() => {
                self.answer(*which.get(&self.held.clone()), Some(action));
            }
            Step::Acknowledge(_) | Step::Reject(..) => {}
            Step::Wait(seconds) => {
                self.now += Duration::from_secs(seconds);
                let now = self.now;
                self.drop_where(|_, deadline| deadline.is_some_and(|deadline| *deadline <= now));
                self.group.tick(now);
            }
            Step::HoldUp(which) => {
                if !self.held.is_empty() {
                    let held = *which.get(&self.held);
                    self.held_up.insert(held.0);
                    self.drop_where(|other, _| *other == held);
                    self.group.hold_up(ConsumerId(held.0), self.tickets[&held]);
                    self.settle()?;
                    self.held_up.remove(&held.0);
                    self.group.go_on(ConsumerId(held.0), self.now);
                }
            }
            Step::FinishParking => {
                for message in std::mem::take(&mut self.parking) {
                    self.open.remove(&place_of(&message));
                    self.group.parked(message.origin, self.now);
                }
            }
            Step::FinishCheckpoint(written) => {
                if std::mem::take(&mut self.checkpointing) {
                    self.group.checkpointed(written, self.now);
                }
            }
        }
        self.settle()
    }

    fn answer(&mut self, held: (u64, u64), action: Option<Action>) {
        let ids = [EventId(Uuid::from_u128(held.1.into()))];
        if action != Some(Action::Stop) {
            self.drop_where(|other, _| *other == held);
        }
        match action {
            None => {
                self.open.remove(&held.1);
                self.group.acknowledge(ConsumerId(held.0), &ids, self.now);
            }
            Some(action) => {
                if action == Action::Skip {
                    self.open.remove(&held.1);
                }
                self.group.reject(ConsumerId(held.0), &ids, action, "", self.now);
            }
        }
    }

    /// One consumer that acknowledges everything finds all that is not done.
    fn finish(&mut self) -> Result<(), TestCaseError> {
        let consumers: Vec<_> = self.consumers.keys().copied().collect();
        for id in consumers {
            self.consumers.remove(&id);
            self.drop_where(|(who, _), _| *who == id);
            self.group.leave(ConsumerId(id), self.now);
            self.settle()?;
        }
        self.step(&Step::Join(3))?;
        for _ in 0..2000 {
            self.step(&Step::FinishParking)?;
            self.step(&Step::FinishCheckpoint(true))?;
            if self.held.is_empty() {
                break;
            }
            let held = self.held[0];
            self.answer(held, None);
            self.settle()?;
        }
        prop_assert_eq!(&self.open, &BTreeSet::new());
        prop_assert!(self.group.unwritten().is_none_or(|place| place == self.place));
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn every_event_is_given_until_it_is_done_and_to_one_at_a_time(
        strategy in strategies(),
        steps in steps(),
    ) {
        let mut model = Model::new(settings(strategy));
        for step in steps {
            model.step(&step)?;
        }
        model.finish()?;
    }
}
