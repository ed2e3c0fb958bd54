//! What was sent, what was answered, and whether a log agrees: nothing acknowledged is lost,
//! nothing stands twice, nothing stands there that was not sent, every append is whole or absent,
//! positions and revisions have no gap.

use annals_core::random::SeededRandom;
use annals_core::{
    Append, AppendError, Appended, EventId, EventStore, ExpectedRevision, Position, ReadQuery,
    RecordedEvent, Revision,
};
use futures::stream::{FuturesOrdered, StreamExt};
use hashbrown::HashMap;

use super::{Log, event, read, stream, write};

/// Streams that a run writes to.
const STREAMS: [&str; 3] = ["account-A", "account-B", "market-X"];

/// An append and how it was answered.
pub(super) struct Sent {
    append: Append,
    outcome: Result<Appended, AppendError>,
}

/// All that was sent to a store over its life.
#[derive(Default)]
pub(super) struct Oracle {
    sent: Vec<Sent>,
    next_id: u128,
}

impl Oracle {
    /// Sends `count` random appends, several at a time, some of them again, and notes the answers.
    pub(super) async fn drive(&mut self, log: &Log, random: &SeededRandom, count: usize) {
        let mut waiting = FuturesOrdered::new();
        for _ in 0..count {
            let append = self.random_append(random);
            let answer = log.append(append.clone());
            waiting.push_back(async move { Sent { append, outcome: answer.await } });
            if waiting.len() as u64 > random.below(4) {
                self.sent.extend(waiting.next().await);
            }
        }
        while let Some(sent) = waiting.next().await {
            self.sent.push(sent);
        }
    }

    fn random_append(&mut self, random: &SeededRandom) -> Append {
        if !self.sent.is_empty() && random.below(8) == 0 {
            let which = random.below(self.sent.len() as u64);
            return self.sent[usize::try_from(which).unwrap()].append.clone();
        }
        let first = random.below(3);
        let writes = (first..=first + random.below(2)).map(|which| {
            let name = STREAMS[usize::try_from(which % 3).unwrap()];
            let events = (0..=random.below(3)).map(|_| {
                self.next_id += 1;
                let size = [0, 1, 100, 700][usize::try_from(random.below(4)).unwrap()];
                event(self.next_id, vec![self.next_id.to_le_bytes()[0]; size])
            });
            write(name, events.collect())
        });
        let mut append = Append { writes: writes.collect(), condition: None };
        if random.below(5) == 0 {
            append.writes[0].expected = ExpectedRevision::Exact(Revision(random.below(40)));
        }
        append
    }

    /// How many appends were acknowledged.
    pub(super) fn acknowledged(&self) -> usize {
        self.sent.iter().filter(|sent| sent.outcome.is_ok()).count()
    }

    /// Holds a log against what was sent.
    pub(super) async fn check(&self, log: &Log) -> Result<(), String> {
        let all = read(log, ReadQuery::all()).await.map_err(|error| error.to_string())?;
        let mut places: HashMap<EventId, &RecordedEvent> = HashMap::new();
        let mut heads: HashMap<&str, u64> = HashMap::new();
        for (number, event) in (0_u64..).zip(&all) {
            if event.position.0 != number {
                return Err(format!("position {} stands at place {number}", event.position));
            }
            let next = heads.entry(event.stream.as_str()).or_default();
            if event.revision.0 != *next {
                return Err(format!("{} has {} for {next}", event.stream, event.revision));
            }
            *next += 1;
            if places.insert(event.id, event).is_some() {
                return Err(format!("event {} stands there twice", event.id));
            }
        }
        for name in STREAMS {
            let query = ReadQuery::stream(stream(name));
            let events = read(log, query).await.map_err(|error| error.to_string())?;
            let expected = all.iter().filter(|event| event.stream.as_str() == name);
            if !events.iter().eq(expected) {
                return Err(format!("stream {name} reads otherwise than the whole log"));
            }
        }
        self.check_sent(&places)?;
        let known: usize = places.len();
        let sent: usize = places.keys().filter(|id| id.0.as_u128() <= self.next_id).count();
        if known == sent { Ok(()) } else { Err("an event stands there that was not sent".into()) }
    }

    fn check_sent(&self, places: &HashMap<EventId, &RecordedEvent>) -> Result<(), String> {
        let mut allowed: hashbrown::HashSet<EventId> = hashbrown::HashSet::new();
        for sent in &self.sent {
            let events =
                || sent.append.writes.iter().flat_map(|w| w.events.iter().map(move |e| (w, e)));
            let stored: Vec<_> = events().filter_map(|(_, e)| places.get(&e.id)).collect();
            for (write, event) in events() {
                let Some(found) = places.get(&event.id) else { continue };
                if found.stream != write.stream || found.data != event.data {
                    return Err(format!("event {} is not what was sent", event.id));
                }
            }
            if !stored.is_empty() && stored.len() != events().count() {
                return Err("a part of an append stands there".into());
            }
            match &sent.outcome {
                Ok(answer) => self.check_answer(sent, answer, places)?,
                Err(AppendError::Unknown(_)) => {}
                Err(
                    AppendError::Conflict { .. }
                    | AppendError::ConditionFailed { .. }
                    | AppendError::Malformed(_)
                    | AppendError::TooMuch(_)
                    | AppendError::ReadOnly(_),
                ) => continue,
            }
            allowed.extend(events().map(|(_, event)| event.id));
        }
        match places.keys().find(|id| !allowed.contains(*id)) {
            Some(id) => Err(format!("event {id} stands there though it was refused")),
            None => Ok(()),
        }
    }

    #[allow(clippy::unused_self, reason = "a step of the check")]
    fn check_answer(
        &self,
        sent: &Sent,
        answer: &Appended,
        places: &HashMap<EventId, &RecordedEvent>,
    ) -> Result<(), String> {
        let mut last = None;
        for (write, revision) in sent.append.writes.iter().zip(&answer.revisions) {
            let Some(event) = write.events.last() else { continue };
            let found =
                places.get(&event.id).ok_or_else(|| format!("event {} is lost", event.id))?;
            if Some(found.revision) != *revision {
                return Err(format!("event {} moved within its stream", event.id));
            }
            last = last.max(Some(found.position));
        }
        if last.map(|Position(last)| last) == answer.position.map(|Position(last)| last) {
            Ok(())
        } else {
            Err(format!("an append acknowledged at {:?} stands at {last:?}", answer.position))
        }
    }
}
