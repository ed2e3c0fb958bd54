//! Following the log into rows: decode, fold, one transaction a batch.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use annals_core::{Batch, Position, RecordedEvent, RowKey};
use sqlx::postgres::PgConnection;
use tokio::time::sleep;

use super::intake::Intake;
use super::{LOOK_AGAIN, SessionError, Worker, told};
use crate::decoding::FoldError;
use crate::fold::{Changes, FoldStart, ReadModel, RowFold};
use crate::metering;
use crate::registry::{Checkpoint, Remembered};
use crate::sink_postgres::{Outcome, PostgresSink, is_permanent};

/// From this many events on, folding leaves the async threads alone.
const FOLD_APART_EVENTS: usize = 512;
/// How long the stored checkpoint may lag behind when no event of the context comes.
const IDLE_CHECKPOINT: Duration = Duration::from_millis(100);

struct Follower<'a> {
    worker: &'a Worker,
    model: &'a Arc<dyn ReadModel>,
    sink: PostgresSink,
    fold: Option<Box<dyn RowFold>>,
    remembered: Remembered,
    /// Beyond the stored checkpoint: looked at, and no event of the context in it.
    idle_through: Option<Position>,
}

impl Worker {
    pub(super) async fn follow_rows(
        &self,
        model: &Arc<dyn ReadModel>,
        connection: PgConnection,
        checkpoint: Checkpoint,
    ) -> Result<(), SessionError> {
        let spec = model.spec();
        let store = self.shared.store.identity();
        let Some(sink) = PostgresSink::open(connection, spec, &checkpoint, store).await? else {
            return Err(SessionError::TableGone);
        };
        let position = checkpoint.position;
        let mut intake = Intake::new(self.shared.feed.as_ref(), spec.context, spec.name, position);
        let remembered = checkpoint.remembered();
        let fold = Some(model.fold(FoldStart::Stored));
        let mut follower =
            Follower { worker: self, model, sink, fold, remembered, idle_through: None };
        let mut stop = self.stop.clone();
        loop {
            let idle = follower.idle_through.is_some();
            let events_max = *self.batch_events_max.lock();
            tokio::select! {
                biased;
                () = told(&mut stop) => {
                    follower.save_idle().await?;
                    return Ok(follower.sink.close().await?);
                }
                batch = intake.next(events_max) => {
                    let batch = batch.ok_or(SessionError::FeedEnded)??;
                    follower.take(batch).await?;
                }
                () = sleep(IDLE_CHECKPOINT), if idle => follower.save_idle().await?,
                () = sleep(LOOK_AGAIN), if !idle => follower.look_again().await?,
            }
        }
    }
}

