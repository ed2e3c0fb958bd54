//! Given three appends, what their senders saw, and the log that holds them: when one thing is broken, the oracle says
//! which.

use annals_core::{
    Append, AppendError, Appended, EventId, EventType, ExpectedRevision, NewEvent, Position,
    RecordedEvent, Revision, SchemaFingerprint, StreamName, StreamWrite, Timestamp,
};
use bytes::Bytes;
use uuid::Uuid;

use crate::{History, Moment, Outcome, Violation, Wrong};

fn stream(name: &str) -> StreamName {
    StreamName::new(name).expect("a valid name")
}

fn write(name: &str, expected: ExpectedRevision, ids: &[u128]) -> StreamWrite {
    let events = ids.iter().map(|id| NewEvent {
        id: EventId(Uuid::from_u128(*id)),
        event_type: EventType::new("note.Taken").expect("a valid name"),
        schema: SchemaFingerprint(5),
        metadata: Bytes::from_static(b"{}"),
        data: id.to_le_bytes().to_vec().into(),
    });
    StreamWrite { stream: stream(name), expected, events: events.collect() }
}

/// Append 0 has event 0, append 1 has events 1, 2 and 3 in two streams, append 2 has event 4.
fn append(number: usize) -> Append {
    let exact = |revision| ExpectedRevision::Exact(Revision(revision));
    let writes = match number {
        0 => vec![write("note-a", ExpectedRevision::NoStream, &[0])],
        1 => vec![write("note-a", exact(0), &[1, 2]), write("note-b", ExpectedRevision::Any, &[3])],
        _ => vec![write("note-b", ExpectedRevision::Exists, &[4])],
    };
    Append { writes, condition: None }
}

fn answer(number: usize) -> Appended {
    let revisions = |all: &[u64]| all.iter().map(|it| Some(Revision(*it))).collect();
    match number {
        0 => Appended { position: Some(Position(0)), revisions: revisions(&[0]) },
        1 => Appended { position: Some(Position(3)), revisions: revisions(&[2, 0]) },
        _ => Appended { position: Some(Position(4)), revisions: revisions(&[1]) },
    }
}

fn acknowledged(number: usize) -> Outcome {
    Outcome::Acknowledged(answer(number))
}

/// The log: the three appends one after the other.
fn log() -> Vec<RecordedEvent> {
    let writes = (0..3).flat_map(|number| append(number).writes);
    let events =
        writes.flat_map(|write| write.events.into_iter().map(move |e| (write.stream.clone(), e)));
    let revisions = [0, 1, 2, 0, 1];
    let recorded =
        (0..).zip(events.zip(revisions)).map(|(position, ((stream, event), revision))| {
            RecordedEvent {
                id: event.id,
                stream,
                revision: Revision(revision),
                position: Position(position),
                event_type: event.event_type,
                time: Timestamp(0),
                schema: event.schema,
                metadata: event.metadata,
                data: event.data,
            }
        });
    recorded.collect()
}

/// Sends append `number`, to which this is the answer.
fn sends(history: &mut History, number: usize, outcome: Outcome) {
    let ticket = history.send(&append(number));
    history.answer(ticket, outcome);
}

/// Reads now: the newest of the first `events` events of the log, of the stream if there is one, newest first.
fn reads(history: &mut History, name: Option<&str>, events: usize) {
    let begun = history.now();
    ends_reading(history, begun, name, events);
}

fn ends_reading(history: &mut History, begun: Moment, name: Option<&str>, events: usize) {
    let mut seen = log();
    seen.truncate(events);
    seen.retain(|event| name.is_none_or(|name| event.stream.as_str() == name));
    seen.reverse();
    history.saw(begun, name.map(stream), seen);
}

/// The three appends one after the other, each acknowledged.
fn history() -> History {
    let mut history = History::default();
    (0..3).for_each(|number| sends(&mut history, number, acknowledged(number)));
    history
}

fn check(history: &History, log: &[RecordedEvent]) -> Result<(), Violation> {
    history.check(log, StreamName::is_system)
}

/// What is found where the log is changed.
#[track_caller]
fn finds(change: impl FnOnce(&mut Vec<RecordedEvent>), violation: Violation) {
    let mut log = log();
    change(&mut log);
    assert_eq!(check(&history(), &log), Err(violation));
}

