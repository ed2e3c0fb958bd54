//! One group, with events and consumers that have short names.

use std::time::Duration;

use annals_core::{
    EventId, EventType, Position, RecordedEvent, Revision, SchemaFingerprint, StreamName, Timestamp,
};
use bytes::Bytes;
use uuid::Uuid;

use super::super::consumers::{About, ConsumerId, Ticket};
use super::super::message::{Message, Origin, Resolved};
use super::super::settings::{Settings, Strategy};
use super::{Action, Effect, Group};

pub(super) fn settings(strategy: Strategy) -> Settings {
    Settings {
        resolve_links: false,
        extra_statistics: true,
        message_timeout: Some(Duration::from_secs(30)),
        max_retry_count: 2,
        checkpoint_after: Duration::from_secs(2),
        min_checkpoint_count: 2,
        max_checkpoint_count: 4,
        max_subscriber_count: 3,
        live_buffer_size: 20,
        read_batch_size: 5,
        history_buffer_size: 20,
        strategy,
    }
}

pub(super) fn message(number: u64, stream: &str, strategy: Strategy) -> Message {
    let event = RecordedEvent {
        id: EventId(Uuid::from_u128(number.into())),
        stream: StreamName::new(stream).expect("a name"),
        revision: Revision(number),
        position: Position(number),
        event_type: EventType::new("note.Taken").expect("a type"),
        time: Timestamp(0),
        schema: SchemaFingerprint::NONE,
        metadata: Bytes::new(),
        data: Bytes::new(),
    };
    let content = Resolved { event: Some(event), link: None };
    Message::new(content, Origin::Source(number), strategy).expect("an event")
}

pub(super) fn about(buffer_size: usize) -> About {
    let text = || "someone".to_owned();
    About { buffer_size, user: text(), from: text(), connection: text() }
}

/// What was given to whom.
type Given = (u64, u64, u32);

struct Scene {
    group: Group,
    now: Duration,
    strategy: Strategy,
    given: Vec<Given>,
    tickets: Vec<Ticket>,
    parked: Vec<(Message, String)>,
    checkpoints: Vec<u64>,
    truncated: Vec<u64>,
}

impl Scene {
    fn new(settings: Settings) -> Scene {
        let strategy = settings.strategy;
        Scene {
            group: Group::new(settings, None, None, Duration::ZERO),
            now: Duration::ZERO,
            strategy,
            given: Vec::new(),
            tickets: Vec::new(),
            parked: Vec::new(),
            checkpoints: Vec::new(),
            truncated: Vec::new(),
        }
    }

    fn of(strategy: Strategy) -> Scene {
        Scene::new(settings(strategy))
    }

    /// Does the effects; checkpoints and parked events at once, unless a test looks at that.
    fn go_on(&mut self) {
        while let Some(effect) = self.group.next_effect() {
            match effect {
                Effect::Send { consumer, ticket, message } => {
                    let number = u64::try_from(message.id.0.as_u128()).expect("a small one");
                    self.given.push((consumer.0, number, message.retry_count));
                    self.tickets.push(ticket);
                }
                Effect::Park { message, reason } => self.parked.push((message, reason)),
                Effect::Checkpoint(place) => {
                    self.checkpoints.push(place);
                    self.group.checkpointed(true, self.now);
                }
                Effect::Truncate(before) => self.truncated.push(before),
            }
        }
    }

    fn join(&mut self, buffer_size: usize) -> Option<u64> {
        let id = self.group.connect(about(buffer_size), self.now);
        self.go_on();
        id.map(|id| id.0)
    }

    fn leave(&mut self, consumer: u64) {
        self.group.leave(ConsumerId(consumer), self.now);
        self.go_on();
    }

    fn feed(&mut self, numbers: std::ops::Range<u64>) {
        let messages = numbers.map(|number| message(number, "s", self.strategy));
        self.group.feed(messages, self.now);
        self.go_on();
    }

