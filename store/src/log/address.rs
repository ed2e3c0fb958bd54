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

impl Address {
    /// Both numbers in one, for indexes; sorts alike.
    pub(crate) fn pack(self) -> u64 {
        u64::from(self.segment) << 32 | u64::from(self.offset)
    }

    /// The reverse of [`Address::pack`].
    pub(crate) fn unpack(packed: u64) -> Address {
        let low = packed & u64::from(u32::MAX);
        Address {
            segment: u32::try_from(packed >> 32).expect("32 bits are left"),
            offset: u32::try_from(low).expect("32 bits are left"),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "segment {} offset {}", self.segment, self.offset)
    }
}
