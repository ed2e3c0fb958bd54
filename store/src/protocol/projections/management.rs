//! The system projections of a store: which of them run, turned on and off, begun again. Each change is an event of the
//! projection's own stream, written while its task stands still; what stands there is what is so, after a restart too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use annals_core::{Append, AppendError, Position};
use tokio::sync::{MappedMutexGuard, Mutex, MutexGuard};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::super::errors::ProtocolError;
use super::super::service::Protocol;
use super::super::wire::v1::projections::statistics_resp::Details;
use super::figures::{Figures, Task};
use super::kept::{Kept, KeptError, Standing};
use super::runner::Runner;
use super::system::SystemProjection;

/// How long after a failed start it is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// The system projections of a store.
pub struct SystemProjections {
    pub(super) protocol: Arc<Protocol>,
    managed: Mutex<Option<Map>>,
}

type Map = BTreeMap<SystemProjection, Managed>;

/// A projection.
struct Managed {
    figures: Arc<Figures>,
    run: Option<Run>,
}

/// A projection's task.
struct Run {
    stop: CancellationToken,
    /// Answers how far everything is done.
    task: JoinHandle<Option<Position>>,
}

impl Managed {
    fn task(&self) -> Task {
        match &self.run {
            Some(run) if !run.task.is_finished() => Task::Runs,
            Some(_) | None => Task::Ended,
        }
    }

    /// Ends the task behind the append that it has under way; answers how far everything is done.
    async fn halt(&mut self) -> Option<Position> {
        let run = self.run.take()?;
        run.stop.cancel();
        run.task.await.unwrap_or_else(|error| {
            tracing::error!(%error, "the task of a projection ended unexpectedly");
            None
        })
    }
}

impl From<KeptError> for ProtocolError {
    fn from(error: KeptError) -> ProtocolError {
        match error {
            KeptError::Read(error) => error.into(),
            KeptError::Broken { ref source, .. } => {
                ProtocolError::Damage(format!("{error}: {source}"))
            }
            KeptError::Hidden(_) => ProtocolError::NotReady(error.to_string()),
        }
    }
}

impl SystemProjections {
    /// Those of the protocol's store. None runs before [`SystemProjections::start`].
    pub fn new(protocol: &Arc<Protocol>) -> SystemProjections {
        SystemProjections { protocol: Arc::clone(protocol), managed: Mutex::new(None) }
    }

