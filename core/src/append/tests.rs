//! What an append may expect, and when it is a repetition.

use futures::FutureExt;
use uuid::Uuid;

use super::*;
use crate::clock::{SimulatedClock, Timestamp};
use crate::codec::SchemaFingerprint;
use crate::event::{EventType, NewEvent};
use crate::memory::MemoryStore;
use crate::store::{EventStore, StreamWrite};

fn named(name: &str) -> StreamName {
    StreamName::new(name).expect("a name")
}

fn write(name: &str, expected: ExpectedRevision, ids: &[u128]) -> StreamWrite {
    let event = |id: &u128| NewEvent {
        id: EventId(Uuid::from_u128(*id)),
        event_type: EventType::new("note.Taken").expect("a type"),
        schema: SchemaFingerprint::NONE,
        metadata: bytes::Bytes::new(),
        data: bytes::Bytes::new(),
    };
    StreamWrite { stream: named(name), expected, events: ids.iter().map(event).collect() }
}

fn append_all(store: &MemoryStore, writes: Vec<StreamWrite>) -> Result<Appended, AppendError> {
    let append = Append { writes, condition: None };
    store.append(append).now_or_never().expect("it is in memory")
}

fn append(
    store: &MemoryStore,
    expected: ExpectedRevision,
    ids: &[u128],
) -> Result<Option<Revision>, AppendError> {
    Ok(append_all(store, vec![write("note-1", expected, ids)])?.revisions[0])
}

const fn behind(revision: u64) -> ExpectedRevision {
    ExpectedRevision::Behind(Some(Revision(revision)))
}

const BEGINS: ExpectedRevision = ExpectedRevision::Behind(None);

/// Position and revisions of an answer.
fn came(answer: Result<Appended, AppendError>) -> (Option<u64>, Vec<Option<u64>>) {
    let Appended { position, revisions } = answer.expect("it is new, or a repetition");
    let revisions = revisions.into_iter().map(|last| last.map(|last| last.0));
    (position.map(|position| position.0), revisions.collect())
}

/// The streams that are elsewhere, with where they are.
fn elsewhere(answer: Result<Appended, AppendError>) -> Vec<(String, Option<u64>)> {
    let Err(AppendError::Conflict { stream, expected, actual, others }) = answer else {
        panic!("{answer:?}")
    };
    let unmet = [Unmet { stream, expected, actual }].into_iter().chain(others);
    let told = |unmet: Unmet| (unmet.stream.to_string(), unmet.actual.map(|actual| actual.0));
    unmet.map(told).collect()
}

/// A stream of the events 10, 11, 12.
fn three() -> MemoryStore {
    let store = MemoryStore::new(SimulatedClock::new(Timestamp(0)));
    let answer = append(&store, ExpectedRevision::Behind(None), &[10, 11, 12]);
    assert_eq!(answer.expect("it is new"), Some(Revision(2)));
    store
}

#[test]
fn an_append_behind_a_place_is_a_repetition_only_there() {
    let repeated = [
        (ExpectedRevision::Behind(None), &[10, 11][..], 1),
        (behind(0), &[11], 1),
        (behind(1), &[12], 2),
    ];
    for (expected, ids, last) in repeated {
        let store = three();
        let answer = append(&store, expected, ids).expect("a repetition");
        assert_eq!(answer, Some(Revision(last)));
        assert_eq!(store.events().len(), 3, "{expected:?}");
    }
    let refused = [
        (ExpectedRevision::Behind(None), &[11][..]),
        (ExpectedRevision::Behind(None), &[10, 12]),
        (ExpectedRevision::Behind(None), &[]),
        (behind(0), &[11, 12, 13]),
        (behind(1), &[11]),
        (behind(3), &[10]),
    ];
    for (expected, ids) in refused {
        let answer = append(&three(), expected, ids);
        assert!(matches!(answer, Err(AppendError::Conflict { .. })), "{expected:?} {ids:?}");
    }
    // What is known elsewhere is another event here, and twice the same in one append are two.
    let store = three();
    assert_eq!(append(&store, behind(2), &[10, 10]).expect("new"), Some(Revision(4)));
}

#[test]
fn an_append_that_is_partly_known_is_neither_new_nor_a_repetition() {
    for expected in [ExpectedRevision::Any, ExpectedRevision::Exact(Revision(2))] {
        let answer = append(&three(), expected, &[12, 13]);
        assert!(matches!(answer, Err(AppendError::PartlyRepeated)), "{answer:?}");
    }
    for expected in [ExpectedRevision::Any, ExpectedRevision::Exact(Revision(2))] {
        let answer = append(&three(), expected, &[11, 12]).expect("a repetition");
        assert_eq!(answer, Some(Revision(2)));
    }
}

