//! What a device was told, in order, and what a power cut could have left of it: all that was written before the last
//! flush, and any part of what was written after it, in sectors.

use annals_core::random::SeededRandom;
use annals_torture::appends::Acknowledged;

/// A device writes a sector whole or not at all.
pub(crate) const SECTOR_BYTES: usize = 512;
/// The second sector of ext4's superblock shares the lot of the first: ext4 writes the two without its journal and takes
/// them to be written whole, and a device that tears them leaves nothing to mount.
const SUPERBLOCK_REST: usize = 3 * SECTOR_BYTES;

/// Something that the device was told.
#[derive(Debug)]
pub(crate) enum Operation {
    /// Bytes at an offset; in the device's cache until a flush.
    Write { offset: usize, bytes: Box<[u8]> },
    /// All writes before it are kept from now on.
    Flush,
}

/// An acknowledgement, and how many operations the device had done when it came.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) acknowledged: Acknowledged,
    pub(crate) after: usize,
}

/// One life of a device, from when its file system was mounted until it was unmounted.
#[derive(Debug)]
pub(crate) struct Recording {
    /// What the device held before.
    pub(crate) base: Vec<u8>,
    pub(crate) operations: Vec<Operation>,
    pub(crate) told: Vec<Told>,
}

impl Recording {
    /// What was acknowledged before the power was cut after so many operations.
    pub(crate) fn acknowledged(&self, cut: usize) -> impl Iterator<Item = Acknowledged> {
        let before = self.told.iter().filter(move |told| told.after <= cut);
        before.map(|told| told.acknowledged.clone())
    }
}

/// Goes through a recording once, forwards, and makes the image of each cut.
#[derive(Debug)]
pub(crate) struct Cutter<'a> {
    operations: &'a [Operation],
    /// What is durable after the first `durable` operations.
    image: Vec<u8>,
    durable: usize,
}

impl<'a> Cutter<'a> {
    pub(crate) fn new(recording: &'a Recording) -> Cutter<'a> {
        Cutter { operations: &recording.operations, image: recording.base.clone(), durable: 0 }
    }

    /// What the device may hold when the power was cut after `cut` operations, no fewer than at the call before: each
    /// sector that was written after the last flush is kept with a likelihood of `kept` in 16.
    pub(crate) fn image(&mut self, cut: usize, kept: u64, random: &SeededRandom) -> Vec<u8> {
        assert!(cut >= self.durable, "cuts are asked for in order");
        let is_flush = |operation: &Operation| matches!(operation, Operation::Flush);
        let since = &self.operations[self.durable..cut];
        let flushed = self.durable + since.iter().rposition(is_flush).map_or(0, |last| last + 1);
        for operation in &self.operations[self.durable..flushed] {
            apply(&mut self.image, operation, || true);
        }
        self.durable = flushed;
        let mut image = self.image.clone();
        for operation in &self.operations[self.durable..cut] {
            apply(&mut image, operation, || random.below(16) < kept);
        }
        image
    }
}

fn apply(image: &mut [u8], operation: &Operation, mut kept: impl FnMut() -> bool) {
    let Operation::Write { offset, bytes } = operation else { return };
    let mut keep = false;
    for (number, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
        let at = offset + number * SECTOR_BYTES;
        if number == 0 || at != SUPERBLOCK_REST {
            keep = kept();
        }
        if keep {
            image[at..at + sector.len()].copy_from_slice(sector);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(sector: usize, byte: u8) -> Operation {
        let bytes = vec![byte; 2 * SECTOR_BYTES].into_boxed_slice();
        Operation::Write { offset: sector * SECTOR_BYTES, bytes }
    }

    /// Two writes, a flush, and another write over both.
    fn recording() -> Recording {
        let operations = vec![write(0, 1), write(2, 2), Operation::Flush, write(1, 3)];
        Recording { base: vec![0; 4 * SECTOR_BYTES], operations, told: Vec::new() }
    }

    fn sectors(image: &[u8]) -> Vec<u8> {
        let sectors = image.chunks(SECTOR_BYTES);
        sectors
            .inspect(|sector| assert!(sector.iter().all(|byte| *byte == sector[0])))
            .map(|sector| sector[0])
            .collect()
    }

    #[test]
    fn what_was_flushed_is_kept_and_nothing_else() {
        let recording = recording();
        let random = SeededRandom::new(1);
        let mut cutter = Cutter::new(&recording);
        let found: Vec<_> = (0..=4).map(|cut| sectors(&cutter.image(cut, 0, &random))).collect();
        let (nothing, flushed) = (vec![0; 4], vec![1, 1, 2, 2]);
        assert_eq!(found, [nothing.clone(), nothing.clone(), nothing, flushed.clone(), flushed]);
    }

    #[test]
    fn any_part_of_what_was_not_flushed_may_be_kept() {
        let recording = recording();
        let random = SeededRandom::new(1);
        let found: std::collections::BTreeSet<_> =
            (0..100).map(|_| sectors(&Cutter::new(&recording).image(4, 8, &random))).collect();
        let possible = [[1, 1, 2, 2], [1, 1, 3, 2], [1, 3, 2, 2], [1, 3, 3, 2]];
        assert_eq!(found, possible.into_iter().map(Vec::from).collect());
    }

    #[test]
    fn the_superblock_is_not_torn() {
        let recording = Recording {
            base: vec![0; 5 * SECTOR_BYTES],
            operations: vec![write(2, 1)],
            told: Vec::new(),
        };
        let random = SeededRandom::new(1);
        let found: std::collections::BTreeSet<_> =
            (0..100).map(|_| sectors(&Cutter::new(&recording).image(1, 8, &random))).collect();
        assert_eq!(found, [[0; 5], [0, 0, 1, 1, 0]].into_iter().map(Vec::from).collect());
    }

    #[test]
    fn a_device_that_loses_nothing_holds_all() {
        let recording = recording();
        let image = Cutter::new(&recording).image(4, 16, &SeededRandom::new(1));
        assert_eq!(sectors(&image), [1, 3, 3, 2]);
    }
}
