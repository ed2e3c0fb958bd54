//! The hashes of a Merkle tree over all events, as RFC 6962 (section 2.1) builds it, and the entries of the file `tree`.

use sha2::{Digest, Sha256};
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

/// The hash of an event, given its frame: what follows the frame's prefix is the same wherever the event is stored.
pub(crate) fn leaf(frame: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(&frame[PREFIX_BYTES..]).finalize().into()
}

/// The hash of a node.
pub(crate) fn node(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// The root over hashes of subtrees of one size, the last of which may be of any smaller size; of none, the hash of nothing.
pub(crate) fn root(hashes: &[Hash]) -> Hash {
    match hashes {
        [] => Sha256::digest([]).into(),
        [one] => *one,
        // Split at the largest power of two that is smaller than their number.
        _ => {
            let (left, right) = hashes.split_at(hashes.len().next_power_of_two() / 2);
            node(&root(left), &root(right))
        }
    }
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
