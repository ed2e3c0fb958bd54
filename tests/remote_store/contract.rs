//! What every store promises of appends.

use std::collections::HashMap;

use annals_core::metadata::{Content, Metadata};
use annals_core::{
    Append, AppendError, Condition, EventQuery, EventStore, ExpectedRevision, NewEvent, Position,
    ReadQuery, Revision, SchemaFingerprint,
};
use bytes::Bytes;
use futures::future::join_all;

use crate::remote::{all, connect, event, events, id, ids, on_server, put, stream, write};

use ExpectedRevision::{Any, Exact, Exists, Follows, NoStream};

#[track_caller]
fn conflict(answer: Result<annals_core::Appended, AppendError>, at: Option<u64>) {
    match answer {
        Err(AppendError::Conflict { actual, .. }) => assert_eq!(actual, at.map(Revision)),
        other => panic!("{other:?} is no conflict"),
    }
}

#[test]
fn every_expectation_holds() {
    on_server(async |store, _| {
        let store = &*store;
        conflict(put(store, "a-1", Exists, &[1]).await, None);
        conflict(put(store, "a-1", Exact(Revision(0)), &[1]).await, None);
        let first = put(store, "a-1", NoStream, &[1, 2]).await.expect("a new stream");
        assert_eq!(first.revisions[..], [Some(Revision(1))]);
        conflict(put(store, "a-1", NoStream, &[3]).await, Some(1));
        conflict(put(store, "a-1", Exact(Revision(0)), &[3]).await, Some(1));
        conflict(put(store, "a-1", Exact(Revision(7)), &[3]).await, Some(1));
        conflict(put(store, "a-1", Follows(Revision(1), id(1)), &[3]).await, Some(1));
        conflict(put(store, "a-1", Follows(Revision(0), id(1)), &[3]).await, Some(1));
        put(store, "a-1", Exact(Revision(1)), &[3]).await.expect("the last revision");
        put(store, "a-1", Follows(Revision(2), id(3)), &[4]).await.expect("the last event");
        put(store, "a-1", Exists, &[5]).await.expect("an existing stream");
        let last = put(store, "a-1", Any, &[6]).await.expect("anything");
        assert_eq!(last.revisions[..], [Some(Revision(5))]);
        assert!(last.position > first.position);
        assert!(store.head() >= last.position, "what is acknowledged is in the log");
        let found = events(store, ReadQuery::stream(stream("a-1"))).await;
        assert_eq!(ids(&found), (1..=6).map(id).collect::<Vec<_>>());
        assert_eq!(found.last().map(|event| event.position), last.position);
        let nothing = put(store, "a-1", Exact(Revision(5)), &[]).await.expect("no events");
        assert_eq!((nothing.position, &nothing.revisions[..]), (None, &[Some(Revision(5))][..]));
        conflict(put(store, "a-1", NoStream, &[]).await, Some(5));
    });
}

#[test]
fn a_repeat_writes_nothing_and_is_answered_as_the_first_time() {
    on_server(async |store, server| {
        for (name, expected) in [("a-1", NoStream), ("b-1", Any)] {
            let first = put(&*store, name, expected, &[1, 2]).await.expect("room");
            let again = put(&*store, name, expected, &[1, 2]).await.expect("a repeat");
            assert_eq!(again, first, "{name}");
            let other = connect(server).await;
            let again = put(&*other, name, expected, &[1, 2]).await.expect("a repeat");
            assert_eq!(again, first, "{name}, by another client");
        }
        assert_eq!(events(&*store, all()).await.len(), 4);
    });
}

#[test]
fn what_the_protocol_cannot_say_is_refused() {
    on_server(async |store, _| {
        let one = |name, number| write(name, Any, vec![event(number)]).writes.remove(0);
        let several = Append { writes: vec![one("a-1", 1), one("b-1", 2)], condition: None };
        let fail_if_events_match = EventQuery::tagged(["x".to_owned()]);
        let condition = Some(Condition { fail_if_events_match, after: None });
        let conditional = Append { writes: vec![one("a-1", 1)], condition };
        for append in [several, conditional] {
            let error = store.append(append).await.expect_err("it cannot be said");
            assert!(matches!(error, AppendError::Malformed(_)), "{error}");
        }
        assert_eq!(events(&*store, all()).await, []);
    });
}

