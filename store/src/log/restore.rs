//! Makes a log of a backup, whole or up to a position or a time: docs/backup.md. The backup is verified
//! before the target is touched, and the target is a log only once everything else is durable.

use std::path::Path;
use std::sync::Arc;

use annals_core::disk::Disk;
use annals_core::{Position, StoreIdentity, Timestamp};

use super::address::Address;
use super::backup::files::{self, Piece};
use super::backup::kept::{Kept, KeptSegment};
use super::backup::{BackupError, in_backup};
use super::batches::Place;
use super::error::{Flaw, at};
use super::format::checkpoint::{CHECKPOINT_BYTES, Checkpoint};
use super::format::identity;
use super::format::manifest::SegmentRecord;
use super::index::FIRST_OFFSET;
use super::open::{CHECKPOINT, IDENTITY, LOCK, take_lock};
use super::open_files::FileName;

/// The identity's name until everything else is there.
const IDENTITY_RESTORED: &str = "identity.restored";

/// How much of a backup is restored. An append is never divided, nor is a batch of appends that were written at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upto {
    /// All of it.
    Everything,
    /// The event at this position is the last one wanted.
    Position(Position),
    /// What was recorded up to this time is wanted.
    Time(Timestamp),
}

/// What was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The store, with its new epoch.
    pub identity: StoreIdentity,
    /// Events in the log now.
    pub events: u64,
    /// Events of the backup behind them.
    pub left_out: u64,
    /// When the last one was recorded.
    pub last_time: Option<Timestamp>,
    /// The hash chain with it.
    pub chain: [u8; 32],
    /// Segments written.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Where the restored log ends.
struct Cut {
    /// The segments, of which the last may be cut.
    records: Vec<SegmentRecord>,
    /// Behind the last batch; nothing where the log has no event.
    end: Option<Place>,
}

impl Cut {
    /// How many bytes of a segment are wanted.
    fn length(&self, record: &SegmentRecord) -> u32 {
        let last = self.records.last().is_some_and(|last| last.segment == record.segment);
        let end = self.end.filter(|_| last);
        end.map_or(record.length, |end| end.offset)
    }

    fn bytes(&self) -> u64 {
        self.records.iter().map(|record| u64::from(self.length(record))).sum()
    }
}

/// Makes a log in the empty folder `target` of the backup in the folder `from`; `on_bytes` hears how many bytes were
/// verified and written, of how many.
///
/// # Errors
/// [`BackupError`]; unless it is a fault of the target's disk, the target was not touched.
pub fn restore(
    disk: &Arc<dyn Disk>,
    from: &Path,
    target: &Path,
    upto: Upto,
    mut on_bytes: impl FnMut(u64, u64),
) -> Result<Restored, BackupError> {
    refuse_occupied(&**disk, target)?;
    let kept = Kept::open(disk, from)?;
    let _reading = take_lock(&**disk, from)?;
    let manifest = &kept.manifest;
    // How much is written is known only once it is verified; most often it is all.
    let (total, mut done) = (2 * manifest.bytes(), 0);
    kept.verify(|bytes| {
        done += bytes;
        on_bytes(done, total);
    })?;
    let cut = find_cut(&kept, upto)?;
    let total = done + cut.bytes();

    disk.create_directory(target).map_err(at("making", target))?;
    let _lock = take_lock(&**disk, target)?;
    let left = refuse_occupied(&**disk, target)?;
    for name in left.iter().filter(|name| *name != LOCK && *name != IDENTITY_RESTORED) {
        let path = target.join(name);
        disk.remove(&path).map_err(at("removing", &path))?;
    }
    let identity = StoreIdentity {
        id: manifest.identity.id,
        epoch: manifest.identity.epoch.saturating_add(1),
    };
    let begun = target.join(IDENTITY_RESTORED);
    files::write(&**disk, &begun, &identity::encode(identity, manifest.created))?;
    disk.sync_directory(target).map_err(at("syncing", target))?;
    for record in &cut.records {
        let segment = kept.segment(record)?;
        write_segment(&**disk, target, &segment, cut.length(record), |bytes| {
            done += bytes;
            on_bytes(done, total);
        })?;
    }
    files::write(&**disk, &target.join(CHECKPOINT), &checkpoint(identity, &cut))?;
    disk.sync_directory(target).map_err(at("syncing", target))?;
    disk.rename(&begun, &target.join(IDENTITY)).map_err(at("renaming", &begun))?;
    disk.sync_directory(target).map_err(at("syncing", target))?;
    if let Some(parent) = target.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        disk.sync_directory(parent).map_err(at("syncing", parent))?;
    }
    let end = cut.end.unwrap_or(Place::origin());
    Ok(Restored {
        identity,
        events: end.events,
        left_out: manifest.events() - end.events,
        last_time: cut.end.map(|end| end.time),
        chain: end.chain,
        segments: cut.records.len() as u64,
        bytes: cut.bytes(),
    })
}