fn wrong(number: u64, position: u64, wrong: Wrong) -> Violation {
    Violation::Append { number, position: Position(position), wrong }
}

/// Puts an event at the end of the log.
fn push(log: &mut Vec<RecordedEvent>, event: RecordedEvent) {
    let of_stream = log.iter().filter(|other| other.stream == event.stream).count();
    let (position, revision) = (Position(log.len() as u64), Revision(of_stream as u64));
    log.push(RecordedEvent { position, revision, ..event });
}

#[test]
fn a_log_that_holds_what_was_sent_is_right() {
    assert_eq!(check(&history(), &log()), Ok(()));
    assert_eq!(check(&History::default(), &[]), Ok(()));
}

#[test]
fn a_gap_is_found() {
    let gap = |name: Option<&str>, expected| Violation::Gap {
        stream: name.map(stream),
        expected,
        found: expected + 1,
    };
    finds(|log| log[4].position = Position(5), gap(None, 4));
    finds(|log| log[4].revision = Revision(2), gap(Some("note-b"), 1));
}

#[test]
fn an_event_that_nobody_sent_is_found() {
    let phantom = |name: &str| {
        let id = EventId(Uuid::from_u128(9));
        RecordedEvent { id, stream: stream(name), ..log()[0].clone() }
    };
    let violation = Violation::Phantom { id: phantom("note-a").id, position: Position(5) };
    finds(|log| push(log, phantom("note-a")), violation.clone());
    // What a store writes for itself is no such event, where it does.
    let mut log = log();
    push(&mut log, phantom("$own"));
    assert_eq!(history().check(&log, StreamName::is_system), Ok(()));
    assert_eq!(history().check(&log, |_| false), Err(violation));
}

#[test]
fn another_event_than_was_sent_is_found() {
    let altered = || wrong(1, 2, Wrong::Altered);
    finds(|log| log[2].data = Bytes::from_static(b"other"), altered());
    finds(|log| log[2].metadata = Bytes::new(), altered());
    finds(|log| log[2].schema = SchemaFingerprint::NONE, altered());
    finds(|log| log[2].event_type = EventType::new("note.Torn").expect("a valid name"), altered());
    let moved = |log: &mut Vec<RecordedEvent>| {
        (log[2].stream, log[2].revision) = (stream("note-c"), Revision(0));
    };
    finds(moved, altered());
}

#[test]
fn an_append_where_it_was_not_to_be_is_found() {
    for (number, position, expected) in [
        (0, 0, ExpectedRevision::Exists),
        (1, 1, ExpectedRevision::NoStream),
        (1, 1, ExpectedRevision::Exact(Revision(1))),
        (1, 1, ExpectedRevision::Follows(Revision(2), EventId(Uuid::from_u128(0)))),
    ] {
        let mut history = History::default();
        for sent in 0..3 {
            let mut append = append(sent);
            if sent == number {
                append.writes[0].expected = expected;
            }
            history.send(&append);
        }
        let violation = wrong(number as u64, position, Wrong::Unexpected);
        assert_eq!(check(&history, &log()), Err(violation), "{expected:?}");
    }
}

/// Append 2 also expects streams that it does not write, and is asked for before and behind its event.
fn expecting(writes: &[(&str, ExpectedRevision)], before: bool) -> History {
    let mut history = History::default();
    for number in 0..3 {
        let mut append = append(number);
        let mut outcome = acknowledged(number);
        if number == 2 {
            let extra = writes.iter().map(|(name, expected)| write(name, *expected, &[]));
            let place = if before { 0 } else { append.writes.len() };
            append.writes.splice(place..place, extra);
            // Where they were is told the first time.
            let told = append.writes.iter().map(|write| {
                let taken = write.stream.as_str() == "note-b" && !write.events.is_empty();
                Some(Revision(if taken { 1 } else { 2 }))
            });
            let revisions = told.collect();
            outcome = Outcome::Acknowledged(Appended { position: Some(Position(4)), revisions });
        }
        let ticket = history.send(&append);
        history.answer(ticket, outcome);
    }
    history
}

