//! The file `checkpoint`: how far the log is known to be durable. Two slots are written in turn, in
//! place, so that it never needs new room and a torn write leaves the older one. The log may reach
//! further, but never less far.

use uuid::Uuid;

use super::{FORMAT, bytes_at, check_page, put, seal, u32_at, u64_at};
use crate::log::address::Address;

/// The size of the file: two slots, each in a page of its own.
pub(crate) const CHECKPOINT_BYTES: usize = 2 * SLOT_DISTANCE;
const SLOT_DISTANCE: usize = 4096;
const SLOT_BYTES: usize = 128;
const MAGIC: [u8; 8] = *b"ANNALCKP";

/// A point up to which the log is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// The store.
    pub(crate) store: Uuid,
    /// The store's epoch.
    pub(crate) epoch: u32,
    /// Grows with each checkpoint; its parity names the slot.
    pub(crate) sequence: u64,
    /// The end of the last durable batch.
    pub(crate) end: Address,
    /// How many events stand before it.
    pub(crate) events: u64,
    /// The hash chain there.
    pub(crate) chain: [u8; 32],
}

impl Checkpoint {
    /// The slot's place in the file and its bytes.
    pub(crate) fn encode(&self) -> (u64, Vec<u8>) {
        let mut slot = vec![0; SLOT_BYTES];
        put(&mut slot, 0, &MAGIC);
        put(&mut slot, 8, &FORMAT.to_le_bytes());
        put(&mut slot, 12, &self.epoch.to_le_bytes());
        put(&mut slot, 16, self.store.as_bytes());
        put(&mut slot, 32, &self.sequence.to_le_bytes());
        put(&mut slot, 40, &self.end.segment.to_le_bytes());
        put(&mut slot, 44, &self.end.offset.to_le_bytes());
        put(&mut slot, 48, &self.events.to_le_bytes());
        put(&mut slot, 56, &self.chain);
        seal(&mut slot);
        (self.sequence % 2 * SLOT_DISTANCE as u64, slot)
    }

    /// The newest checkpoint of the file's contents; nothing where no slot can be read.
    pub(crate) fn decode(file: &[u8]) -> Option<Checkpoint> {
        let slots = [0, SLOT_DISTANCE].map(|offset| Checkpoint::decode_slot(file, offset));
        slots.into_iter().flatten().max_by_key(|checkpoint| checkpoint.sequence)
    }

    fn decode_slot(file: &[u8], offset: usize) -> Option<Checkpoint> {
        let slot = file.get(offset..offset + SLOT_BYTES)?;
        if check_page(slot, MAGIC, FORMAT).is_err() {
            return None;
        }
        Some(Checkpoint {
            store: Uuid::from_bytes(bytes_at(slot, 16)),
            epoch: u32_at(slot, 12),
            sequence: u64_at(slot, 32),
            end: Address { segment: u32_at(slot, 40), offset: u32_at(slot, 44) },
            events: u64_at(slot, 48),
            chain: bytes_at(slot, 56),
        })
    }
}
