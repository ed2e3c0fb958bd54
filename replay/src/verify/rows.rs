//! Read models: every stored row, from one snapshot with its checkpoint, against the row folded from history.

use std::collections::BTreeMap;

use annals_core::RowKey;
use annals_workers::ProjectionKind;
use annals_workers::fold::{FoldStart, RowFold};
use annals_workers::rows::{RowTable, key_of};
use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::Connection;
use sqlx::postgres::PgConnection;

use super::{
    EXAMPLES_MAX, Mismatch, Snapshot, StoredDigest, VerifiedProjection, comparable, hexadecimal,
};
use crate::lane::{Folding, RowsLane};
use crate::rebuild::registered;
use crate::scan::Lane;
use crate::source::{ReplayError, ReplaySource, postgres};

/// Takes the snapshot, and begins a fold that will stop at its checkpoint.
pub(super) async fn begin(
    source: &ReplaySource,
    connection: &mut PgConnection,
    name: &'static str,
) -> Result<(Lane<Folding>, Snapshot), ReplayError> {
    let snapshot = snapshot(source, connection, name).await?;
    comparable(source, &source.catalogue, name, &snapshot.checkpoint)?;
    let model = source.catalogue.find_read_model(name).expect("a chosen name is in the catalogue");
    let fold = model.fold(FoldStart::Empty);
    let lane = Lane {
        name,
        decoder: model.decoder(),
        until: snapshot.checkpoint.position,
        consumer: Folding::Rows(RowsLane { name, fold }),
        events: 0,
    };
    Ok((lane, snapshot))
}

async fn snapshot(
    source: &ReplaySource,
    connection: &mut PgConnection,
    name: &'static str,
) -> Result<Snapshot, ReplayError> {
    let failed = || postgres(format!("reading the rows of {name}"));
    let model = source.catalogue.find_read_model(name).expect("a chosen name is in the catalogue");
    let mut transaction = connection.begin().await.map_err(failed())?;
    sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        .execute(&mut *transaction)
        .await
        .map_err(failed())?;
    let checkpoint = registered(&mut transaction, name).await?;
    let table = RowTable::open(&mut transaction, model.spec(), checkpoint.generation)
        .await
        .map_err(failed())?
        .ok_or(ReplayError::NotRegistered { name })?;
    let rows = table.load_all(&mut transaction).await.map_err(failed())?;
    transaction.commit().await.map_err(failed())?;
    Ok(Snapshot { checkpoint, rows })
}

/// The stored rows in canonical form, by key. A row that does not read back as its type stays as it is.
fn canonical(fold: &dyn RowFold, key: &str, rows: Vec<Value>) -> BTreeMap<RowKey, Value> {
    let form = |row: Value| {
        let canonical = fold.canonical(row.clone()).unwrap_or(row);
        (key_of(&canonical, key), canonical)
    };
    rows.into_iter().map(form).collect()
}

fn digest_of(rows: &BTreeMap<RowKey, Value>) -> String {
    let mut hasher = Sha256::new();
    for row in rows.values() {
        hasher.update(row.to_string());
        hasher.update("\n");
    }
    hexadecimal(&hasher.finalize())
}

/// Compares the snapshot with what was folded.
pub(super) fn compare(
    source: &ReplaySource,
    folded: RowsLane,
    events: u64,
    snapshot: Snapshot,
) -> Result<VerifiedProjection, ReplayError> {
    let name = folded.name;
    let model = source.catalogue.find_read_model(name).expect("a lane is of the catalogue");
    let fold = folded.fold;
    let count = snapshot.rows.len() as u64;
    let stored = canonical(fold.as_ref(), model.spec().key, snapshot.rows);
    let row = |key: &str| fold.row(key).map_err(|source| ReplayError::Fold { name, source });
    let mut examples = Vec::new();
    let mut mismatches = 0;
    let mut differs = |key: &str, stored: Option<&Value>, folded: Option<Value>| {
        mismatches += 1;
        if examples.len() < EXAMPLES_MAX {
            examples.push(Mismatch { key: key.to_owned(), stored: stored.cloned(), folded });
        }
    };
    for (key, stored) in &stored {
        // A row that does not read back differs, whatever it is.
        if !fold.matches(key, Some(stored)).unwrap_or(false) {
            differs(key, Some(stored), row(key)?);
        }
    }
    for key in fold.keys() {
        if !stored.contains_key(&key) {
            let folded = row(&key)?;
            differs(&key, None, folded);
        }
    }
    Ok(VerifiedProjection {
        name,
        kind: ProjectionKind::ReadModel,
        position: snapshot.checkpoint.position,
        events,
        rows: count,
        mismatches,
        examples,
        digest: digest_of(&stored),
        views: Vec::new(),
    })
}

/// Condenses the stored rows.
pub(super) async fn digest(
    source: &ReplaySource,
    connection: &mut PgConnection,
    name: &'static str,
) -> Result<StoredDigest, ReplayError> {
    let snapshot = snapshot(source, connection, name).await?;
    let model = source.catalogue.find_read_model(name).expect("a chosen name is in the catalogue");
    let fold = model.fold(FoldStart::Empty);
    let rows = snapshot.rows.len() as u64;
    let stored = canonical(fold.as_ref(), model.spec().key, snapshot.rows);
    let position = snapshot.checkpoint.position;
    Ok(StoredDigest { name, position, rows, digest: digest_of(&stored) })
}
