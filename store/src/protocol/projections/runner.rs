//! The task of a projection. It reads the log from its checkpoint on, gathers links for a moment or until they are many, and
//! writes them and the next checkpoint as one append, which expects the checkpoint that it began from: whatever is killed, a
//! link is neither doubled nor lost. What the store refuses it tries again from what then stands there.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use annals_core::{
    Append, AppendError, Appended, Batch, Content, EventType, ExpectedRevision, Filter, Metadata,
    NewEvent, Position, ReadError, ReadQuery, Retention, Revision, SchemaFingerprint, Start,
    StreamName, StreamWrite, chain,
};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use quick_cache::sync::Cache;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::super::names::{LINK, original_of};
use super::super::service::Protocol;
use super::super::writes::here;
use super::emitted::{Emitted, by_stream, generation_of, link_id};
use super::figures::Figures;
use super::kept::{Kept, KeptError, Standing};
use super::system::SystemProjection;

/// The most links of an append: a batch of the log waits for no larger piece.
const LINKS_MAX: usize = 1024;
/// The most bytes of the links of an append, about.
const BYTES_MAX: usize = 256 << 10;
/// So long links are gathered.
const GATHER: Duration = Duration::from_millis(10);
/// After so many events without a link a checkpoint is written by itself.
const PASSED_MAX: u64 = 65_536;
/// How often an append is decided; others delete or describe its streams meanwhile.
const ATTEMPTS: usize = 64;
/// How long after trouble it is tried again, at first and at last.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(10)];
/// How many streams are remembered that this generation has written to.
const BEGUN_MAX: usize = 65_536;

