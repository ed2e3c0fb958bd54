//! Verifying that what readers see is what history says: folds the log from zero up to the live checkpoint and compares
//! every row, also missing and extra ones. Digests are over a canonical dump, so two runs can be compared by them.

mod facts;
mod rows;

use std::time::Instant;

use annals_core::Position;
use annals_workers::registry::Checkpoint;
use annals_workers::schema::hexadecimal;
use annals_workers::{Catalogue, ProjectionKind};
use serde::Serialize;
use serde_json::Value;
use sqlx::Connection;

use crate::lane::Folding;
use crate::rebuild::{chosen, locked};
use crate::scan::{Lane, scan};
use crate::source::{ReplayError, ReplaySource, postgres};

/// Differences shown of each projection.
const EXAMPLES_MAX: usize = 10;

/// A row that is not what history says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Mismatch {
    /// The row's key; for facts the position.
    pub key: String,
    /// What is stored; nothing where the row is missing.
    pub stored: Option<Value>,
    /// What history says; nothing where the row should not be.
    pub folded: Option<Value>,
}

/// An aggregate view over facts, compared as a whole.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VerifiedView {
    /// Its name.
    pub name: String,
    /// Its rows.
    pub rows: u64,
    /// Rows that differ, missing and extra ones included; nothing where the view could not be compared because new
    /// facts kept coming.
    pub mismatches: Option<u64>,
    /// SHA-256 of its rows in canonical order, in hexadecimal.
    pub digest: String,
}

/// One verified projection.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VerifiedProjection {
    /// Its name.
    pub name: &'static str,
    /// What it writes to.
    pub kind: ProjectionKind,
    /// The checkpoint at which it was compared.
    pub position: Option<Position>,
    /// Events folded.
    pub events: u64,
    /// Rows stored.
    pub rows: u64,
    /// Rows that differ, missing and extra ones included.
    pub mismatches: u64,
    /// The first of them.
    pub examples: Vec<Mismatch>,
    /// SHA-256 of the stored rows in canonical order, in hexadecimal.
    pub digest: String,
    /// Facts: the views over them.
    pub views: Vec<VerifiedView>,
}

/// What a verification found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VerifyReport {
    /// Each projection.
    pub projections: Vec<VerifiedProjection>,
    /// Rows compared, of all projections.
    pub rows: u64,
    /// Rows that differ, of all projections and views.
    pub mismatches: u64,
    /// Events of the log that were folded, each counted once.
    pub events: u64,
    /// Seconds that it took.
    pub seconds: f64,
}

/// The stored rows of a projection, condensed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoredDigest {
    /// The projection.
    pub name: &'static str,
    /// Its checkpoint.
    pub position: Option<Position>,
    /// Its rows.
    pub rows: u64,
    /// SHA-256 of its rows in canonical order, in hexadecimal.
    pub digest: String,
}

/// Verifies the projections of these names (all of them when none is named) in one pass over the log. It takes a
/// snapshot first and changes nothing that readers see; workers go on meanwhile.
///
/// # Errors
/// [`ReplayError`]; differences are no error but the report.
pub async fn verify(
    source: &ReplaySource,
    names: &[String],
    on_progress: impl Fn(u64, Position) + Send + Sync,
) -> Result<VerifyReport, ReplayError> {
    let started = Instant::now();
    let names = chosen(source, names)?;
    // No rebuild may swap or drop what is being compared.
    let mut connection = locked(source, &names).await?;
    let mut lanes = Vec::new();
    let mut snapshots = Vec::new();
    for name in &names {
        let (lane, snapshot) = if source.catalogue.find_read_model(name).is_some() {
            rows::begin(source, &mut connection, name).await?
        } else {
            facts::begin(source, &mut connection, name).await?
        };
        // A projection that has seen nothing yet has nothing to fold.
        if lane.until.is_some() {
            lanes.push(lane);
        } else {
            lanes.push(Lane { until: Some(Position(0)), ..lane });
        }
        snapshots.push(snapshot);
    }
    let empty: Vec<bool> = snapshots.iter().map(|s| s.checkpoint.position.is_none()).collect();
    let (scanned_lanes, idle_lanes) = split(lanes, &empty);
    let (finished, scanned) = scan(source, None, scanned_lanes, &on_progress).await?;
    let mut projections = Vec::new();
    for lane in finished.into_iter().chain(idle_lanes) {
        let at = snapshots.iter().position(|s| s.checkpoint.name == lane.name);
        let snapshot = snapshots.swap_remove(at.expect("each lane has its snapshot"));
        projections.push(match lane.consumer {
            Folding::Rows(folded) => rows::compare(source, folded, lane.events, snapshot)?,
            Folding::Facts(folded) => {
                facts::compare(&mut connection, *folded, lane.events, snapshot).await?
            }
        });
    }
    projections.sort_by_key(|projection| names.iter().position(|name| *name == projection.name));
    connection.close().await.map_err(postgres("closing the connection"))?;
    let views =
        |p: &VerifiedProjection| -> u64 { p.views.iter().filter_map(|v| v.mismatches).sum() };
    Ok(VerifyReport {
        rows: projections.iter().map(|projection| projection.rows).sum(),
        mismatches: projections.iter().map(|p| p.mismatches + views(p)).sum(),
        events: scanned.events,
        seconds: started.elapsed().as_secs_f64(),
        projections,
    })
}

/// What stood in the database when the verification began.
struct Snapshot {
    checkpoint: Checkpoint,
    /// Read models: every row.
    rows: Vec<Value>,
}

fn split(lanes: Vec<Lane<Folding>>, empty: &[bool]) -> (Vec<Lane<Folding>>, Vec<Lane<Folding>>) {
    let mut scanned = Vec::new();
    let mut idle = Vec::new();
    for (lane, empty) in lanes.into_iter().zip(empty) {
        if *empty { idle.push(lane) } else { scanned.push(lane) }
    }
    (scanned, idle)
}

/// Condenses the stored rows of the projections of these names (all of them when none is named), without folding.
///
/// # Errors
/// [`ReplayError`].
pub async fn digests(
    source: &ReplaySource,
    names: &[String],
) -> Result<Vec<StoredDigest>, ReplayError> {
    let names = chosen(source, names)?;
    let mut connection = locked(source, &names).await?;
    let mut all = Vec::new();
    for name in names {
        all.push(if source.catalogue.find_read_model(name).is_some() {
            rows::digest(source, &mut connection, name).await?
        } else {
            facts::digest(source, &mut connection, name).await?
        });
    }
    connection.close().await.map_err(postgres("closing the connection"))?;
    Ok(all)
}

/// Refuses to compare what cannot be equal: rows of another version, or of another log.
fn comparable(
    source: &ReplaySource,
    catalogue: &Catalogue,
    name: &'static str,
    checkpoint: &Checkpoint,
) -> Result<(), ReplayError> {
    let version = catalogue
        .find_read_model(name)
        .map(|model| model.spec().version)
        .or_else(|| catalogue.find_facts(name).map(|facts| facts.spec().version));
    let identity = source.store.identity();
    let reason = if version != Some(checkpoint.version) {
        format!("its rows are of version {}; rebuild it", checkpoint.version)
    } else if checkpoint.store.is_some_and(|store| store != identity) {
        "its rows are of another log; rebuild it".to_owned()
    } else if checkpoint.position > source.store.head() {
        "its checkpoint is beyond the end of the log; rebuild it".to_owned()
    } else {
        return Ok(());
    };
    Err(ReplayError::NotComparable { name, reason })
}