#[test]
fn an_append_that_only_expected_a_stream_elsewhere_is_found() {
    use ExpectedRevision::{Any, Behind, Exists, NoStream};
    let exact = |revision| ExpectedRevision::Exact(Revision(revision));
    let right = [
        ("note-a", exact(2)),
        ("note-a", Exists),
        ("note-c", NoStream),
        ("note-c", Behind(None)),
        ("note-c", Any),
    ];
    for before in [true, false] {
        assert_eq!(check(&expecting(&right, before), &log()), Ok(()));
    }
    // The event itself counts for what is expected behind it alone.
    for (before, last) in [(true, exact(0)), (false, exact(1))] {
        assert_eq!(check(&expecting(&[("note-b", last)], before), &log()), Ok(()));
        let other = expecting(&[("note-b", last)], !before);
        assert_eq!(check(&other, &log()), Err(wrong(2, 4, Wrong::Unexpected)));
    }
    for (name, expected) in
        [("note-a", exact(1)), ("note-a", exact(3)), ("note-a", NoStream), ("note-c", Exists)]
    {
        for before in [true, false] {
            let history = expecting(&[(name, expected)], before);
            let found = check(&history, &log());
            assert_eq!(found, Err(wrong(2, 4, Wrong::Unexpected)), "{name} {expected:?}");
        }
    }
}

#[test]
fn a_part_of_an_append_is_found() {
    let torn = |position| wrong(1, position, Wrong::Torn);
    finds(|log| log.truncate(2), torn(2));
    finds(|log| log.truncate(3), torn(3));
    // Its first event is missing.
    finds(
        |log| {
            log.remove(1);
            (log[1].position, log[1].revision) = (Position(1), Revision(1));
        },
        torn(1),
    );
    // Something stands in between.
    finds(
        |log| {
            log.swap(3, 4);
            (log[3].position, log[3].revision) = (Position(3), Revision(0));
        },
        torn(3),
    );
}

#[test]
fn an_append_that_stands_twice_is_found() {
    let twice = |number| wrong(number, 5, Wrong::Twice);
    finds(|log| push(log, log[0].clone()), twice(0));
    finds(|log| push(log, log[1].clone()), twice(1));
}

#[test]
fn an_acknowledged_append_that_is_gone_or_elsewhere_is_found() {
    let lost = |acknowledged, found| {
        let outcome = Outcome::Acknowledged(acknowledged);
        Violation::Outcome { number: 2, outcome, found }
    };
    finds(|log| log.truncate(4), lost(answer(2), None));
    for wrong in [
        Appended { position: Some(Position(5)), ..answer(2) },
        Appended { revisions: [Some(Revision(2))].into(), ..answer(2) },
    ] {
        // Also where it is the answer to its repetition.
        let mut history = history();
        sends(&mut history, 2, Outcome::Acknowledged(wrong.clone()));
        assert_eq!(check(&history, &log()), Err(lost(wrong, Some(answer(2)))));
    }
}

#[test]
fn a_refused_append_that_stands_is_found() {
    let mut history = History::default();
    (0..2).for_each(|number| sends(&mut history, number, acknowledged(number)));
    sends(&mut history, 2, Outcome::Refused);
    assert_eq!(check(&history, &log()[..4]), Ok(()));
    let found = Some(answer(2));
    let violation = Violation::Outcome { number: 2, outcome: Outcome::Refused, found };
    assert_eq!(check(&history, &log()), Err(violation));
    // Unless it was sent again, and taken then.
    sends(&mut history, 2, acknowledged(2));
    assert_eq!(check(&history, &log()), Ok(()));
}

#[test]
fn an_append_of_which_nobody_knows_stands_whole_or_not_at_all() {
    let mut history = History::default();
    sends(&mut history, 0, acknowledged(0));
    sends(&mut history, 1, Outcome::Unknown);
    history.send(&append(2));
    for (events, fits) in [(1, true), (2, false), (3, false), (4, true), (5, true)] {
        assert_eq!(check(&history, &log()[..events]).is_ok(), fits, "{events} events");
    }
}