impl Follower<'_> {
    async fn take(&mut self, batch: Batch) -> Result<(), SessionError> {
        let Some(through) = batch.through else { return Ok(()) };
        if batch.events.is_empty() {
            if Some(through) > self.remembered.position {
                self.idle_through = Some(through);
                self.worker.tell_position(Some(through));
            }
            return Ok(());
        }
        let events = batch.events;
        let Err(error) = self.commit(Arc::clone(&events), through).await else { return Ok(()) };
        let SessionError::Fold(fold) = &error else {
            return self.narrowed(&events, error);
        };
        // Everything before the event that cannot be folded still counts.
        let before = fold
            .position()
            .map_or(0, |bad| events.iter().take_while(|event| event.position < bad).count());
        if before > 0 {
            let good = Arc::new(events[..before].to_vec());
            if let Err(other) = self.commit(Arc::clone(&good), good[before - 1].position).await {
                return self.narrowed(&good, other);
            }
        }
        Err(error)
    }

    /// A row that the database refuses: the batch is halved, session by session, until the event is found.
    fn narrowed(&self, events: &[RecordedEvent], error: SessionError) -> Result<(), SessionError> {
        let SessionError::Postgres(source) = error else { return Err(error) };
        if !is_permanent(&source) {
            return Err(SessionError::Postgres(source));
        }
        if events.len() == 1 {
            let position = events[0].position;
            return Err(SessionError::Refused { position, source: Box::new(source) });
        }
        *self.worker.batch_events_max.lock() = events.len() / 2;
        Err(SessionError::Overtaken)
    }

    async fn commit(
        &mut self,
        events: Arc<Vec<RecordedEvent>>,
        through: Position,
    ) -> Result<(), SessionError> {
        let started = Instant::now();
        let count = events.len();
        let name = self.model.spec().name;
        let missing = self.stage(events).await?;
        let rows = self.sink.load(&missing).await?;
        let changes = self.apply(rows, count).await?;
        match self.sink.commit(self.remembered, through, &changes).await? {
            Outcome::Committed => {}
            Outcome::Overtaken => return Err(SessionError::Overtaken),
        }
        if let Some(fold) = &mut self.fold {
            fold.committed();
        }
        self.remembered.position = Some(through);
        self.idle_through = None;
        self.widen();
        metering::batch(name, count, changes.len(), started.elapsed());
        self.worker.tell_position(Some(through));
        self.worker.shared.feed.acknowledge(self.model.spec().context, name, through);
        Ok(())
    }

    fn widen(&self) {
        let mut events_max = self.worker.batch_events_max.lock();
        *events_max = (*events_max * 2).min(self.worker.shared.options.batch_events_max);
    }

    async fn stage(
        &mut self,
        events: Arc<Vec<RecordedEvent>>,
    ) -> Result<Vec<RowKey>, SessionError> {
        let decoder = self.worker.target.decoder();
        for attempt in 0..2 {
            let (decoder, events) = (Arc::clone(&decoder), Arc::clone(&events));
            let schemas = self.worker.shared.schemas.clone();
            let count = events.len();
            let outcome = self
                .with_fold(count, move |fold| fold.stage(decoder.decode(&events, &schemas)?))
                .await;
            match outcome {
                Err(error) if error.lacks_schema() && attempt == 0 => {
                    self.worker.shared.schemas.refresh(self.worker.shared.store.as_ref()).await?;
                }
                other => return Ok(other?),
            }
        }
        unreachable!("the second attempt returns")
    }

    async fn apply(
        &mut self,
        rows: Vec<serde_json::Value>,
        events: usize,
    ) -> Result<Changes, FoldError> {
        self.with_fold(events, move |fold| {
            fold.load(rows)?;
            fold.apply()?;
            fold.changes()
        })
        .await
    }

    /// Runs folding work, on a thread apart when it is much. After an error the fold is empty again.
    async fn with_fold<T: Send + 'static>(
        &mut self,
        events: usize,
        work: impl FnOnce(&mut dyn RowFold) -> Result<T, FoldError> + Send + 'static,
    ) -> Result<T, FoldError> {
        let mut fold = self.fold.take().unwrap_or_else(|| self.model.fold(FoldStart::Stored));
        let run = move || {
            let result = work(fold.as_mut());
            (fold, result)
        };
        let (mut fold, result) = if events < FOLD_APART_EVENTS {
            run()
        } else {
            match tokio::task::spawn_blocking(run).await {
                Ok(done) => done,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => resume_unwind(panic),
                    Err(_) => std::future::pending().await, // The runtime is shutting down.
                },
            }
        };
        if result.is_err() {
            fold.clear();
        }
        self.fold = Some(fold);
        result
    }

    /// Holds what is remembered against the database, where no event comes that would: a crash of the server may have
    /// taken back the last rows.
    async fn look_again(&mut self) -> Result<(), SessionError> {
        if self.sink.holds(self.remembered).await? { Ok(()) } else { Err(SessionError::Overtaken) }
    }

    /// Stores how far the log was looked at without finding an event of the context.
    async fn save_idle(&mut self) -> Result<(), SessionError> {
        let Some(through) = self.idle_through.take() else { return Ok(()) };
        match self.sink.commit(self.remembered, through, &Changes::default()).await? {
            Outcome::Committed => {}
            Outcome::Overtaken => return Err(SessionError::Overtaken),
        }
        self.remembered.position = Some(through);
        let spec = self.model.spec();
        self.worker.shared.feed.acknowledge(spec.context, spec.name, through);
        Ok(())
    }
}
