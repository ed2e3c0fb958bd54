//! Runs one task per projection and tells how each stands.

use std::sync::Arc;
use std::time::Duration;

use annals_core::{EventStore, Family, Feed, Position, Schemas};
use parking_lot::Mutex;
use sqlx::PgPool;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::catalogue::Catalogue;
use crate::clickhouse::ClickHouse;
use crate::schema::{SetupError, checkpoints, setup};
use crate::status::{ProjectionKind, ProjectionState, ProjectionStatus, lag};
use crate::worker::{Progress, Shared, Target, Worker};

/// How workers batch.
#[derive(Clone, Copy, Debug)]
pub struct WorkersOptions {
    /// Events folded in one PostgreSQL transaction at most.
    pub batch_events_max: usize,
    /// Facts inserted into ClickHouse at once, at most but for the last event's.
    pub insert_rows_max: usize,
    /// How long a fact may wait for others at the live edge.
    pub insert_delay: Duration,
}

impl Default for WorkersOptions {
    fn default() -> WorkersOptions {
        WorkersOptions {
            batch_events_max: 32_768,
            insert_rows_max: 100_000,
            insert_delay: Duration::from_millis(200),
        }
    }
}

/// Why waiting for a projection ended without success.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WaitError {
    /// No projection of that name runs here.
    #[error("there is no projection {name}")]
    Unknown {
        /// The name asked for.
        name: String,
    },
    /// It did not get there in time.
    #[error("projection {name} is not at position {position} after {waited:?}: {reason}")]
    Late {
        /// The projection.
        name: String,
        /// Where it should be.
        position: Position,
        /// How long was waited.
        waited: Duration,
        /// Where it is and what it does.
        reason: String,
    },
    /// It does not run, so waiting is no use.
    #[error("projection {name} does not run: {reason}")]
    NotRunning {
        /// The projection.
        name: String,
        /// Why.
        reason: String,
    },
}

impl WaitError {
    /// The family of this error.
    pub fn family(&self) -> Family {
        match self {
            WaitError::Unknown { .. } => Family::NotFound,
            WaitError::Late { .. } | WaitError::NotRunning { .. } => Family::Unavailable,
        }
    }
}

struct Running {
    target: Target,
    progress: Arc<watch::Sender<Progress>>,
    task: Mutex<Option<JoinHandle<()>>>,
    runs: bool,
}

/// The workers of a catalogue, one a projection. Dropping it aborts them where they are, which is safe; prefer
/// [`Workers::stop`].
pub struct Workers {
    store: Arc<dyn EventStore>,
    running: Vec<Running>,
    stop: watch::Sender<bool>,
}

impl Workers {
    /// Sets up the databases and starts a worker for each projection. Facts have none where there is no ClickHouse.
    /// A projection whose rows are of another version is not rebuilt here: it waits (see [`Workers::need_rebuild`])
    /// and goes on by itself once a rebuild has swapped its rows.
    ///
    /// # Errors
    /// [`SetupError`].
    pub async fn start(
        catalogue: &Catalogue,
        schemas: Schemas,
        store: Arc<dyn EventStore>,
        feed: Arc<dyn Feed>,
        pool: &PgPool,
        analytics: Option<ClickHouse>,
        options: WorkersOptions,
    ) -> Result<Workers, SetupError> {
        Box::pin(setup(pool, catalogue, analytics.as_ref())).await?;
        let stored = Box::pin(checkpoints(pool, catalogue)).await?;
        let with_facts = analytics.is_some();
        let shared = Arc::new(Shared {
            schemas,
            store: Arc::clone(&store),
            feed,
            postgres: pool.connect_options(),
            analytics,
            options,
        });
        let (stop, stopping) = watch::channel(false);
        let read_models = catalogue.read_models().iter().cloned().map(Target::ReadModel);
        let facts = catalogue.facts_tables().iter().cloned().map(Target::Facts);
        let mut running = Vec::new();
        for target in read_models.chain(facts) {
            let row = stored.iter().find(|row| row.name == target.name());
            let runs = with_facts || target.kind() == ProjectionKind::ReadModel;
            let other_version = row.is_some_and(|row| row.version != target.version());
            let progress = Arc::new(watch::Sender::new(Progress {
                generation: row.map_or(0, |row| row.generation),
                position: row.and_then(|row| row.position),
                state: match (runs, other_version) {
                    (false, _) => ProjectionState::Off,
                    (true, true) => ProjectionState::NeedsRebuild,
                    (true, false) => ProjectionState::Running,
                },
                reason: match (runs, other_version) {
                    (false, _) => Some("there is no ClickHouse".to_owned()),
                    (true, true) => row.and_then(|row| row.reason.clone()),
                    (true, false) => None,
                },
            }));
            let task = runs.then(|| {
                let worker = Worker::new(
                    Arc::clone(&shared),
                    target.clone(),
                    Arc::clone(&progress),
                    stopping.clone(),
                );
                tokio::spawn(worker.run())
            });
            running.push(Running { target, progress, task: Mutex::new(task), runs });
        }
        Ok(Workers { store, running, stop })
    }

