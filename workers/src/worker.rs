//! One projection's worker: sessions with back-off between them. A session begins from the registry, follows the feed
//! from there, and ends when it is stopped, overtaken, cut off, or meets what it cannot fold. It never skips an event.

mod facts;
mod intake;
mod read_model;

use std::sync::Arc;
use std::time::Duration;

use annals_core::feed::FeedError;
use annals_core::{EventStore, Feed, Position, ReadError, Schemas, StoreIdentity, chain};
use parking_lot::Mutex;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::clickhouse::{ClickHouse, ClickHouseError};
use crate::decoding::{Decoder, FoldError};
use crate::facts::FactsTable;
use crate::fold::ReadModel;
use crate::metering;
use crate::registry::{self, Checkpoint};
use crate::runtime::WorkersOptions;
use crate::sink_clickhouse::InsertError;
use crate::sink_postgres::{is_permanent, is_table_gone, open_connection};
use crate::status::{ProjectionKind, ProjectionState, lag};

const RETRY_DELAY_MIN: Duration = Duration::from_millis(50);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(2);
/// How often a projection that has nothing to do looks at the registry: one that does not run, whether an operator or a
/// rebuild has helped it; one at the end of the log, whether its rows are still those that it wrote.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// What all workers share.
pub(crate) struct Shared {
    pub(crate) schemas: Schemas,
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) feed: Arc<dyn Feed>,
    pub(crate) postgres: Arc<PgConnectOptions>,
    pub(crate) analytics: Option<ClickHouse>,
    pub(crate) options: WorkersOptions,
}

/// What a worker projects.
#[derive(Clone)]
pub(crate) enum Target {
    ReadModel(Arc<dyn ReadModel>),
    Facts(Arc<dyn FactsTable>),
}

impl Target {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Target::ReadModel(model) => model.spec().name,
            Target::Facts(facts) => facts.spec().name,
        }
    }

    pub(crate) fn version(&self) -> u32 {
        match self {
            Target::ReadModel(model) => model.spec().version,
            Target::Facts(facts) => facts.spec().version,
        }
    }

    pub(crate) fn context(&self) -> &'static str {
        match self {
            Target::ReadModel(model) => model.spec().context,
            Target::Facts(facts) => facts.spec().context,
        }
    }

    pub(crate) fn kind(&self) -> ProjectionKind {
        match self {
            Target::ReadModel(_) => ProjectionKind::ReadModel,
            Target::Facts(_) => ProjectionKind::Facts,
        }
    }

    fn decoder(&self) -> Arc<dyn Decoder> {
        match self {
            Target::ReadModel(model) => model.decoder(),
            Target::Facts(facts) => facts.decoder(),
        }
    }
}

