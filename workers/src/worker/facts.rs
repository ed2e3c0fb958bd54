//! Following the log into facts: decode, gather lines, insert them under a name made of their bounds.

use std::sync::Arc;
use std::time::Instant;

use annals_core::{Batch, Position, RecordedEvent};
use sqlx::postgres::PgConnection;
use tokio::time::{Duration, sleep};

use super::intake::Intake;
use super::{SessionError, Worker, told};
use crate::decoding::FoldError;
use crate::facts::{FactsBuffer, FactsTable};
use crate::metering;
use crate::registry::{Checkpoint, Pending, Remembered};
use crate::sink_clickhouse::ClickHouseSink;
use crate::sink_postgres::Outcome;

/// Events decoded at once.
const PIECE_EVENTS: usize = 8192;
/// How long the stored checkpoint may lag behind where there are no facts.
const IDLE_CHECKPOINT: Duration = Duration::from_millis(100);
/// Facts wait no longer than this for more, also behind the live edge.
const INSERT_DELAY_MAX: Duration = Duration::from_secs(1);

struct Gatherer<'a> {
    worker: &'a Worker,
    facts: &'a Arc<dyn FactsTable>,
    sink: ClickHouseSink,
    remembered: Remembered,
    /// Lines of the events after the checkpoint, up to `through`.
    buffer: FactsBuffer,
    events: usize,
    through: Option<Position>,
    /// Since when something waits.
    since: Option<Instant>,
    caught_up: bool,
    /// An insert announced before this session: its bounds are fixed.
    pending: Option<Pending>,
}

impl Worker {
    pub(super) async fn follow_facts(
        &self,
        facts: &Arc<dyn FactsTable>,
        connection: PgConnection,
        checkpoint: Checkpoint,
    ) -> Result<(), SessionError> {
        let spec = facts.spec();
        let Some(analytics) = self.shared.analytics.clone() else { return Ok(()) };
        let position = checkpoint.position;
        let mut intake = Intake::new(self.shared.feed.as_ref(), spec.context, spec.name, position);
        let store = self.shared.store.identity();
        let mut gatherer = Gatherer {
            worker: self,
            facts,
            sink: ClickHouseSink::new(connection, analytics, spec.name, store),
            remembered: checkpoint.remembered(),
            buffer: FactsBuffer::default(),
            events: 0,
            through: None,
            since: None,
            caught_up: false,
            pending: checkpoint.pending,
        };
        let mut stop = self.stop.clone();
        loop {
            tokio::select! {
                biased;
                () = told(&mut stop) => {
                    if gatherer.pending.is_none() {
                        gatherer.flush().await?;
                    }
                    return Ok(gatherer.sink.close().await?);
                }
                () = sleep(gatherer.patience()), if gatherer.since.is_some() => {
                    gatherer.flush().await?;
                }
                batch = intake.next(PIECE_EVENTS) => {
                    let batch = batch.ok_or(SessionError::FeedEnded)??;
                    let (now, later) = gatherer.cut(batch);
                    if let Some(later) = later {
                        intake.put_back(later);
                    }
                    gatherer.take(now).await?;
                }
            }
        }
    }
}

