//! Puts a backup's bytes in the place of damaged ones: docs/backup.md. It changes nothing before every
//! segment is known to continue the one before it, keeps what it replaces, and refuses where hashes do not prove
//! that the backup's bytes are those that stood there, or where something acknowledged would be lost.

mod found;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use annals_core::StoreIdentity;
use annals_core::disk::{Disk, DiskFile};
use hashbrown::HashMap;

use super::address::Address;
use super::backup::BackupError;
use super::backup::files::{self, Piece};
use super::backup::kept::{Kept, KeptSegment};
use super::batches::{Place, Walked, walk};
use super::error::{Damage, Flaw, at};
use super::format::checkpoint::Checkpoint;
use super::format::frame;
use super::format::header::SegmentHeader;
use super::open::{small_files, take_lock};
use super::open_files::FileName;
use super::recovery::{blank, read};
use found::Found;

/// What a repair did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// Which store.
    pub identity: StoreIdentity,
    /// What was damaged, and is as it was again.
    pub replaced: Vec<Replaced>,
    /// Events in the log.
    pub events: u64,
    /// The hash chain with the last of them.
    pub chain: [u8; 32],
}

/// A segment that was made anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// What was wrong with it.
    pub damage: Damage,
    /// The damaged file, under the name that it has now; nothing where it was missing.
    pub kept: Option<PathBuf>,
    /// Bytes taken from the backup.
    pub from_backup: u64,
    /// Bytes behind them that are the log's own, whether they hold events or not.
    pub own: u64,
}

/// Repairs the closed log in the folder `directory` by the backup in the folder `from`; `on_bytes` hears how many bytes
/// of the log were read, of how many. A log without damage is left as it is.
///
/// # Errors
/// [`BackupError`]; unless it is a fault of the disk, nothing was changed.
pub fn repair(
    disk: &Arc<dyn Disk>,
    directory: &Path,
    from: &Path,
    on_bytes: impl FnMut(u64, u64),
) -> Result<Repaired, BackupError> {
    let kept = Kept::open(disk, from)?;
    let _reading = take_lock(&**disk, from)?;
    let _lock = take_lock(&**disk, directory)?;
    let (_, identity, checkpoint) = small_files(&**disk, directory)?;
    let backup = kept.manifest.identity;
    if backup.id != identity.id || backup.epoch > identity.epoch {
        return Err(BackupError::Foreign { backup: backup.id, log: identity.id });
    }
    let disk = Arc::clone(disk);
    let mut repair =
        Repair { disk, directory, kept: &kept, identity, checkpoint, anew: Vec::new() };
    let planned = repair.plan(on_bytes);
    if planned.is_err() {
        repair.clear_away();
    }
    let end = planned?;
    let replaced = repair.carry_out()?;
    Ok(Repaired { identity, replaced, events: end.events, chain: end.chain })
}

struct Repair<'a> {
    disk: Arc<dyn Disk>,
    directory: &'a Path,
    kept: &'a Kept,
    identity: StoreIdentity,
    checkpoint: Option<Checkpoint>,
    /// What is made anew, beside the files that it replaces.
    anew: Vec<Anew>,
}

/// A segment that was made anew beside the damaged one.
struct Anew {
    damage: Damage,
    new: PathBuf,
    path: PathBuf,
    was_there: bool,
    from_backup: u32,
    own: u32,
}

/// A segment as the log will have it.
struct Settled {
    path: PathBuf,
    header: SegmentHeader,
    walked: Walked,
}