#[test]
fn nothing_occurs_twice_in_one_append() {
    let many: Vec<u128> = (101..=120).collect();
    let twice = |ids: &[u128]| [ids, &ids[..1]].concat();
    for ids in [&[1][..], &[1, 2, 3], &many] {
        let store = three();
        append(&store, ExpectedRevision::Any, ids).expect("each is there once");
        let store = three();
        let refused = append(&store, ExpectedRevision::Any, &twice(ids));
        assert!(matches!(refused, Err(AppendError::Malformed(_))), "{refused:?}");
    }
}

#[test]
fn a_write_expects_its_stream_as_the_writes_before_it_leave_it() {
    use ExpectedRevision::{Any, Exact, Exists, Follows, NoStream};
    let event = |id| EventId(Uuid::from_u128(id));
    for later in [Any, Exists, Exact(Revision(0)), Follows(Revision(0), event(1)), behind(0)] {
        let store = three();
        let writes = || {
            vec![
                write("a", NoStream, &[1]),
                write("b", NoStream, &[1]),
                write("a", later, &[2, 3]),
                write("note-1", behind(2), &[]),
            ]
        };
        let first = came(append_all(&store, writes()));
        assert_eq!(first, (Some(6), vec![Some(0), Some(0), Some(2), Some(2)]), "{later:?}");
        let order: Vec<_> =
            store.events()[3..].iter().map(|e| (e.stream.to_string(), e.revision.0)).collect();
        let expected = [("a", 0), ("b", 0), ("a", 1), ("a", 2)];
        assert!(order.iter().map(|(name, at)| (name.as_str(), *at)).eq(expected), "{order:?}");
        assert_eq!(came(append_all(&store, writes())).0, Some(6), "{later:?}");
        assert_eq!(store.events().len(), 7, "{later:?}");
    }
    for later in [NoStream, BEGINS, Exact(Revision(1)), Follows(Revision(0), event(9)), behind(1)] {
        let writes = vec![write("a", NoStream, &[1]), write("a", later, &[2])];
        let store = three();
        assert_eq!(elsewhere(append_all(&store, writes)), [("a".to_owned(), Some(0))], "{later:?}");
        assert_eq!(store.events().len(), 3, "{later:?}");
    }
}

#[test]
fn every_stream_that_is_elsewhere_is_told_and_no_other() {
    let store = three();
    let exact = |revision| ExpectedRevision::Exact(Revision(revision));
    let writes = vec![
        write("a", ExpectedRevision::NoStream, &[1]),
        write("b", ExpectedRevision::Exists, &[]),
        write("note-1", exact(1), &[]),
        write("c", ExpectedRevision::Any, &[1]),
        write("note-1", exact(2), &[]),
        write("d", behind(4), &[1]),
        write("d", behind(5), &[2]),
    ];
    let told = [("b", None), ("note-1", Some(2)), ("d", None)];
    let told = told.map(|(name, actual)| (name.to_owned(), actual));
    assert_eq!(elsewhere(append_all(&store, writes)), told);
    assert_eq!(store.events().len(), 3);
}

#[test]
fn an_append_is_a_repetition_where_every_write_is_one() {
    use ExpectedRevision::Any;
    let store = three();
    let writes =
        || vec![write("a", BEGINS, &[1, 2]), write("b", Any, &[3]), write("a", behind(1), &[4])];
    let first = came(append_all(&store, writes()));
    append_all(&store, vec![write("a", Any, &[5]), write("b", Any, &[6])]).expect("new");
    assert_eq!(came(append_all(&store, writes())), first);
    // What it only expects is not asked again.
    let checked = || [vec![write("note-1", behind(7), &[])], writes()].concat();
    assert_eq!(came(append_all(&store, checked())).0, first.0);
    let part = vec![write("a", BEGINS, &[1, 2]), write("b", Any, &[7])];
    assert_eq!(elsewhere(append_all(&store, part)), [("a".to_owned(), Some(3))]);
    let part = vec![write("a", behind(3), &[7]), write("b", Any, &[3])];
    let refused = append_all(&store, part);
    assert!(matches!(refused, Err(AppendError::PartlyRepeated)), "{refused:?}");
    assert_eq!(store.events().len(), 9);
}

#[test]
fn an_id_occurs_once_in_all_the_writes_to_a_stream() {
    use ExpectedRevision::Any;
    let store = three();
    let twice = vec![write("a", Any, &[1]), write("b", Any, &[1]), write("a", Any, &[1])];
    let refused = append_all(&store, twice);
    assert!(matches!(refused, Err(AppendError::Malformed(_))), "{refused:?}");
    let places = vec![write("a", BEGINS, &[1]), write("a", behind(0), &[1])];
    append_all(&store, places).expect("a place tells them apart");
}
