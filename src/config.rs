//! The one configuration: defaults, then a TOML file, then the environment, then flags; later ones
//! win. Every field is documented in `docs/annals.toml`, which a test keeps equal to the defaults.
//! Unknown keys are refused. Secrets live in [`Secret`], which shows itself as `***`, and have no
//! flag: other users see a process's arguments.

mod error;
mod fields;
mod secret;
mod store;
mod system_projections;

use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::providers::{Format, Serialized, Toml};
use figment::{Figment, Metadata as SourceName, Provider};
use serde::{Deserialize, Serialize};

pub use error::ConfigError;
pub use secret::Secret;
pub use store::StoreChoice;
pub use system_projections::SystemProjections;

/// Everything that can be configured. [`Config::load`] is how a program gets it,
/// `Config::default()` how a test does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The folder that holds everything: the log, PostgreSQL's and ClickHouse's files, lock and
    /// socket files.
    pub data_folder: PathBuf,
    /// Where the server listens, `HOST:PORT`; port 0 takes a free one.
    pub address: String,
    /// The address that KurrentDB clients are sent to, `HOST:PORT`; without one, that where the
    /// server listens.
    pub advertise: Option<String>,
    /// What this process does.
    pub role: Role,
    /// Which event store: `embedded`, or a server that speaks the KurrentDB protocol,
    /// `esdb://HOST:PORT?tls=false`.
    pub store: StoreChoice,
    /// Which of KurrentDB's system projections run in a store that was told nothing of them: `false`,
    /// `true`, or their names. What a client turns on or off later is kept in the store, and holds.
    pub system_projections: SystemProjections,
    /// How events reach the projection workers.
    pub fanout: Fanout,
    /// The address of a PostgreSQL server, `postgres://…`; without one, Annals starts and stops its
    /// own.
    pub database_url: Option<Secret>,
    /// Where the libchdb library is; without one it is looked for where `scripts/fetch-libchdb`
    /// puts it.
    pub libchdb: Option<PathBuf>,
    /// Whoever calls must present this key. Without one, only loopback addresses are served.
    pub api_key: Option<Secret>,
    /// Serve other than loopback addresses also without an API key, or users in the clear. For closed networks, or
    /// behind a proxy that ends TLS.
    pub insecure: bool,
    /// Serve users alone, each within its rights.
    pub secured: bool,
    /// The size at which a log segment is closed, in bytes.
    pub segment_bytes: u64,
    /// What the server proves itself with; with both set, it speaks TLS alone.
    pub tls: Tls,
    /// Kafka and its schema registry; read only where `fanout` is `kafka`.
    pub kafka: Kafka,
    /// A ClickHouse server instead of the child process over libchdb.
    pub clickhouse: ClickHouse,
    /// What is written to standard error.
    pub log: Log,
    /// Bounds that keep one caller from starving the others.
    pub limits: Limits,
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything.
    All,
    /// The log and its interfaces only.
    Store,
    /// The command and query interfaces only.
    Api,
    /// The relay from the store to Kafka only.
    Relay,
    /// The projection workers only.
    Worker,
}

/// How events reach the projection workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fanout {
    /// Within the process.
    Embedded,
    /// Through Kafka, framed for a Confluent-compatible schema registry.
    Kafka,
}

/// What a server proves itself with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The file of its certificates, PEM, its own first.
    pub certificate: Option<PathBuf>,
    /// The file of its private key, PEM.
    pub key: Option<PathBuf>,
}

/// Kafka and its schema registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kafka {
    /// Brokers to begin with, `HOST:PORT` separated by commas.
    pub bootstrap_servers: Option<String>,
    /// The schema registry's address, `http://…`.
    pub registry_url: Option<String>,
}

/// A ClickHouse server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClickHouse {
    /// Its HTTP interface, `http://…`; without one, Annals runs libchdb in a child process.
    pub url: Option<String>,
    /// The user's name.
    pub user: String,
    /// The user's password.
    pub password: Option<Secret>,
}

/// What is written to standard error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// A level (`error`, `warn`, `info`, `debug`, `trace`) or directives such as
    /// `info,annals_store=debug`.
    pub level: String,
    /// How a line looks.
    pub format: LogFormat,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Bounds that keep one caller from starving the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// The largest body of a request, in bytes.
    pub request_bytes_max: usize,
    /// The most rows or events that one page holds.
    pub page_rows_max: u32,
    /// How many rows or events a page holds where the caller does not say.
    pub page_rows: u32,
    /// How long a command or an append may take, in milliseconds.
    pub command_timeout_ms: u64,
    /// How long a query may run or wait for a position, in milliseconds.
    pub query_timeout_ms: u64,
    /// How long a client may take to send the head of a request, in milliseconds.
    pub header_timeout_ms: u64,
    /// How many requests are worked on at once; more are refused with 429 and `Retry-After`.
    pub requests_in_flight_max: usize,
    /// How many reads, subscriptions and append streams are open at once over gRPC.
    pub subscriptions_max: usize,
    /// How long requests may go on after the signal to stop, in milliseconds.
    pub shutdown_timeout_ms: u64,
    /// How many positions a projection may lag behind the log while `/health/ready` is still
    /// content.
    pub ready_lag_max: u64,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            data_folder: PathBuf::from(".annals"),
            address: "127.0.0.1:2113".to_owned(),
            advertise: None,
            role: Role::All,
            store: StoreChoice::embedded(),
            system_projections: SystemProjections::All(false),
            fanout: Fanout::Embedded,
            database_url: None,
            libchdb: None,
            api_key: None,
            insecure: false,
            secured: false,
            segment_bytes: 256 * 1024 * 1024,
            tls: Tls { certificate: None, key: None },
            kafka: Kafka { bootstrap_servers: None, registry_url: None },
            clickhouse: ClickHouse { url: None, user: "default".to_owned(), password: None },
            log: Log { level: "info".to_owned(), format: LogFormat::Text },
            limits: Limits::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            request_bytes_max: 4 * 1024 * 1024,
            page_rows_max: 1_000,
            page_rows: 100,
            command_timeout_ms: 30_000,
            query_timeout_ms: 30_000,
            header_timeout_ms: 10_000,
            requests_in_flight_max: 1_024,
            subscriptions_max: 4_096,
            shutdown_timeout_ms: 10_000,
            ready_lag_max: 100_000,
        }
    }
}

