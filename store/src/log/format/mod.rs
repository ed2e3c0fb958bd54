//! The bytes of a log, as docs/log-format.md describes them: the page changes before these files
//! do. All numbers are little-endian. Nothing here reads or writes a disk.

pub(crate) mod checkpoint;
pub(crate) mod frame;
pub(crate) mod header;
pub(crate) mod identity;
pub(crate) mod index;
pub(crate) mod manifest;
pub(crate) mod tree;

pub(crate) use frame::{COMMIT_BYTES, Chain, FrameIdentity};
pub(crate) use header::HEADER_BYTES;

use super::error::Flaw;

/// The version of the format that is written.
pub(crate) const FORMAT: u16 = 1;

/// Reads `N` bytes at `offset`, which the caller knows to be there.
pub(crate) fn bytes_at<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    bytes[offset..offset + N].try_into().expect("the slice has that length")
}

pub(crate) fn u16_at(bytes: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes(bytes_at(bytes, offset))
}

pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes_at(bytes, offset))
}

pub(crate) fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(bytes_at(bytes, offset))
}

/// Puts `field` at `offset` of a page.
pub(crate) fn put(page: &mut [u8], offset: usize, field: &[u8]) {
    page[offset..offset + field.len()].copy_from_slice(field);
}

/// Closes a page: its last four bytes are the checksum of those before.
pub(crate) fn seal(page: &mut [u8]) {
    let end = page.len() - 4;
    let checksum = crc32c::crc32c(&page[..end]);
    put(page, end, &checksum.to_le_bytes());
}

/// Whether the page's checksum fits.
pub(crate) fn is_sealed(page: &[u8]) -> bool {
    let end = page.len() - 4;
    u32_at(page, end) == crc32c::crc32c(&page[..end])
}

/// Whether a page begins with `magic`, is closed by its checksum and is of this version's format.
pub(crate) fn check_page(page: &[u8], magic: [u8; 8], format: u16) -> Result<(), Flaw> {
    if page[..8] != magic {
        return Err(Flaw::Magic);
    }
    if !is_sealed(page) {
        return Err(Flaw::Checksum);
    }
    match u16_at(page, 8) {
        found if found == format => Ok(()),
        other => Err(Flaw::Format(other)),
    }
}

/// Appends a number as unsigned LEB128.
pub(crate) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push((number & 0x7f) as u8);
}

/// Takes a number off the front; nothing where the bytes are none.
pub(crate) fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}