    fn ack(&mut self, consumer: u64, numbers: &[u128]) {
        let ids: Vec<_> = numbers.iter().map(|id| EventId(Uuid::from_u128(*id))).collect();
        self.group.acknowledge(ConsumerId(consumer), &ids, self.now);
        self.go_on();
    }

    fn nack(&mut self, consumer: u64, number: u128, action: Action) {
        let ids = [EventId(Uuid::from_u128(number))];
        self.group.reject(ConsumerId(consumer), &ids, action, "because", self.now);
        self.go_on();
    }

    fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.group.tick(self.now);
        self.go_on();
    }

    fn finish_parking(&mut self) {
        for (message, _) in std::mem::take(&mut self.parked) {
            self.group.parked(message.origin, self.now);
        }
        self.go_on();
    }

    #[track_caller]
    fn gave(&mut self, expected: &[Given]) {
        assert_eq!(std::mem::take(&mut self.given), expected);
    }
}

#[test]
fn the_first_consumer_is_filled_before_the_next() {
    let mut scene = Scene::of(Strategy::DispatchToSingle);
    scene.join(2);
    scene.join(2);
    scene.feed(0..5);
    scene.gave(&[(0, 0, 0), (0, 1, 0), (1, 2, 0), (1, 3, 0)]);
    scene.ack(0, &[1]);
    scene.gave(&[(0, 4, 0)]);
}

#[test]
fn consumers_have_their_turns_and_full_ones_are_passed_over() {
    let mut scene = Scene::of(Strategy::RoundRobin);
    for buffer in [3, 1, 2] {
        scene.join(buffer);
    }
    scene.feed(0..7);
    scene.gave(&[(0, 0, 0), (1, 1, 0), (2, 2, 0), (0, 3, 0), (2, 4, 0), (0, 5, 0)]);
    scene.leave(0);
    scene.ack(1, &[1]);
    scene.gave(&[(1, 0, 1)]);
}

#[test]
fn a_stream_stays_with_its_consumer_in_order() {
    let mut scene = Scene::of(Strategy::Pinned);
    (0..3).for_each(|_| assert!(scene.join(2).is_some()));
    scene.feed(0..6);
    let owner = scene.given[0].0;
    scene.gave(&[(owner, 0, 0), (owner, 1, 0)]);
    scene.ack(owner, &[0, 1]);
    scene.gave(&[(owner, 2, 0), (owner, 3, 0)]);
    scene.leave(owner);
    let next = scene.given[0].0;
    assert_ne!(next, owner);
    scene.gave(&[(next, 2, 1), (next, 3, 1)]);
}

#[test]
fn an_event_whose_time_ran_out_is_given_again_and_parked_in_the_end() {
    let mut scene = Scene::of(Strategy::RoundRobin);
    scene.join(1);
    scene.feed(0..1);
    for tries in 1..=2 {
        assert_eq!(scene.group.next_tick(), Some(scene.now + Duration::from_secs(30)));
        scene.wait(29);
        assert_eq!(scene.given.len(), usize::try_from(tries).expect("small"));
        scene.wait(1);
    }
    scene.gave(&[(0, 0, 0), (0, 0, 1), (0, 0, 2)]);
    scene.wait(30);
    scene.gave(&[]);
    let [(message, reason)] = &scene.parked[..] else { panic!("{:?}", scene.parked) };
    assert_eq!(
        (message.id.0.as_u128(), reason.as_str()),
        (0, "tried 3 times: the consumer took too long")
    );
    assert_eq!(scene.group.unwritten(), None, "its link is not written yet");
    scene.finish_parking();
    assert_eq!(scene.group.unwritten(), Some(0));
}

#[test]
fn without_a_timeout_an_event_waits_for_ever() {
    let settings = Settings { message_timeout: None, ..settings(Strategy::RoundRobin) };
    let mut scene = Scene::new(settings);
    scene.join(1);
    scene.feed(0..1);
    assert_eq!(scene.group.next_tick(), None);
    scene.wait(1 << 30);
    scene.gave(&[(0, 0, 0)]);
}

