//! What every request can reach. Built once from the engine's parts.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use annals_core::clock::SystemClock;
use annals_core::random::SystemRandom;
use annals_core::{EventStore, RecordedEvent, SchemaFingerprint, Schemas, chain};
use annals_replay::ReplaySource;
use annals_replay::travel::Travel;
use annals_store::log::{APPEND_BYTES_MAX, EVENT_BYTES_MAX};
use annals_store::protocol::access::Users;
use annals_store::protocol::projections::SystemProjections;
use annals_store::protocol::{Protocol, Settings};
use annals_workers::{Catalogue, ClickHouse, Workers};
use parking_lot::Mutex;
use sqlx::PgPool;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::problem::Problem;
use super::projections::Work;
use super::read_models::{PageBounds, ReadModels};
use crate::config::{Config, Limits, Secret};
use crate::router::Router;
use crate::telemetry::Metrics;

/// What of the largest append is left for what stands beside its events' contents.
const APPEND_ROOM: usize = 64 << 10;
/// What of the largest event is left for its names and numbers.
const EVENT_ROOM: usize = 8 << 10;

/// The parts of an engine that the interfaces work with.
pub struct Parts {
    /// The log.
    pub store: Arc<dyn EventStore>,
    /// Why the log takes no writes any more, where it does not.
    pub store_fault: Box<dyn Fn() -> Option<String> + Send + Sync>,
    /// The writer schemas in the log.
    pub schemas: Schemas,
    /// Time travel over the log.
    pub travel: Travel,
    /// The metrics of this process, where they are kept.
    pub metrics: Option<Metrics>,
    /// Commands, read models and facts; none where the log alone is served.
    pub domain: Option<Domain>,
    /// Who may sign in; none where nobody must.
    pub users: Option<Arc<Users>>,
}

/// What an engine has beside its log.
pub struct Domain {
    /// Carries out commands.
    pub router: Arc<Router>,
    /// What the domain projects.
    pub catalogue: Arc<Catalogue>,
    /// The projection workers of this process.
    pub workers: Arc<Workers>,
    /// The database of the read models.
    pub pool: PgPool,
    /// The facts' database, where there is one.
    pub analytics: Option<ClickHouse>,
}

/// What every request can reach.
pub struct ApiState {
    pub(super) parts: Parts,
    read_models: Option<ReadModels>,
    pub(super) limits: Limits,
    pub(super) api_key: Option<Secret>,
    /// Whether only loopback addresses are served.
    pub(super) loopback_only: bool,
    /// Requests that may be worked on now.
    pub(super) in_flight: Arc<Semaphore>,
    /// Subscriptions that may be opened now.
    pub(super) subscriptions: Arc<Semaphore>,
    /// The work on projections that runs or ran, by projection.
    pub(super) work: Mutex<HashMap<String, Work>>,
    /// Set when the server stops.
    pub(super) stopping: CancellationToken,
    /// Set by a caller who asks the server to stop.
    pub(super) asked_to_stop: CancellationToken,
    /// The KurrentDB protocol over the log.
    pub(super) protocol: Arc<Protocol>,
    /// The system projections of that protocol.
    pub(super) system_projections: Arc<SystemProjections>,
}

impl ApiState {
    /// The state of a server.
    pub fn new(parts: Parts, config: &Config, listening: SocketAddr) -> Arc<ApiState> {
        let limits = config.limits.clone();
        let read_models = parts.domain.as_ref().map(|domain| {
            let workers = Arc::clone(&domain.workers);
            ReadModels::new(&domain.pool, &domain.catalogue, workers, &limits)
        });
        let subscriptions = Arc::new(Semaphore::new(limits.subscriptions_max));
        let (stopping, asked_to_stop) = (CancellationToken::new(), CancellationToken::new());
        let served = annals_store::protocol::Parts {
            store: Arc::clone(&parts.store),
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
            open: Arc::clone(&subscriptions),
            stopping: stopping.clone(),
            asked_to_stop: asked_to_stop.clone(),
            settings: protocol_settings(config, listening),
        };
        let protocol = Protocol::for_users(served, parts.users.clone());
        let system_projections = Arc::new(SystemProjections::new(&protocol));
        Arc::new(ApiState {
            system_projections,
            read_models,
            in_flight: Arc::new(Semaphore::new(limits.requests_in_flight_max)),
            subscriptions,
            api_key: config.api_key.clone(),
            loopback_only: listening.ip().is_loopback(),
            work: Mutex::default(),
            stopping,
            asked_to_stop,
            protocol,
            limits,
            parts,
        })
    }

    /// Whether not everybody is served.
    pub(super) fn asks_who_calls(&self) -> bool {
        self.api_key.is_some() || self.protocol.users().is_some()
    }

    /// Commands, projections and what they fill.
    ///
    /// # Errors
    /// The problem that this server serves the log alone.
    pub(super) fn domain(&self) -> Result<&Domain, Problem> {
        self.parts.domain.as_ref().ok_or_else(log_alone)
    }

    /// The read models.
    ///
    /// # Errors
    /// As [`ApiState::domain`].
    pub(super) fn read_models(&self) -> Result<&ReadModels, Problem> {
        self.read_models.as_ref().ok_or_else(log_alone)
    }

    /// What rebuilds and verifications work on.
    ///
    /// # Errors
    /// As [`ApiState::domain`].
    pub(super) fn replay_source(&self) -> Result<ReplaySource, Problem> {
        let domain = self.domain()?;
        Ok(ReplaySource {
            store: Arc::clone(&self.parts.store),
            schemas: self.parts.schemas.clone(),
            catalogue: (*domain.catalogue).clone(),
            pool: domain.pool.clone(),
            analytics: domain.analytics.clone(),
        })
    }

    /// How many rows or events a page has.
    pub(super) fn page_bounds(&self) -> PageBounds {
        PageBounds { rows: self.limits.page_rows, rows_max: self.limits.page_rows_max }
    }

    /// Reads the schemas published since the catalogue was loaded, where an event needs one that is
    /// not known. A store that cannot be read now leaves it unknown, which the event then tells.
    pub(super) async fn know_schema(&self, event: &RecordedEvent) {
        let schemas = &self.parts.schemas;
        if event.schema == SchemaFingerprint::NONE || schemas.get(event.schema).is_some() {
            return;
        }
        if let Err(error) = schemas.refresh(&*self.parts.store).await {
            tracing::warn!(error = chain(&error), "schemas cannot be read");
        }
    }
}

/// What the KurrentDB protocol tells its clients, and its bounds: an event's are those of the log, less the names and
/// numbers that stand with it there.
fn protocol_settings(config: &Config, listening: SocketAddr) -> Settings {
    let segment = usize::try_from(config.segment_bytes).unwrap_or(usize::MAX);
    let append_bytes_max = APPEND_BYTES_MAX.min(segment) - APPEND_ROOM;
    let (host, port) = config.advertised().map_or_else(
        || (listening.ip().to_string(), listening.port()),
        |(host, port)| (host.to_owned(), port),
    );
    Settings {
        host,
        port,
        event_bytes_max: (EVENT_BYTES_MAX - EVENT_ROOM).min(append_bytes_max),
        append_bytes_max,
        write_timeout: config.limits.command_timeout(),
        system_projections: config.store.is_embedded().then(|| config.system_projections.named()),
    }
}

fn log_alone() -> Problem {
    let detail = "this server serves the log alone (role `store`); ask one with the role `all`";
    Problem::not_found("log-alone", detail)
}
