//! Facts: history is folded into a scratch generation of the same tables, and the two are read side by side in order of
//! position. So ClickHouse itself gives both sides the same form, and the views over them are compared as well.

use std::collections::BTreeMap;
use std::sync::Arc;

use annals_core::Position;
use annals_workers::facts::FactsSpec;
use annals_workers::generation::{FactsObject, facts_objects, table_name};
use annals_workers::schema::{create_facts, drop_facts};
use annals_workers::{ClickHouse, ClickHouseError, ProjectionKind};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::postgres::PgConnection;

use super::{
    EXAMPLES_MAX, Mismatch, Snapshot, StoredDigest, VerifiedProjection, VerifiedView, comparable,
    hexadecimal,
};
use crate::lane::{FactsLane, Folding};
use crate::rebuild::{analytics_of, registered};
use crate::scan::Lane;
use crate::source::{ReplayError, ReplaySource, clickhouse};

/// Notes the checkpoint, and begins a fold into a scratch generation that will stop there.
pub(super) async fn begin(
    source: &ReplaySource,
    connection: &mut PgConnection,
    name: &'static str,
) -> Result<(Lane<Folding>, Snapshot), ReplayError> {
    let checkpoint = registered(connection, name).await?;
    comparable(source, &source.catalogue, name, &checkpoint)?;
    let facts = source.catalogue.find_facts(name).expect("a chosen name is in the catalogue");
    let analytics = analytics_of(source, name)?.clone();
    let scratch = checkpoint.generation + 1;
    drop_scratch(&analytics, facts.spec(), scratch).await?;
    create_facts(&analytics, facts.spec(), scratch).await?;
    let lane = Lane {
        name,
        decoder: facts.decoder(),
        until: checkpoint.position,
        consumer: Folding::Facts(Box::new(FactsLane::new(Arc::clone(facts), analytics, scratch))),
        events: 0,
    };
    Ok((lane, Snapshot { checkpoint, rows: Vec::new() }))
}

fn views(spec: &FactsSpec) -> Vec<FactsObject> {
    let objects = facts_objects(spec.name, spec.ddl).unwrap_or_default();
    objects.into_iter().filter(|object| !object.generational).collect()
}

fn scratch_view(name: &str) -> String {
    format!("{name}_verify")
}

async fn drop_scratch(
    analytics: &ClickHouse,
    spec: &FactsSpec,
    scratch: u32,
) -> Result<(), ReplayError> {
    for view in views(spec) {
        let sql = format!("DROP VIEW IF EXISTS {}", scratch_view(&view.name));
        analytics
            .execute(&sql)
            .await
            .map_err(clickhouse(format!("dropping a scratch view of {}", spec.name)))?;
    }
    Ok(drop_facts(analytics, spec, scratch).await?)
}

/// Compares the live generation, up to the checkpoint, with the scratch one, and drops that.
pub(super) async fn compare(
    connection: &mut PgConnection,
    mut folded: FactsLane,
    events: u64,
    snapshot: Snapshot,
) -> Result<VerifiedProjection, ReplayError> {
    folded.finish().await?;
    let spec = folded.facts.spec().clone();
    let name = spec.name;
    let failed = || clickhouse(format!("comparing the facts {name}"));
    let analytics = &folded.analytics;
    let checkpoint = snapshot.checkpoint;
    let live = table_name(name, checkpoint.generation);
    let scratch = table_name(name, folded.generation);
    let stored = ordered(analytics, &live, checkpoint.position).map_err(failed())?;
    let computed = ordered(analytics, &scratch, checkpoint.position).map_err(failed())?;
    let comparison = merge(stored, computed).await.map_err(failed())?;
    let mut verified_views = Vec::new();
    for view in views(&spec).iter().filter(|view| view.name != name) {
        let mut verified =
            compare_view(analytics, view, folded.generation).await.map_err(failed())?;
        let now = registered(connection, name).await?;
        if now.position != checkpoint.position || now.pending.is_some() {
            verified.mismatches = None;
        }
        verified_views.push(verified);
    }
    drop_scratch(analytics, &spec, folded.generation).await?;
    Ok(VerifiedProjection {
        name,
        kind: ProjectionKind::Facts,
        position: checkpoint.position,
        events,
        rows: comparison.rows,
        mismatches: comparison.mismatches,
        examples: comparison.examples,
        digest: comparison.digest,
        views: verified_views,
    })
}