/// How far a worker is; everybody may watch it.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    pub(crate) generation: u32,
    pub(crate) position: Option<Position>,
    pub(crate) state: ProjectionState,
    pub(crate) reason: Option<String>,
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error("PostgreSQL failed")]
    Postgres(#[from] sqlx::Error),
    #[error("ClickHouse failed")]
    ClickHouse(#[from] ClickHouseError),
    #[error(transparent)]
    Feed(#[from] FeedError),
    #[error("the feed ended")]
    FeedEnded,
    #[error("the log's schemas cannot be read")]
    Schemas(#[from] ReadError),
    /// Someone else moved the checkpoint; what it says now counts.
    #[error("another worker or a rebuild has moved the checkpoint")]
    Overtaken,
    #[error(transparent)]
    Fold(#[from] FoldError),
    /// The database refuses what an event led to.
    #[error("the database refuses the rows of the events up to {position}")]
    Refused {
        position: Position,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The registry names a generation that has no table: a rebuild was swapping, or the table was dropped by hand.
    #[error("its table is gone; if it stays so, starting again makes a new one")]
    TableGone,
    /// The registry's row is not for this program or this log.
    #[error("{reason}")]
    Misfit { state: ProjectionState, reason: String },
}

impl From<InsertError> for SessionError {
    fn from(error: InsertError) -> SessionError {
        match error {
            InsertError::Registry(source) => SessionError::Postgres(source),
            InsertError::ClickHouse(source) => SessionError::ClickHouse(source),
        }
    }
}

/// What follows from the end of a session.
enum Verdict {
    /// At once, from the registry.
    Again,
    /// After a pause.
    Retry,
    /// Not before someone has done something about it.
    Halt(ProjectionState),
}

fn verdict(error: &SessionError) -> Verdict {
    match error {
        SessionError::Overtaken => Verdict::Again,
        SessionError::Feed(feed) if feed.family == annals_core::Family::Damage => {
            Verdict::Halt(ProjectionState::Failed)
        }
        SessionError::Schemas(error) if error.family() == annals_core::Family::Damage => {
            Verdict::Halt(ProjectionState::Failed)
        }
        SessionError::Postgres(error) if is_table_gone(error) => Verdict::Again,
        SessionError::Postgres(error) if is_permanent(error) => {
            Verdict::Halt(ProjectionState::Failed)
        }
        SessionError::ClickHouse(error) if error.is_permanent() => {
            Verdict::Halt(ProjectionState::Failed)
        }
        SessionError::Postgres(_)
        | SessionError::ClickHouse(_)
        | SessionError::Feed(_)
        | SessionError::FeedEnded
        | SessionError::TableGone
        | SessionError::Schemas(_) => Verdict::Retry,
        SessionError::Fold(_) | SessionError::Refused { .. } => {
            Verdict::Halt(ProjectionState::Failed)
        }
        SessionError::Misfit { state, .. } => Verdict::Halt(*state),
    }
}

/// Ends when the flag is set, or nobody is left to set it.
pub(crate) async fn told(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}

/// One projection's worker.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) target: Target,
    pub(crate) progress: Arc<watch::Sender<Progress>>,
    pub(crate) stop: watch::Receiver<bool>,
    /// Events in one batch at most; small while a refused row's event is being looked for.
    batch_events_max: Mutex<usize>,
}

impl Worker {
    pub(crate) fn new(
        shared: Arc<Shared>,
        target: Target,
        progress: Arc<watch::Sender<Progress>>,
        stop: watch::Receiver<bool>,
    ) -> Worker {
        let batch_events_max = Mutex::new(shared.options.batch_events_max);
        Worker { shared, target, progress, stop, batch_events_max }
    }

    /// Works until it is stopped.
    pub(crate) async fn run(self) {
        let mut delay = RETRY_DELAY_MIN;
        loop {
            let before = self.progress.borrow().position;
            let error = match self.session().await {
                Ok(()) => break,
                Err(error) => error,
            };
            if self.progress.borrow().position != before {
                delay = RETRY_DELAY_MIN;
            }
            let reason = chain(&error);
            let projection = self.target.name();
            let pause = match verdict(&error) {
                Verdict::Again => {
                    tracing::info!(projection, reason, "beginning again from the registry");
                    RETRY_DELAY_MIN / 5
                }
                Verdict::Retry => {
                    tracing::warn!(projection, reason, "trying again");
                    self.tell(ProjectionState::Retrying, Some(reason));
                    let pause = delay;
                    delay = (delay * 2).min(RETRY_DELAY_MAX);
                    pause
                }
                Verdict::Halt(state) => {
                    tracing::error!(projection, reason, state = state.as_str(), "halted");
                    metering::failed(projection, state == ProjectionState::Failed);
                    if self.halted(state, &reason).await {
                        break;
                    }
                    metering::failed(projection, false);
                    Duration::ZERO
                }
            };
            if self.stopped_within(pause).await {
                break;
            }
        }
        if self.progress.borrow().state == ProjectionState::Running {
            self.tell(ProjectionState::Stopped, None);
        }
    }

    /// Follows the log until it is stopped.
    async fn session(&self) -> Result<(), SessionError> {
        let name = self.target.name();
        let mut connection = open_connection(&self.shared.postgres, name).await?;
        let checkpoint = self.begin(&mut connection).await?;
        self.progress.send_modify(|progress| {
            progress.generation = checkpoint.generation;
            progress.position = checkpoint.position;
            progress.state = ProjectionState::Running;
            progress.reason = None;
        });
        match &self.target {
            Target::ReadModel(model) => self.follow_rows(model, connection, checkpoint).await,
            Target::Facts(facts) => self.follow_facts(facts, connection, checkpoint).await,
        }
    }

    /// Reads the checkpoint and checks that it is one of this program's code and of this log.
    async fn begin(&self, connection: &mut PgConnection) -> Result<Checkpoint, SessionError> {
        let misfit = |state, reason: String| Err(SessionError::Misfit { state, reason });
        let name = self.target.name();
        let Some(row) = registry::read(connection, name).await? else {
            let reason = "it is not registered: set up the databases again".to_owned();
            return misfit(ProjectionState::Failed, reason);
        };
        let version = self.target.version();
        if row.version != version {
            let reason = format!(
                "its rows are of version {}, this program's code is version {version}; rebuild it",
                row.version
            );
            return misfit(ProjectionState::NeedsRebuild, reason);
        }
        let identity = self.shared.store.identity();
        if let Some(StoreIdentity { id, epoch }) = row.store.filter(|store| *store != identity) {
            let reason = format!(
                "its checkpoint is of store {id} epoch {epoch}, the log is store {} epoch {}; \
                 rebuild it",
                identity.id, identity.epoch
            );
            return misfit(ProjectionState::Failed, reason);
        }
        let end = row.pending.map(|pending| pending.to).or(row.position);
        let head = self.shared.store.head();
        if let Some(position) = end.filter(|position| Some(*position) > head) {
            let head = head.map_or_else(|| "empty".to_owned(), |head| format!("at {head}"));
            let reason = format!(
                "its checkpoint {position} is beyond the end of the log, which is {head}; \
                 rebuild it"
            );
            return misfit(ProjectionState::Failed, reason);
        }
        Ok(row)
    }

    /// Records that the projection does not run and waits until the registry says otherwise: an operator has set it
    /// running, or a rebuild has given it another generation. `true` when it was stopped meanwhile.
    async fn halted(&self, state: ProjectionState, reason: &str) -> bool {
        let mut noted = None;
        loop {
            let looked = self.look(state, reason, &mut noted).await;
            if self.progress.borrow().state != state {
                self.tell(state, Some(reason.to_owned()));
            }
            match looked {
                Ok(true) => return false,
                Ok(false) => {}
                Err(error) => tracing::warn!(
                    projection = self.target.name(),
                    error = chain(&error),
                    "the registry does not answer"
                ),
            }
            if self.stopped_within(LOOK_AGAIN).await {
                return true;
            }
        }
    }

    async fn look(
        &self,
        state: ProjectionState,
        reason: &str,
        noted: &mut Option<u32>,
    ) -> Result<bool, sqlx::Error> {
        let name = self.target.name();
        let mut connection = open_connection(&self.shared.postgres, name).await?;
        let row = registry::read(&mut connection, name).await?;
        let helped = match (&row, *noted) {
            (Some(row), Some(generation)) => {
                row.generation != generation || row.state == ProjectionState::Running
            }
            (Some(row), None) => {
                registry::note_state(&mut connection, name, state, Some(reason)).await?;
                *noted = Some(row.generation);
                false
            }
            (None, _) => false,
        };
        sqlx::Connection::close(connection).await?;
        Ok(helped)
    }

    fn tell(&self, state: ProjectionState, reason: Option<String>) {
        self.progress.send_modify(|progress| {
            progress.state = state;
            progress.reason = reason;
        });
    }

    /// Tells everybody how far the rows are.
    fn tell_position(&self, position: Option<Position>) {
        self.progress.send_modify(|progress| progress.position = position);
        metering::lag(self.target.name(), lag(self.shared.store.head(), position));
    }

    async fn stopped_within(&self, pause: Duration) -> bool {
        let mut stop = self.stop.clone();
        tokio::select! {
            () = told(&mut stop) => true,
            () = sleep(pause) => false,
        }
    }
}