/// What holds a projection up.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Kept(#[from] KeptError),
    #[error("the log could not be read")]
    Read(#[from] ReadError),
    #[error("the log was closed")]
    Closed,
    #[error("links could not be written")]
    Append(#[source] AppendError),
    #[error("the streams of links are deleted or described again and again")]
    Unsettled,
}

/// The task of a projection.
pub(crate) struct Runner {
    projection: SystemProjection,
    protocol: Arc<Protocol>,
    figures: Arc<Figures>,
    stopping: CancellationToken,
    standing: Standing,
    /// What waits to be written, in log order.
    emitted: VecDeque<Emitted>,
    /// The log was looked at through this position.
    looked: Option<Position>,
    /// When the first of what waits came.
    since: Option<Instant>,
    /// Streams that this generation has written to, while it writes anew what an earlier one had written.
    begun: Cache<StreamName, ()>,
    link: NewEvent,
}

/// An append that was decided.
struct Decided {
    append: Append,
    kept: Kept,
    bytes: usize,
}

/// How links get into a stream.
enum Way {
    /// With its metastream at this revision, and with this event there.
    Open(Option<Revision>, Option<NewEvent>),
    /// Never again.
    Ended,
}

impl Runner {
    /// The task of a projection, which ends when it is told to.
    pub(crate) fn new(
        projection: SystemProjection,
        protocol: Arc<Protocol>,
        figures: Arc<Figures>,
        stopping: CancellationToken,
    ) -> Runner {
        let metadata = Metadata { content: Some(Content::Bytes), ..Metadata::default() };
        let link = NewEvent {
            id: link_id(projection, 0, Position(0)),
            event_type: EventType::new(LINK).expect("a constant of the protocol"),
            schema: SchemaFingerprint::NONE,
            metadata: metadata.encode(),
            data: Bytes::new(),
        };
        Runner {
            projection,
            protocol,
            figures,
            stopping,
            standing: Standing::default(),
            emitted: VecDeque::new(),
            looked: None,
            since: None,
            begun: Cache::new(BEGUN_MAX),
            link,
        }
    }

    /// Runs until it is told to stop, or finds that it is not to run; answers how far everything is done.
    pub(crate) async fn run(mut self) -> Option<Position> {
        let stopping = self.stopping.clone();
        let mut pause = PAUSES[0];
        loop {
            let Err(trouble) = self.go_on(&mut pause).await else { break };
            let text = chain(&trouble);
            if self.figures.hold_up(text.clone()) {
                let projection = self.projection.name();
                tracing::warn!(
                    projection,
                    trouble = text,
                    "a projection is held up and tries again"
                );
            }
            let paused = stopping.run_until_cancelled(sleep(pause)).await;
            if paused.is_none() {
                return self.standing.kept.through;
            }
            pause = (pause * 2).min(PAUSES[1]);
        }
        self.figures.change(|numbers| {
            (numbers.waiting, numbers.is_reading, numbers.is_writing) = (0, false, false);
        });
        // What waits is not done, and comes again.
        if self.emitted.is_empty() { self.looked } else { self.standing.kept.through }
    }

    /// Goes on from what stands in the store.
    async fn go_on(&mut self, pause: &mut Duration) -> Result<(), Trouble> {
        let stopping = self.stopping.clone();
        // What was under way may stand there or not.
        let standing = Standing::load(&self.protocol, self.projection).await?;
        self.standing = standing.unwrap_or_default();
        self.emitted.clear();
        (self.looked, self.since) = (self.standing.kept.through, None);
        self.tell();
        if !self.standing.kept.running {
            return Ok(());
        }
        let start = self.looked.map_or(Start::Edge, Start::After);
        let users = Filter { no_system: true, ..Filter::default() };
        let query = ReadQuery::all().filtered(users).from(start);
        let mut source = self.protocol.parts.store.subscribe(query);
        loop {
            let due = self.since.map(|since| since + GATHER);
            let gathered = async move {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stopping.cancelled() => return Ok(()),
                () = gathered => self.write().await?,
                batch = source.next() => {
                    self.take(&batch.ok_or(Trouble::Closed)??);
                    while self.emitted.len() >= LINKS_MAX && !stopping.is_cancelled() {
                        self.write().await?;
                    }
                    if self.emitted.is_empty() && self.passed() >= PASSED_MAX {
                        self.write().await?;
                    }
                    // A long stretch of the log leaves room for others.
                    tokio::task::yield_now().await;
                }
            }
            // Not before what came is written: to read alone is no way out of trouble.
            if self.emitted.is_empty() {
                *pause = PAUSES[0];
                if self.figures.go_on() {
                    tracing::info!(projection = self.projection.name(), "a projection goes on");
                }
            }
        }
    }

    /// How many positions were looked at since the checkpoint.
    fn passed(&self) -> u64 {
        let count = |position: Option<Position>| position.map_or(0, |Position(at)| at + 1);
        count(self.looked).saturating_sub(count(self.standing.kept.through))
    }

    fn take(&mut self, batch: &Batch) {
        let began = Instant::now();
        let projection = self.projection;
        self.emitted.extend(batch.events.iter().filter_map(|it| Emitted::of(projection, it)));
        let last = batch.events.last().map(|event| event.position);
        self.looked = self.looked.max(last).max(batch.through);
        if !self.emitted.is_empty() {
            self.since.get_or_insert(began);
        }
        self.figures.change(|numbers| {
            numbers.processed += batch.events.len() as u64;
            numbers.busy += began.elapsed();
        });
        self.tell();
    }

    fn tell(&self) {
        self.figures.change(|numbers| {
            numbers.kept.clone_from(&self.standing.kept);
            (numbers.looked, numbers.waiting) = (self.looked, self.emitted.len());
            numbers.is_reading = true;
        });
    }

    /// Writes what waits, as much as one append takes.
    async fn write(&mut self) -> Result<(), Trouble> {
        let mut count = self.first_count();
        let most = self.protocol.parts.settings.append_bytes_max;
        for _ in 0..ATTEMPTS {
            let decided = self.decide(count).await?;
            if decided.bytes > most && count > 1 {
                count /= 2; // Of streams that are revived, with large metadata.
                continue;
            }
            self.figures.change(|numbers| numbers.is_writing = true);
            let answer = self.protocol.parts.store.append(decided.append).await;
            self.figures.change(|numbers| numbers.is_writing = false);
            match answer {
                Ok(appended) => {
                    self.written(count, decided.kept, &appended);
                    return Ok(());
                }
                Err(AppendError::Conflict { stream, .. })
                    if let Some(original) = original_of(&stream) =>
                {
                    // Its state has passed; the next attempt knows the one that is.
                    self.protocol.state(&original).await?;
                }
                Err(error) => return Err(Trouble::Append(error)),
            }
        }
        Err(Trouble::Unsettled)
    }

    /// How many of what waits an append takes at most.
    fn first_count(&self) -> usize {
        let most = BYTES_MAX.min(self.protocol.parts.settings.append_bytes_max);
        let mut bytes = 0;
        let fitting = self.emitted.iter().take(LINKS_MAX).take_while(|emitted| {
            bytes += emitted.bytes();
            bytes <= most
        });
        fitting.count().max(1).min(self.emitted.len())
    }

    /// The append of the first so many.
    async fn decide(&self, count: usize) -> Result<Decided, Trouble> {
        let began = Instant::now();
        let mut kept = self.standing.kept.clone();
        let whole = count == self.emitted.len();
        let last = count.checked_sub(1).map(|last| self.emitted[last].source);
        kept.through = if whole { self.looked } else { last };
        let first = self.emitted.range(..count);
        kept.skipped += first.clone().filter(|emitted| emitted.link.is_none()).count() as u64;
        let mut bytes = 0;
        // The checkpoint comes first; its place is put in below, when it is known what it says.
        let mut writes = Vec::new();
        for (target, links) in by_stream(first) {
            let earliest = links.first().map(|(source, _)| *source);
            let (at, renewal) = match self.way(target, earliest).await? {
                Way::Open(at, renewal) => (at, renewal),
                Way::Ended => {
                    kept.skipped += links.len() as u64;
                    continue;
                }
            };
            bytes += renewal.as_ref().map_or(0, |renewal| renewal.data.len());
            let metastream = Retention::stream_of(target).map(|stream| StreamWrite {
                stream,
                expected: here(at),
                events: renewal.into_iter().collect(),
            });
            let generation = kept.generation;
            let events = links.into_iter().map(|(source, link)| NewEvent {
                id: link_id(self.projection, generation, source),
                data: link.data.clone(),
                ..self.link.clone()
            });
            let events: Vec<_> = events.collect();
            let expected = ExpectedRevision::Any;
            writes.extend(metastream);
            writes.push(StreamWrite { stream: target.clone(), expected, events });
        }
        bytes += self.emitted.range(..count).map(Emitted::bytes).sum::<usize>();
        writes.insert(0, self.standing.write(&self.protocol, self.projection, &kept));
        self.figures.change(|numbers| numbers.busy += began.elapsed());
        Ok(Decided { append: Append { writes, condition: None }, kept, bytes })
    }

    /// How links get into a stream, the first of them to the event at `earliest`.
    async fn way(&self, target: &StreamName, earliest: Option<Position>) -> Result<Way, ReadError> {
        let renews = self.is_renewed(earliest) && self.begun.get(target).is_none();
        let state = if renews {
            Some(self.protocol.state(target).await?)
        } else {
            self.protocol.remembered(target)
        };
        let Some(state) = state else { return Ok(Way::Open(None, None)) };
        if state.is_tombstoned {
            return Ok(Way::Ended);
        }
        let hides = state.is_deleted || (renews && !self.has_begun(target).await?);
        if !hides {
            return Ok(Way::Open(state.metadata_at, None));
        }
        let last = self.protocol.parts.store.stream_head(target).await?;
        // What is deleted begins again even where it never had an event.
        let event = (state.is_deleted || last.is_some())
            .then(|| self.protocol.revived(&state.metadata, last));
        Ok(Way::Open(state.metadata_at, event))
    }

    /// Whether an earlier generation has linked the event there.
    fn is_renewed(&self, source: Option<Position>) -> bool {
        source.is_some() && source <= self.standing.kept.renew_through
    }

    /// Whether this generation has written to the stream: the last link of ours there tells.
    async fn has_begun(&self, target: &StreamName) -> Result<bool, ReadError> {
        let query = ReadQuery::stream(target.clone()).backwards();
        let mut batches = self.protocol.parts.store.read(query);
        while let Some(batch) = batches.try_next().await? {
            let ours = |event| generation_of(self.projection, event);
            if let Some(generation) = batch.events.iter().find_map(|event| ours(event.id)) {
                return Ok(generation == self.standing.kept.generation);
            }
        }
        Ok(false)
    }

    fn written(&mut self, count: usize, kept: Kept, appended: &Appended) {
        let written: Vec<_> = self.emitted.drain(..count).collect();
        for emitted in written.into_iter().filter(|it| self.is_renewed(Some(it.source))) {
            if let Some(link) = emitted.link {
                self.begun.insert(link.target, ());
            }
        }
        self.standing = Standing { kept, at: appended.revisions.first().copied().flatten() };
        self.since = (!self.emitted.is_empty()).then(Instant::now);
        self.tell();
    }
}
