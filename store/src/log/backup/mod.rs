//! Copies a log into a folder of its own, while it takes appends or not: docs/backup.md. What is there
//! already is not copied again, every copy is read back and checked, and the manifest is written last.

mod error;
pub(crate) mod files;
pub(crate) mod kept;
mod source;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use annals_core::disk::Disk;
use annals_core::{Clock, StoreIdentity, Timestamp};

pub use error::BackupError;
pub(crate) use error::in_backup;

use super::Log;
use super::batches::{Walked, walk};
use super::error::{Damage, Flaw, OpenError, at};
use super::format::manifest::{Manifest, SegmentRecord};
use super::open::{LOCK, take_lock};
use files::Piece;
use kept::{Kept, MANIFEST};
use source::{Source, SourceSegment};

const MANIFEST_NEW: &str = "manifest.new";
/// What the name of a segment ends with in a backup, and while it is copied.
const SEGMENT: &str = ".segment";
const NEW: &str = ".new";

/// What a backup holds, and what was copied for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// Which store, and its epoch.
    pub identity: StoreIdentity,
    /// When it was begun: everything acknowledged before is in it.
    pub begun: Timestamp,
    /// Events in it: those of the positions before this number.
    pub events: u64,
    /// When the last of them was recorded.
    pub last_time: Option<Timestamp>,
    /// The hash chain with the last of them.
    pub chain: [u8; 32],
    /// Segments in it.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Segments that were copied, because they are new or have grown.
    pub copied_segments: u64,
    /// Their bytes.
    pub copied_bytes: u64,
    /// Another process had the log open.
    pub in_use: bool,
}

