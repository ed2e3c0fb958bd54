//! Whether there is one order that explains all that clients sent and saw: that of the positions. It has every
//! acknowledged append where it was said to stand, each event once at most, nothing that was refused or never sent, and
//! nothing in it goes back in time.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use annals_client::proto::{ExpectedState, RecordedEvent, StreamWrite, stream_write::Expected};

use crate::history::{History, Outcome, Seen, Sent};

/// The events of the log by their ids.
type Places<'a> = HashMap<&'a str, &'a RecordedEvent>;

/// A step in the order: an append at position p at `2 p + 1`, a read that saw up to there at `2 p + 2`.
struct Step {
    order: u64,
    invoked: Duration,
    /// Nothing where no one heard of its end.
    completed: Option<Duration>,
}

/// Holds a history against the whole log that it led to.
pub(crate) fn check(history: &History, log: &[RecordedEvent]) -> Result<(), String> {
    let places = places(log)?;
    let mut known = HashSet::new();
    let mut appends = Vec::new();
    for sent in &history.appends {
        let stored = stored(sent, &places)?;
        known.extend(stored.iter().map(|event| event.id.as_str()));
        match (&sent.outcome, stored.is_empty()) {
            (Outcome::Stored(..), true) => return Err(format!("it is lost: {sent:?}")),
            (Outcome::Refused, false) => {
                return Err(format!("it was refused and stands: {sent:?}"));
            }
            (Outcome::Stored(..) | Outcome::Unknown, false) => appends.push((sent, stored)),
            (Outcome::Refused | Outcome::Unknown, true) => {}
        }
    }
    // What the server writes for itself stands in streams of its own.
    let own = |event: &&RecordedEvent| event.stream.starts_with('$');
    let mut foreign = log.iter().filter(|event| !own(event) && !known.contains(event.id.as_str()));
    if let Some(event) = foreign.next() {
        return Err(format!("nobody sent {event:?}"));
    }
    let mut streams: HashMap<&str, Vec<Step>> = HashMap::new();
    for (sent, stored) in &appends {
        let completed = match &sent.outcome {
            Outcome::Stored(at, _) => Some(*at),
            Outcome::Refused | Outcome::Unknown => None,
        };
        let step = |order| Step { order, invoked: sent.invoked, completed };
        // The whole log is the stream without a name.
        let last = stored[stored.len() - 1].position;
        streams.entry("").or_default().push(step(2 * last + 1));
        for write in &sent.request.writes {
            let mut of_stream = stored.iter().filter(|event| event.stream == write.stream);
            let steps = of_stream.next_back().map(|event| step(2 * event.position + 1));
            streams.entry(&write.stream).or_default().extend(steps);
        }
    }
    for seen in &history.reads {
        let order = newest(seen, log)?.map_or(0, |position| 2 * position + 2);
        let step = Step { order, invoked: seen.invoked, completed: Some(seen.completed) };
        streams.entry(&seen.stream).or_default().push(step);
    }
    streams.into_iter().try_for_each(|(stream, steps)| in_order(stream, steps))
}

/// Positions and revisions have no gap and no id stands twice.
fn places(log: &[RecordedEvent]) -> Result<Places<'_>, String> {
    let mut places = HashMap::new();
    let mut heads: HashMap<&str, u64> = HashMap::new();
    for (position, event) in (0..).zip(log) {
        let next = heads.entry(&event.stream).or_default();
        if (event.position, event.revision) != (position, *next) {
            return Err(format!("position {position}, revision {next} is {event:?}"));
        }
        *next += 1;
        if places.insert(event.id.as_str(), event).is_some() {
            return Err(format!("it stands twice: {event:?}"));
        }
    }
    Ok(places)
}

/// The events of an append: all of them, side by side, as they were sent and where they were said to be; or none.
fn stored<'a>(sent: &Sent, places: &Places<'a>) -> Result<Vec<&'a RecordedEvent>, String> {
    let wrong = |what: &str| Err(format!("{what}: {sent:?}"));
    let events = || sent.request.writes.iter().flat_map(|w| w.events.iter().map(move |e| (w, e)));
    let found: Vec<&RecordedEvent> =
        events().filter_map(|(_, event)| places.get(event.id.as_str()).copied()).collect();
    if found.is_empty() {
        return Ok(found);
    }
    if found.len() != events().count() {
        return wrong("only a part of it stands");
    }
    for ((write, event), (place, found)) in events().zip((0..).zip(&found)) {
        let first: &RecordedEvent = places[sent.request.writes[0].events[0].id.as_str()];
        if (&found.stream, &found.data) != (&write.stream, &event.data) {
            return wrong("other bytes stand there");
        }
        if found.position != first.position + place {
            return wrong("something stands in between");
        }
    }
    for write in &sent.request.writes {
        if !is_where_expected(write, places) {
            return wrong("it stands where it was not to be");
        }
    }
    if let Outcome::Stored(_, answer) = &sent.outcome {
        let revisions = sent.request.writes.iter().map(|write| last_revision(write, places));
        let answered = answer.revisions.iter().map(|revision| revision.revision);
        if !revisions.eq(answered) || answer.position != found.last().map(|last| last.position) {
            return wrong("it was acknowledged elsewhere");
        }
    }
    Ok(found)
}

fn last_revision(write: &StreamWrite, places: &Places<'_>) -> Option<u64> {
    Some(places[write.events.last()?.id.as_str()].revision)
}

fn is_where_expected(write: &StreamWrite, places: &Places<'_>) -> bool {
    let first = places[write.events[0].id.as_str()].revision;
    let next = match write.expected {
        Some(Expected::Revision(last)) => last + 1,
        Some(Expected::State(state)) if state == i32::from(ExpectedState::NoStream) => 0,
        Some(Expected::State(_)) | None => first,
    };
    let revisions = write.events.iter().map(|event| places[event.id.as_str()].revision);
    revisions.eq((next..).take(write.events.len()))
}

