//! The one source of randomness: identities are made here, so a simulation with a seed repeats itself exactly.

use std::sync::Arc;

use parking_lot::Mutex;
use uuid::Uuid;

use crate::clock::Timestamp;

/// The seam to the machine's random source.
pub trait Random: Send + Sync + 'static {
    /// 64 random bits.
    fn next_u64(&self) -> u64;

    /// A UUID version 7 for `now`: 48 bits of milliseconds, the rest random.
    fn uuid_v7(&self, now: Timestamp) -> Uuid {
        let millis = u64::try_from(now.0 / 1000).unwrap_or(0);
        let mut bytes = [0_u8; 10];
        bytes[..8].copy_from_slice(&self.next_u64().to_le_bytes());
        bytes[8..].copy_from_slice(&self.next_u64().to_le_bytes()[..2]);
        uuid::Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid()
    }
}

/// The operating system's random source, read through `uuid`'s version 4.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn next_u64(&self) -> u64 {
        // The two halves are mixed so that the fixed version and variant bits do not show.
        let (high, low) = Uuid::new_v4().as_u64_pair();
        high ^ low.rotate_left(29)
    }
}

/// A generator that repeats itself for a seed; clones share its state.
/// Algorithm: SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
#[derive(Clone, Debug)]
pub struct SeededRandom(Arc<Mutex<u64>>);

impl SeededRandom {
    /// A generator for `seed`.
    pub fn new(seed: u64) -> SeededRandom {
        SeededRandom(Arc::new(Mutex::new(seed)))
    }

    /// A number below `bound`, which must not be 0.
    pub fn below(&self, bound: u64) -> u64 {
        assert!(bound > 0, "a bound of 0 leaves nothing to choose");
        self.next_u64() % bound
    }
}

impl Random for SeededRandom {
    fn next_u64(&self) -> u64 {
        let mut state = self.0.lock();
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_itself() {
        let (one, two) = (SeededRandom::new(7), SeededRandom::new(7));
        assert_eq!(one.next_u64(), two.next_u64());
        assert_ne!(one.next_u64(), SeededRandom::new(8).next_u64());
    }

    #[test]
    fn ids_of_version_7_sort_by_time() {
        let random = SystemRandom;
        let early = random.uuid_v7(Timestamp::from_millis(1));
        let late = random.uuid_v7(Timestamp::from_millis(2));
        assert_eq!(early.get_version_num(), 7);
        assert!(early < late);
    }
}
