//! SHA-256 of several messages side by side. A processor with instructions for SHA-256 waits for each of their results before
//! it goes on with the same message; the others fill that time.

use sha2::compress256;

use super::tree::Hash;

/// How many messages are hashed at a time. More bring nothing: the processor does not look that far ahead.
const LANES: usize = 4;
/// Bytes that are hashed at a time, and of the length that closes a message.
const BLOCK_BYTES: usize = 64;
const LENGTH_BYTES: usize = 8;
/// What every hash begins with (FIPS 180-4, section 5.3.3).
const BEGIN: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// Messages that wait for others.
#[derive(Default)]
pub(crate) struct Lanes {
    /// Each as whole blocks, as it is hashed.
    messages: [Vec<u8>; LANES],
    filled: usize,
}

impl Lanes {
    /// Adds a message: that byte and what follows. Hashes go to `hashes` in the order of the messages, sooner or later.
    pub(crate) fn add(&mut self, first: u8, rest: &[u8], hashes: &mut Vec<Hash>) {
        let message = &mut self.messages[self.filled];
        message.clear();
        message.push(first);
        message.extend_from_slice(rest);
        let bits = message.len() as u64 * 8;
        message.push(0x80);
        let blocks = (message.len() + LENGTH_BYTES).div_ceil(BLOCK_BYTES);
        message.resize(blocks * BLOCK_BYTES - LENGTH_BYTES, 0);
        message.extend_from_slice(&bits.to_be_bytes());
        self.filled += 1;
        if self.filled == LANES {
            self.finish(hashes);
        }
    }

    /// Hashes what still waits.
    pub(crate) fn finish(&mut self, hashes: &mut Vec<Hash>) {
        let messages = &self.messages[..self.filled];
        let mut states = [BEGIN; LANES];
        let longest = messages.iter().map(Vec::len).max().unwrap_or(0);
        for at in (0..longest).step_by(BLOCK_BYTES) {
            for (message, state) in messages.iter().zip(&mut states) {
                if let Some(block) = message.get(at..at + BLOCK_BYTES) {
                    compress256(state, std::slice::from_ref(block.into()));
                }
            }
        }
        hashes.extend(states[..self.filled].iter().map(bytes));
        self.filled = 0;
    }
}

fn bytes(state: &[u32; 8]) -> Hash {
    let mut hash = [0; 32];
    for (bytes, word) in hash.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    hash
}

#[cfg(not(schedules))]
#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    proptest! {
        #[test]
        fn each_message_has_its_own_hash(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..12),
        ) {
            let (mut lanes, mut hashes) = (Lanes::default(), Vec::new());
            for message in &messages {
                lanes.add(7, message, &mut hashes);
            }
            lanes.finish(&mut hashes);
            let expected: Vec<Hash> = messages
                .iter()
                .map(|message| Sha256::new().chain_update([7]).chain_update(message).finalize().into())
                .collect();
            prop_assert_eq!(hashes, expected);
        }
    }
}