/// The position of the newest event that a read saw. What it saw is what stands there, without a gap.
fn newest(seen: &Seen, log: &[RecordedEvent]) -> Result<Option<u64>, String> {
    for event in &seen.events {
        let place = usize::try_from(event.position).ok();
        if place.and_then(|place| log.get(place)) != Some(event) {
            return Err(format!(
                "a read of {:?} saw what does not stand there: {event:?}",
                seen.stream
            ));
        }
    }
    let whole = seen.stream.is_empty();
    let place = |event: &RecordedEvent| if whole { event.position } else { event.revision };
    let side_by_side = |pair: &[RecordedEvent]| place(&pair[0]) == place(&pair[1]) + 1;
    let own = seen.events.iter().all(|event| whole || event.stream == seen.stream);
    if !own || !seen.events.windows(2).all(side_by_side) {
        return Err(format!("a read left something out: {seen:?}"));
    }
    Ok(seen.events.first().map(|event| event.position))
}

/// What ended before something else began does not stand behind it.
fn in_order(stream: &str, mut steps: Vec<Step>) -> Result<(), String> {
    steps.sort_by_key(|step| step.order);
    // When the latest of those with a smaller place began.
    let mut latest = Duration::ZERO;
    for same in steps.chunk_by(|one, other| one.order == other.order) {
        for step in same {
            if step.completed.is_some_and(|completed| completed < latest) {
                let (place, completed) = (step.order.saturating_sub(1) / 2, step.completed);
                let text =
                    format!("ended at {completed:?}, and what began at {latest:?} is before it");
                return Err(format!("stream {stream:?}: what stands at position {place} {text}"));
            }
        }
        latest = same.iter().map(|step| step.invoked).fold(latest, Duration::max);
    }
    Ok(())
}

#[test]
fn every_kind_of_violation_is_noticed() {
    use annals_client::proto::{AppendRequest, AppendResponse, NewEvent, StreamRevision};

    let at = Duration::from_millis;
    let event = |place: u64| RecordedEvent {
        id: place.to_string(),
        stream: "note-1".to_owned(),
        revision: place,
        position: place,
        ..RecordedEvent::default()
    };
    let sent = |place: u64, invoked, completed| {
        let new = NewEvent { id: place.to_string(), ..NewEvent::default() };
        let expected = place.checked_sub(1).map(Expected::Revision);
        let write = StreamWrite { stream: "note-1".to_owned(), expected, events: vec![new] };
        let revisions = vec![StreamRevision { revision: Some(place) }];
        let answer = AppendResponse { position: Some(place), revisions };
        let request = AppendRequest { writes: vec![write], condition: None };
        Sent { request, invoked: at(invoked), outcome: Outcome::Stored(at(completed), answer) }
    };
    let seen = |count: u64, invoked, completed| Seen {
        stream: "note-1".to_owned(),
        invoked: at(invoked),
        completed: at(completed),
        events: (0..count).rev().map(event).collect(),
    };
    let log: Vec<_> = (0..3).map(event).collect();
    let history = History {
        appends: vec![sent(0, 0, 10), sent(1, 5, 20), sent(2, 30, 40)],
        reads: vec![seen(0, 0, 9), seen(2, 15, 25), seen(2, 26, 35), seen(3, 41, 50)],
        repeated: 0,
    };
    assert_eq!(check(&history, &log), Ok(()));
    let breaks = |what: &str, change: &dyn Fn(&mut History, &mut Vec<RecordedEvent>)| {
        let (mut history, mut log) = (history.clone(), log.clone());
        change(&mut history, &mut log);
        assert!(check(&history, &log).is_err(), "{what} is not noticed");
    };
    breaks("a lost append", &|_, log| drop(log.pop()));
    breaks("one that nobody sent", &|_, log| log.push(event(3)));
    breaks("one that stands twice", &|_, log| {
        log.push(RecordedEvent { id: "0".to_owned(), ..event(3) });
    });
    breaks("a gap", &|_, log| log[2].position = 3);
    breaks("other bytes", &|_, log| log[1].data = (&b"other"[..]).into());
    breaks("another place than was told", &|history, _| {
        let Outcome::Stored(_, answer) = &mut history.appends[1].outcome else { unreachable!() };
        answer.position = Some(2);
    });
    breaks("an expectation that did not hold", &|history, _| {
        history.appends[2].request.writes[0].expected = Some(Expected::Revision(0));
    });
    breaks("a refused one that stands", &|history, _| {
        history.appends[1].outcome = Outcome::Refused;
    });
    breaks("an order against time", &|history, _| history.appends[1].invoked = at(41));
    breaks("an append that was over before an earlier one began", &|history, _| {
        history.appends[0].invoked = at(21);
        history.appends[0].outcome = history.appends[1].outcome.clone();
    });
    breaks("a read that missed what was acknowledged", &|history, _| {
        history.reads.push(seen(1, 21, 22));
    });
    breaks("a read that went back", &|history, _| history.reads.push(seen(2, 51, 52)));
    breaks("a read of what was sent later", &|history, _| history.reads.push(seen(3, 0, 29)));
    breaks("a read of nothing after an append", &|history, _| history.reads.push(seen(0, 11, 12)));
    breaks("a read that left something out", &|history, _| {
        history.reads[3].events.remove(1);
    });
    history.appends.iter().for_each(|sent| {
        let unknown = Sent { outcome: Outcome::Unknown, ..sent.clone() };
        assert_eq!(check(&History { appends: vec![unknown], ..History::default() }, &[]), Ok(()));
    });
}