/// The facts of a table up to a position, in order of position, a line each.
fn ordered(
    analytics: &ClickHouse,
    table: &str,
    until: Option<Position>,
) -> Result<ByPosition, ClickHouseError> {
    let bound =
        until.map_or_else(|| "WHERE 0".to_owned(), |until| format!("WHERE position <= {until}"));
    let sql = format!("SELECT * FROM {table} {bound} ORDER BY position");
    Ok(ByPosition {
        pieces: analytics.dump(&sql, "TabSeparated")?,
        buffer: Vec::new(),
        at: 0,
        ended: false,
        held: None,
    })
}

/// Reads lines of facts, grouped by their position, which is their first column.
struct ByPosition {
    pieces: BoxStream<'static, Result<Bytes, ClickHouseError>>,
    buffer: Vec<u8>,
    at: usize,
    ended: bool,
    held: Option<(u64, Vec<u8>)>,
}

impl ByPosition {
    async fn line(&mut self) -> Result<Option<Vec<u8>>, ClickHouseError> {
        loop {
            let rest = &self.buffer[self.at..];
            if let Some(length) = rest.iter().position(|byte| *byte == b'\n') {
                let line = rest[..length].to_vec();
                self.at += length + 1;
                return Ok(Some(line));
            }
            if self.ended {
                return Ok(None);
            }
            self.buffer.drain(..self.at);
            self.at = 0;
            match self.pieces.next().await {
                Some(piece) => self.buffer.extend_from_slice(&piece?),
                None => self.ended = true,
            }
        }
    }

    async fn numbered(&mut self) -> Result<Option<(u64, Vec<u8>)>, ClickHouseError> {
        if let Some(held) = self.held.take() {
            return Ok(Some(held));
        }
        let Some(line) = self.line().await? else { return Ok(None) };
        let digits = line.iter().take_while(|byte| byte.is_ascii_digit());
        let position = digits.fold(0_u64, |n, digit| n.wrapping_mul(10) + u64::from(digit - b'0'));
        Ok(Some((position, line)))
    }

    /// All lines of the next position, sorted.
    async fn group(&mut self) -> Result<Option<(u64, Vec<Vec<u8>>)>, ClickHouseError> {
        let Some((position, first)) = self.numbered().await? else { return Ok(None) };
        let mut lines = vec![first];
        while let Some((next, line)) = self.numbered().await? {
            if next != position {
                self.held = Some((next, line));
                break;
            }
            lines.push(line);
        }
        lines.sort_unstable();
        Ok(Some((position, lines)))
    }
}

#[derive(Default)]
struct Comparison {
    rows: u64,
    mismatches: u64,
    examples: Vec<Mismatch>,
    digest: String,
}

impl Comparison {
    fn differ(&mut self, position: u64, stored: Option<&[u8]>, folded: Option<&[u8]>) {
        self.mismatches += 1;
        if self.examples.len() < EXAMPLES_MAX {
            let text =
                |line: &[u8]| Value::String(String::from_utf8_lossy(line).replace('\t', " | "));
            self.examples.push(Mismatch {
                key: position.to_string(),
                stored: stored.map(text),
                folded: folded.map(text),
            });
        }
    }

