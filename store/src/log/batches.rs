//! Walks over the whole batches of one segment file, wherever it lies: every frame, position, time
//! and commit, and the hash chain, but nothing that needs an index.

use std::path::Path;
use std::sync::Arc;

use annals_core::Timestamp;
use annals_core::disk::DiskFile;

use super::error::{Damage, Flaw, ScanError};
use super::format::frame::{CommitFrame, EventFrame, Frame};
use super::format::header::SegmentHeader;
use super::format::tree::leaf;
use super::format::{Chain, HEADER_BYTES};
use super::index::FIRST_OFFSET;
use super::scan::FrameScan;

/// A place between two batches, and what stands before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Bytes from the start of the segment's file.
    pub(crate) offset: u32,
    /// How many events stand before it in the log.
    pub(crate) events: u64,
    /// How many batches do.
    pub(crate) batches: u64,
    /// The time of the last event.
    pub(crate) time: Timestamp,
    /// The hash chain up to here.
    pub(crate) chain: [u8; 32],
}

impl Place {
    /// Where a segment begins, as its header says.
    pub(crate) fn beginning(header: &SegmentHeader) -> Place {
        Place {
            offset: FIRST_OFFSET,
            events: header.first_position,
            batches: header.first_batch,
            time: Timestamp(header.time),
            chain: header.chain,
        }
    }

    /// What is wrong with a segment that should begin here, with all that stands before it.
    pub(crate) fn continued_by(&self, next: &SegmentHeader) -> Result<(), Flaw> {
        let numbers = next.first_position == self.events && next.first_batch == self.batches;
        if !numbers || next.previous_end != self.offset || next.time < self.time.0 {
            return Err(Flaw::Sequence);
        }
        if next.chain == self.chain { Ok(()) } else { Err(Flaw::Chain) }
    }

    /// Before the first segment.
    pub(crate) fn origin() -> Place {
        let (offset, events, batches, chain) = (0, 0, 0, [0; 32]);
        Place { offset, events, batches, time: Timestamp(i64::MIN), chain }
    }
}

/// How far a walk came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Walked {
    /// Behind the last whole batch.
    pub(crate) end: Place,
    /// What is wrong there, unless nothing was written there at all.
    pub(crate) bad: Option<Damage>,
}

/// The header of a segment file that should have this number.
pub(crate) fn header_of(
    file: &dyn DiskFile,
    path: &Path,
    segment: u32,
) -> Result<SegmentHeader, ScanError> {
    let mut page = vec![0; HEADER_BYTES];
    let fault = |source| ScanError::Disk { path: path.to_owned(), source };
    let damage = |flaw| Damage { file: path.to_owned(), offset: 0, position: None, flaw };
    if file.read_at(&mut page, 0).map_err(fault)? < HEADER_BYTES {
        return Err(damage(Flaw::Missing).into());
    }
    let header = SegmentHeader::decode(&page).map_err(damage)?;
    if header.segment != segment {
        return Err(damage(Flaw::Misplaced).into());
    }
    Ok(header)
}

/// Goes over the batches of a file up to `end`; `on_batch` hears where each one ends and the time of its first event, and
/// says whether to go on.
///
/// # Errors
/// [`ScanError::Disk`].
pub(crate) fn walk(
    file: &Arc<dyn DiskFile>,
    path: &Path,
    header: &SegmentHeader,
    end: u32,
    mut on_batch: impl FnMut(&Place, Timestamp) -> bool,
) -> Result<Walked, ScanError> {
    let range = (FIRST_OFFSET, end);
    let mut scan = FrameScan::new(Arc::clone(file), path.to_owned(), header.frames(), false, range);
    let mut walk = Walk { end: Place::beginning(header), open: None };
    let bad = loop {
        let found = match scan.next() {
            Ok(Some(found)) => found,
            Ok(None) if walk.open.is_some() => break Some(scan.damage(Flaw::Missing)),
            Ok(None) => break None,
            Err(ScanError::Damage(damage)) => break Some(damage),
            Err(error @ ScanError::Disk { .. }) => return Err(error),
        };
        let bytes = &scan.block()[found.start..found.start + found.length];
        let taken = match &found.frame {
            Frame::Event(event) => walk.event(event, bytes).map(|()| None),
            Frame::Commit(commit) => walk.commit(commit, found.offset, scan.offset()).map(Some),
        };
        match taken {
            Ok(Some(first)) if !on_batch(&walk.end, first) => break None,
            Ok(_) => {}
            Err(flaw) => {
                let (file, offset) = (path.to_owned(), u64::from(found.offset));
                break Some(Damage { file, offset, position: None, flaw });
            }
        }
    };
    let position = Some(walk.end.events);
    Ok(Walked { end: walk.end, bad: bad.map(|damage| Damage { position, ..damage }) })
}

struct Walk {
    end: Place,
    open: Option<OpenBatch>,
}

/// A batch whose commit has not come yet.
struct OpenBatch {
    count: u32,
    first: Timestamp,
    time: Timestamp,
    chain: Chain,
}

impl Walk {
    fn event(&mut self, event: &EventFrame, bytes: &[u8]) -> Result<(), Flaw> {
        let end = &self.end;
        let open = self.open.get_or_insert_with(|| OpenBatch {
            count: 0,
            first: event.coordinates.time,
            time: end.time,
            chain: Chain::behind(&end.chain),
        });
        let at = event.coordinates;
        if at.position != end.events + u64::from(open.count)
            || u64::from(at.batch) != end.batches & u64::from(u32::MAX)
            || at.time < open.time
        {
            return Err(Flaw::Sequence);
        }
        open.chain.add(&leaf(bytes));
        open.count += 1;
        open.time = at.time;
        Ok(())
    }

    /// Takes a commit and answers the time of the batch's first event.
    fn commit(&mut self, commit: &CommitFrame, offset: u32, end: u32) -> Result<Timestamp, Flaw> {
        let Some(open) = self.open.take() else { return Err(Flaw::Sequence) };
        if u64::from(commit.batch) != self.end.batches & u64::from(u32::MAX)
            || commit.first_position != self.end.events
            || commit.count != open.count
            || commit.batch_bytes != offset - self.end.offset
        {
            return Err(Flaw::Sequence);
        }
        if open.chain.finish() != commit.chain {
            return Err(Flaw::Chain);
        }
        self.end = Place {
            offset: end,
            events: self.end.events + u64::from(open.count),
            batches: self.end.batches + 1,
            time: open.time,
            chain: commit.chain,
        };
        Ok(open.first)
    }
}
