//! The log answers every append and every read as the store in memory does, over reopenings.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use annals_core::clock::SimulatedClock;
use annals_core::disk::SimulatedDisk;
use annals_core::memory::MemoryStore;
use annals_core::{
    Append, Condition, Direction, EventId, EventQuery, EventStore, EventType, ExpectedRevision,
    Filter, Metadata, NewEvent, Pattern, Position, QueryItem, ReadQuery, Revision,
    SchemaFingerprint, Source, Start, StreamWrite, Timestamp,
};
use bytes::Bytes;
use futures::StreamExt;
use proptest::prelude::*;
use uuid::Uuid;

use super::{EPOCH, FOLDER, Log, LogOptions, block_on, open_at, read, small, stream};

#[derive(Clone, Debug)]
pub(super) enum Step {
    Append(Append),
    Read(ReadQuery),
    Reopen,
    Wait(u64),
}

const STREAMS: [&str; 5] = ["account-A", "account-B", "market-X", "$schemas", "$$account-A"];
/// Payloads that hide events, where they stand in the stream's metadata.
const HIDING: [&[u8]; 3] = [b"{\"$maxCount\":2}", b"{\"$tb\":3}", b"{\"$maxAge\":1}"];
const TYPES: [&str; 3] = ["trading.OrderPlaced", "trading.Filled", "market.TradeRecorded"];

fn any_event() -> impl Strategy<Value = NewEvent> {
    let size = prop_oneof![4 => 0_usize..80, 1 => 200..400_usize];
    (0_u128..60, 0_usize..3, size, 0_u8..3, 0_usize..6).prop_map(
        |(id, event_type, size, tag, hides)| {
            let mut metadata = Metadata::default();
            if tag > 0 {
                metadata.tags.insert(format!("desk:{tag}"));
            }
            NewEvent {
                id: EventId(Uuid::from_u128(id)),
                event_type: EventType::new(TYPES[event_type]).unwrap(),
                schema: SchemaFingerprint(u64::from(tag)),
                metadata: metadata.encode(),
                data: HIDING
                    .get(hides)
                    .map_or(vec![tag; size].into(), |data| Bytes::from_static(data)),
            }
        },
    )
}

fn any_append() -> impl Strategy<Value = Append> {
    let expected = prop_oneof![
        6 => Just(ExpectedRevision::Any),
        1 => Just(ExpectedRevision::NoStream),
        1 => Just(ExpectedRevision::Exists),
        2 => (0_u64..6).prop_map(|revision| ExpectedRevision::Exact(Revision(revision))),
        3 => prop::option::of(0_u64..4)
            .prop_map(|revision| ExpectedRevision::Behind(revision.map(Revision))),
        1 => (0_u64..6, 0_u128..60).prop_map(|(revision, id)| {
            ExpectedRevision::Follows(Revision(revision), EventId(Uuid::from_u128(id)))
        }),
    ];
    let write = (0_usize..5, expected, prop::collection::vec(any_event(), 0..4));
    (prop::collection::vec(write, 1..4), any_condition()).prop_map(|(writes, condition)| {
        let writes = writes.into_iter().map(|(name, expected, events)| StreamWrite {
            stream: stream(STREAMS[name]),
            expected,
            events,
        });
        Append { writes: writes.collect(), condition }
    })
}

fn any_of_two() -> EventQuery {
    let placed = EventType::new(TYPES[0]).unwrap();
    let tagged = QueryItem { types: vec![placed], tags: ["desk:1".to_owned()].into() };
    let traded =
        QueryItem { types: vec![EventType::new(TYPES[2]).unwrap()], ..QueryItem::default() };
    EventQuery { items: vec![tagged, traded] }
}

fn any_condition() -> impl Strategy<Value = Option<Condition>> {
    let query = (0_u8..4).prop_map(|which| match which {
        0 => EventQuery::default(),
        1 => EventQuery::tagged(["desk:2".into()]),
        2 => EventQuery::tagged(["desk:9".into()]),
        _ => any_of_two(),
    });
    let condition = (query, prop::option::of(0_u64..40)).prop_map(|(query, after)| Condition {
        fail_if_events_match: query,
        after: after.map(Position),
    });
    prop_oneof![4 => Just(None), 1 => condition.prop_map(Some)]
}

