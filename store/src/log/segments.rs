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
        let segment = self.get(address.segment);
        let disk = |source| ScanError::Disk { path: segment.path.clone(), source };
        let file = self.file(&segment).map_err(disk)?;
        let damage = |flaw| Damage {
            file: segment.path.clone(),
            offset: u64::from(address.offset),
            position: None,
            flaw,
        };
        let mut wanted = FRAME_GUESS_BYTES;
        loop {
            let mut bytes = vec![0; wanted];
            let read = file.read_at(&mut bytes, u64::from(address.offset)).map_err(disk)?;
            let short = read < wanted;
            bytes.truncate(read);
            let room = segment.end().saturating_sub(address.offset) as usize;
            match frame::extent(&bytes, room).map_err(damage)? {
                Extent::Frame(length) => {
                    bytes.truncate(length);
                    let decoded = frame::decode(&bytes, segment.frames, self.believe_checksums);
                    let Frame::Event(event) = decoded.map_err(damage)? else {
                        return Err(damage(Flaw::Sequence).into());
                    };
                    return Ok((bytes, event));
                }
                Extent::More(more) if !short && more > wanted => wanted = more,
                Extent::More(_) | Extent::Blank => return Err(damage(Flaw::Missing).into()),
            }
        }
    }
}
