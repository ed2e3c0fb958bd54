//! Bytes as choices: whatever they are, they say something, and the same bytes say the same.

use bytes::Bytes;

/// Bytes that are taken from the front; zeros behind their end.
pub struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    /// The choices that these bytes are.
    pub fn new(bytes: &'a [u8]) -> Choices<'a> {
        Choices(bytes)
    }

    /// Whether there are any left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// A number below `bound`, which is no more than 256.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound.max(1)
    }

    /// One of these.
    pub fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }

    /// True in one of so many cases, where there are choices left.
    pub fn one_in(&mut self, cases: usize) -> bool {
        !self.is_empty() && self.below(cases) == cases - 1
    }

    /// Some bytes as they are.
    pub fn bytes(&mut self) -> Bytes {
        let count = usize::from(self.byte()).min(self.0.len());
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        Bytes::copy_from_slice(taken)
    }

    /// A number at the edge of what numbers mean.
    pub fn number(&mut self) -> u64 {
        let edges = [0, 1, 2, 3, 31, 32, u64::from(u32::MAX), i64::MAX as u64, 1 << 63];
        match self.below(12) {
            10 => u64::MAX,
            11 => u64::MAX - 1,
            place => edges.get(place).copied().unwrap_or(0),
        }
    }

    /// The same, as a small one.
    pub fn small(&mut self) -> i32 {
        self.of(&[0, 1, 2, 10, 100, 1000, i32::MAX, -1, i32::MIN])
    }
}
