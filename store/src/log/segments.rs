//! The segment files of a log. Frames are only ever read up to a segment's end.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use annals_core::disk::DiskFile;

use super::address::Address;
use super::error::{Damage, Flaw, ScanError};
use super::format::frame::{self, Extent, Frame, FrameIdentity};
use super::format::header::SegmentHeader;
use super::open_files::{FileName, OpenFiles};
use super::scan::FrameScan;
use super::sync::{AtomicU32, RwLock};

/// What is read first of a frame of unknown length.
const FRAME_GUESS_BYTES: usize = 512;

/// One segment file.
pub(crate) struct Segment {
    pub(crate) number: u32,
    pub(crate) frames: FrameIdentity,
    pub(crate) path: PathBuf,
    /// Where its frames end, once it is sealed.
    end: AtomicU32,
    /// The hash chain before it.
    pub(crate) chain: [u8; 32],
}

impl Segment {
    /// Where its frames end; the largest number while it is the active one.
    pub(crate) fn end(&self) -> u32 {
        self.end.load(Ordering::Acquire)
    }
}

/// All segments, from number 1 without a gap.
pub(crate) struct Segments {
    files: Arc<OpenFiles>,
    list: RwLock<Vec<Arc<Segment>>>,
    /// A sabotage of the tests.
    pub(crate) believe_checksums: bool,
}

impl Segments {
    pub(crate) fn new(files: Arc<OpenFiles>, believe_checksums: bool) -> Segments {
        Segments { files, list: RwLock::default(), believe_checksums }
    }

    pub(crate) fn path(&self, number: u32) -> PathBuf {
        self.files.path(FileName::Segment(number))
    }

    /// Adds the next segment; the one before it is sealed at the header's `previous_end`.
    pub(crate) fn push(&self, header: &SegmentHeader) {
        let mut list = self.list.write();
        assert_eq!(list.len() + 1, header.segment as usize, "segments follow on each other");
        if let Some(last) = list.last() {
            last.end.store(header.previous_end, Ordering::Release);
        }
        let segment = Arc::new(Segment {
            number: header.segment,
            frames: header.frames(),
            path: self.path(header.segment),
            end: AtomicU32::new(u32::MAX),
            chain: header.chain,
        });
        list.push(segment);
    }

    pub(crate) fn len(&self) -> usize {
        self.list.read().len()
    }

    /// The bytes of headers and frames, when the log ends at `end`.
    pub(crate) fn bytes(&self, end: Address) -> u64 {
        let list = self.list.read();
        let sealed = list.iter().filter(|segment| segment.number < end.segment);
        sealed.map(|segment| u64::from(segment.end())).sum::<u64>() + u64::from(end.offset)
    }

    pub(crate) fn get(&self, number: u32) -> Arc<Segment> {
        Arc::clone(&self.list.read()[number as usize - 1])
    }

    /// The segment's file.
    pub(crate) fn file(&self, segment: &Segment) -> io::Result<Arc<dyn DiskFile>> {
        self.files.get(FileName::Segment(segment.number))
    }

    /// A walk over a segment's frames from an offset on, up to where its frames end or to `end`.
    pub(crate) fn scan(&self, from: Address, end: Option<u32>) -> Result<FrameScan, ScanError> {
        let segment = self.get(from.segment);
        let fault = |source| ScanError::Disk { path: segment.path.clone(), source };
        let file = self.file(&segment).map_err(fault)?;
        let range = (from.offset, end.unwrap_or_else(|| segment.end()));
        let path = segment.path.clone();
        Ok(FrameScan::new(file, path, segment.frames, self.believe_checksums, range))
    }

    /// The event frame at an address, with its bytes.
    pub(crate) fn frame_at(
        &self,
        address: Address,
    ) -> Result<(Vec<u8>, frame::EventFrame), ScanError> {
        let mut bytes = Vec::new();
        let event = self.frames(address.segment)?.read(address.offset, &mut bytes)?;
        Ok((bytes, event))
    }

    /// Reads single frames of a segment.
    pub(crate) fn frames(&self, segment: u32) -> Result<Frames, ScanError> {
        let segment = self.get(segment);
        let file = self.file(&segment);
        let file = file.map_err(|source| ScanError::Disk { path: segment.path.clone(), source })?;
        Ok(Frames { segment, file, believe: self.believe_checksums })
    }
}

/// Single frames of one segment.
pub(crate) struct Frames {
    segment: Arc<Segment>,
    file: Arc<dyn DiskFile>,
    believe: bool,
}

impl Frames {
    /// Puts the bytes of the event frame at `offset` behind what `out` holds. Ranges of the event count from its own first byte.
    pub(crate) fn read(
        &self,
        offset: u32,
        out: &mut Vec<u8>,
    ) -> Result<frame::EventFrame, ScanError> {
        let damage = |flaw| self.damage(offset, flaw);
        let start = out.len();
        let mut wanted = FRAME_GUESS_BYTES;
        loop {
            out.resize(start + wanted, 0);
            let read = self.file.read_at(&mut out[start..], u64::from(offset));
            let read =
                read.map_err(|source| ScanError::Disk { path: self.segment.path.clone(), source })?;
            out.truncate(start + read);
            let room = self.segment.end().saturating_sub(offset) as usize;
            match frame::extent(&out[start..], room).map_err(damage)? {
                Extent::Frame(length) => {
                    out.truncate(start + length);
                    let decoded = frame::decode(&out[start..], self.segment.frames, self.believe);
                    return match decoded.map_err(damage)? {
                        Frame::Event(event) => Ok(event),
                        Frame::Commit(_) => Err(damage(Flaw::Sequence).into()),
                    };
                }
                Extent::More(more) if read == wanted && more > wanted => wanted = more,
                Extent::More(_) | Extent::Blank => return Err(damage(Flaw::Missing).into()),
            }
        }
    }

    /// Damage at the frame at `offset`.
    pub(crate) fn damage(&self, offset: u32, flaw: Flaw) -> Damage {
        let (file, offset) = (self.segment.path.clone(), u64::from(offset));
        Damage { file, offset, position: None, flaw }
    }
}