#[test]
fn an_order_against_time_is_found() {
    // Sent when the append behind it had been acknowledged.
    let mut history = History::default();
    for number in [0, 2, 1] {
        sends(&mut history, number, Outcome::Unknown);
    }
    assert_eq!(check(&history, &log()), Ok(()), "what nobody heard of has no end");
    let mut history = History::default();
    sends(&mut history, 0, acknowledged(0));
    sends(&mut history, 2, acknowledged(2));
    sends(&mut history, 1, Outcome::Unknown);
    let found = check(&history, &log());
    assert!(matches!(found, Err(Violation::Order { events: 5, .. })), "{found:?}");
    // At the same time, both orders do.
    let mut history = History::default();
    sends(&mut history, 0, acknowledged(0));
    let ticket = history.send(&append(1));
    sends(&mut history, 2, acknowledged(2));
    history.answer(ticket, acknowledged(1));
    assert_eq!(check(&history, &log()), Ok(()));
}

#[test]
fn a_read_against_time_is_found() {
    let of = |name: Option<&str>, events| Violation::Order { stream: name.map(stream), events };
    for name in [None, Some("note-b")] {
        let mut right = history();
        reads(&mut right, name, 5);
        reads(&mut right, Some("note-a"), 5);
        assert_eq!(check(&right, &log()), Ok(()));
        let mut missed = history();
        reads(&mut missed, name, 4);
        assert_eq!(check(&missed, &log()), Err(of(name, 5)), "it missed what was acknowledged");
    }
    let mut nothing = history();
    reads(&mut nothing, Some("note-a"), 0);
    assert_eq!(check(&nothing, &log()), Err(of(Some("note-a"), 1)));
    // It saw what was sent later.
    let mut early = History::default();
    (0..2).for_each(|number| sends(&mut early, number, acknowledged(number)));
    reads(&mut early, None, 5);
    sends(&mut early, 2, acknowledged(2));
    assert_eq!(check(&early, &log()), Err(of(None, 5)));
    // It went back behind an earlier read, while the append was under way.
    let mut back = History::default();
    (0..2).for_each(|number| sends(&mut back, number, acknowledged(number)));
    let begun = back.now();
    back.send(&append(2));
    reads(&mut back, None, 5);
    let mut same_time = back.clone();
    ends_reading(&mut same_time, begun, None, 4);
    assert_eq!(check(&same_time, &log()), Ok(()));
    reads(&mut back, None, 4);
    assert_eq!(check(&back, &log()), Err(of(None, 5)));
}

#[test]
fn a_read_of_something_else_is_found() {
    let sees = |name: Option<&str>, change: &dyn Fn(&mut Vec<RecordedEvent>)| {
        let mut history = history();
        let (begun, mut events) = (history.now(), log());
        events.reverse();
        change(&mut events);
        history.saw(begun, name.map(stream), events);
        check(&history, &log())
    };
    let misread = |name: Option<&str>, position| {
        Err(Violation::Misread { stream: name.map(stream), position: Position(position) })
    };
    assert_eq!(sees(None, &|_| {}), Ok(()));
    let other = |events: &mut Vec<RecordedEvent>| events[0].data = Bytes::from_static(b"other");
    assert_eq!(sees(None, &other), misread(None, 4));
    let beyond = |events: &mut Vec<RecordedEvent>| events[0].position = Position(5);
    assert_eq!(sees(None, &beyond), misread(None, 5));
    let skipped = |events: &mut Vec<RecordedEvent>| drop(events.remove(2));
    assert_eq!(sees(None, &skipped), misread(None, 1));
    // Revision 2 of this stream, and revision 1 of the other one.
    let foreign =
        |events: &mut Vec<RecordedEvent>| *events = vec![log()[2].clone(), log()[4].clone()];
    assert_eq!(sees(Some("note-a"), &foreign), misread(Some("note-a"), 4));
}

#[test]
fn only_an_unknown_outcome_leaves_open_whether_it_stands() {
    assert_eq!(Outcome::from(Ok(answer(0))), acknowledged(0));
    assert_eq!(Outcome::from(Err(AppendError::Unknown(String::new()))), Outcome::Unknown);
    for refusal in [AppendError::Malformed, AppendError::TooMuch, AppendError::ReadOnly] {
        assert_eq!(Outcome::from(Err(refusal(String::new()))), Outcome::Refused);
    }
}