#[test]
fn a_late_acknowledgement_counts_while_nobody_else_has_the_event() {
    for late in [true, false] {
        let mut scene = Scene::of(Strategy::DispatchToSingle);
        scene.join(2);
        scene.feed(0..2);
        scene.group.hold_up(ConsumerId(0), scene.tickets[1]);
        scene.wait(30);
        scene.gave(&[(0, 0, 0), (0, 1, 0)]);
        if late {
            scene.ack(0, &[0]);
            assert_eq!(scene.group.unwritten(), Some(0));
        }
        scene.join(2);
        let rest = [(1, 1, 0), (1, 0, 1)];
        scene.gave(if late { &rest[..1] } else { &rest });
        scene.ack(0, &[0]);
        assert_eq!(scene.group.unwritten(), late.then_some(0), "another has it now");
    }
}

#[test]
fn each_action_does_what_it_says() {
    let mut scene = Scene::of(Strategy::DispatchToSingle);
    scene.join(5);
    scene.feed(0..5);
    scene.given.clear();
    scene.nack(0, 0, Action::Retry);
    scene.gave(&[(0, 0, 1)]);
    scene.nack(0, 1, Action::Park);
    assert_eq!(scene.parked[0].1, "because");
    scene.nack(0, 2, Action::Skip);
    scene.nack(0, 3, Action::Stop);
    scene.gave(&[]);
    scene.nack(0, 0, Action::Retry);
    scene.nack(0, 0, Action::Retry);
    scene.gave(&[(0, 0, 2)]);
    assert_eq!(scene.parked[1].1, "tried 3 times: because");
    scene.finish_parking();
    assert_eq!(scene.group.unwritten(), Some(2), "stopping left the fourth where it was");
}

#[test]
fn what_a_consumer_had_goes_to_others_first() {
    let mut scene = Scene::of(Strategy::DispatchToSingle);
    scene.join(3);
    scene.feed(0..5);
    scene.given.clear();
    scene.leave(0);
    scene.join(4);
    scene.gave(&[(1, 0, 1), (1, 1, 1), (1, 2, 1), (1, 3, 0)]);
}

#[test]
fn there_are_no_more_consumers_than_there_may_be() {
    let mut scene = Scene::of(Strategy::RoundRobin);
    assert_eq!([(); 4].map(|()| scene.join(1)), [Some(0), Some(1), Some(2), None]);
    scene.leave(1);
    assert_eq!(scene.join(1), Some(3));
    let unbounded = Settings { max_subscriber_count: 0, ..settings(Strategy::RoundRobin) };
    let mut scene = Scene::new(unbounded);
    assert!((0..100).all(|_| scene.join(1).is_some()));
}

#[test]
fn it_asks_for_no_more_than_its_buffer() {
    let mut scene = Scene::of(Strategy::RoundRobin);
    assert_eq!(scene.group.room(), 20);
    scene.feed(0..20);
    assert_eq!(scene.group.room(), 0);
    scene.join(5);
    assert_eq!(scene.group.room(), 5);
}

#[test]
fn it_holds_no_more_bytes_than_it_may_until_some_are_done() {
    let large = Settings { live_buffer_size: u32::MAX, ..settings(Strategy::RoundRobin) };
    assert_eq!(large.buffer(), 65_536);
    let mut group = Group::new(large, None, None, Duration::ZERO);
    let consumer = group.connect(about(1), Duration::ZERO).expect("room for a consumer");
    let event = |number: u64| {
        let small = message(number, "s", Strategy::RoundRobin);
        let event = small.content.event.clone().expect("an event");
        let event = RecordedEvent { data: vec![0; 20 << 20].into(), ..event };
        let content = Resolved { event: Some(event), link: None };
        Message::new(content, Origin::Source(number), Strategy::RoundRobin).expect("an event")
    };
    let mut fed = 0;
    while group.room() > 0 {
        group.feed([event(fed)], Duration::ZERO);
        fed += 1;
    }
    assert_eq!((fed, group.replay_room()), (4, 0));
    let id = |number: u128| [EventId(Uuid::from_u128(number))];
    group.acknowledge(consumer, &id(0), Duration::ZERO);
    assert!(group.room() > 0, "one is done");
    group.feed([event(fed)], Duration::ZERO);
    assert_eq!(group.room(), 0);
    group.reject(consumer, &id(1), Action::Skip, "", Duration::ZERO);
    group.reject(consumer, &id(2), Action::Park, "", Duration::ZERO);
    group.reject(consumer, &id(3), Action::Retry, "", Duration::ZERO);
    assert!(group.room() > 0, "two are done");
    for number in [3, 4] {
        group.acknowledge(consumer, &id(number), Duration::ZERO);
    }
    group.acknowledge(consumer, &id(3), Duration::ZERO);
    assert_eq!(group.held_bytes, 0);
}

