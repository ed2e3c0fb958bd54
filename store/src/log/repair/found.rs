//! The segments of a log as a repair finds them.

use std::path::PathBuf;
use std::sync::Arc;

use annals_core::disk::DiskFile;

use super::Repair;
use crate::log::backup::BackupError;
use crate::log::backup::files;
use crate::log::batches::header_of;
use crate::log::error::{Damage, Flaw, ScanError, at};
use crate::log::format::frame::{CommitFrame, FrameIdentity, commits};
use crate::log::format::header::SegmentHeader;
use crate::log::open::segment_number;
use crate::log::open_files::FileName;
use crate::log::recovery::read;

/// A segment of the log as it is found.
pub(super) struct Found {
    pub(super) number: u32,
    pub(super) path: PathBuf,
    /// Its file and length, where there is one.
    pub(super) file: Option<(Arc<dyn DiskFile>, u32)>,
    pub(super) header: Result<SegmentHeader, Damage>,
}

impl Repair<'_> {
    /// The segments that are there or should be.
    pub(super) fn find(&self) -> Result<Vec<Found>, BackupError> {
        let names = files::names_in(&*self.disk, self.directory)?;
        let there = names.iter().filter_map(|name| segment_number(name)).max().unwrap_or(0);
        let known = self.checkpoint.map_or(0, |known| known.end.segment);
        // A log that was restored may have less than a backup from before.
        let backup = self.kept.manifest.segments.len();
        let same = self.kept.manifest.identity.epoch == self.identity.epoch;
        let backup = if same { u32::try_from(backup).unwrap_or(u32::MAX) } else { 0 };
        (1..=there.max(known).max(backup)).map(|number| self.find_segment(number)).collect()
    }

    fn find_segment(&self, number: u32) -> Result<Found, BackupError> {
        let path = self.directory.join(FileName::Segment(number).to_string());
        let missing = |flaw| Damage { file: path.clone(), offset: 0, position: None, flaw };
        let file = match files::open(&*self.disk, &path) {
            Ok(file) => file,
            Err(ScanError::Damage(damage)) => {
                return Ok(Found { number, path, file: None, header: Err(damage) });
            }
            Err(error) => return Err(error.into()),
        };
        let length = file.length().map_err(at("reading", &path))?;
        let header = match header_of(&*file, &path, number) {
            Ok(header) if header.store != self.identity.id => Err(missing(Flaw::Foreign)),
            Ok(header) if header.epoch > self.identity.epoch => Err(missing(Flaw::Foreign)),
            Ok(header) => Ok(header),
            Err(ScanError::Damage(damage)) => Err(damage),
            Err(error) => return Err(error.into()),
        };
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        Ok(Found { number, path, file: Some((file, length)), header })
    }
}

impl Found {
    /// The header, where it is sound.
    pub(super) fn sound_header(&self) -> Option<&SegmentHeader> {
        self.header.as_ref().ok()
    }

    /// The commits that are left in the damaged file before `end`: where each ends, and the hash chain in it.
    pub(super) fn commits(
        &self,
        frames: FrameIdentity,
        end: u32,
    ) -> Result<Vec<(u32, [u8; 32])>, BackupError> {
        let Some((file, _)) = &self.file else { return Ok(Vec::new()) };
        let bytes = read(&**file, &self.path, 0, end)?;
        let placed = |(end, commit): (usize, CommitFrame)| {
            (u32::try_from(end).expect("a segment is small"), commit.chain)
        };
        Ok(commits(&bytes, frames).map(placed).collect())
    }
}
