//! The hashes of a Merkle tree over all events, as RFC 6962 (section 2.1) builds it, and the entries of the file `tree`.

use sha2::{Digest, Sha256};
use tape_sha256::hash_many_prefixed;
use uuid::Uuid;

use super::frame::PREFIX_BYTES;
use super::{FORMAT, put, u32_at};

/// A hash.
pub(crate) type Hash = [u8; 32];

/// Leaves below a node that the file holds.
pub(crate) const NODE_LEAVES: u64 = 256;
/// The size of the file's header, and of an entry: hash and checksum.
pub(crate) const TREE_HEADER_BYTES: u64 = 64;
pub(crate) const ENTRY_BYTES: usize = 36;
const MAGIC: [u8; 8] = *b"ANNALTRE";
/// What is hashed before an event, and before the two hashes below a node.
const LEAF: u8 = 0;
const NODE: u8 = 1;
/// Events that wait to be hashed together at most, and bytes of them: a few times what the widest vectors take.
const UNHASHED_MAX: usize = 64;
const UNHASHED_BYTES_MAX: usize = 1 << 20;

/// The hash of an event, given its frame: what follows the frame's prefix is the same wherever the event is stored.
pub(crate) fn leaf(frame: &[u8]) -> Hash {
    Sha256::new().chain_update([LEAF]).chain_update(&frame[PREFIX_BYTES..]).finalize().into()
}

/// The hashes of events, given their frames: [`leaf`] of each, as many side by side as the processor can. It waits for each
/// result before it goes on with the same event; the others fill that time, or the other lanes of its vectors.
pub(crate) fn leaves<'a>(frames: impl Iterator<Item = &'a [u8]>) -> Vec<Hash> {
    hashes(LEAF, frames.map(|frame| &frame[PREFIX_BYTES..]))
}

fn hashes<'a>(first: u8, contents: impl Iterator<Item = &'a [u8]>) -> Vec<Hash> {
    let contents: Vec<_> = contents.collect();
    let mut hashes = vec![Hash::default(); contents.len()];
    hash_many_prefixed(&[first], &contents, &mut hashes);
    hashes
}

/// Events that wait for others to be hashed with them, as [`leaves`] does it.
#[derive(Default)]
pub(crate) struct Unhashed {
    /// Their frames, one behind the other, and where each ends.
    frames: Vec<u8>,
    ends: Vec<usize>,
}

impl Unhashed {
    /// Adds an event, given its frame. Hashes go to `leaves` in the order of the events, sooner or later.
    pub(crate) fn add(&mut self, frame: &[u8], leaves: &mut Vec<Hash>) {
        self.frames.extend_from_slice(frame);
        self.ends.push(self.frames.len());
        if self.ends.len() >= UNHASHED_MAX || self.frames.len() >= UNHASHED_BYTES_MAX {
            self.finish(leaves);
        }
    }

    /// Hashes what still waits.
    pub(crate) fn finish(&mut self, hashes: &mut Vec<Hash>) {
        let mut begin = 0;
        let frames = self.ends.iter().map(|end| {
            let frame = &self.frames[begin..*end];
            begin = *end;
            frame
        });
        hashes.extend(leaves(frames));
        self.frames.clear();
        self.ends.clear();
    }
}

/// The root over hashes of subtrees of one size, the last of which may be of any smaller size; of none, the hash of nothing.
pub(crate) fn root(subtrees: &[Hash]) -> Hash {
    let mut level = subtrees.to_vec();
    // Pair by pair, so that a last one without another goes up as it is: that splits at the largest power of two too.
    while level.len() > 1 {
        let pairs = level.chunks_exact(2);
        let odd = pairs.remainder();
        let mut above = hashes(NODE, pairs.map(<[Hash]>::as_flattened));
        above.extend_from_slice(odd);
        level = above;
    }
    level.pop().unwrap_or_else(|| Sha256::digest([]).into())
}

/// The file's header.
pub(crate) fn header(store: Uuid) -> Vec<u8> {
    let mut header = vec![0; usize::try_from(TREE_HEADER_BYTES).expect("64")];
    put(&mut header, 0, &MAGIC);
    put(&mut header, 8, &FORMAT.to_le_bytes());
    put(&mut header, 16, store.as_bytes());
    super::seal(&mut header);
    header
}

/// The entry of a node.
pub(crate) fn entry(number: u64, hash: &Hash) -> [u8; ENTRY_BYTES] {
    let mut entry = [0; ENTRY_BYTES];
    put(&mut entry, 0, hash);
    put(&mut entry, 32, &checksum(number, hash).to_le_bytes());
    entry
}

/// The hash in a node's entry; nothing where it is not what was written.
pub(crate) fn read_entry(number: u64, entry: &[u8]) -> Option<Hash> {
    let hash = super::bytes_at(entry, 0);
    (u32_at(entry, 32) == checksum(number, &hash)).then_some(hash)
}

fn checksum(number: u64, hash: &Hash) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&number.to_le_bytes()), hash)
}

/// Where a node's entry stands.
pub(crate) fn entry_offset(number: u64) -> u64 {
    TREE_HEADER_BYTES + number * ENTRY_BYTES as u64
}

#[cfg(not(schedules))]
#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_hashed_side_by_side_is_hashed_as_one_by_one(
            contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 24..600), 0..150),
        ) {
            let frames = || contents.iter().map(Vec::as_slice);
            let one_by_one: Vec<_> = frames().map(leaf).collect();
            prop_assert_eq!(&leaves(frames()), &one_by_one);
            let (mut unhashed, mut hashes) = (Unhashed::default(), Vec::new());
            frames().for_each(|frame| unhashed.add(frame, &mut hashes));
            unhashed.finish(&mut hashes);
            prop_assert_eq!(hashes, one_by_one);
        }
    }

    /// The root by its definition: split at the largest power of two below the size.
    fn expected(leaves: &[Hash]) -> Hash {
        if let [leaf] = leaves {
            return *leaf;
        }
        let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
        let below = [expected(left), expected(right)];
        Sha256::new().chain_update([NODE]).chain_update(below.as_flattened()).finalize().into()
    }

    #[test]
    fn nodes_are_those_of_rfc_6962() {
        let leaves: Vec<Hash> = (0..40).map(|number| [number; 32]).collect();
        for size in 1..=leaves.len() {
            assert_eq!(root(&leaves[..size]), expected(&leaves[..size]), "{size} leaves");
        }
    }
}