#[test]
fn a_checkpoint_is_written_after_many_or_after_a_while() {
    let mut scene = Scene::of(Strategy::RoundRobin);
    scene.join(20);
    scene.feed(0..10);
    scene.ack(0, &[1, 2, 3, 4, 5]);
    assert_eq!(scene.checkpoints, [0; 0], "the first is not done");
    scene.ack(0, &[0]);
    assert_eq!(scene.checkpoints, [5]);
    scene.ack(0, &[6]);
    scene.wait(3);
    assert_eq!(scene.checkpoints, [5], "too few");
    scene.ack(0, &[7]);
    assert_eq!(scene.checkpoints, [5, 7]);
    scene.ack(0, &[8, 9]);
    assert_eq!(scene.group.next_tick(), Some(scene.now + Duration::from_secs(2)));
    scene.wait(2);
    assert_eq!(scene.checkpoints, [5, 7, 9]);
    assert_eq!(scene.group.unwritten(), None);
}

#[test]
fn what_nothing_was_found_in_is_passed_by_the_checkpoint_in_the_end() {
    let mut scene = Scene::of(Strategy::RoundRobin);
    (0..999).for_each(|place| scene.group.pass(place, scene.now));
    scene.wait(3);
    assert_eq!(scene.checkpoints, [0; 0]);
    scene.group.pass(999, scene.now);
    scene.go_on();
    assert_eq!(scene.checkpoints, [999]);
}

#[test]
fn parked_events_come_again_and_are_let_go_when_they_are_done() {
    let mut scene = Scene::of(Strategy::DispatchToSingle);
    scene.join(1);
    scene.feed(5..7);
    scene.gave(&[(0, 5, 0)]);
    let parked = (0..2).map(|number| Message {
        origin: Origin::Parked(number),
        ..message(number, "s", Strategy::DispatchToSingle)
    });
    scene.group.feed(parked.collect::<Vec<_>>(), scene.now);
    scene.ack(0, &[5]);
    scene.ack(0, &[0]);
    scene.gave(&[(0, 0, 0), (0, 1, 0)]);
    assert_eq!(scene.truncated, [0; 0]);
    scene.nack(0, 1, Action::Park);
    scene.gave(&[(0, 6, 0)]);
    scene.finish_parking();
    assert_eq!((scene.truncated.as_slice(), scene.group.replayed()), (&[2][..], 2));
}

#[test]
fn a_group_tells_how_it_is() {
    let mut scene = Scene::of(Strategy::RoundRobin);
    scene.join(2);
    scene.feed(0..4);
    scene.now += Duration::from_secs(1);
    scene.ack(0, &[0]);
    let told = scene.group.describe(scene.now);
    assert_eq!((told.waiting, told.in_flight, told.retries), (1, 2, 0));
    assert_eq!((told.given.total, told.given.since_last, told.given.average), (3, 3, 3));
    assert_eq!(told.reached, Some(3));
    let consumer = &told.consumers[0];
    assert_eq!((consumer.in_flight, consumer.given.total), (2, 3));
    assert!(consumer.times.contains(&("Mean", 1000)), "{:?}", consumer.times);
    assert_eq!(scene.group.describe(scene.now).given.since_last, 0);
}
