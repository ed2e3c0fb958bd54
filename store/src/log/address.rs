//! Where bytes stand in the log: a segment and an offset in it. Addresses sort as positions do.

use std::fmt;

/// A place in the log. The first segment has number 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Address {
    /// The segment's number.
    pub(crate) segment: u32,
    /// Bytes from the start of its file.
    pub(crate) offset: u32,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "segment {} offset {}", self.segment, self.offset)
    }
}
