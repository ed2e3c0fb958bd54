//! Puts the parts together: the log, the commands, the databases and their workers. What runs in one process and what
//! runs elsewhere is decided here alone; everything above works with an [`Engine`].

use std::sync::Arc;

use annals_analytics::{Options as AnalyticsOptions, StartError, Supervisor};
use annals_commands as commands;
use annals_core::clock::SystemClock;
use annals_core::disk::RealDisk;
use annals_core::random::SystemRandom;
use annals_core::{
    AppendError, Clock, DomainEvent, EventStore, Family, Feed, Random, ReadError, Schemas,
};
use annals_events::{MarketEvent, TradingEvent};
use annals_fanout::{InProcessFeed, KafkaFeed, KafkaSettings, Relay, RelayHandle, RelayOptions};
use annals_projections as projections;
use annals_replay::travel::{Folds, Travel};
use annals_store::kurrent::{AddressError, ConnectError, KurrentStore};
use annals_store::log::{Log, LogOptions, OpenError};
use annals_workers::{
    Catalogue, ClickHouse, ClickHouseOptions, PostgresOptions, PostgresServer, PostgresServerError,
    SetupError, Workers, WorkersOptions,
};
use sqlx::PgPool;

use crate::config::{Config, Fanout, Role, Secret};
use crate::router::Router;

/// Connections to PostgreSQL for queries; each worker has one of its own besides.
const QUERY_CONNECTIONS_MAX: u32 = 16;

/// Which parts to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parts {
    /// The log and the commands: enough to write, read and travel.
    Log,
    /// The databases too, and the workers that fill them.
    Views,
}

/// The running parts. [`Engine::stop`] ends them in order; dropping it ends them too, less gently.
pub struct Engine {
    /// The log in the data folder; none where the store is a server.
    pub log: Option<Arc<Log>>,
    /// The server; none where the store is the log in the data folder.
    pub server: Option<Arc<KurrentStore>>,
    /// The log, as everything above sees it.
    pub store: Arc<dyn EventStore>,
    /// The writer schemas in the log.
    pub schemas: Schemas,
    /// Carries out commands.
    pub router: Arc<Router>,
    /// What the domain projects.
    pub catalogue: Arc<Catalogue>,
    /// Time travel over the log.
    pub travel: Travel,
    /// The databases and their workers, where they were asked for.
    pub views: Option<Views>,
}

/// The databases and the workers that fill them.
pub struct Views {
    /// The read models' database.
    pub pool: PgPool,
    /// The facts' database; none where libchdb is not installed and no server is configured.
    pub analytics: Option<ClickHouse>,
    /// The workers.
    pub workers: Arc<Workers>,
    relay: Option<RelayHandle>,
    supervisor: Option<Supervisor>,
    postgres: Option<PostgresServer>,
}