    /// How every projection stands.
    pub fn status(&self) -> Vec<ProjectionStatus> {
        let head = self.store.head();
        let status = |running: &Running| {
            let progress = running.progress.borrow().clone();
            ProjectionStatus {
                name: running.target.name().to_owned(),
                kind: running.target.kind(),
                version: running.target.version(),
                generation: progress.generation,
                position: progress.position,
                state: progress.state,
                reason: progress.reason,
                lag: lag(head, progress.position),
            }
        };
        self.running.iter().map(status).collect()
    }

    /// The projections whose rows are of another version than this program's code: hand them to a rebuild.
    pub fn need_rebuild(&self) -> Vec<&'static str> {
        self.running
            .iter()
            .filter(|running| running.progress.borrow().state == ProjectionState::NeedsRebuild)
            .map(|running| running.target.name())
            .collect()
    }

    /// Waits until one projection's rows hold everything up to `position`.
    ///
    /// # Errors
    /// [`WaitError`]; at once where it does not run.
    pub async fn wait_for(
        &self,
        name: &str,
        position: Position,
        within: Duration,
    ) -> Result<(), WaitError> {
        let Some(running) = self.running.iter().find(|running| running.target.name() == name)
        else {
            return Err(WaitError::Unknown { name: name.to_owned() });
        };
        wait(running, position, within, Instant::now() + within).await
    }

    /// Waits until every projection that has a database holds everything up to `position`, such as the log's head.
    ///
    /// # Errors
    /// [`WaitError`]; at once where one does not run.
    pub async fn wait_for_all(
        &self,
        position: Position,
        within: Duration,
    ) -> Result<(), WaitError> {
        let deadline = Instant::now() + within;
        for running in self.running.iter().filter(|running| running.runs) {
            wait(running, position, within, deadline).await?;
        }
        Ok(())
    }

    /// Waits until the projections that read any of these contexts hold everything up to `position`.
    ///
    /// # Errors
    /// As [`Workers::wait_for`].
    pub async fn wait_for_contexts(
        &self,
        contexts: &[&str],
        position: Position,
        within: Duration,
    ) -> Result<(), WaitError> {
        let deadline = Instant::now() + within;
        let reads = |running: &&Running| contexts.contains(&running.target.context());
        for running in self.running.iter().filter(reads).filter(|r| r.runs) {
            wait(running, position, within, deadline).await?;
        }
        Ok(())
    }

    /// Lets every worker finish its batch, and ends them.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        for running in &self.running {
            let task = running.task.lock().take();
            if let Some(task) = task
                && let Err(error) = task.await
            {
                tracing::error!(projection = running.target.name(), %error, "a worker died");
            }
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for running in &self.running {
            if let Some(task) = running.task.lock().as_ref() {
                task.abort();
            }
        }
    }
}

async fn wait(
    running: &Running,
    position: Position,
    within: Duration,
    deadline: Instant,
) -> Result<(), WaitError> {
    let name = || running.target.name().to_owned();
    let mut progress = running.progress.subscribe();
    let there =
        |progress: &Progress| progress.position >= Some(position) || does_not_run(progress.state);
    let waited = timeout_at(deadline, progress.wait_for(there)).await;
    let now = running.progress.borrow().clone();
    if now.position >= Some(position) {
        return Ok(());
    }
    let reason = now.reason.unwrap_or_else(|| now.state.as_str().to_owned());
    if waited.is_ok() {
        return Err(WaitError::NotRunning { name: name(), reason });
    }
    let at = now.position.map_or_else(|| "the start".to_owned(), |at| format!("position {at}"));
    let reason = format!("it is at {at}, {reason}");
    Err(WaitError::Late { name: name(), position, waited: within, reason })
}

fn does_not_run(state: ProjectionState) -> bool {
    match state {
        ProjectionState::Failed
        | ProjectionState::NeedsRebuild
        | ProjectionState::Stopped
        | ProjectionState::Off => true,
        ProjectionState::Running | ProjectionState::Retrying => false,
    }
}
