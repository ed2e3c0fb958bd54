//! A whole log folder as one input, and the checksums in it made right again after a fuzzer changed it: so that what lies
//! behind the checksums is reached too. It knows the format from docs/log-format.md and shares no code with the store.
//!
//! The input: one byte of switches, then for each of [`NAMES`] two bytes of length and that many bytes. Zeros that a file
//! ends with are left out.

use std::path::Path;

use annals_core::disk::SimulatedDisk;
use sha2::{Digest, Sha256};

use crate::written::FOLDER;

/// The files that the input holds.
pub const NAMES: [&str; 4] = ["identity", "checkpoint", "00000001.segment", "00000002.segment"];
/// What they are filled up to.
const LENGTHS: [usize; 4] = [64, 8192, 8192, 8192];
/// Where the frames of a segment begin.
const FRAMES: usize = 4096;
/// The fields that say where a frame belongs.
const PREFIX: usize = 24;
const COMMIT: u8 = 2;

/// Checksums are made right.
const CHECKSUMS: u8 = 1;
/// So is the hash chain.
const CHAIN: u8 = 2;

/// Packs the files of a folder; those that it lacks are empty.
///
/// # Panics
/// Where a file is longer than a segment.
pub fn pack(switches: u8, file: impl Fn(&str) -> Option<Vec<u8>>) -> Vec<u8> {
    let mut input = vec![switches];
    for name in NAMES {
        let bytes = file(name).unwrap_or_default();
        let kept = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        input.extend(u16::try_from(kept).expect("a small file").to_le_bytes());
        input.extend_from_slice(&bytes[..kept]);
    }
    input
}

/// The disk that the input holds; nothing where it is too short to hold one.
pub fn unpack(input: &[u8]) -> Option<SimulatedDisk> {
    let disk = SimulatedDisk::new(5);
    let (switches, mut rest) = input.split_first()?;
    let mut chain = [0; 32];
    for (name, length) in NAMES.into_iter().zip(LENGTHS) {
        let (head, behind) = rest.split_first_chunk::<2>()?;
        let (held, behind) = behind.split_at_checked(usize::from(u16::from_le_bytes(*head)))?;
        rest = behind;
        if held.is_empty() && name.ends_with(".segment") {
            continue;
        }
        let mut bytes = held.to_vec();
        bytes.resize(bytes.len().max(length), 0);
        if switches & CHECKSUMS != 0 {
            if name.ends_with(".segment") {
                seal_segment(&mut bytes, (switches & CHAIN != 0).then_some(&mut chain));
            } else if name == "checkpoint" {
                seal(&mut bytes[..128]);
                seal(&mut bytes[4096..4096 + 128]);
            } else {
                seal(&mut bytes[..64]);
            }
        }
        disk.replace(Path::new(FOLDER).join(name), bytes);
    }
    Some(disk)
}

/// Puts the CRC-32C of a page at its end. Pages of zeros stay as they are.
fn seal(page: &mut [u8]) {
    if page.iter().any(|byte| *byte != 0) {
        let end = page.len() - 4;
        let checksum = crc32c::crc32c(&page[..end]);
        page[end..].copy_from_slice(&checksum.to_le_bytes());
    }
}

fn seal_segment(bytes: &mut [u8], mut chain: Option<&mut [u8; 32]>) {
    if let Some(chain) = &mut chain {
        bytes[80..112].copy_from_slice(&**chain);
    }
    seal(&mut bytes[..FRAMES]);
    let salt = u32::from_le_bytes(bytes[72..76].try_into().expect("four bytes"));
    let mut frames = &mut bytes[FRAMES..];
    let mut hash = chain.as_ref().map(|chain| Sha256::new().chain_update(&**chain));
    while frames.len() >= PREFIX {
        let length = u32::from_le_bytes(frames[8..12].try_into().expect("four bytes")) as usize;
        if length < PREFIX || length > frames.len() {
            return;
        }
        let (frame, rest) = std::mem::take(&mut frames).split_at_mut(length);
        frames = rest;
        if let (Some(chain), Some(begun)) = (&mut chain, &mut hash) {
            if frame[3] == COMMIT && length == 80 {
                **chain = begun.clone().finalize().into();
                frame[48..80].copy_from_slice(&**chain);
                *begun = Sha256::new().chain_update(&**chain);
            } else {
                let leaf = Sha256::new().chain_update([0]).chain_update(&frame[PREFIX..]);
                begun.update(leaf.finalize());
            }
        }
        let begun = crc32c::crc32c_append(salt, &frame[..12]);
        let checksum = crc32c::crc32c_append(begun, &frame[16..]);
        frame[12..16].copy_from_slice(&checksum.to_le_bytes());
    }
}