#[test]
fn an_append_that_follows_one_that_failed_fails_too() {
    on_server(async |store, server| {
        put(&*store, "a-1", NoStream, &[1]).await.expect("room");
        let other = connect(server).await;
        put(&*other, "a-1", Exact(Revision(0)), &[9]).await.expect("someone writes first");
        // Decided one upon the other, before any is answered: where the second is to stand, the other's event stands now.
        let first = store.append(write("a-1", Follows(Revision(0), id(1)), vec![event(2)]));
        let second = store.append(write("a-1", Follows(Revision(1), id(2)), vec![event(3)]));
        let beside = store.append(write("b-1", NoStream, vec![event(4)]));
        conflict(first.await, Some(1));
        conflict(second.await, Some(1));
        beside.await.expect("another stream has nothing to do with it");
        let found = events(&*store, ReadQuery::stream(stream("a-1"))).await;
        assert_eq!(ids(&found), [id(1), id(9)]);
    });
}

#[test]
fn appends_stand_in_the_order_in_which_they_were_given() {
    on_server(async |store, _| {
        let mut answers = Vec::new();
        let mut last: HashMap<String, (Revision, u64)> = HashMap::new();
        for number in 0..1_500 {
            let name = format!("s-{}", number % 7 % 4);
            let before = last.get(&name).copied();
            let revision = before.map_or(Revision(0), |(last, _)| Revision(last.0 + 1));
            last.insert(name.clone(), (revision, number));
            let expected =
                before.map_or(NoStream, |(revision, before)| Follows(revision, id(before)));
            // Some say what they follow, some do not care, and some are too large to go with others.
            let mut event = event(number);
            if number % 100 == 99 {
                event.data = vec![7; 1_100_000].into();
            }
            let expected = if number % 3 == 0 { Any } else { expected };
            answers.push(store.append(write(&name, expected, vec![event])));
        }
        let answers = join_all(answers).await;
        let positions: Vec<Option<Position>> =
            answers.into_iter().map(|answer| answer.expect("room").position).collect();
        assert!(positions.is_sorted());
        let found = events(&*store, all()).await;
        assert_eq!(ids(&found), (0..1_500).map(id).collect::<Vec<_>>());
        assert_eq!(found.iter().map(|event| Some(event.position)).collect::<Vec<_>>(), positions);
    });
}

#[test]
fn a_failed_append_leaves_those_beside_it_alone() {
    on_server(async |store, _| {
        put(&*store, "a-1", NoStream, &[1_000]).await.expect("room");
        // Every tenth expects what is not so.
        let given = (0..200).map(|number| {
            let (name, expected) = if number % 10 == 0 { ("a-1", NoStream) } else { ("b-1", Any) };
            store.append(write(name, expected, vec![event(number)]))
        });
        let answers = join_all(given).await;
        for (number, answer) in answers.into_iter().enumerate() {
            if number % 10 == 0 {
                conflict(answer, Some(0));
            } else {
                answer.expect("nothing was expected");
            }
        }
        let found = events(&*store, ReadQuery::stream(stream("b-1"))).await;
        let expected: Vec<_> = (0..200).filter(|number| number % 10 != 0).map(id).collect();
        assert_eq!(ids(&found), expected);
    });
}

#[test]
fn what_is_read_is_what_was_appended() {
    on_server(async |store, _| {
        let foreign = |content, custom: &'static [u8], data: &'static [u8]| {
            let (content, custom) = (Some(content), custom.into());
            let metadata = Metadata { content, custom, ..Metadata::default() };
            let schema = SchemaFingerprint::NONE;
            NewEvent { metadata: metadata.encode(), schema, data: data.into(), ..event(0) }
        };
        let json = NewEvent {
            metadata: Bytes::default(),
            schema: SchemaFingerprint::NONE,
            data: br#" {"a": [1, 2]} "#[..].into(),
            ..event(1)
        };
        let appended = [
            event(2),
            NewEvent { id: id(3), ..json },
            NewEvent { id: id(4), ..foreign(Content::Json, b"{\"$correlationId\":\"x\"}", b"{}") },
            NewEvent { id: id(5), ..foreign(Content::Bytes, b"\xff\x00", b"\xfe") },
            NewEvent { id: id(6), ..foreign(Content::Json, b"", b"\"a\" ") },
            NewEvent { id: id(7), data: vec![1; 3_900_000].into(), ..event(7) },
        ];
        for event in &appended {
            let answer = store.append(write("a-1", Any, vec![event.clone()])).await;
            answer.unwrap_or_else(|error| panic!("{}: {error}", event.id));
        }
        let found = events(&*store, ReadQuery::stream(stream("a-1"))).await;
        assert_eq!(found.len(), appended.len());
        for (found, appended) in found.into_iter().zip(appended) {
            assert_eq!(found.metadata(), Metadata::decode(&appended.metadata), "{}", found.id);
            let read = NewEvent {
                id: found.id,
                event_type: found.event_type,
                schema: found.schema,
                metadata: found.metadata,
                data: found.data,
            };
            assert!(read == appended, "{}", appended.id);
            assert!(found.time.0 > 1_700_000_000_000_000, "{}", found.time);
        }
    });
}
