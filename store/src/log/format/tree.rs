//! The hashes of a Merkle tree over all events, as RFC 6962 (section 2.1) builds it, and the entries of the file `tree`.

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::frame::PREFIX_BYTES;
use super::lanes::Lanes;
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

/// The hash of an event, given its frame: what follows the frame's prefix is the same wherever the event is stored.
pub(crate) fn leaf(frame: &[u8]) -> Hash {
    Sha256::new().chain_update([LEAF]).chain_update(&frame[PREFIX_BYTES..]).finalize().into()
}

/// Adds an event, given its frame, to those that are hashed side by side: its hash is that of [`leaf`].
pub(crate) fn add_leaf(lanes: &mut Lanes, frame: &[u8], leaves: &mut Vec<Hash>) {
    lanes.add(LEAF, &frame[PREFIX_BYTES..], leaves);
}

/// The root over hashes of subtrees of one size, the last of which may be of any smaller size; of none, the hash of nothing.
pub(crate) fn root(hashes: &[Hash]) -> Hash {
    let (mut level, mut lanes) = (hashes.to_vec(), Lanes::default());
    // Pair by pair, so that a last one without another goes up as it is: that splits at the largest power of two too.
    while level.len() > 1 {
        let mut above = Vec::with_capacity(level.len().div_ceil(2));
        let pairs = level.chunks_exact(2);
        let odd = pairs.remainder();
        pairs.for_each(|pair| lanes.add(NODE, pair.as_flattened(), &mut above));
        lanes.finish(&mut above);
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
