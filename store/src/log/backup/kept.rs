//! A backup that is there: its manifest, and whether its files are what the manifest says.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use annals_core::Timestamp;
use annals_core::disk::{Disk, DiskFile};

use super::error::{BackupError, in_backup};
use super::files;
use crate::log::batches::{Place, Walked, header_of, walk};
use crate::log::error::{Damage, Flaw, at};
use crate::log::format::header::SegmentHeader;
use crate::log::format::manifest::{Manifest, SegmentRecord};

pub(crate) const MANIFEST: &str = "manifest";

/// A backup that is there.
pub(crate) struct Kept {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    pub(crate) manifest: Manifest,
}

/// A segment in a backup.
pub(crate) struct KeptSegment {
    pub(crate) record: SegmentRecord,
    pub(crate) header: SegmentHeader,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) path: PathBuf,
}

impl Kept {
    /// The backup in a folder, if there is one.
    ///
    /// # Errors
    /// [`BackupError`], where its manifest cannot be read.
    pub(crate) fn find(
        disk: &Arc<dyn Disk>,
        directory: &Path,
    ) -> Result<Option<Kept>, BackupError> {
        let names = files::names_in(&**disk, directory)?;
        if !names.iter().any(|name| name == MANIFEST) {
            return Ok(None);
        }
        let path = directory.join(MANIFEST);
        let bytes = files::read(&**disk, &path).map_err(in_backup)?;
        let damage = |flaw| Damage { file: path.clone(), offset: 0, position: None, flaw };
        let manifest =
            Manifest::decode(&bytes).map_err(|flaw| BackupError::Backup(damage(flaw)))?;
        let (disk, directory) = (Arc::clone(disk), directory.to_owned());
        Ok(Some(Kept { disk, directory, manifest }))
    }

    /// The backup in a folder, which must be there.
    ///
    /// # Errors
    /// [`BackupError`].
    pub(crate) fn open(disk: &Arc<dyn Disk>, directory: &Path) -> Result<Kept, BackupError> {
        let missing = || BackupError::NoBackup { directory: directory.to_owned() };
        Kept::find(disk, directory)?.ok_or_else(missing)
    }

    /// A segment of it, whose header and length are looked at and nothing else.
    ///
    /// # Errors
    /// [`BackupError`].
    pub(crate) fn segment(&self, record: &SegmentRecord) -> Result<KeptSegment, BackupError> {
        let path = self.directory.join(record.name());
        let file = files::open(&*self.disk, &path).map_err(in_backup)?;
        let header = header_of(&*file, &path, record.segment).map_err(in_backup)?;
        let length = file.length().map_err(at("reading", &path))?;
        let segment = KeptSegment { record: *record, header, file, path };
        if header.store != self.manifest.identity.id {
            return Err(segment.damaged(0, Flaw::Foreign));
        }
        if length != u64::from(record.length) {
            return Err(segment.damaged(length.min(record.length.into()), Flaw::Length));
        }
        Ok(segment)
    }

    /// Reads everything and sees that it is one history without a gap; `on_bytes` hears how many bytes were read.
    ///
    /// # Errors
    /// [`BackupError`].
    pub(crate) fn verify(&self, mut on_bytes: impl FnMut(u64)) -> Result<(), BackupError> {
        let mut before = Place::origin();
        for record in &self.manifest.segments {
            let segment = self.segment(record)?;
            let header = &segment.header;
            before.continued_by(header).map_err(|flaw| segment.damaged(0, flaw))?;
            if header.epoch > self.manifest.identity.epoch {
                return Err(segment.damaged(0, Flaw::Foreign));
            }
            before = segment.verify()?;
            on_bytes(record.length.into());
        }
        Ok(())
    }
}

impl KeptSegment {
    /// Damage of this file.
    pub(crate) fn damaged(&self, offset: u64, flaw: Flaw) -> BackupError {
        let position = Some(self.record.first_position);
        BackupError::Backup(Damage { file: self.path.clone(), offset, position, flaw })
    }

    /// Reads the file and answers where it ends.
    ///
    /// # Errors
    /// [`BackupError`].
    pub(crate) fn verify(&self) -> Result<Place, BackupError> {
        self.file.forget_cache().map_err(at("reading", &self.path))?;
        let Walked { end, bad } = self.walk(|_, _| true)?;
        if let Some(damage) = bad {
            return Err(BackupError::Backup(damage));
        }
        let record = &self.record;
        if end.offset != record.length || end.events != record.end() || end.time != record.last_time
        {
            return Err(self.damaged(end.offset.into(), Flaw::Missing));
        }
        if end.chain != record.chain {
            return Err(self.damaged(end.offset.into(), Flaw::Chain));
        }
        // Only this covers what lies between the fields of the header.
        let hash = files::hash(&*self.file, &self.path, record.length);
        if hash.map_err(in_backup)? != record.hash {
            return Err(self.damaged(0, Flaw::Checksum));
        }
        Ok(end)
    }

    /// Goes over its batches.
    ///
    /// # Errors
    /// [`BackupError`], where the disk fails.
    pub(crate) fn walk(
        &self,
        on_batch: impl FnMut(&Place, Timestamp) -> bool,
    ) -> Result<Walked, BackupError> {
        let walked = walk(&self.file, &self.path, &self.header, self.record.length, on_batch);
        walked.map_err(in_backup)
    }
}