/// Copies the log in the folder `directory` to the backup in the folder `target`, which is made where there is none;
/// another process may have the log open. `on_bytes` hears how many bytes were copied, of how many.
///
/// # Errors
/// [`BackupError`]; the backup that was there stays.
pub fn backup(
    disk: &Arc<dyn Disk>,
    directory: &Path,
    target: &Path,
    clock: &dyn Clock,
    on_bytes: impl FnMut(u64, u64),
) -> Result<Backup, BackupError> {
    let begun = clock.now();
    let lock = match take_lock(&**disk, directory) {
        Ok(lock) => Some(lock),
        Err(OpenError::Locked { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let source = Source::folder(disk, directory, lock.is_some())?;
    let copied = copy(disk, &source, target, begun, on_bytes)?;
    Ok(Backup { in_use: lock.is_none(), ..copied })
}

impl Log {
    /// Copies what is durable now to the backup in the folder `target`, as [`backup`] does. Appends go on.
    ///
    /// # Errors
    /// [`BackupError`]; the backup that was there stays.
    pub fn backup(
        &self,
        target: &Path,
        on_bytes: impl FnMut(u64, u64),
    ) -> Result<Backup, BackupError> {
        let begun = self.shared.clock.now();
        let source = Source::open_log(&self.shared)?;
        copy(&self.shared.disk, &source, target, begun, on_bytes)
    }
}

fn copy(
    disk: &Arc<dyn Disk>,
    source: &Source,
    target: &Path,
    begun: Timestamp,
    mut on_bytes: impl FnMut(u64, u64),
) -> Result<Backup, BackupError> {
    disk.create_directory(target).map_err(at("making", target))?;
    let left = only_ours(&**disk, target)?;
    let _lock = take_lock(&**disk, target)?;
    let kept = Kept::find(disk, target)?;
    let old = old_records(kept.as_ref(), source)?;
    let wanted = |(number, segment): (usize, &SourceSegment)| {
        let old = old.get(number).copied().flatten();
        if segment.is(old.as_ref()) { 0 } else { u64::from(segment.end) }
    };
    let total = source.segments.iter().enumerate().map(wanted).sum();
    let (mut records, mut copied_segments, mut copied_bytes) = (Vec::new(), 0, 0);
    for (number, segment) in source.segments.iter().enumerate() {
        let old = old.get(number).copied().flatten();
        if let Some(record) = old.filter(|record| segment.is(Some(record))) {
            records.push(record);
            continue;
        }
        records.push(copy_segment(disk, source, segment, old, target, |bytes| {
            copied_bytes += bytes;
            on_bytes(copied_bytes, total);
        })?);
        copied_segments += 1;
    }
    let (identity, created) = (source.identity, source.created);
    let manifest = Manifest { identity, created, begun, segments: records };
    finish(&**disk, target, &manifest, &left)?;
    Ok(Backup {
        identity,
        begun,
        events: manifest.events(),
        last_time: manifest.segments.last().map(|last| last.last_time),
        chain: manifest.chain(),
        segments: manifest.segments.len() as u64,
        bytes: manifest.bytes(),
        copied_segments,
        copied_bytes,
        in_use: false,
    })
}

/// The names in the target, all of which belong to a backup.
fn only_ours(disk: &dyn Disk, target: &Path) -> Result<Vec<String>, BackupError> {
    let names = files::names_in(disk, target)?;
    let known = [LOCK, MANIFEST, MANIFEST_NEW];
    match names.iter().find(|name| !known.contains(&name.as_str()) && !is_segment(name)) {
        None => Ok(names),
        Some(name) => {
            let (directory, name) = (target.to_owned(), name.clone());
            Err(BackupError::Occupied { directory, name })
        }
    }
}

/// Whether it is a segment's name in a backup, or that of one that is copied.
fn is_segment(name: &str) -> bool {
    let name = name.strip_suffix(NEW).unwrap_or(name);
    let Some((number, length)) = name.strip_suffix(SEGMENT).and_then(|n| n.split_once('-')) else {
        return false;
    };
    [number, length].iter().all(|digits| digits.parse::<u32>().is_ok())
}

/// What the backup has of each segment, once it is clear that it is the beginning of this log.
fn old_records(
    kept: Option<&Kept>,
    source: &Source,
) -> Result<Vec<Option<SegmentRecord>>, BackupError> {
    let Some(kept) = kept else { return Ok(Vec::new()) };
    let (backup, log) = (kept.manifest.identity, source.identity);
    if backup.id != log.id {
        return Err(BackupError::Foreign { backup: backup.id, log: log.id });
    }
    let mut records = Vec::new();
    for (number, record) in kept.manifest.segments.iter().enumerate() {
        let diverged = BackupError::Diverged { segment: record.segment };
        let last = number + 1 == kept.manifest.segments.len();
        let Some(segment) = source.segments.get(number) else { return Err(diverged) };
        let whole = record.length == segment.end;
        let chain = segment.next.map(|next| next.chain);
        if backup.epoch > log.epoch
            || record.first_position != segment.header.first_position
            || record.length > segment.end
            || (!last && !whole)
            || (whole && chain.is_some_and(|chain| chain != record.chain))
        {
            return Err(diverged);
        }
        // A file that is missing or not what it was is copied again.
        match kept.segment(record) {
            Ok(held) if held.header == segment.header => records.push(Some(*record)),
            Ok(_) => return Err(diverged),
            Err(BackupError::Backup(_)) => records.push(None),
            Err(error) => return Err(error),
        }
    }
    Ok(records)
}

impl SourceSegment {
    /// Whether that is all of it.
    fn is(&self, old: Option<&SegmentRecord>) -> bool {
        old.is_some_and(|record| record.length == self.end)
    }
}

/// Copies a segment and checks the copy.
fn copy_segment(
    disk: &Arc<dyn Disk>,
    source: &Source,
    segment: &SourceSegment,
    old: Option<SegmentRecord>,
    target: &Path,
    on_bytes: impl FnMut(u64),
) -> Result<SegmentRecord, BackupError> {
    let path = source.path(segment);
    let file = source.file(segment)?;
    let piece = Piece { file: &*file, path: &path, from: 0, end: segment.end };
    let new = target.join(format!("{:08}-{}{SEGMENT}{NEW}", segment.header.segment, segment.end));
    let copied = files::copy(&**disk, new, &[piece], on_bytes)?;
    let mut continues = true;
    let Walked { end, bad } =
        walk(&copied.file, &copied.path, &segment.header, segment.end, |place, _| {
            continues &=
                old.is_none_or(|old| old.length != place.offset || old.chain == place.chain);
            continues
        })?;
    if !continues {
        return Err(BackupError::Diverged { segment: segment.header.segment });
    }
    // The copy is what was read: what is wrong with it is wrong with the log.
    if let Some(damage) = bad {
        return Err(BackupError::Log(Damage { file: path, ..damage }));
    }
    let damage = |file: PathBuf, offset: u32, flaw| {
        BackupError::Log(Damage { file, offset: offset.into(), position: Some(end.events), flaw })
    };
    if end.offset != segment.end {
        return Err(damage(path, end.offset, Flaw::Missing));
    }
    if let Some(next) = &segment.next {
        let flawed = |flaw| damage(source.segment_path(next.segment), 0, flaw);
        end.continued_by(next).map_err(flawed)?;
    }
    let record = SegmentRecord {
        segment: segment.header.segment,
        length: segment.end,
        first_position: segment.header.first_position,
        events: end.events - segment.header.first_position,
        last_time: end.time,
        hash: copied.hash,
        chain: end.chain,
    };
    disk.rename(&copied.path, &target.join(record.name())).map_err(at("renaming", &copied.path))?;
    Ok(record)
}

/// Puts the manifest in place, and removes what it does not name.
fn finish(
    disk: &dyn Disk,
    target: &Path,
    manifest: &Manifest,
    left: &[String],
) -> Result<(), BackupError> {
    disk.sync_directory(target).map_err(at("syncing", target))?;
    let new = target.join(MANIFEST_NEW);
    files::write(disk, &new, &manifest.encode())?;
    disk.rename(&new, &target.join(MANIFEST)).map_err(at("renaming", &new))?;
    disk.sync_directory(target).map_err(at("syncing", target))?;
    if let Some(parent) = target.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        disk.sync_directory(parent).map_err(at("syncing", parent))?;
    }
    let named: Vec<_> = manifest.segments.iter().map(SegmentRecord::name).collect();
    for name in left.iter().filter(|name| is_segment(name) && !named.contains(name)) {
        let path = target.join(name);
        disk.remove(&path).or_else(gone).map_err(at("removing", &path))?;
    }
    Ok(())
}

/// A file that is not there needs no removing.
fn gone(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}
