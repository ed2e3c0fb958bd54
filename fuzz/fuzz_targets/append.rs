//! Any appends, with any names, metadata and payloads: the log answers each as the store in memory does, and after every
//! closing and opening it reads the same. So every frame that is written is read as what it was written for.
#![no_main]

use annals_core::clock::SimulatedClock;
use annals_core::disk::SimulatedDisk;
use annals_core::memory::MemoryStore;
use annals_core::{
    Append, AppendError, Condition, EventId, EventQuery, EventStore, EventType, ExpectedRevision,
    NewEvent, Position, ReadQuery, Revision, SchemaFingerprint, StreamName, StreamWrite, Timestamp,
};
use annals_fuzz::written::{block_on, open, read};
use bytes::Bytes;
use libfuzzer_sys::arbitrary::{Arbitrary, Result, Unstructured};
use uuid::Uuid;

/// What a segment of 8 KiB has room for behind its header and beside a commit.
const APPEND_BYTES_MAX: usize = 8192 - 4096 - 80;

/// Bytes that one event may have beyond what the input gives, so that segments fill up.
const FILLING_MAX: usize = 3000;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let mut bytes = Unstructured::new(input);
    let disk = SimulatedDisk::new(1);
    let mut log = open(&disk).expect("an empty disk takes a log");
    let model = MemoryStore::new(SimulatedClock::new(Timestamp(1_514_764_800_000_000)));
    while !bytes.is_empty() {
        if bytes.ratio(1, 12).unwrap_or(false) {
            log.close();
            log = open(&disk).expect("a closed log opens");
        }
        let Ok(append) = any_append(&mut bytes) else { break };
        let too_large = bytes_max(&append) > APPEND_BYTES_MAX;
        let found = block_on(log.append(append.clone()));
        let expected = block_on(model.append(append));
        if too_large {
            // The model has no largest append: from here on it may hold what the log does not.
            let refused = matches!(found, Err(AppendError::Malformed(_) | AppendError::PartlyRepeated));
            assert!(refused, "{found:?}");
            if expected.is_ok() {
                return;
            }
            continue;
        }
        assert_eq!(format!("{found:?}"), format!("{expected:?}"));
    }
    drop(log);
    let log = open(&disk).expect("a closed log opens");
    assert_eq!(read(&*log, ReadQuery::all()).expect("it is sound"), model.events());
    let last = model.events().last().map(|event| event.stream.clone());
    if let Some(stream) = last {
        let query = ReadQuery::stream(stream).backwards();
        let found = read(&*log, query.clone()).expect("it is sound");
        assert_eq!(found, read(&model, query).expect("a model does not fail"));
    }
});

/// The most bytes that an append takes: 64 of each event are of fixed size, and its numbers take up to 19.
fn bytes_max(append: &Append) -> usize {
    let of_stream = |write: &StreamWrite| -> usize {
        let events = write.events.iter().map(|event| {
            let names = write.stream.as_str().len() + event.event_type.as_str().len();
            64 + 19 + names + event.metadata.len() + event.data.len()
        });
        events.sum()
    };
    append.writes.iter().map(of_stream).sum()
}

fn any_append(bytes: &mut Unstructured<'_>) -> Result<Append> {
    let mut writes = Vec::new();
    for _ in 0..bytes.int_in_range(1..=2)? {
        let name = ["a", "b-1", "b-2", "\u{fc}", "$system"][bytes.choose_index(5)?];
        let name = if bytes.ratio(1, 8)? { String::arbitrary(bytes)? } else { name.to_owned() };
        let Ok(stream) = StreamName::new(name) else { continue };
        let mut events = Vec::new();
        for _ in 0..bytes.int_in_range(0..=3)? {
            events.push(any_event(bytes)?);
        }
        let revision = Revision(bytes.int_in_range(0..=7)?);
        let expected = match bytes.choose_index(8)? {
            0 => ExpectedRevision::NoStream,
            1 => ExpectedRevision::Exists,
            2 => ExpectedRevision::Exact(revision),
            3 => ExpectedRevision::Follows(revision, any_id(bytes)?),
            _ => ExpectedRevision::Any,
        };
        writes.push(StreamWrite { stream, expected, events });
    }
    let after = bytes.ratio(1, 2)?.then_some(Position(bytes.int_in_range(0..=9)?));
    let fail_if_events_match = EventQuery::tagged(["t".to_owned()]);
    let condition = bytes.ratio(1, 8)?.then_some(Condition { fail_if_events_match, after });
    Ok(Append { writes, condition })
}

fn any_id(bytes: &mut Unstructured<'_>) -> Result<EventId> {
    Ok(EventId(Uuid::from_u128(u128::from(u8::arbitrary(bytes)?))))
}

fn any_event(bytes: &mut Unstructured<'_>) -> Result<NewEvent> {
    let id = any_id(bytes)?;
    let event_type = EventType::new(["t", "context.Name"][bytes.choose_index(2)?]).expect("a type");
    // Now and then a tag that a condition may ask for, else anything.
    let metadata: Vec<u8> =
        if bytes.ratio(1, 4)? { b"\x06\x01t".to_vec() } else { <_>::arbitrary(bytes)? };
    let mut data: Vec<u8> = Vec::arbitrary(bytes)?;
    if bytes.ratio(1, 4)? {
        data.resize(data.len() + bytes.int_in_range(0..=FILLING_MAX)?, 7);
    }
    let (metadata, data) = (Bytes::from(metadata), Bytes::from(data));
    Ok(NewEvent {
        id,
        event_type,
        schema: SchemaFingerprint(u64::arbitrary(bytes)?),
        metadata,
        data,
    })
}