/// Why the engine did not start or stop.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The data folder cannot be made.
    #[error("making the data folder {folder} failed")]
    Folder {
        /// The folder.
        folder: std::path::PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The log cannot be opened.
    #[error("the log cannot be opened")]
    Log(#[source] OpenError),
    /// The store's address is none.
    #[error("the address of the store is wrong")]
    Address(#[source] AddressError),
    /// The store's server cannot be used.
    #[error(transparent)]
    Server(ConnectError),
    /// The schemas in the log cannot be read.
    #[error("the schemas in the log cannot be read")]
    Schemas(#[source] ReadError),
    /// The schemas of this version cannot be written to the log.
    #[error("the schemas of this version cannot be written to the log")]
    Publish(#[source] AppendError),
    /// PostgreSQL does not run.
    #[error("PostgreSQL does not run")]
    Postgres(#[source] PostgresServerError),
    /// The analytics engine does not run.
    #[error("the analytics engine does not run")]
    Analytics(#[source] StartError),
    /// The databases cannot be set up.
    #[error("the databases cannot be set up")]
    Setup(#[source] SetupError),
    /// A part of the start was cut off; the program is ending.
    #[error("the start was cut off")]
    CutOff,
}

impl EngineError {
    /// The family of this error.
    pub fn family(&self) -> Family {
        match self {
            EngineError::Folder { .. } | EngineError::CutOff => Family::Unavailable,
            EngineError::Log(source) => source.family(),
            EngineError::Address(_) => Family::Malformed,
            EngineError::Server(source) => source.family(),
            EngineError::Schemas(source) => source.family(),
            EngineError::Publish(source) => source.family(),
            EngineError::Postgres(source) => source.family(),
            EngineError::Analytics(source) => source.family(),
            EngineError::Setup(source) => source.family(),
        }
    }
}

impl Engine {
    /// Starts the parts.
    ///
    /// # Errors
    /// [`EngineError`]; what had started is ended again.
    pub async fn open(config: &Config, parts: Parts) -> Result<Engine, EngineError> {
        let folder = &config.data_folder;
        std::fs::create_dir_all(folder)
            .map_err(|source| EngineError::Folder { folder: folder.clone(), source })?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let random: Arc<dyn Random> = Arc::new(SystemRandom);
        let address = config.store.address().map_err(EngineError::Address)?;
        let (log, server, store): (_, _, Arc<dyn EventStore>) = match address {
            None => {
                let log = open_log(config, Arc::clone(&clock), Arc::clone(&random)).await?;
                (Some(Arc::clone(&log)), None, log)
            }
            Some(address) => {
                let server = KurrentStore::connect(&address).await.map_err(EngineError::Server)?;
                (None, Some(Arc::clone(&server)), server)
            }
        };

        let schemas = Schemas::load(&*store).await.map_err(EngineError::Schemas)?;
        for of_context in [MarketEvent::schemas(), TradingEvent::schemas()] {
            schemas.publish(&*store, of_context).await.map_err(EngineError::Publish)?;
        }
        if let Some(server) = &server {
            // It is known by its first schema.
            server.learn_identity().await.map_err(EngineError::Schemas)?;
        }
        let mut router = Router::new(Arc::clone(&store), schemas.clone(), clock, random);
        commands::register(&mut router);
        let mut catalogue = Catalogue::new();
        projections::register(&mut catalogue);
        let folds = Folds::of(commands::register, projections::register);
        let travel = Travel::new(Arc::clone(&store), schemas.clone(), Arc::new(folds));
        let views = match parts {
            Parts::Log => None,
            Parts::Views => {
                Some(Box::pin(Views::open(config, &catalogue, &schemas, &store)).await?)
            }
        };
        let (router, catalogue) = (Arc::new(router), Arc::new(catalogue));
        Ok(Engine { log, server, store, schemas, router, catalogue, travel, views })
    }

    /// Ends the parts: the workers after their batch, then the databases, then the log.
    pub async fn stop(self) {
        if let Some(views) = self.views {
            views.stop().await;
        }
        if let Some(server) = self.server {
            server.close().await;
        }
        let Some(log) = self.log else { return };
        if let Err(error) = tokio::task::spawn_blocking(move || log.close()).await {
            tracing::error!(%error, "closing the log was cut off");
        }
    }
}

impl Views {
    async fn open(
        config: &Config,
        catalogue: &Catalogue,
        schemas: &Schemas,
        store: &Arc<dyn EventStore>,
    ) -> Result<Views, EngineError> {
        let (databases, facts) = tokio::join!(open_postgres(config), open_analytics(config));
        let (postgres, pool) = databases?;
        let (supervisor, analytics) = facts?;
        let (relay, feed) = open_feed(config, schemas, store);
        let workers = Workers::start(
            catalogue,
            schemas.clone(),
            Arc::clone(store),
            feed,
            &pool,
            analytics.clone(),
            WorkersOptions::default(),
        )
        .await
        .map_err(EngineError::Setup)?;
        let workers = Arc::new(workers);
        Ok(Views { pool, analytics, workers, relay, supervisor, postgres })
    }

    /// The id of the process of the PostgreSQL that the engine runs itself.
    pub fn postgres_process(&self) -> Option<u32> {
        self.postgres.as_ref().and_then(PostgresServer::process_id)
    }

    async fn stop(self) {
        self.workers.stop().await;
        if let Some(relay) = self.relay {
            relay.stop().await;
        }
        self.pool.close().await;
        if let Some(supervisor) = self.supervisor {
            supervisor.stop().await;
        }
        if let Some(postgres) = self.postgres
            && let Err(error) = postgres.stop().await
        {
            tracing::error!(%error, "PostgreSQL did not stop as it should");
        }
    }
}

async fn open_log(
    config: &Config,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
) -> Result<Arc<Log>, EngineError> {
    let folder = config.data_folder.join("log");
    let gather = config.role == Role::Store;
    let options =
        LogOptions { segment_bytes: config.segment_bytes, gather, ..LogOptions::default() };
    let open = move || Log::open(Arc::new(RealDisk), folder, clock, random, options);
    let opened = tokio::task::spawn_blocking(open).await.map_err(|_| EngineError::CutOff)?;
    opened.map_err(EngineError::Log)
}

async fn open_postgres(config: &Config) -> Result<(Option<PostgresServer>, PgPool), EngineError> {
    let server = if config.database_url.is_none() {
        let folder = config.data_folder.join("postgres");
        let started = PostgresServer::start(&folder, PostgresOptions::default()).await;
        Some(started.map_err(EngineError::Postgres)?)
    } else {
        None
    };
    let configured = config.database_url.as_ref().map(Secret::expose);
    let url = server.as_ref().map(PostgresServer::url).or(configured).unwrap_or_default();
    let pool = annals_workers::connect(url, QUERY_CONNECTIONS_MAX).await;
    Ok((server, pool.map_err(EngineError::Setup)?))
}

/// The facts' database. Where there is neither a server nor libchdb, there are no facts: that is said and lived with.
async fn open_analytics(
    config: &Config,
) -> Result<(Option<Supervisor>, Option<ClickHouse>), EngineError> {
    if let Some(url) = &config.clickhouse.url {
        let password = config.clickhouse.password.as_ref();
        let options = ClickHouseOptions {
            user: Some(config.clickhouse.user.clone()),
            password: password.map(|password| password.expose().to_owned()),
            ..ClickHouseOptions::at(url)
        };
        return Ok((None, Some(ClickHouse::new(options))));
    }
    let folder = config.data_folder.join("analytics");
    let program = std::env::current_exe()
        .map_err(|source| EngineError::Folder { folder: folder.clone(), source })?;
    let options = AnalyticsOptions {
        arguments: vec!["analytics-child".into()],
        library: config.libchdb.clone(),
        ..AnalyticsOptions::new(program, folder)
    };
    let supervisor = match Supervisor::start(options).await {
        Ok(supervisor) => supervisor,
        Err(StartError::Library(error)) => {
            tracing::warn!(%error, "there are no analytics");
            return Ok((None, None));
        }
        Err(error) => return Err(EngineError::Analytics(error)),
    };
    let options = ClickHouseOptions {
        user: Some(supervisor.user().to_owned()),
        password: Some(supervisor.key().to_owned()),
        ..ClickHouseOptions::at(supervisor.url())
    };
    Ok((Some(supervisor), Some(ClickHouse::new(options))))
}

fn open_feed(
    config: &Config,
    schemas: &Schemas,
    store: &Arc<dyn EventStore>,
) -> (Option<RelayHandle>, Arc<dyn Feed>) {
    match config.fanout {
        Fanout::Embedded => (None, Arc::new(InProcessFeed::new(Arc::clone(store)))),
        Fanout::Kafka => {
            let brokers = config.kafka.bootstrap_servers.clone().unwrap_or_default();
            let kafka = KafkaSettings { brokers, ..KafkaSettings::default() };
            let options = RelayOptions {
                kafka: kafka.clone(),
                registry: config.kafka.registry_url.clone().unwrap_or_default(),
                contexts: [MarketEvent::CONTEXT, TradingEvent::CONTEXT].map(str::to_owned).into(),
            };
            let relay = Relay::start(Arc::clone(store), schemas.clone(), options);
            (Some(relay), Arc::new(KafkaFeed::new(kafka, store.identity())))
        }
    }
}
