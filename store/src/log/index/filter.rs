//! A blocked Bloom filter (F. Putze, P. Sanders, J. Singler, "Cache-, Hash- and Space-Efficient Bloom Filters", 2007):
//! all bits of a key lie in one block of 64 bytes, so a look costs one miss of the processor's cache. What it denies is
//! not there; of what is not there it admits about one in a hundred.

/// Words of 64 bits in a block.
const BLOCK_WORDS: usize = 8;
/// Bits of the filter for each key.
const KEY_BITS: usize = 12;
/// Bits that a key sets.
const PROBES: u32 = 6;

/// A filter over 64-bit hashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    words: Vec<u64>,
}

impl Filter {
    /// A filter for about that many keys.
    pub(crate) fn with_room(keys: usize) -> Filter {
        let blocks = (keys * KEY_BITS).div_ceil(BLOCK_WORDS * 64).max(1);
        Filter { words: vec![0; blocks * BLOCK_WORDS] }
    }

    /// Reads a filter; nothing where the length is impossible.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Filter> {
        if bytes.is_empty() || !bytes.len().is_multiple_of(BLOCK_WORDS * 8) {
            return None;
        }
        let words = bytes.chunks_exact(8).map(|word| super::super::format::u64_at(word, 0));
        Some(Filter { words: words.collect() })
    }

    /// Its bytes.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// Inserts a key, and answers whether it may have been there. Without a branch on what it finds, so that the processor
    /// goes on to the next key meanwhile.
    pub(crate) fn insert(&mut self, hash: u64) -> bool {
        let mut wanted = [0; BLOCK_WORDS];
        for (word, bit) in probes(hash) {
            wanted[word] |= bit;
        }
        let block = self.block(hash);
        let mut missing = 0;
        for (word, wanted) in self.words[block..block + BLOCK_WORDS].iter_mut().zip(wanted) {
            missing |= wanted & !*word;
            *word |= wanted;
        }
        missing == 0
    }

    /// Something of the block of a key: to look at it takes the block into the processor's cache.
    pub(crate) fn glance(&self, hash: u64) -> u64 {
        self.words[self.block(hash)]
    }

    /// False where the key was never inserted.
    pub(crate) fn may_hold(&self, hash: u64) -> bool {
        let block = self.block(hash);
        probes(hash).all(|(word, bit)| self.words[block + word] & bit != 0)
    }

    /// The first word of the key's block, by the high half of its hash.
    fn block(&self, hash: u64) -> usize {
        let blocks = (self.words.len() / BLOCK_WORDS) as u64;
        let block = ((hash >> 32) * blocks) >> 32;
        usize::try_from(block).expect("a block is in memory") * BLOCK_WORDS
    }
}

/// Takes what was glanced at into the processor's cache, all of it side by side. One after the other, between other work,
/// each block would be waited for.
pub(crate) fn fetch(glances: impl Iterator<Item = u64>) {
    std::hint::black_box(glances.fold(0, |sum, glance| sum ^ glance));
}

/// The bits of a key in its block, as word and mask: nine bits each of a mix of the hash.
fn probes(hash: u64) -> impl Iterator<Item = (usize, u64)> {
    let mixed = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..PROBES).map(move |probe| {
        let bits = (mixed >> (9 * probe)) & 511;
        (usize::try_from(bits >> 6).expect("three bits"), 1 << (bits & 63))
    })
}

#[cfg(not(schedules))]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_inserted_is_admitted_and_little_else() {
        let key = |number: u64| number.wrapping_mul(0xd6e8_feb8_6659_fd93).rotate_left(23);
        let mut filter = Filter::with_room(10_000);
        for number in 0..10_000 {
            filter.insert(key(number));
            assert!(filter.insert(key(number)), "it was there the second time");
        }
        let filter = Filter::from_bytes(&filter.to_bytes()).expect("it is one");
        assert!((0..10_000).all(|number| filter.may_hold(key(number))));
        let wrong = (10_000..110_000).filter(|number| filter.may_hold(key(*number))).count();
        assert!(wrong < 2_000, "{wrong} of 100000 are admitted");
    }
}
