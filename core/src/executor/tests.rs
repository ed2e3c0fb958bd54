//! The executor against the store in memory, with a toy domain: a counter that refuses to pass ten.

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::*;
use crate::clock::{SimulatedClock, Timestamp};
use crate::codec::{EventSchema, SchemaFingerprint};
use crate::event::{EventType, RecordedEvent};
use crate::memory::MemoryStore;
use crate::random::SeededRandom;

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Counter(u64);

#[derive(Clone, Debug, PartialEq)]
struct Added(u8);

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum CounterCommand {
    Add { counter: String, by: u8 },
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("the counter would pass ten")]
struct TooHigh;

fn schemas() -> &'static [EventSchema] {
    static SCHEMAS: std::sync::OnceLock<Vec<EventSchema>> = std::sync::OnceLock::new();
    SCHEMAS.get_or_init(|| {
        vec![EventSchema {
            fingerprint: SchemaFingerprint(7),
            event_type: EventType::new("toy.Added").expect("a valid constant"),
            text: Arc::from(r#"{"type":"record","name":"Added","namespace":"toy","fields":[]}"#),
        }]
    })
}

impl DomainEvent for Added {
    const CONTEXT: &'static str = "toy";

    fn schemas() -> &'static [EventSchema] {
        schemas()
    }

    fn schema(&self) -> &'static EventSchema {
        &schemas()[0]
    }

    fn encode(&self) -> Bytes {
        Bytes::copy_from_slice(&[self.0])
    }

    fn decode(recorded: &RecordedEvent, _: &Schemas) -> Result<Added, DecodeError> {
        Ok(Added(recorded.data[0]))
    }

    fn to_json(&self) -> serde_json::Value {
        self.0.into()
    }
}

impl Decider for Counter {
    type Command = CounterCommand;
    type Event = Added;
    type Refusal = TooHigh;

    const CATEGORY: &'static str = "counter";

    fn target(command: &CounterCommand) -> &str {
        let CounterCommand::Add { counter, .. } = command;
        counter
    }

    fn decide(&self, command: CounterCommand) -> Result<Vec<Added>, TooHigh> {
        let CounterCommand::Add { by, .. } = command;
        match self.0 + u64::from(by) {
            _ if by == 0 => Ok(vec![]),
            0..=10 => Ok(vec![Added(by)]),
            _ => Err(TooHigh),
        }
    }

    fn evolve(self, event: &Added) -> Counter {
        Counter(self.0 + u64::from(event.0))
    }
}

fn add(by: u8) -> CounterCommand {
    CounterCommand::Add { counter: "a".to_owned(), by }
}

fn envelope(id: u128) -> Envelope {
    Envelope::new(Uuid::from_u128(id))
}

fn store() -> MemoryStore {
    MemoryStore::new(SimulatedClock::new(Timestamp(0)))
}

/// An executor of its own: no two share a seed, or their event ids would be the same.
fn executor(store: &MemoryStore) -> Executor<Counter> {
    static SEED: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    Executor::new(
        Arc::new(store.clone()),
        Schemas::default(),
        Arc::new(SimulatedClock::new(Timestamp(0))),
        Arc::new(SeededRandom::new(SEED.fetch_add(1, Ordering::Relaxed))),
    )
}

#[tokio::test]
async fn a_command_becomes_events() {
    let store = store();
    let answer = executor(&store).execute(add(3), &envelope(1)).await.expect("accepted");
    assert_eq!(answer.events, vec![Added(3)]);
    assert_eq!((answer.revision, answer.position), (Some(Revision(0)), Some(Position(0))));
    assert_eq!(store.events().len(), 1);
    assert_eq!(store.events()[0].metadata().causation, Some(Uuid::from_u128(1)));
}

#[tokio::test]
async fn a_command_id_is_answered_once_also_after_a_restart() {
    let store = store();
    let first = executor(&store);
    let answer = first.execute(add(3), &envelope(1)).await.expect("accepted");
    assert_eq!(first.execute(add(3), &envelope(1)).await.expect("repeated"), answer);
    let restarted = executor(&store);
    restarted.execute(add(1), &envelope(2)).await.expect("accepted");
    assert_eq!(restarted.execute(add(3), &envelope(1)).await.expect("repeated"), answer);
    assert_eq!(store.events().len(), 2);
}

#[tokio::test]
async fn a_refusal_stores_nothing() {
    let store = store();
    let executor = executor(&store);
    executor.execute(add(9), &envelope(1)).await.expect("accepted");
    let refused = executor.execute(add(2), &envelope(2)).await.expect_err("ten is the limit");
    assert!(matches!(refused, CommandError::Refused(TooHigh)), "{refused:?}");
    assert_eq!(refused.family(), Family::Refusal);
    assert_eq!(store.events().len(), 1);
}

#[tokio::test]
async fn what_is_already_so_yields_no_event() {
    let store = store();
    let answer = executor(&store).execute(add(0), &envelope(1)).await.expect("accepted");
    assert_eq!((answer.events, answer.position, answer.revision), (vec![], None, None));
}

#[tokio::test]
async fn a_conflict_is_decided_again_on_what_the_other_wrote() {
    let store = store();
    let (one, two) = (executor(&store), executor(&store));
    one.execute(add(4), &envelope(1)).await.expect("accepted");
    two.execute(add(4), &envelope(2)).await.expect("accepted");
    // `one` still believes in 4: it meets the conflict, loads, and finds no room for 3 more.
    let refused = one.execute(add(3), &envelope(3)).await.expect_err("ten is the limit");
    assert!(matches!(refused, CommandError::Refused(TooHigh)), "{refused:?}");
    let answer = one.execute(add(2), &envelope(4)).await.expect("accepted");
    assert_eq!(answer.revision, Some(Revision(2)));
}

#[tokio::test]
async fn what_was_decided_on_a_failed_append_fails_too() {
    let store = store();
    let (one, two) = (executor(&store), executor(&store));
    one.execute(add(1), &envelope(1)).await.expect("accepted");
    two.execute(add(1), &envelope(2)).await.expect("accepted");
    // Two commands ahead of the disk, on a state that lacks the other's event. The second one's revision
    // fits, since the other wrote just as many events; its predecessor's id does not.
    let first = one.submit(add(2), &envelope(3)).await.expect("decided");
    let second = one.submit(add(2), &envelope(5)).await.expect("decided");
    assert!(matches!(first.durable().await, Err(AppendError::Conflict { .. })));
    assert!(matches!(second.durable().await, Err(AppendError::Conflict { .. })));
    one.execute(add(2), &envelope(3)).await.expect("decided anew");
    let total: u64 = store.events().iter().map(|event| u64::from(event.data[0])).sum();
    assert_eq!(total, 4);
}
