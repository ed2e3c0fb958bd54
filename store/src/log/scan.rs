//! Walks over the frames of one segment, forwards, reading large blocks. Every frame is checked
//! before it is handed out; its bytes can be shared out of the block without a copy.

use std::path::PathBuf;
use std::sync::Arc;

use annals_core::disk::DiskFile;
use bytes::Bytes;

use super::error::{Damage, Flaw, ScanError};
use super::format::frame::{self, Extent, Frame, FrameIdentity};

/// The first block is small, for short reads; each next one is twice as large, up to this many
/// bytes.
pub(crate) const BLOCK_BYTES_MAX: usize = 1 << 20;
const BLOCK_BYTES_MIN: usize = 32 << 10;

/// A walk over one segment.
pub(crate) struct FrameScan {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    identity: FrameIdentity,
    believe: bool,
    at: u32,
    end: u32,
    block: Bytes,
    block_at: u32,
    block_bytes: usize,
}

/// A frame and where it stands.
pub(crate) struct Found {
    /// Bytes from the start of the file.
    pub(crate) offset: u32,
    /// The frame.
    pub(crate) frame: Frame,
    /// Its bytes within [`FrameScan::block`].
    pub(crate) start: usize,
    pub(crate) length: usize,
}

impl FrameScan {
    /// A walk over the frames from `at` on, which must be the start of one, up to `end`.
    pub(crate) fn new(
        file: Arc<dyn DiskFile>,
        path: PathBuf,
        identity: FrameIdentity,
        believe: bool,
        (at, end): (u32, u32),
    ) -> FrameScan {
        let (block, block_bytes) = (Bytes::new(), BLOCK_BYTES_MIN);
        FrameScan { file, path, identity, believe, at, end, block, block_at: at, block_bytes }
    }

    /// The bytes that the last frame found lies in.
    pub(crate) fn block(&self) -> &Bytes {
        &self.block
    }

    /// Where the next frame would begin.
    pub(crate) fn offset(&self) -> u32 {
        self.at
    }

    /// Whether it went over everything up to its end.
    pub(crate) fn is_at_end(&self) -> bool {
        self.at >= self.end
    }

    pub(crate) fn path(&self) -> &PathBuf {
        &self.path
    }

    /// The next frame; nothing at the end, or where nothing was written any more.
    pub(crate) fn next(&mut self) -> Result<Option<Found>, ScanError> {
        if self.at >= self.end {
            return Ok(None);
        }
        let room = (self.end - self.at) as usize;
        let length = loop {
            let start = (self.at - self.block_at) as usize;
            let have = self.block.get(start..).unwrap_or_default();
            match frame::extent(have, room).map_err(|flaw| self.damage(flaw))? {
                Extent::Frame(length) => break length,
                Extent::Blank => return Ok(None),
                Extent::More(wanted) => self.load(wanted, room)?,
            }
        };
        let start = (self.at - self.block_at) as usize;
        let bytes = &self.block[start..start + length];
        let frame =
            frame::decode(bytes, self.identity, self.believe).map_err(|flaw| self.damage(flaw))?;
        let offset = self.at;
        self.at += u32::try_from(length).expect("a frame ends within its segment");
        Ok(Some(Found { offset, frame, start, length }))
    }

    /// Damage at the next frame.
    pub(crate) fn damage(&self, flaw: Flaw) -> Damage {
        let (file, offset) = (self.path.clone(), u64::from(self.at));
        Damage { file, offset, position: None, flaw }
    }

    fn load(&mut self, wanted: usize, room: usize) -> Result<(), ScanError> {
        let size = self.block_bytes.max(wanted).min(room);
        self.block_bytes = (self.block_bytes * 2).min(BLOCK_BYTES_MAX);
        // The memory of the last block, where nobody shares it.
        let last = std::mem::take(&mut self.block);
        let mut block = last.try_into_mut().unwrap_or_default();
        block.resize(size, 0);
        let read = self
            .file
            .read_at(&mut block, u64::from(self.at))
            .map_err(|source| ScanError::Disk { path: self.path.clone(), source })?;
        if read < wanted {
            return Err(self.damage(Flaw::Missing).into());
        }
        block.truncate(read);
        self.block = block.freeze();
        self.block_at = self.at;
        Ok(())
    }
}
