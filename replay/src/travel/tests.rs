//! Time travel over a toy domain of counters: a fold stopped early is what the fold of the first events gives.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use annals_core::clock::SimulatedClock;
use annals_core::memory::MemoryStore;
use annals_core::{
    Append, Decider, DeciderRegistry, DecodeError, DomainEvent, EventId, EventSchema, EventStore,
    EventType, ExpectedRevision, NewEvent, Position, Projection, ProjectionRegistry, Recorded,
    RecordedEvent, Revision, RowKey, RowScope, SchemaFingerprint, Schemas, StreamName, StreamWrite,
    Timestamp,
};
use bytes::Bytes;
use proptest::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;

/// `owner` adds `amount`; adding 0 closes the counter for good in the read models.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Added {
    owner: String,
    amount: i64,
}

static SCHEMAS: LazyLock<[EventSchema; 1]> = LazyLock::new(|| {
    [EventSchema {
        fingerprint: SchemaFingerprint(7),
        event_type: EventType::new("toy.Added").expect("a valid constant"),
        text: Arc::from(r#"{"type":"record","name":"Added","namespace":"toy","fields":[]}"#),
    }]
});

impl DomainEvent for Added {
    const CONTEXT: &'static str = "toy";

    fn schemas() -> &'static [EventSchema] {
        &*SCHEMAS
    }

    fn schema(&self) -> &'static EventSchema {
        &SCHEMAS[0]
    }

    fn encode(&self) -> Bytes {
        serde_json::to_vec(self).expect("a plain struct").into()
    }

    fn decode(recorded: &RecordedEvent, schemas: &Schemas) -> Result<Added, DecodeError> {
        if schemas.get(recorded.schema).is_none() {
            return Err(DecodeError::UnknownSchema {
                fingerprint: recorded.schema.0,
                stream: recorded.stream.clone(),
                position: recorded.position,
            });
        }
        serde_json::from_slice(&recorded.data).map_err(|error| DecodeError::Payload {
            event_type: recorded.event_type.clone(),
            stream: recorded.stream.clone(),
            position: recorded.position,
            reason: error.to_string(),
        })
    }

    fn to_json(&self) -> Value {
        json!({"owner": self.owner, "amount": self.amount})
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Counter {
    total: i64,
    owners: BTreeMap<String, i64>,
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("never")]
struct Never;

#[derive(Clone, Serialize, Deserialize, JsonSchema)]
struct Add {
    counter: String,
}

impl Decider for Counter {
    type Command = Add;
    type Event = Added;
    type Refusal = Never;

    const CATEGORY: &'static str = "counter";

    fn target(command: &Add) -> &str {
        &command.counter
    }

    fn decide(&self, _command: Add) -> Result<Vec<Added>, Never> {
        Err(Never)
    }

    fn evolve(mut self, event: &Added) -> Counter {
        self.total += event.amount;
        *self.owners.entry(event.owner.clone()).or_default() += event.amount;
        self
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Total {
    key: String,
    total: i64,
}

fn added(key: &str, row: Option<Total>, amount: i64) -> Option<Total> {
    let total = row.map_or(0, |row| row.total) + amount;
    (amount != 0).then(|| Total { key: key.to_owned(), total })
}

/// A row a stream.
struct Counters;

impl Projection for Counters {
    type Event = Added;
    type Row = Total;

    const NAME: &'static str = "toy_counters";
    const VERSION: u32 = 1;
    const KEY: &'static str = "key";
    const SCOPE: RowScope = RowScope::OneStream;
    const DDL: &'static str = "";

    fn keys(event: &Recorded<Added>, keys: &mut Vec<RowKey>) {
        keys.push(event.stream.id().to_owned());
    }

    fn apply(key: &str, row: Option<Total>, event: &Recorded<Added>) -> Option<Total> {
        added(key, row, event.event.amount)
    }
}

/// A row an owner, over all streams.
struct Owners;

impl Projection for Owners {
    type Event = Added;
    type Row = Total;

    const NAME: &'static str = "toy_owners";
    const VERSION: u32 = 1;
    const KEY: &'static str = "key";
    const SCOPE: RowScope = RowScope::ManyStreams;
    const DDL: &'static str = "";

    fn keys(event: &Recorded<Added>, keys: &mut Vec<RowKey>) {
        keys.push(event.event.owner.clone());
    }

    fn apply(key: &str, row: Option<Total>, event: &Recorded<Added>) -> Option<Total> {
        added(key, row, event.event.amount)
    }
}

struct World {
    store: MemoryStore,
    clock: SimulatedClock,
    travel: Travel,
    appended: u128,
}

impl World {
    fn new() -> World {
        let clock = SimulatedClock::new(Timestamp(0));
        let store = MemoryStore::new(clock.clone());
        let schemas = Schemas::default();
        schemas.insert(SCHEMAS[0].clone());
        let folds = Folds::of(Folds::decider::<Counter>, |projections| {
            projections.read_model::<Counters>();
            projections.read_model::<Owners>();
        });
        let travel = Travel::new(Arc::new(store.clone()), schemas, Arc::new(folds));
        World { store, clock, travel, appended: 0 }
    }

    /// Each event is one microsecond × 10 younger than the one before: the event at position p has time 10 × p.
    fn append(&mut self, stream: &str, event_type: &str, data: Bytes) {
        let event = NewEvent {
            id: EventId(Uuid::from_u128(self.appended)),
            event_type: EventType::new(event_type).expect("a valid type"),
            schema: SchemaFingerprint(7),
            metadata: Bytes::new(),
            data,
        };
        let stream = name(stream);
        let write = StreamWrite { stream, expected: ExpectedRevision::Any, events: vec![event] };
        let appended = futures::executor::block_on(self.store.append(Append::to(write)));
        appended.expect("the store in memory takes it");
        self.appended += 1;
        self.clock.advance(std::time::Duration::from_micros(10));
    }

    fn add(&mut self, stream: &str, owner: &str, amount: i64) {
        let event = Added { owner: owner.to_owned(), amount };
        self.append(stream, "toy.Added", event.encode());
    }

    fn state(&self, subject: &Subject, at: Point) -> Result<Snapshot, TravelError> {
        futures::executor::block_on(self.travel.state(subject, at))
    }

    fn history(&self, subject: &Subject, window: Window) -> Result<History, TravelError> {
        futures::executor::block_on(self.travel.history(subject, window))
    }

    /// `toy_counters` and `toy_owners` and the streams' states folded by hand from the first `count` events.
    fn by_hand(&self, subject: &Subject, count: usize) -> Option<Value> {
        let events = self.store.events();
        let decoded = events[..count].iter().filter_map(|event| {
            let added: Option<Added> = serde_json::from_slice(&event.data).ok();
            added.map(|added| (event.stream.as_str().to_owned(), added))
        });
        let mut state = None;
        for (stream, event) in decoded {
            state = match subject {
                Subject::Stream { stream: wanted } if wanted.as_str() == stream => {
                    let counter: Counter = state.map_or_else(Counter::default, |state| {
                        let owners: Value = state;
                        Counter {
                            total: owners["total"].as_i64().expect("a total"),
                            owners: serde_json::from_value(owners["owners"].clone())
                                .expect("owners"),
                        }
                    });
                    serde_json::to_value(counter.evolve(&event)).ok()
                }
                Subject::Row { read_model, key }
                    if (read_model == "toy_owners" && *key == event.owner)
                        || (read_model == "toy_counters" && format!("counter-{key}") == stream) =>
                {
                    let row = state.map(|row| serde_json::from_value(row).expect("a row"));
                    added(key, row, event.amount).map(|row| json!(row))
                }
                Subject::Stream { .. } | Subject::Row { .. } => state,
            };
        }
        state
    }
}

fn name(stream: &str) -> StreamName {
    StreamName::new(stream).expect("a valid stream")
}

fn subjects() -> [Subject; 4] {
    [
        Subject::stream(name("counter-a")),
        Subject::row("toy_counters", "a"),
        Subject::row("toy_counters", "b"),
        Subject::row("toy_owners", "o1"),
    ]
}

fn two_counters() -> World {
    let mut world = World::new();
    world.add("counter-a", "o1", 5); // 0
    world.add("counter-b", "o1", 2); // 1
    world.append("foreign-x", "other.Thing", Bytes::from_static(b"{\"n\":1}")); // 2
    world.add("counter-a", "o2", 1); // 3
    world.add("counter-b", "o1", 0); // 4: o1's row and b's row go
    world.add("counter-a", "o1", 9); // 5
    world
}

proptest! {
    #[test]
    fn a_state_at_a_point_is_the_fold_of_the_events_up_to_it(
        adds in proptest::collection::vec((0..3_usize, 0..3_usize, -2..3_i64), 1..40),
        cut in any::<prop::sample::Index>(),
        other in any::<prop::sample::Index>(),
    ) {
        let mut world = World::new();
        for (stream, owner, amount) in &adds {
            let stream = ["counter-a", "counter-b", "counter-c"][*stream];
            world.add(stream, ["o1", "o2", "o3"][*owner], *amount);
        }
        let (cut, other) = (cut.index(adds.len()), other.index(adds.len()));
        for subject in subjects() {
            let at = Point::Position(Position(cut as u64));
            let snapshot = match world.state(&subject, at) {
                Err(TravelError::UnknownStream { .. } | TravelError::UnknownKey { .. }) => continue,
                snapshot => snapshot.expect("the subject has events"),
            };
            prop_assert_eq!(&snapshot.state, &world.by_hand(&subject, cut + 1));
            let time = Timestamp(10 * i64::try_from(cut).expect("at most 40"));
            let by_time = world.state(&subject, Point::Time(time)).expect("the same subject");
            prop_assert_eq!(&by_time, &snapshot);

            let to = Point::Position(Position(other as u64));
            let diff = futures::executor::block_on(world.travel.diff(&subject, at, to));
            let diff = diff.expect("the same subject");
            prop_assert_eq!(&diff.to.state, &world.by_hand(&subject, other + 1));
            prop_assert_eq!(&apply_changes(snapshot.state, &diff.changes), &diff.to.state);

            let history = world.history(&subject, Window::oldest(1000)).expect("the same subject");
            let replayed = history.changes.iter().fold(None, |state, change| {
                apply_changes(state, &change.changes)
            });
            prop_assert_eq!(replayed, world.by_hand(&subject, adds.len()));
            for change in &history.changes {
                let at = world.state(&subject, Point::Revision(change.number));
                let there = usize::try_from(change.place.position.0).expect("at most 40");
                let by_hand = world.by_hand(&subject, there + 1);
                prop_assert_eq!(at.expect("its own event").state, by_hand);
            }
        }
    }
}

#[test]
fn a_row_tells_which_events_made_it_and_what_each_changed() {
    let world = two_counters();
    let row = Subject::row("toy_owners", "o1");
    let history = world.history(&row, Window::oldest(10)).expect("a row");
    let told: Vec<_> = history
        .changes
        .iter()
        .map(|change| {
            let fields: Vec<_> = change.changes.iter().map(FieldChange::label).collect();
            (change.number.0, change.place.position.0, change.event["amount"].clone(), fields)
        })
        .collect();
    let field = |name: &str| name.to_owned();
    assert_eq!(
        told,
        [
            (0, 0, json!(5), vec![field("key"), field("total")]),
            (1, 1, json!(2), vec![field("total")]),
            (2, 4, json!(0), vec![field("")]),
            (3, 5, json!(9), vec![field("key"), field("total")]),
        ]
    );
    assert_eq!(history.next, None);
    let text = serde_json::to_string(&history).expect("a history serialises");
    assert_eq!(serde_json::from_str::<History>(&text).expect("and is read back"), history);
}

#[test]
fn a_history_comes_in_parts_and_the_youngest_part_can_be_had() {
    let world = two_counters();
    let row = Subject::row("toy_owners", "o1");
    let whole = world.history(&row, Window::oldest(10)).expect("a row");
    let first = world.history(&row, Window::oldest(3)).expect("a row");
    assert_eq!((first.changes.len(), first.next), (3, Some(Position(5))));
    let rest = Window { from: first.next, ..Window::oldest(3) };
    let rest = world.history(&row, rest).expect("a row");
    assert_eq!((&rest.changes[..], rest.next), (&whole.changes[3..], None));
    let youngest = world.history(&row, Window::youngest(2)).expect("a row");
    assert_eq!(youngest.changes, whole.changes[2..]);
    let until = Window { to: Point::Revision(Revision(1)), ..Window::youngest(1) };
    assert_eq!(world.history(&row, until).expect("a row").changes, whole.changes[1..2]);
}

#[test]
fn before_its_first_event_a_subject_is_there_without_a_state() {
    let world = two_counters();
    let early = world.state(&Subject::row("toy_counters", "b"), Point::Position(Position(0)));
    let early = early.expect("the row comes later");
    assert_eq!((early.events, early.last, early.state), (0, None, None));
    let gone = world.state(&Subject::row("toy_counters", "b"), Point::Now).expect("a row");
    assert_eq!((gone.events, gone.state), (2, None));
}

#[test]
fn a_stream_without_a_decider_has_its_events_only() {
    let world = two_counters();
    let foreign = Subject::stream(name("foreign-x"));
    let state = world.state(&foreign, Point::Now).expect("a stream");
    assert_eq!((state.fold, state.events, state.state), (FoldKind::Events, 1, None));
    let history = world.history(&foreign, Window::oldest(10)).expect("a stream");
    assert_eq!(history.changes[0].event, json!({"n": 1}));
    assert_eq!(history.changes[0].changes, []);
}

#[test]
fn an_event_of_another_context_in_a_stream_counts_and_changes_nothing() {
    let mut world = two_counters();
    world.append("counter-a", "other.Note", Bytes::from_static(b"hello"));
    let history = world.history(&Subject::stream(name("counter-a")), Window::youngest(1));
    let note = &history.expect("a stream").changes[0];
    assert_eq!(
        (note.number, &note.event, &note.changes[..]),
        (Revision(3), &json!("hello"), &[][..])
    );
}

#[test]
fn what_is_not_there_is_told_by_kind() {
    let world = two_counters();
    let row = Subject::row("toy_owners", "o1");
    let check = |subject: &Subject, at: Point, text: &str| {
        let error = world.state(subject, at).expect_err("it is not there");
        assert_eq!(error.family(), annals_core::Family::NotFound);
        assert_eq!(error.to_string(), text);
    };
    check(
        &Subject::row("toy_ouners", "o1"),
        Point::Now,
        r#"no read model is named "toy_ouners"; there are toy_counters, toy_owners"#,
    );
    check(
        &Subject::row("toy_owners", "o9"),
        Point::Now,
        r#"no event ever touched a row "o9" of toy_owners"#,
    );
    check(&Subject::stream(name("counter-z")), Point::Now, "stream counter-z has no event");
    check(
        &row,
        Point::Revision(Revision(4)),
        "row o1 of toy_owners has no revision 4; its last one is 3",
    );
    check(
        &row,
        Point::Position(Position(6)),
        "the log has no position 6; its last event is at position 5",
    );
    let window = Window { to: Point::Revision(Revision(4)), ..Window::oldest(1000) };
    let error = world.history(&row, window).expect_err("revision 4 is not there");
    assert_eq!(error.family(), annals_core::Family::NotFound);
}

#[test]
fn an_event_that_does_not_decode_is_named_with_its_place() {
    let mut world = two_counters();
    world.append("counter-a", "toy.Added", Bytes::from_static(b"\0"));
    let error = world.state(&Subject::stream(name("counter-a")), Point::Now);
    let error = error.expect_err("its last event is broken");
    assert_eq!(error.family(), annals_core::Family::Damage);
    let source = std::error::Error::source(&error).expect("the codec's error").to_string();
    assert!(source.starts_with("event 6 of stream counter-a, type toy.Added"), "{source}");
    // What lies before it can still be looked at.
    let before = world.state(&Subject::stream(name("counter-a")), Point::Position(Position(5)));
    assert_eq!(before.expect("the sound part").events, 3);
}
