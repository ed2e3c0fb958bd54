//! The file `manifest` of a backup: which segments it holds, how far, and their hashes.
//! docs/backup.md describes it.

use annals_core::{StoreIdentity, Timestamp};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{FORMAT, bytes_at, put, u16_at, u32_at, u64_at};
use crate::log::error::Flaw;

const MAGIC: [u8; 8] = *b"ANNALSBK";
const HEAD_BYTES: usize = 64;
const RECORD_BYTES: usize = 128;
const HASH_BYTES: usize = 32;

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// Which store, and its epoch.
    pub(crate) identity: StoreIdentity,
    /// When the store was created.
    pub(crate) created: Timestamp,
    /// When the backup was begun.
    pub(crate) begun: Timestamp,
    /// The segments, from number 1 without a gap; the last one has an event.
    pub(crate) segments: Vec<SegmentRecord>,
}

/// What a backup holds of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentRecord {
    pub(crate) segment: u32,
    /// Bytes, with the header.
    pub(crate) length: u32,
    pub(crate) first_position: u64,
    pub(crate) events: u64,
    /// When the last of them was recorded.
    pub(crate) last_time: Timestamp,
    /// SHA-256 of the file.
    pub(crate) hash: [u8; 32],
    /// The hash chain at its end.
    pub(crate) chain: [u8; 32],
}

impl SegmentRecord {
    /// The name of its file.
    pub(crate) fn name(&self) -> String {
        format!("{:08}-{}.segment", self.segment, self.length)
    }

    /// The position behind its last event.
    pub(crate) fn end(&self) -> u64 {
        self.first_position + self.events
    }

    fn encode(&self) -> [u8; RECORD_BYTES] {
        let mut record = [0; RECORD_BYTES];
        put(&mut record, 0, &self.segment.to_le_bytes());
        put(&mut record, 4, &self.length.to_le_bytes());
        put(&mut record, 8, &self.first_position.to_le_bytes());
        put(&mut record, 16, &self.events.to_le_bytes());
        put(&mut record, 24, &self.last_time.0.to_le_bytes());
        put(&mut record, 32, &self.hash);
        put(&mut record, 64, &self.chain);
        record
    }

    fn decode(record: &[u8]) -> SegmentRecord {
        SegmentRecord {
            segment: u32_at(record, 0),
            length: u32_at(record, 4),
            first_position: u64_at(record, 8),
            events: u64_at(record, 16),
            last_time: Timestamp(i64::from_le_bytes(bytes_at(record, 24))),
            hash: bytes_at(record, 32),
            chain: bytes_at(record, 64),
        }
    }
}

impl Manifest {
    /// How many events it holds: those of the positions before this number.
    pub(crate) fn events(&self) -> u64 {
        self.segments.last().map_or(0, SegmentRecord::end)
    }

    /// The hash chain at its end.
    pub(crate) fn chain(&self) -> [u8; 32] {
        self.segments.last().map_or([0; 32], |last| last.chain)
    }

    /// The bytes of its segments.
    pub(crate) fn bytes(&self) -> u64 {
        self.segments.iter().map(|record| u64::from(record.length)).sum()
    }

    /// The file's contents.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut file = vec![0; HEAD_BYTES];
        put(&mut file, 0, &MAGIC);
        put(&mut file, 8, &FORMAT.to_le_bytes());
        put(&mut file, 12, &self.identity.epoch.to_le_bytes());
        put(&mut file, 16, self.identity.id.as_bytes());
        put(&mut file, 32, &self.created.0.to_le_bytes());
        put(&mut file, 40, &self.begun.0.to_le_bytes());
        let count = u32::try_from(self.segments.len()).expect("segments have 32-bit numbers");
        put(&mut file, 48, &count.to_le_bytes());
        for record in &self.segments {
            file.extend_from_slice(&record.encode());
        }
        let hash = Sha256::digest(&file);
        file.extend_from_slice(&hash);
        file
    }

    /// Reads the file's contents.
    pub(crate) fn decode(file: &[u8]) -> Result<Manifest, Flaw> {
        let body = file.len().checked_sub(HASH_BYTES).ok_or(Flaw::Length)?;
        let (body, hash) = file.split_at(body);
        if body.len() < HEAD_BYTES {
            return Err(Flaw::Length);
        }
        if body[..8] != MAGIC {
            return Err(Flaw::Magic);
        }
        if Sha256::digest(body)[..] != *hash {
            return Err(Flaw::Checksum);
        }
        if u16_at(body, 8) != FORMAT {
            return Err(Flaw::Format(u16_at(body, 8)));
        }
        let records = body[HEAD_BYTES..].chunks_exact(RECORD_BYTES);
        if !records.remainder().is_empty() || records.len() != u32_at(body, 48) as usize {
            return Err(Flaw::Length);
        }
        let id = Uuid::from_bytes(bytes_at(body, 16));
        let manifest = Manifest {
            identity: StoreIdentity { id, epoch: u32_at(body, 12) },
            created: Timestamp(i64::from_le_bytes(bytes_at(body, 32))),
            begun: Timestamp(u64_at(body, 40).cast_signed()),
            segments: records.map(SegmentRecord::decode).collect(),
        };
        let mut events = 0;
        for (number, record) in (1..).zip(&manifest.segments) {
            let follows = record.segment == number && record.first_position == events;
            if !follows || (record.length as usize) < super::HEADER_BYTES {
                return Err(Flaw::Sequence);
            }
            events = record.first_position.checked_add(record.events).ok_or(Flaw::Sequence)?;
        }
        Ok(manifest)
    }
}

#[cfg(not(schedules))]
#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let record = |segment, first_position| SegmentRecord {
            segment,
            length: 5_000 + segment,
            first_position,
            events: 10,
            last_time: Timestamp(7),
            hash: [1; 32],
            chain: [2; 32],
        };
        Manifest {
            identity: StoreIdentity { id: Uuid::from_u128(5), epoch: 3 },
            created: Timestamp(-1),
            begun: Timestamp(9),
            segments: vec![record(1, 0), record(2, 10)],
        }
    }

    #[test]
    fn a_manifest_survives_its_file_and_no_flipped_bit_does() {
        let file = manifest().encode();
        assert_eq!(Manifest::decode(&file), Ok(manifest()));
        for bit in 0..file.len() * 8 {
            let mut flipped = file.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Manifest::decode(&flipped).is_err(), "bit {bit}");
        }
        for length in 0..file.len() {
            assert!(Manifest::decode(&file[..length]).is_err(), "length {length}");
        }
    }

    #[test]
    fn segments_that_do_not_follow_on_each_other_are_refused() {
        let mut gap = manifest();
        gap.segments.remove(0);
        let mut swapped = manifest();
        swapped.segments.swap(0, 1);
        let mut short = manifest();
        short.segments[1].length = 4_000;
        for wrong in [gap, swapped, short] {
            assert_eq!(Manifest::decode(&wrong.encode()), Err(Flaw::Sequence));
        }
    }
}
