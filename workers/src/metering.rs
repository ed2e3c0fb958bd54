//! The metrics of the projection runtime, named once.

use std::time::Duration;

/// Counts a committed batch.
pub(crate) fn batch(projection: &'static str, events: usize, rows: usize, took: Duration) {
    let labels = [("projection", projection)];
    metrics::counter!("annals_projection_events_total", &labels).increment(events as u64);
    metrics::counter!("annals_projection_rows_total", &labels).increment(rows as u64);
    metrics::histogram!("annals_projection_batch_seconds", &labels).record(took.as_secs_f64());
}

/// Notes how far a projection is behind the log, in positions.
#[allow(clippy::cast_precision_loss, reason = "a gauge is a float; 2^53 positions are enough")]
pub(crate) fn lag(projection: &'static str, lag: u64) {
    metrics::gauge!("annals_projection_lag", "projection" => projection).set(lag as f64);
}

/// Notes whether a projection runs.
pub(crate) fn failed(projection: &'static str, failed: bool) {
    let value = if failed { 1.0 } else { 0.0 };
    metrics::gauge!("annals_projection_failed", "projection" => projection).set(value);
}