    /// Starts those that are to run, and tries until it has or the server stops. Nothing where the store keeps none.
    pub async fn start(&self) {
        let stopping = &self.protocol.parts.stopping;
        while let Err(error) = self.loaded().await.map(drop) {
            if error == ProtocolError::NoProjections {
                return;
            }
            tracing::warn!(?error, "the projections could not be started");
            if stopping.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
                return;
            }
        }
    }

    /// Waits for the end of all tasks, each behind the append that it has under way.
    pub async fn close(&self) {
        for managed in self.managed.lock().await.iter_mut().flat_map(BTreeMap::values_mut) {
            managed.halt().await;
        }
    }

    /// Which are to run in a store that was told nothing of them.
    fn initially(&self) -> Result<&BTreeSet<SystemProjection>, ProtocolError> {
        let initially = self.protocol.parts.settings.system_projections.as_ref();
        initially.ok_or(ProtocolError::NoProjections)
    }

    /// All of them, once they are loaded and those that are to run do.
    async fn loaded(&self) -> Result<MutexGuard<'_, Option<Map>>, ProtocolError> {
        let initially = self.initially()?;
        let mut managed = self.managed.lock().await;
        if managed.is_none() {
            let mut all = Vec::new();
            for projection in SystemProjection::ALL {
                let standing = Standing::load(&self.protocol, projection).await?;
                let kept = match standing {
                    Some(standing) => standing.kept,
                    None if initially.contains(&projection) => {
                        self.change(projection, |kept| kept.running = true).await?
                    }
                    None => Kept::default(),
                };
                all.push((projection, kept));
            }
            // All is read before anything runs.
            let map = all.into_iter().map(|(projection, kept)| {
                let is_to_run = kept.running;
                let mut managed = Managed { figures: Arc::new(Figures::of(kept)), run: None };
                if is_to_run {
                    self.run(projection, &mut managed);
                }
                (projection, managed)
            });
            *managed = Some(map.collect());
        }
        Ok(managed)
    }

    /// One of them, which nobody else changes meanwhile.
    async fn one(
        &self,
        projection: SystemProjection,
    ) -> Result<MappedMutexGuard<'_, Managed>, ProtocolError> {
        let managed = self.loaded().await?;
        let found = MutexGuard::try_map(managed, |map| map.as_mut()?.get_mut(&projection));
        found.map_err(|_| ProtocolError::NoProjections)
    }

    fn run(&self, projection: SystemProjection, managed: &mut Managed) {
        let stop = self.protocol.parts.stopping.child_token();
        managed.figures.change(|numbers| {
            (numbers.processed, numbers.busy) = (0, Duration::ZERO);
            numbers.trouble = None;
        });
        let (protocol, figures) = (Arc::clone(&self.protocol), Arc::clone(&managed.figures));
        let runner = Runner::new(projection, protocol, figures, stop.clone());
        managed.run = Some(Run { stop, task: tokio::spawn(runner.run()) });
    }

    /// Changes what is kept of a projection whose task stands still; answers what then is.
    async fn change(
        &self,
        projection: SystemProjection,
        change: impl FnOnce(&mut Kept),
    ) -> Result<Kept, ProtocolError> {
        let standing = Standing::load(&self.protocol, projection).await?.unwrap_or_default();
        let mut kept = standing.kept.clone();
        change(&mut kept);
        if kept != standing.kept {
            let write = standing.write(&self.protocol, projection, &kept);
            let written: Result<_, AppendError> =
                self.protocol.parts.store.append(Append::to(write)).await;
            written?;
        }
        Ok(kept)
    }

    /// Halts a projection, changes what is kept of it, and lets it run if it then is to. Where that fails, it goes on as
    /// the store has it.
    async fn halt_and_change(
        &self,
        projection: SystemProjection,
        managed: &mut Managed,
        change: impl FnOnce(&mut Kept, Option<Position>),
    ) -> Result<(), ProtocolError> {
        let ran = managed.run.is_some();
        let done = managed.halt().await;
        let changed = self.change(projection, |kept| change(kept, done)).await;
        let is_to_run = changed.as_ref().map_or(ran, |kept| kept.running);
        if let Ok(kept) = &changed {
            managed.figures.change(|numbers| {
                (numbers.looked, numbers.trouble) = (kept.through, None);
                numbers.kept.clone_from(kept);
            });
        }
        if is_to_run {
            self.run(projection, managed);
        }
        changed.map(drop)
    }

    /// Turns a projection on. Where it runs, nothing changes.
    ///
    /// # Errors
    /// The store's, and [`ProtocolError::NoProjections`]; so for the others.
    pub async fn enable(&self, projection: SystemProjection) -> Result<(), ProtocolError> {
        let mut managed = self.one(projection).await?;
        if managed.task() == Task::Runs {
            return Ok(());
        }
        self.halt_and_change(projection, &mut managed, |kept, _| kept.running = true).await
    }

    /// Turns a projection off. With `write_checkpoint` it keeps how far it has looked, without how far it has written.
    ///
    /// # Errors
    /// As [`SystemProjections::enable`].
    pub async fn disable(
        &self,
        projection: SystemProjection,
        write_checkpoint: bool,
    ) -> Result<(), ProtocolError> {
        let mut managed = self.one(projection).await?;
        let disable = |kept: &mut Kept, done: Option<Position>| {
            kept.running = false;
            if write_checkpoint {
                kept.through = kept.through.max(done);
            }
        };
        self.halt_and_change(projection, &mut managed, disable).await
    }

    /// Begins a projection again: it links every event anew, and each of its streams shows the new links alone from the
    /// first of them on.
    ///
    /// # Errors
    /// As [`SystemProjections::enable`].
    pub async fn reset(&self, projection: SystemProjection) -> Result<(), ProtocolError> {
        let mut managed = self.one(projection).await?;
        self.halt_and_change(projection, &mut managed, |kept, _| kept.reset()).await
    }

    /// How these are.
    ///
    /// # Errors
    /// As [`SystemProjections::enable`].
    pub async fn statistics(&self, of: &[SystemProjection]) -> Result<Vec<Details>, ProtocolError> {
        let managed = self.loaded().await?;
        let head = self.protocol.parts.store.head();
        let all = managed.iter().flatten().filter(|(projection, _)| of.contains(projection));
        let told = all
            .map(|(projection, managed)| managed.figures.told(*projection, managed.task(), head));
        Ok(told.collect())
    }

    /// Starts all again that are to run, each from its checkpoint.
    ///
    /// # Errors
    /// As [`SystemProjections::enable`].
    pub async fn restart(&self) -> Result<(), ProtocolError> {
        let mut managed = self.loaded().await?;
        for managed in managed.take().iter_mut().flat_map(BTreeMap::values_mut) {
            managed.halt().await;
        }
        drop(managed);
        self.loaded().await.map(drop)
    }
}
