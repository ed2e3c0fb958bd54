//! The log that is copied: its segments and how far each one is durable.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use annals_core::disk::{Disk, DiskFile};
use annals_core::{StoreIdentity, Timestamp};

use super::error::BackupError;
use super::files;
use crate::log::address::Address;
use crate::log::batches::{Place, walk};
use crate::log::error::{Damage, Flaw, OpenError, at};
use crate::log::format::checkpoint::Checkpoint;
use crate::log::format::header::SegmentHeader;
use crate::log::format::{frame, identity};
use crate::log::index::FIRST_OFFSET;
use crate::log::open::{Existing, IDENTITY, existing};
use crate::log::open_files::{FileName, OpenFiles};
use crate::log::recovery::{blank, read, read_header};
use crate::log::shared::Shared;

/// How often the files of a log that another process writes are listed until they agree with its checkpoint.
const ATTEMPTS: usize = 8;

/// The log that is copied.
pub(super) struct Source {
    files: Arc<OpenFiles>,
    pub(super) identity: StoreIdentity,
    pub(super) created: Timestamp,
    pub(super) segments: Vec<SourceSegment>,
}

/// One segment of it.
#[derive(Clone, Copy)]
pub(super) struct SourceSegment {
    pub(super) header: SegmentHeader,
    /// Up to where it is copied.
    pub(super) end: u32,
    /// The header of the one behind it, where it is sealed.
    pub(super) next: Option<SegmentHeader>,
}

impl Source {
    /// The log in a folder; `alone` where no other process has it open.
    ///
    /// # Errors
    /// [`BackupError`].
    pub(super) fn folder(
        disk: &Arc<dyn Disk>,
        directory: &Path,
        alone: bool,
    ) -> Result<Source, BackupError> {
        let files = Arc::new(OpenFiles::new(Arc::clone(disk), directory));
        let mut attempts = if alone { 1 } else { ATTEMPTS };
        let Existing { identity, checkpoint, headers } = loop {
            let found = existing(&files, directory)?;
            let listed = found.headers.last().map_or(0, |last| last.segment);
            let Some(known) = found.checkpoint.filter(|known| known.end.segment > listed) else {
                break found;
            };
            attempts -= 1;
            if attempts == 0 {
                let file = files.path(FileName::Segment(listed + 1));
                let position = found.headers.last().map(|last| last.first_position);
                tracing::debug!(?known, "the checkpoint names a segment that is not there");
                return Err(OpenError::from(Damage {
                    file,
                    offset: 0,
                    position,
                    flaw: Flaw::Missing,
                })
                .into());
            }
        };
        let end = match headers.last() {
            Some(last) => durable_end(&files, last, checkpoint)?.offset,
            None => 0,
        };
        Source::new(files, directory, identity, headers, end)
    }

    /// The log that this process has open.
    ///
    /// # Errors
    /// [`BackupError`].
    pub(super) fn open_log(shared: &Shared) -> Result<Source, BackupError> {
        let end = shared.durable.borrow().end;
        let read = |number| read_header(&shared.files, number, shared.identity.id);
        let headers = (1..=end.segment).map(read).collect::<Result<Vec<_>, _>>()?;
        let files = Arc::clone(&shared.files);
        Source::new(files, &shared.directory, shared.identity, headers, end.offset)
    }

    fn new(
        files: Arc<OpenFiles>,
        directory: &Path,
        identity: StoreIdentity,
        mut headers: Vec<SegmentHeader>,
        mut end: u32,
    ) -> Result<Source, BackupError> {
        // A segment that was begun and has no event yet can wait.
        while end <= FIRST_OFFSET
            && let Some(blank) = headers.pop()
        {
            end = blank.previous_end;
        }
        let segments = headers.iter().enumerate().map(|(number, header)| {
            let next = headers.get(number + 1).copied();
            let end = next.map_or(end, |next| next.previous_end);
            SourceSegment { header: *header, end, next }
        });
        let segments = segments.collect();
        let page = files::read(&*files.disk, &directory.join(IDENTITY))?;
        Ok(Source { files, identity, created: identity::created(&page), segments })
    }

    pub(super) fn segment_path(&self, number: u32) -> PathBuf {
        self.files.path(FileName::Segment(number))
    }

    pub(super) fn path(&self, segment: &SourceSegment) -> PathBuf {
        self.segment_path(segment.header.segment)
    }

    pub(super) fn file(&self, segment: &SourceSegment) -> Result<Arc<dyn DiskFile>, OpenError> {
        let opened = self.files.get(FileName::Segment(segment.header.segment));
        opened.map_err(at("opening", &self.path(segment)))
    }
}

/// Where the last whole batch of the last segment ends that no power cut can take back. Another process may be writing
/// behind it.
fn durable_end(
    files: &OpenFiles,
    header: &SegmentHeader,
    checkpoint: Option<Checkpoint>,
) -> Result<Place, BackupError> {
    let name = FileName::Segment(header.segment);
    let path = files.path(name);
    let file = files.get(name).map_err(at("opening", &path))?;
    let frames = header.frames();
    let walk_to = |end| walk(&file, &path, header, end, |_, _| true);
    let mut before = None;
    loop {
        let length = file.length().map_err(at("reading", &path))?;
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        let seen = walk_to(length)?;
        // As when a log is opened: what was seen may not have been synced, or not with success.
        file.sync_data().map_err(at("syncing", &path))?;
        file.forget_cache().map_err(at("reading", &path))?;
        let held = walk_to(seen.end.offset)?.end;
        let at_end = Address { segment: header.segment, offset: held.offset };
        let mut damaged = checkpoint.is_some_and(|known| known.end > at_end);
        if !damaged && !blank(&*file, &path, held.offset, length)? {
            let rest = read(&*file, &path, held.offset, length)?;
            damaged = frame::later_commit(&rest, at_end, frames);
        }
        if !damaged {
            return Ok(held);
        }
        // What was being written when it was read is there the next time.
        if before == Some(held) {
            let (file, offset) = (path.clone(), u64::from(held.offset));
            let missing = Damage { file, offset, position: Some(held.events), flaw: Flaw::Missing };
            return Err(BackupError::Log(seen.bad.unwrap_or(missing)));
        }
        before = Some(held);
    }
}