impl Gatherer<'_> {
    /// How much longer what waits may wait.
    fn patience(&self) -> Duration {
        let delay = match (self.pending, self.buffer.rows, self.caught_up) {
            (Some(_), _, _) => Duration::MAX,
            (None, 0, _) => IDLE_CHECKPOINT,
            (None, _, true) => self.worker.shared.options.insert_delay,
            (None, _, false) => INSERT_DELAY_MAX,
        };
        delay.saturating_sub(self.since.map_or(Duration::ZERO, |since| since.elapsed()))
    }

    /// Splits a batch at the end of the announced insert, if there is one.
    fn cut(&self, mut batch: Batch) -> (Batch, Option<Batch>) {
        let Some(Pending { to, .. }) = self.pending else { return (batch, None) };
        if batch.through.is_none_or(|through| through <= to) {
            return (batch, None);
        }
        let inside = batch.events.iter().take_while(|event| event.position <= to).count();
        let rest = Arc::make_mut(&mut batch.events).split_off(inside);
        let now = Batch { events: batch.events, through: Some(to), caught_up: false };
        (now, Some(Batch { events: Arc::new(rest), ..batch }))
    }

    async fn take(&mut self, batch: Batch) -> Result<(), SessionError> {
        let Some(through) = batch.through.filter(|t| Some(*t) > self.remembered.position) else {
            return Ok(());
        };
        let count = batch.events.len();
        if let Err(error) = self.gather(batch.events).await {
            // What was gathered before the event that has no facts still counts.
            if self.pending.is_none() {
                self.flush().await?;
            }
            return Err(error);
        }
        self.events += count;
        self.through = Some(through);
        self.caught_up = batch.caught_up;
        self.since.get_or_insert_with(Instant::now);
        if self.buffer.rows == 0 && self.pending.is_none() {
            self.worker.tell_position(Some(through));
        }
        let full = self.buffer.rows >= self.worker.shared.options.insert_rows_max;
        match self.pending {
            Some(Pending { to, .. }) if through == to => self.insert(to).await,
            None if full => self.flush().await,
            Some(_) | None => Ok(()),
        }
    }

    /// Appends the facts of `events` to the buffer; at an error, those of the events before the one to blame.
    async fn gather(&mut self, events: Arc<Vec<RecordedEvent>>) -> Result<(), SessionError> {
        let error = match self.fold(Arc::clone(&events)).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let SessionError::Fold(fold) = &error else { return Err(error) };
        let before = fold
            .position()
            .map_or(0, |bad| events.iter().take_while(|event| event.position < bad).count());
        if before > 0 {
            self.fold(Arc::new(events[..before].to_vec())).await?;
            self.events += before;
            self.through = Some(events[before - 1].position);
            self.since.get_or_insert_with(Instant::now);
        }
        Err(error)
    }

    async fn fold(&mut self, events: Arc<Vec<RecordedEvent>>) -> Result<(), SessionError> {
        if events.is_empty() {
            return Ok(());
        }
        for attempt in 0..2 {
            let (facts, events) = (Arc::clone(self.facts), Arc::clone(&events));
            let schemas = self.worker.shared.schemas.clone();
            let mut buffer = std::mem::take(&mut self.buffer);
            let (length, rows) = (buffer.lines.len(), buffer.rows);
            let run = move || {
                let decoded = facts.decoder().decode(&events, &schemas);
                let result: Result<(), FoldError> =
                    decoded.and_then(|decoded| facts.facts(&decoded, &mut buffer));
                if result.is_err() {
                    buffer.lines.truncate(length);
                    buffer.rows = rows;
                }
                (buffer, result)
            };
            let (buffer, result) = match tokio::task::spawn_blocking(run).await {
                Ok(done) => done,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(_) => std::future::pending().await, // The runtime is shutting down.
                },
            };
            self.buffer = buffer;
            match result {
                Err(error) if error.lacks_schema() && attempt == 0 => {
                    self.worker.shared.schemas.refresh(self.worker.shared.store.as_ref()).await?;
                }
                other => return Ok(other?),
            }
        }
        unreachable!("the second attempt returns")
    }

    /// Makes everything gathered durable.
    async fn flush(&mut self) -> Result<(), SessionError> {
        let Some(through) = self.through else { return Ok(()) };
        if self.buffer.rows > 0 {
            let outcome = self.sink.announce(self.remembered, through).await?;
            overtaken(outcome)?;
            return self.insert(through).await;
        }
        let outcome = self.sink.advance(self.remembered, through).await?;
        overtaken(outcome)?;
        self.done(through, 0, Duration::ZERO);
        Ok(())
    }

    /// Inserts the announced range, which is what is gathered.
    async fn insert(&mut self, to: Position) -> Result<(), SessionError> {
        let started = Instant::now();
        let facts = std::mem::take(&mut self.buffer);
        let rows = facts.rows;
        let outcome = self.sink.insert(self.remembered, to, facts).await?;
        overtaken(outcome)?;
        self.pending = None;
        self.done(to, rows, started.elapsed());
        Ok(())
    }

    fn done(&mut self, to: Position, rows: usize, took: Duration) {
        let spec = self.facts.spec();
        self.remembered.position = Some(to);
        self.through = None;
        self.since = None;
        metering::batch(spec.name, std::mem::take(&mut self.events), rows, took);
        self.worker.tell_position(Some(to));
        self.worker.shared.feed.acknowledge(spec.context, spec.name, to);
    }
}

fn overtaken(outcome: Outcome) -> Result<(), SessionError> {
    match outcome {
        Outcome::Committed => Ok(()),
        Outcome::Overtaken => Err(SessionError::Overtaken),
    }
}
