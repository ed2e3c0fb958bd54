//! Whether there is one order that explains all that clients sent and saw: that of the positions. Every append has a
//! place of its own in it, so nothing has to be searched: sorted by place, nothing may go back in time.

use std::collections::HashMap;

use annals_core::{Position, RecordedEvent, StreamName};

use crate::history::{Moment, Seen, Sent};
use crate::{Held, Violation};

/// An append or a read. An append that reaches up to n events has place 2 n - 1, a read that saw up to there 2 n.
struct Step {
    place: u64,
    begun: Moment,
    /// Nothing where no one heard of its end.
    ended: Option<Moment>,
}

/// Holds what clients saw, and when, against the log: for each stream, and for the whole log.
pub(crate) fn check(
    sent: &[Sent],
    reads: &[Seen],
    held: &Held,
    log: &[RecordedEvent],
) -> Result<(), Violation> {
    let mut streams: HashMap<Option<&StreamName>, Vec<Step>> = HashMap::new();
    for (number, sent) in (0..).zip(sent) {
        let Some(last) = held.append(number).and_then(|answer| answer.position) else { continue };
        let step = |end| Step { place: 2 * end - 1, begun: sent.begun, ended: sent.acknowledged };
        let mut end = last.0 + 1;
        streams.entry(None).or_default().push(step(end));
        for write in sent.append.writes.iter().rev() {
            streams.entry(Some(&write.stream)).or_default().push(step(end));
            end -= write.events.len() as u64;
        }
    }
    for seen in reads {
        let place = newest(seen, log)?.map_or(0, |position| 2 * (position.0 + 1));
        let step = Step { place, begun: seen.begun, ended: Some(seen.ended) };
        streams.entry(seen.stream.as_ref()).or_default().push(step);
    }
    streams.into_iter().try_for_each(|(stream, steps)| in_order(stream, steps))
}

/// The position of the newest event that a read saw. What it saw is what stands there, without a gap.
fn newest(seen: &Seen, log: &[RecordedEvent]) -> Result<Option<Position>, Violation> {
    let stands = |event: &RecordedEvent| {
        let place = usize::try_from(event.position.0).ok();
        place.and_then(|place| log.get(place)) == Some(event)
            && seen.stream.as_ref().is_none_or(|stream| *stream == event.stream)
    };
    let whole = seen.stream.is_none();
    let place = |event: &RecordedEvent| if whole { event.position.0 } else { event.revision.0 };
    let mut newer = None;
    for event in &seen.events {
        if !stands(event) || newer.is_some_and(|newer| newer != place(event) + 1) {
            let (stream, position) = (seen.stream.clone(), event.position);
            return Err(Violation::Misread { stream, position });
        }
        newer = Some(place(event));
    }
    Ok(seen.events.first().map(|event| event.position))
}

/// What ended before something else began does not stand behind it.
fn in_order(stream: Option<&StreamName>, mut steps: Vec<Step>) -> Result<(), Violation> {
    steps.sort_by_key(|step| step.place);
    // When the latest of those with a smaller place began.
    let mut latest = Moment::default();
    for same in steps.chunk_by(|one, other| one.place == other.place) {
        if let Some(step) = same.iter().find(|step| step.ended.is_some_and(|ended| ended < latest))
        {
            let events = step.place.div_ceil(2);
            return Err(Violation::Order { stream: stream.cloned(), events });
        }
        latest = same.iter().map(|step| step.begun).fold(latest, Moment::max);
    }
    Ok(())
}
