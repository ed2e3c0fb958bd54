//! A PostgreSQL server of our own: found, initialised, started, supervised, stopped. It listens on a Unix socket in a
//! private folder and on no network address. It is a child of this process; one that a killed predecessor left
//! running is stopped first, so that there is never more than one owner of a data folder.

mod files;
mod programs;
mod stale;
mod supervise;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use annals_core::Family;
use nix::fcntl::Flock;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection};
use std::fs::File;

pub use files::Account;
pub use programs::Programs;

/// The database and its user.
const NAME: &str = "annals";
/// The port in the socket's name; no network port is opened.
const PORT: u16 = 5432;

/// How to run the server.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// The folder of the server programs; searched for when not given (see [`Programs::find`]).
    pub programs: Option<PathBuf>,
    /// Memory for its buffers, in MiB.
    pub shared_buffers_mib: u32,
    /// Connections at most.
    pub connections_max: u32,
    /// How long the first start, with its recovery, may take.
    pub start_timeout: Duration,
    /// How long a stop may take before it is forced.
    pub stop_timeout: Duration,
}

impl Default for PostgresOptions {
    fn default() -> PostgresOptions {
        PostgresOptions {
            programs: None,
            shared_buffers_mib: 256,
            connections_max: 100,
            start_timeout: Duration::from_mins(2),
            stop_timeout: Duration::from_secs(30),
        }
    }
}