/// The names in the target, which holds nothing but what an interrupted restore left.
fn refuse_occupied(disk: &dyn Disk, target: &Path) -> Result<Vec<String>, BackupError> {
    let names = files::names_in(disk, target)?;
    let has = |wanted: &str| names.iter().any(|name| name == wanted);
    if has(IDENTITY_RESTORED) && !has(IDENTITY) {
        return Ok(names);
    }
    match names.iter().find(|name| *name != LOCK) {
        None => Ok(names),
        Some(name) => {
            let (directory, name) = (target.to_owned(), name.clone());
            Err(BackupError::Occupied { directory, name })
        }
    }
}

/// Finds the end of the batch that holds the last event wanted.
fn find_cut(kept: &Kept, upto: Upto) -> Result<Cut, BackupError> {
    let manifest = &kept.manifest;
    let records = &manifest.segments;
    let holds_last: Box<dyn Fn(&SegmentRecord) -> bool> = match upto {
        Upto::Everything => Box::new(|_| false),
        Upto::Position(wanted) if wanted.0 >= manifest.events() => {
            let events = manifest.events();
            return Err(BackupError::BeyondPosition { wanted, events });
        }
        Upto::Position(Position(wanted)) => Box::new(move |record| wanted < record.end()),
        Upto::Time(wanted) if wanted > manifest.begun => {
            return Err(BackupError::BeyondTime { wanted, begun: manifest.begun });
        }
        Upto::Time(wanted) => Box::new(move |record| wanted < record.last_time),
    };
    let last = records.iter().position(|record| record.events > 0 && holds_last(record));
    let last = last.unwrap_or(records.len().saturating_sub(1));
    // An event before it may be the last one wanted.
    for number in (0..records.len().min(last + 1)).rev() {
        let segment = kept.segment(&records[number])?;
        let mut end = None;
        segment.walk(|place, first| {
            let (before, enough) = match upto {
                Upto::Everything => (false, false),
                Upto::Position(Position(wanted)) => (false, wanted < place.events),
                Upto::Time(wanted) => (wanted < first, wanted < place.time),
            };
            end = if before { end } else { Some(*place) };
            !enough
        })?;
        if end.is_some() {
            return Ok(Cut { records: records[..=number].to_vec(), end });
        }
    }
    match upto {
        Upto::Time(wanted) => Err(BackupError::BeforeTime { wanted }),
        Upto::Everything | Upto::Position(_) => Ok(Cut { records: Vec::new(), end: None }),
    }
}

fn write_segment(
    disk: &dyn Disk,
    target: &Path,
    segment: &KeptSegment,
    length: u32,
    on_bytes: impl FnMut(u64),
) -> Result<(), BackupError> {
    debug_assert!(length >= FIRST_OFFSET, "a segment has its header");
    let path = target.join(FileName::Segment(segment.record.segment).to_string());
    let piece = Piece { file: &*segment.file, path: &segment.path, from: 0, end: length };
    let copied = files::copy(disk, path, &[piece], on_bytes).map_err(in_backup)?;
    // It was verified before, and may have changed since.
    let changed = length == segment.record.length && copied.hash != segment.record.hash;
    if changed { Err(segment.damaged(0, Flaw::Checksum)) } else { Ok(()) }
}

/// The contents of the file `checkpoint`: the log reaches this far.
fn checkpoint(identity: StoreIdentity, cut: &Cut) -> Vec<u8> {
    let mut file = vec![0; CHECKPOINT_BYTES];
    if let (Some(end), Some(last)) = (cut.end, cut.records.last()) {
        let (offset, slot) = Checkpoint {
            store: identity.id,
            epoch: identity.epoch,
            sequence: 1,
            end: Address { segment: last.segment, offset: end.offset },
            events: end.events,
            chain: end.chain,
        }
        .encode();
        let offset = usize::try_from(offset).expect("a slot lies within the file");
        file[offset..offset + slot.len()].copy_from_slice(&slot);
    }
    file
}