    /// Compares the facts of one position.
    fn groups(&mut self, position: u64, stored: &[Vec<u8>], folded: &[Vec<u8>]) {
        if stored == folded {
            return;
        }
        let missing = |line: &&Vec<u8>, of: &[Vec<u8>], from: &[Vec<u8>]| {
            let count = |lines: &[Vec<u8>]| lines.iter().filter(|other| other == line).count();
            count(of) > count(from)
        };
        let extra: Vec<_> = stored.iter().filter(|line| missing(line, stored, folded)).collect();
        let lost: Vec<_> = folded.iter().filter(|line| missing(line, folded, stored)).collect();
        for at in 0..extra.len().max(lost.len()) {
            self.differ(
                position,
                extra.get(at).map(|line| line.as_slice()),
                lost.get(at).map(|line| line.as_slice()),
            );
        }
    }
}

async fn merge(
    mut stored: ByPosition,
    mut folded: ByPosition,
) -> Result<Comparison, ClickHouseError> {
    let mut comparison = Comparison::default();
    let mut hasher = Sha256::new();
    let (mut left, mut right) = (stored.group().await?, folded.group().await?);
    loop {
        let at = match (&left, &right) {
            (None, None) => break,
            (Some((l, _)), Some((r, _))) => *l.min(r),
            (Some((at, _)), None) | (None, Some((at, _))) => *at,
        };
        let mut ours = Vec::new();
        let mut theirs = Vec::new();
        if let Some((_, lines)) = left.take_if(|(position, _)| *position == at) {
            ours = lines;
            left = stored.group().await?;
        }
        if let Some((_, lines)) = right.take_if(|(position, _)| *position == at) {
            theirs = lines;
            right = folded.group().await?;
        }
        comparison.rows += ours.len() as u64;
        for line in &ours {
            hasher.update(line);
            hasher.update(b"\n");
        }
        comparison.groups(at, &ours, &theirs);
    }
    comparison.digest = hexadecimal(&hasher.finalize());
    Ok(comparison)
}

async fn compare_view(
    analytics: &ClickHouse,
    view: &FactsObject,
    scratch: u32,
) -> Result<VerifiedView, ClickHouseError> {
    let copy = scratch_view(&view.name);
    analytics.execute(&view.sql_named(scratch, &copy)).await?;
    let mut stored = analytics.lines(&format!("SELECT * FROM {}", view.name)).await?;
    let folded = analytics.lines(&format!("SELECT * FROM {copy}")).await?;
    stored.sort_unstable();
    let mut balance: BTreeMap<&str, i64> = BTreeMap::new();
    for line in &stored {
        *balance.entry(line).or_default() += 1;
    }
    for line in &folded {
        *balance.entry(line).or_default() -= 1;
    }
    let extra: i64 = balance.values().filter(|count| **count > 0).sum();
    let lost: i64 = balance.values().filter(|count| **count < 0).map(|count| -count).sum();
    let mut hasher = Sha256::new();
    for line in &stored {
        hasher.update(line);
        hasher.update("\n");
    }
    Ok(VerifiedView {
        name: view.name.clone(),
        rows: stored.len() as u64,
        mismatches: Some(extra.max(lost).unsigned_abs()),
        digest: hexadecimal(&hasher.finalize()),
    })
}

/// Condenses the stored facts up to the checkpoint.
pub(super) async fn digest(
    source: &ReplaySource,
    connection: &mut PgConnection,
    name: &'static str,
) -> Result<StoredDigest, ReplayError> {
    let checkpoint = registered(connection, name).await?;
    let analytics = analytics_of(source, name)?;
    let failed = || clickhouse(format!("reading the facts {name}"));
    let live = table_name(name, checkpoint.generation);
    let mut stored = ordered(analytics, &live, checkpoint.position).map_err(failed())?;
    let mut hasher = Sha256::new();
    let mut rows = 0;
    while let Some((_, lines)) = stored.group().await.map_err(failed())? {
        rows += lines.len() as u64;
        for line in lines {
            hasher.update(line);
            hasher.update(b"\n");
        }
    }
    let digest = hexadecimal(&hasher.finalize());
    Ok(StoredDigest { name, position: checkpoint.position, rows, digest })
}
