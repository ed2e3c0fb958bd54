//! The first page of a segment file: which store, epoch and segment it is, where it continues the
//! log, and the salt of its checksums.

use uuid::Uuid;

use super::{FORMAT, FrameIdentity, bytes_at, check_page, put, seal, u32_at, u64_at};
use crate::log::error::Flaw;

/// The size of the page; the first frame begins behind it.
pub(crate) const HEADER_BYTES: usize = 4096;
const MAGIC: [u8; 8] = *b"ANNALSEG";

/// What the header of a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// The store.
    pub(crate) store: Uuid,
    /// Its epoch when the segment was begun.
    pub(crate) epoch: u32,
    /// The segment's number, from 1.
    pub(crate) segment: u32,
    /// The size that the file was given, in bytes.
    pub(crate) segment_bytes: u64,
    /// The position of the first event in it.
    pub(crate) first_position: u64,
    /// The number of the first batch in it.
    pub(crate) first_batch: u64,
    /// When it was begun, in microseconds since 1970; no event in it is older.
    pub(crate) time: i64,
    /// What its checksums begin with: no client knows it, so no payload can pose as a frame.
    pub(crate) salt: u32,
    /// Where the frames of the segment before it end; 0 in the first one.
    pub(crate) previous_end: u32,
    /// The hash chain up to here.
    pub(crate) chain: [u8; 32],
}

impl SegmentHeader {
    /// The page.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut page = vec![0; HEADER_BYTES];
        put(&mut page, 0, &MAGIC);
        put(&mut page, 8, &FORMAT.to_le_bytes());
        put(&mut page, 10, &u16::try_from(HEADER_BYTES).expect("4096").to_le_bytes());
        // 12: flags, none yet.
        put(&mut page, 16, self.store.as_bytes());
        put(&mut page, 32, &self.epoch.to_le_bytes());
        put(&mut page, 36, &self.segment.to_le_bytes());
        put(&mut page, 40, &self.segment_bytes.to_le_bytes());
        put(&mut page, 48, &self.first_position.to_le_bytes());
        put(&mut page, 56, &self.first_batch.to_le_bytes());
        put(&mut page, 64, &self.time.to_le_bytes());
        put(&mut page, 72, &self.salt.to_le_bytes());
        put(&mut page, 76, &self.previous_end.to_le_bytes());
        put(&mut page, 80, &self.chain);
        // 112: cipher (0: none); 116: key id, 16 bytes.
        seal(&mut page);
        page
    }

    /// Reads the page; `page` has [`HEADER_BYTES`].
    pub(crate) fn decode(page: &[u8]) -> Result<SegmentHeader, Flaw> {
        check_page(page, MAGIC, FORMAT)?;
        if u32_at(page, 12) != 0 || u32_at(page, 112) != 0 {
            return Err(Flaw::Fields); // A flag or cipher of a later version.
        }
        Ok(SegmentHeader {
            store: Uuid::from_bytes(bytes_at(page, 16)),
            epoch: u32_at(page, 32),
            segment: u32_at(page, 36),
            segment_bytes: u64_at(page, 40),
            first_position: u64_at(page, 48),
            first_batch: u64_at(page, 56),
            time: i64::from_le_bytes(bytes_at(page, 64)),
            salt: u32_at(page, 72),
            previous_end: u32_at(page, 76),
            chain: bytes_at(page, 80),
        })
    }

    /// What every frame of the segment must carry.
    pub(crate) fn frames(&self) -> FrameIdentity {
        let epoch = u16::try_from(self.epoch & 0xffff).expect("16 bits are left");
        FrameIdentity { segment: self.segment, epoch, salt: self.salt }
    }
}