impl Limits {
    /// How long a command may take.
    pub fn command_timeout(&self) -> Duration {
        Duration::from_millis(self.command_timeout_ms)
    }

    /// How long a query may run or wait for a position.
    pub fn query_timeout(&self) -> Duration {
        Duration::from_millis(self.query_timeout_ms)
    }
}

/// What flags can set; to be flattened into a verb's arguments. A flag that is not given changes
/// nothing.
#[derive(Clone, Debug, Default, clap::Args, Serialize)]
pub struct Flags {
    /// A configuration file in TOML, as docs/annals.toml [environment: `ANNALS_CONFIG`]
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// The folder that holds the log and everything else [environment: `ANNALS_DATA_FOLDER`;
    /// default: .annals]
    #[arg(long = "data", value_name = "DIR")]
    #[serde(rename = "data_folder", skip_serializing_if = "Option::is_none")]
    pub data: Option<PathBuf>,
    /// Where to listen [environment: `ANNALS_ADDRESS`; default: 127.0.0.1:2113]
    #[arg(long, value_name = "HOST:PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// What this process does: all, or store, which is the log alone
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The event store: embedded, or esdb://HOST:PORT of a server [environment: `ANNALS_STORE`]
    #[arg(long, value_name = "STORE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<String>,
    /// How events reach the workers: embedded or kafka
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fanout: Option<String>,
    /// Serve other than loopback addresses without an API key
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub insecure: bool,
    /// Serve users alone, each within its rights
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub secured: bool,
    /// What to log: error, warn, info, debug, trace, or directives [environment:
    /// `ANNALS_LOG_LEVEL`]
    #[arg(long, value_name = "LEVEL")]
    #[serde(skip)]
    pub log_level: Option<String>,
    /// How log lines look: text or json [environment: `ANNALS_LOG_FORMAT`]
    #[arg(long, value_name = "FORMAT")]
    #[serde(skip)]
    pub log_format: Option<String>,
}

impl Config {
    /// Host and port that KurrentDB clients are sent to, where they are configured.
    pub fn advertised(&self) -> Option<(&str, u16)> {
        self.advertise.as_deref().and_then(fields::advertised)
    }

    /// The configuration of this process: defaults, file, environment, flags.
    ///
    /// # Errors
    /// [`ConfigError`], naming the key, where its value came from and what would be right.
    pub fn load(flags: &Flags) -> Result<Config, ConfigError> {
        Config::load_from(flags, &|name| std::env::var(name).ok())
    }

    /// As [`Config::load`], with another environment: `variable` tells a variable's value.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_from(
        flags: &Flags,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Config, ConfigError> {
        let mut figment = Figment::from(Serialized::defaults(Config::default()));
        let file = flags.config.clone().or_else(|| variable("ANNALS_CONFIG").map(PathBuf::from));
        if let Some(file) = file {
            figment = figment.merge(read_file(&file)?);
        }
        figment = fields::environment(figment, variable).merge(Given(flags));
        let texts = [("log.level", &flags.log_level), ("log.format", &flags.log_format)];
        for (key, text) in texts {
            if let Some(text) = text {
                let flag = format!("flag `--{}`", key.replace('.', "-"));
                figment = figment.merge(fields::OneValue::text(key, text, flag));
            }
        }
        let config: Config =
            figment.extract().map_err(|error| ConfigError::from_figment(&figment, &error))?;
        fields::check(&config, &figment)?;
        Ok(config)
    }
}

/// The environment variables of this process that look like ours but name no field; worth a
/// warning, not an error, because container platforms set such variables by themselves.
pub fn unknown_variables() -> Vec<String> {
    fields::unknown(std::env::vars().map(|(name, _)| name))
}

fn read_file(path: &Path) -> Result<figment::providers::Data<Toml>, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    // Parsed here once for the place of a syntax error; figment gets the file for the source of
    // each value.
    text.parse::<toml::Table>().map_err(|source| ConfigError::NotToml {
        path: path.to_owned(),
        source: Box::new(source),
    })?;
    Ok(Toml::file_exact(path))
}

/// The flags as a source of values.
struct Given<'a>(&'a Flags);

impl Provider for Given<'_> {
    fn metadata(&self) -> SourceName {
        SourceName::named("the command line")
    }

    fn data(
        &self,
    ) -> Result<figment::value::Map<figment::Profile, figment::value::Dict>, figment::Error> {
        Serialized::defaults(self.0).data()
    }
}

#[cfg(test)]
mod tests;