impl Repair<'_> {
    /// Reads every segment, makes the damaged ones anew, and sees that they are one history.
    fn plan(&mut self, mut on_bytes: impl FnMut(u64, u64)) -> Result<Place, BackupError> {
        let found = self.find()?;
        let bytes = |found: &Found| found.file.as_ref().map_or(0, |(_, length)| (*length).into());
        let (total, mut done) = (found.iter().map(bytes).sum(), 0);
        let mut before = Place::origin();
        for (number, this) in found.iter().enumerate() {
            let next = found.get(number + 1);
            let settled = self.settle(this, next, &before)?;
            before = settled.walked.end;
            done += bytes(this);
            on_bytes(done, total);
            if next.is_none() {
                self.ends_well(&settled)?;
            }
        }
        Ok(before)
    }

    /// The segment as the log will have it, behind `before`.
    fn settle(
        &mut self,
        this: &Found,
        next: Option<&Found>,
        before: &Place,
    ) -> Result<Settled, BackupError> {
        let damage = match self.as_it_is(this, next, before)? {
            Ok(settled) => return Ok(settled),
            Err(damage) => Damage { position: damage.position.or(Some(before.events)), ..damage },
        };
        let held = match self.held(this.number)? {
            Some(held) if before.continued_by(&held.header).is_ok() => held,
            Some(_) => return Err(BackupError::Unproven(damage)),
            None => {
                let from = damage.position.unwrap_or(before.events);
                return Err(self.lost(damage, from, next));
            }
        };
        let anew = self.make(this, next, &held, damage)?;
        self.anew.push(anew);
        let anew = self.anew.last().expect("it was just added");
        self.check(this, next, &held, anew)
    }

    /// The segment as it lies there, or what is wrong with it.
    fn as_it_is(
        &self,
        this: &Found,
        next: Option<&Found>,
        before: &Place,
    ) -> Result<Result<Settled, Damage>, BackupError> {
        let (file, header) = match (&this.file, &this.header) {
            (Some(file), Ok(header)) => (file, *header),
            (_, Err(damage)) => return Ok(Err(damage.clone())),
            (None, Ok(_)) => unreachable!("a header stands in a file"),
        };
        let at_start = |flaw| Damage { file: this.path.clone(), offset: 0, position: None, flaw };
        if let Err(flaw) = before.continued_by(&header) {
            return Ok(Err(at_start(flaw)));
        }
        let (file, length) = (Arc::clone(&file.0), file.1);
        let next_header = next.and_then(Found::sound_header);
        let end = next_header.map_or(length, |next| next.previous_end);
        let walked = walk(&file, &this.path, &header, end, |_, _| true)?;
        let path = this.path.clone();
        let damage = self.judge(&file, &path, &header, &walked, length, next)?;
        Ok(match damage {
            Some(damage) => Err(damage),
            None => Ok(Settled { path, header, walked }),
        })
    }

    /// What is wrong with a segment, given how far its batches reach.
    fn judge(
        &self,
        file: &Arc<dyn DiskFile>,
        path: &Path,
        header: &SegmentHeader,
        walked: &Walked,
        length: u32,
        next: Option<&Found>,
    ) -> Result<Option<Damage>, BackupError> {
        let stop = walked.end.offset;
        let (offset, position) = (u64::from(stop), Some(walked.end.events));
        let missing = Damage { file: path.to_owned(), offset, position, flaw: Flaw::Missing };
        let bad = || Some(walked.bad.clone().unwrap_or_else(|| missing.clone()));
        if let Some(next) = next.and_then(Found::sound_header) {
            let whole = stop == next.previous_end && walked.bad.is_none();
            return Ok(if whole { None } else { bad() });
        }
        let here = Address { segment: header.segment, offset: stop };
        let held = self.held_length(header)?.is_some_and(|length| length > stop);
        let known = self
            .checkpoint
            .is_some_and(|known| known.end.segment == header.segment && known.end > here);
        if held || known {
            return Ok(bad());
        }
        if blank(&**file, path, stop, length)? {
            return Ok(None);
        }
        let rest = read(&**file, path, stop, length)?;
        Ok(if frame::later_commit(&rest, here, header.frames()) { bad() } else { None })
    }

    /// How much of this very segment the backup has, where it is of the same epoch.
    fn held_length(&self, header: &SegmentHeader) -> Result<Option<u32>, BackupError> {
        if self.kept.manifest.identity.epoch != self.identity.epoch {
            return Ok(None);
        }
        let held = self.held(header.segment)?.filter(|held| held.header == *header);
        Ok(held.map(|held| held.record.length))
    }

    fn held(&self, number: u32) -> Result<Option<KeptSegment>, BackupError> {
        let record = self.kept.manifest.segments.get(number as usize - 1);
        record.map(|record| self.kept.segment(record)).transpose()
    }

    /// Makes the segment anew beside the damaged one: the backup's bytes, then the log's own.
    fn make(
        &self,
        this: &Found,
        next: Option<&Found>,
        held: &KeptSegment,
        damage: Damage,
    ) -> Result<Anew, BackupError> {
        held.verify()?;
        let length = this.file.as_ref().map_or(0, |(_, length)| *length);
        let sealed_at = next.and_then(Found::sound_header).map(|n| n.previous_end);
        let same = self.kept.manifest.identity.epoch == self.identity.epoch;
        let restored_at = if same { u32::MAX } else { length };
        let from_backup = held.record.length.min(sealed_at.unwrap_or(restored_at));
        let mut end = sealed_at.unwrap_or(length).min(length).max(from_backup);
        if let Some((file, _)) = &this.file
            && blank(&**file, &this.path, from_backup, end)?
        {
            // What was prepared for more events need not be copied.
            end = from_backup;
        }
        let new = self.directory.join(format!("{}.repaired", FileName::Segment(this.number)));
        let backup = Piece { file: &*held.file, path: &held.path, from: 0, end: from_backup };
        let own = this.file.as_ref().map(|(file, _)| Piece {
            file: &**file,
            path: &this.path,
            from: from_backup,
            end,
        });
        let pieces: Vec<_> = std::iter::once(backup).chain(own).collect();
        files::copy(&*self.disk, new.clone(), &pieces, |_| {})?;
        Ok(Anew {
            damage,
            new,
            path: this.path.clone(),
            was_there: this.file.is_some(),
            from_backup,
            own: end - from_backup,
        })
    }

    /// Sees that what was made anew is whole, and what stood there.
    fn check(
        &self,
        this: &Found,
        next: Option<&Found>,
        held: &KeptSegment,
        anew: &Anew,
    ) -> Result<Settled, BackupError> {
        let (path, header) = (anew.new.clone(), held.header);
        let file = files::open(&*self.disk, &path)?;
        let end = anew.from_backup + anew.own;
        let mut ends = HashMap::new();
        let walked = walk(&file, &path, &header, end, |place, _| {
            ends.insert(place.offset, place.chain);
            true
        })?;
        let damage = || anew.damage.clone();
        if self.judge(&file, &path, &header, &walked, end, next)?.is_some() {
            return Err(self.lost(damage(), walked.end.events, next));
        }
        if let Some(next) = next.and_then(Found::sound_header) {
            let proven = walked.end.continued_by(next);
            proven.map_err(|_| BackupError::Unproven(damage()))?;
            return Ok(Settled { path, header, walked });
        }
        // What is left of the log must agree with the backup, and something must be left.
        let mut left = this.commits(header.frames(), anew.from_backup)?;
        let within = |known: &Checkpoint| {
            known.end.segment == this.number && known.end.offset <= anew.from_backup
        };
        left.extend(self.checkpoint.filter(within).map(|known| (known.end.offset, known.chain)));
        let agrees = left.iter().all(|(end, chain)| ends.get(end) == Some(chain));
        let proven = !left.is_empty() || walked.end.offset > anew.from_backup;
        if !agrees || (next.is_none() && !proven) {
            return Err(BackupError::Unproven(damage()));
        }
        Ok(Settled { path, header, walked })
    }

    /// The log must reach as far as its checkpoint says.
    fn ends_well(&self, last: &Settled) -> Result<(), BackupError> {
        let end = &last.walked.end;
        let here = Address { segment: last.header.segment, offset: end.offset };
        match self.checkpoint {
            Some(known) if known.end > here || known.events > end.events => {
                let (file, offset) = (last.path.clone(), u64::from(end.offset));
                let (position, flaw) = (Some(end.events), Flaw::Missing);
                Err(self.lost(Damage { file, offset, position, flaw }, end.events, None))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The events from `from` on would be lost, up to the next segment or to what the checkpoint knows of.
    fn lost(&self, damage: Damage, from: u64, next: Option<&Found>) -> BackupError {
        let next = next.and_then(Found::sound_header);
        let known = self.checkpoint.map(|known| known.events);
        let upto = next.map(|next| next.first_position).or(known).filter(|upto| *upto > from);
        BackupError::Lost { from, upto, damage }
    }

    /// Removes what was made for a repair that is not carried out.
    fn clear_away(&self) {
        for anew in &self.anew {
            if let Err(error) = self.disk.remove(&anew.new) {
                let path = anew.new.display();
                tracing::warn!(%path, %error, "a file of a refused repair could not be removed");
            }
        }
    }

    /// Keeps the damaged files aside and puts the new ones in their place.
    fn carry_out(&self) -> Result<Vec<Replaced>, BackupError> {
        let names = files::names_in(&*self.disk, self.directory)?;
        let mut replaced = Vec::new();
        for anew in &self.anew {
            let kept = if anew.was_there { Some(self.keep(&anew.path, &names)?) } else { None };
            self.disk.rename(&anew.new, &anew.path).map_err(at("renaming", &anew.new))?;
            self.disk.sync_directory(self.directory).map_err(at("syncing", self.directory))?;
            replaced.push(Replaced {
                damage: anew.damage.clone(),
                kept,
                from_backup: anew.from_backup.into(),
                own: anew.own.into(),
            });
        }
        Ok(replaced)
    }

    /// Copies a damaged file to a name that is free.
    fn keep(&self, path: &Path, names: &[String]) -> Result<PathBuf, BackupError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let aside = (1_u32..).map(|number| match number {
            1 => format!("{name}.damaged"),
            number => format!("{name}.damaged-{number}"),
        });
        let free = aside.into_iter().find(|name| !names.contains(name));
        let aside = self.directory.join(free.expect("there is no end of names"));
        let file = files::open(&*self.disk, path)?;
        let length = file.length().map_err(at("reading", path))?;
        let end = u32::try_from(length).unwrap_or(u32::MAX);
        let piece = Piece { file: &*file, path, from: 0, end };
        files::copy(&*self.disk, aside.clone(), &[piece], |_| {})?;
        self.disk.sync_directory(self.directory).map_err(at("syncing", self.directory))?;
        Ok(aside)
    }
}