fn any_query() -> impl Strategy<Value = ReadQuery> {
    let start = prop_oneof![
        Just(Start::Edge),
        Just(Start::End),
        (0_u64..12).prop_map(|n| Start::Revision(Revision(n))),
        (0_u64..40).prop_map(|n| Start::Position(Position(n))),
        (0_u64..40).prop_map(|n| Start::After(Position(n))),
        (0_i64..40).prop_map(|n| Start::Time(Timestamp(EPOCH.0 + n))),
    ];
    let filter = (0_u8..8).prop_map(|which| match which {
        0 => Filter { stream_prefixes: vec!["account-".into()], ..Filter::default() },
        1 => Filter::context("trading"),
        2 => Filter { no_system: true, ..Filter::default() },
        3 => Filter { query: EventQuery::tagged(["desk:1".into()]), ..Filter::default() },
        4 => Filter { query: any_of_two(), ..Filter::default() },
        5 => Filter { stream_pattern: Pattern::new("^(?!account-A)").ok(), ..Filter::default() },
        _ => Filter::default(),
    });
    let direction = prop_oneof![Just(Direction::Forwards), Just(Direction::Backwards)];
    let limit = prop::option::of(0_u64..8);
    (0_usize..9, direction, start, limit, filter).prop_map(
        |(source, direction, start, limit, filter)| {
            let source = STREAMS.get(source).map_or(Source::All, |s| Source::Stream(stream(s)));
            ReadQuery { source, direction, start, limit, filter }
        },
    )
}

pub(super) fn any_steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => any_append().prop_map(Step::Append),
        6 => any_query().prop_map(Step::Read),
        1 => Just(Step::Reopen),
        1 => prop_oneof![0_u64..5, Just(600_000)].prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..40)
}

/// Takes the steps on a log and on the model; tells the first difference.
pub(super) fn compare(steps: &[Step], options: &LogOptions) -> Result<(), String> {
    let (disk, clock) = (SimulatedDisk::new(1), SimulatedClock::new(EPOCH));
    let model = MemoryStore::new(clock.clone());
    let open = || {
        let disk = Arc::new(disk.clone());
        open_at(disk, Path::new(FOLDER), clock.clone(), options.clone()).unwrap()
    };
    let mut log = open();
    for step in steps {
        match step {
            Step::Append(append) => {
                let ours = block_on(log.append(append.clone()));
                let theirs = block_on(model.append(append.clone()));
                if format!("{ours:?}") != format!("{theirs:?}") {
                    return Err(format!("{append:?}: {ours:?}, the model: {theirs:?}"));
                }
            }
            Step::Read(query) => compare_read(&log, &model, query)?,
            Step::Reopen => {
                drop(log);
                log = open();
            }
            Step::Wait(micros) => clock.advance(Duration::from_micros(*micros)),
        }
        for stream in STREAMS.map(stream) {
            let [ours, theirs] =
                [block_on(log.stream_head(&stream)), block_on(model.stream_head(&stream))]
                    .map(|head| head.map_err(|error| error.to_string()));
            if ours != theirs {
                return Err(format!("{stream} is at {ours:?}, the model's at {theirs:?}"));
            }
        }
        if log.head() != model.head() {
            return Err(format!("the head is {:?}, the model's {:?}", log.head(), model.head()));
        }
    }
    Ok(())
}

fn compare_read(log: &Log, model: &MemoryStore, query: &ReadQuery) -> Result<(), String> {
    let ours = block_on(read(log, query.clone())).map_err(|error| error.to_string());
    let theirs = block_on(async {
        let batches: Vec<_> = model.read(query.clone()).collect().await;
        let batches: Result<Vec<_>, _> = batches.into_iter().collect();
        batches.map(|batches| {
            batches.into_iter().flat_map(|b| Arc::unwrap_or_clone(b.events)).collect::<Vec<_>>()
        })
    })
    .map_err(|error| error.to_string());
    if ours == theirs {
        return Ok(());
    }
    Err(format!("{query:?}: {ours:#?}, the model: {theirs:#?}"))
}

/// More cases where `PROPTEST_CASES` asks for them.
pub(super) fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => default,
        None => ProptestConfig { cases: 192, ..default },
    }
}

proptest! {
    #![proptest_config(config())]
    #[test]
    fn the_log_does_as_the_store_in_memory_does(steps in any_steps()) {
        if let Err(difference) = compare(&steps, &small()) {
            return Err(TestCaseError::fail(difference));
        }
    }
}