/// Why the server does not run.
#[derive(Debug, thiserror::Error)]
pub enum PostgresServerError {
    /// There are no server programs.
    #[error(
        "no PostgreSQL server programs were found ({searched}): install PostgreSQL (Debian: apt-get install \
         postgresql), name their folder in ANNALS_PG_BIN, or give the address of a server in DATABASE_URL"
    )]
    NotInstalled {
        /// Where was looked.
        searched: String,
    },
    /// The data folder was made by another major version.
    #[error(
        "the data in {folder} is of PostgreSQL {wanted}, but only version {found} was found; install version \
         {wanted}, or remove the folder to have every read model rebuilt from the log"
    )]
    WrongVersion {
        /// The data folder.
        folder: PathBuf,
        /// Its version.
        wanted: String,
        /// The newest version found.
        found: String,
    },
    /// The user that the server must run as cannot get to its folder.
    #[error(
        "PostgreSQL runs as user {user} (it refuses root), who may not enter {blocked}, which is above {folder}; \
         choose another data folder, or allow it with: chmod o+x {blocked}", blocked = blocked.display(),
         folder = folder.display()
    )]
    NotEnterable {
        /// The user.
        user: String,
        /// The folder that stands in the way.
        blocked: PathBuf,
        /// The data folder.
        folder: PathBuf,
    },
    /// There is no unprivileged user to run as.
    #[error(
        "PostgreSQL refuses to run as root, and there is neither a user postgres nor a user nobody"
    )]
    NoAccount,
    /// The data folder belongs to someone else.
    #[error("{folder} belongs to user id {owner}, not to this process's user", folder = folder.display())]
    ForeignFolder {
        /// The data folder.
        folder: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// Another process uses the data folder.
    #[error("{folder} is in use by another annals process", folder = folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// A file or process operation failed.
    #[error("{attempt} failed")]
    System {
        /// What was being done, with the path.
        attempt: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A program ended with an error.
    #[error("{program} failed ({status}); its last words:\n{output}")]
    Program {
        /// Its name.
        program: &'static str,
        /// How it ended.
        status: String,
        /// The last lines of its output.
        output: String,
    },
    /// The server does not answer in time.
    #[error("PostgreSQL did not answer within {waited:?}; its log's last lines:\n{output}")]
    Silent {
        /// How long was waited.
        waited: Duration,
        /// The last lines of its log.
        output: String,
    },
    /// The server answered with an error.
    #[error("preparing the database failed")]
    Database(#[source] sqlx::Error),
}

impl PostgresServerError {
    /// The family of this error.
    pub fn family(&self) -> Family {
        match self {
            PostgresServerError::NotInstalled { .. }
            | PostgresServerError::WrongVersion { .. }
            | PostgresServerError::NotEnterable { .. }
            | PostgresServerError::NoAccount
            | PostgresServerError::ForeignFolder { .. } => Family::Malformed,
            PostgresServerError::InUse { .. } => Family::Conflict,
            PostgresServerError::System { .. }
            | PostgresServerError::Program { .. }
            | PostgresServerError::Silent { .. }
            | PostgresServerError::Database(_) => Family::Unavailable,
        }
    }
}

pub(crate) fn system(
    attempt: impl Into<String>,
) -> impl FnOnce(std::io::Error) -> PostgresServerError {
    let attempt = attempt.into();
    move |source| PostgresServerError::System { attempt, source }
}

/// Everything that is needed to start the server again.
pub(crate) struct Plan {
    pub(crate) programs: Programs,
    pub(crate) account: Account,
    pub(crate) data: PathBuf,
    pub(crate) sockets: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) options: PostgresOptions,
}

/// A running server. Dropping it without [`PostgresServer::stop`] tells the server to stop but does not wait.
pub struct PostgresServer {
    plan: Arc<Plan>,
    supervisor: supervise::Supervisor,
    url: String,
    lock: Flock<File>,
}

impl PostgresServer {
    /// Starts the server whose files are in `folder` (made when missing) and waits until it answers. From then on it
    /// is started again whenever it dies.
    ///
    /// # Errors
    /// [`PostgresServerError`], which says what to do.
    pub async fn start(
        folder: &Path,
        options: PostgresOptions,
    ) -> Result<PostgresServer, PostgresServerError> {
        std::fs::create_dir_all(folder).map_err(system(format!("making {}", folder.display())))?;
        let folder = std::fs::canonicalize(folder)
            .map_err(system(format!("resolving {}", folder.display())))?;
        let lock = files::lock(&folder)?;
        let data = folder.join("data");
        let account = Account::choose(&data)?;
        account.check_enterable(&folder)?;
        account.own(&folder)?;
        let programs = Programs::find(options.programs.as_deref(), &data)?;
        let sockets = files::socket_folder(&folder, &account)?;
        let log = folder.join("postgres.log");
        let plan = Arc::new(Plan { programs, account, data, sockets, log, options });
        stale::stop_predecessor(&plan).await?;
        files::initialise(&plan).await?;
        let supervisor = supervise::Supervisor::start(Arc::clone(&plan)).await?;
        let server = PostgresServer { url: plan.url(NAME), plan, supervisor, lock };
        server.create_database().await.map_err(PostgresServerError::Database)?;
        Ok(server)
    }

    /// The address of our database, for [`crate::connect`] and for `psql`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The id of the server's process, while it runs.
    pub fn process_id(&self) -> Option<u32> {
        self.supervisor.process_id()
    }

    /// How often it was started again.
    pub fn restarts(&self) -> u64 {
        self.supervisor.restarts()
    }

    /// The major version of the server programs.
    pub fn version(&self) -> &str {
        &self.plan.programs.version
    }

    async fn create_database(&self) -> Result<(), sqlx::Error> {
        let options: PgConnectOptions = self.plan.url("postgres").parse()?;
        let mut connection = PgConnection::connect_with(&options).await?;
        let there: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
                .bind(NAME)
                .fetch_one(&mut connection)
                .await?;
        if !there {
            let sql = format!("CREATE DATABASE {NAME}");
            sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await?;
        }
        connection.close().await
    }

    /// Stops the server (it ends its clients' connections) and waits until it has.
    ///
    /// # Errors
    /// [`PostgresServerError::System`] when it cannot be signalled.
    pub async fn stop(self) -> Result<(), PostgresServerError> {
        self.supervisor.stop().await?;
        files::leave_socket_folder(&self.plan);
        drop(self.lock);
        Ok(())
    }
}

impl Plan {
    fn url(&self, database: &str) -> String {
        let sockets = self.sockets.to_string_lossy();
        let escaped: String = sockets
            .bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'/' => {
                    char::from(byte).to_string()
                }
                other => format!("%{other:02X}"),
            })
            .collect();
        format!("postgresql:///{database}?host={escaped}&port={PORT}&user={NAME}")
    }
}
