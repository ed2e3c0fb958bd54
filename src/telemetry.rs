//! Logs and metrics of this process. Logs go to standard error, as text or one JSON object a line;
//! metrics are read at `/metrics`. Neither ever holds a payload or a secret.

use annals_core::Family;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::{Log, LogFormat};

/// The upper bounds of the buckets that every histogram in seconds has.
const SECONDS: [f64; 14] =
    [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

/// The upper bounds of the buckets that every histogram of events has.
const EVENTS: [f64; 10] =
    [1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1_000.0, 3_000.0, 10_000.0, 30_000.0];

/// Why logs or metrics could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The log level is neither a level nor directives.
    #[error(
        "log.level {level:?} is neither error, warn, info, debug, trace nor a list of directives"
    )]
    Level {
        /// The level as configured.
        level: String,
        /// What the parser said.
        #[source]
        source: ParseError,
    },
    /// Logs were set up before.
    #[error("logs cannot be set up")]
    Logs(#[source] TryInitError),
    /// Metrics were set up before.
    #[error("metrics cannot be set up")]
    Metrics(#[source] BuildError),
}

impl TelemetryError {
    /// The family of this error.
    pub fn family(&self) -> Family {
        match self {
            TelemetryError::Level { .. } => Family::Malformed,
            TelemetryError::Logs(_) | TelemetryError::Metrics(_) => Family::Unavailable,
        }
    }
}

/// The target under which the client of foreign stores logs.
const FOREIGN_CLIENT: &str = "eventstore";

/// Begins to log to standard error. To be called once.
///
/// # Errors
/// [`TelemetryError`].
pub fn start_logs(log: &Log) -> Result<(), TelemetryError> {
    // The client of foreign stores calls every fault an error; what becomes of one is told where it is handled.
    let quiet = if log.level.contains(FOREIGN_CLIENT) { "" } else { ",eventstore=off" };
    let filter = EnvFilter::try_new(format!("{}{quiet}", log.level))
        .map_err(|source| TelemetryError::Level { level: log.level.clone(), source })?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match log.format {
        LogFormat::Text => {
            let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
            lines.with_ansi(colours).finish().try_init()
        }
        LogFormat::Json => lines.json().flatten_event(true).finish().try_init(),
    };
    started.map_err(TelemetryError::Logs)
}

/// The metrics of this process.
#[derive(Clone, Debug)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// Begins to count. To be called once.
    ///
    /// # Errors
    /// [`TelemetryError`].
    pub fn start() -> Result<Metrics, TelemetryError> {
        let handle = builder().and_then(PrometheusBuilder::install_recorder);
        handle.map(Metrics).map_err(TelemetryError::Metrics)
    }

    /// The metrics in Prometheus' text format.
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Folds what histograms have collected, so that memory does not grow between two reads; every
    /// few seconds.
    pub fn tidy(&self) {
        self.0.run_upkeep();
    }
}

/// Every histogram in seconds, but for those that count.
fn builder() -> Result<PrometheusBuilder, BuildError> {
    let builder = PrometheusBuilder::new().set_buckets(&SECONDS)?;
    builder.set_buckets_for_metric(Matcher::Suffix("_events".to_owned()), &EVENTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_of_events_has_buckets_of_events() {
        let recorder = builder().expect("right buckets").build_recorder();
        metrics::with_local_recorder(&recorder, || {
            metrics::histogram!("annals_store_group_events").record(700.0);
            metrics::histogram!("annals_store_sync_seconds").record(0.000_7);
        });
        let text = recorder.handle().render();
        assert!(text.contains("annals_store_group_events_bucket{le=\"300\"} 0"), "{text}");
        assert!(text.contains("annals_store_group_events_bucket{le=\"1000\"} 1"), "{text}");
        assert!(text.contains("annals_store_sync_seconds_bucket{le=\"0.001\"} 1"), "{text}");
    }

    #[test]
    fn a_wrong_level_is_told() {
        let log = Log { level: "info,[".to_owned(), format: LogFormat::Text };
        let error = start_logs(&log).expect_err("no level");
        assert_eq!(error.family(), Family::Malformed);
    }
}
