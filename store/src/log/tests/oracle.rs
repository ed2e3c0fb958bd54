//! Random appends to a log over its lives, each sent and answered before the oracle's eyes, and the log held against them.

use annals_core::random::SeededRandom;
use annals_core::{Append, EventStore, ExpectedRevision, ReadQuery, Revision, StreamWrite};
use annals_oracle::{History, Sent};
use futures::stream::{FuturesOrdered, StreamExt};

use super::{Log, event, read, stream, write};

/// Streams that a run writes to.
const STREAMS: [&str; 3] = ["account-A", "account-B", "market-X"];

/// All that was sent to a store over its life.
#[derive(Default)]
pub(super) struct Oracle {
    history: History,
    next_id: u128,
}

impl Oracle {
    /// Sends `count` random appends, several at a time, some of them again, and notes the answers.
    pub(super) async fn drive(&mut self, log: &Log, random: &SeededRandom, count: usize) {
        let mut waiting = FuturesOrdered::new();
        for _ in 0..count {
            let append = self.random_append(random);
            let ticket = self.history.send(&append);
            let answer = log.append(append);
            waiting.push_back(async move { (ticket, answer.await) });
            if waiting.len() as u64 > random.below(4)
                && let Some((ticket, answer)) = waiting.next().await
            {
                self.history.answer(ticket, answer.into());
            }
        }
        while let Some((ticket, answer)) = waiting.next().await {
            self.history.answer(ticket, answer.into());
        }
    }

    fn random_append(&mut self, random: &SeededRandom) -> Append {
        let sent = self.history.sent();
        if !sent.is_empty() && random.below(8) == 0 {
            let which = random.below(sent.len() as u64);
            return sent[usize::try_from(which).unwrap()].append.clone();
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
        if random.below(4) == 0 {
            append.writes.push(self.only_expected(random));
        }
        if random.below(8) == 0 {
            // Behind what was written to it before.
            self.next_id += 1;
            let again = append.writes[0].stream.as_str().to_owned();
            append.writes.push(write(&again, vec![event(self.next_id, vec![7])]));
        }
        if random.below(5) == 0 {
            append.writes[0].expected = ExpectedRevision::Exact(Revision(random.below(40)));
        }
        append
    }

    /// A stream that is not written, and where it is or was.
    fn only_expected(&self, random: &SeededRandom) -> StreamWrite {
        let name = STREAMS[usize::try_from(random.below(3)).unwrap()];
        let of_stream = |sent: &Sent| {
            let writes = sent.append.writes.iter().filter(|write| write.stream.as_str() == name);
            writes.map(|write| write.events.len() as u64).sum::<u64>()
        };
        let sent: u64 = self.history.sent().iter().map(of_stream).sum();
        let last = sent.saturating_sub(random.below(3));
        let expected = last.checked_sub(1).map(Revision);
        StreamWrite { expected: ExpectedRevision::Behind(expected), ..write(name, Vec::new()) }
    }

    /// How many appends were acknowledged.
    pub(super) fn acknowledged(&self) -> usize {
        self.history.counts().acknowledged
    }

    /// Holds a log against what was sent, and its streams against the whole of it.
    pub(super) async fn check(&self, log: &Log) -> Result<(), String> {
        let all = read(log, ReadQuery::all()).await.map_err(|error| error.to_string())?;
        self.history.check(&all, |_| false).map_err(|violation| violation.to_string())?;
        for name in STREAMS {
            let query = ReadQuery::stream(stream(name));
            let events = read(log, query).await.map_err(|error| error.to_string())?;
            let expected = all.iter().filter(|event| event.stream.as_str() == name);
            if !events.iter().eq(expected) {
                return Err(format!("stream {name} reads otherwise than the whole log"));
            }
        }
        Ok(())
    }
}
