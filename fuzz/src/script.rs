//! Damage to files as the bytes of a fuzzer's input say: steps of eight bytes, each one thing done to one file. What is
//! written over a place follows from the step by a hash, so that a fuzzer does not learn to forge checksums here.

use std::path::{Path, PathBuf};

use annals_core::Random;
use annals_core::disk::{Disk, SimulatedDisk};
use annals_core::random::SeededRandom;

/// The bytes of a step.
const STEP_BYTES: usize = 8;
/// No input is followed further: what many steps do to a small folder, few do too.
const STEPS_MAX: usize = 8;

/// Does what `script` says to the files that are admitted.
///
/// # Panics
/// Never: what it names is there.
pub fn follow(script: &[u8], disk: &SimulatedDisk, admitted: impl Fn(&Path) -> bool) {
    for step in script.chunks_exact(STEP_BYTES).take(STEPS_MAX) {
        let paths: Vec<_> = disk.paths().into_iter().filter(|path| admitted(path)).collect();
        let word = |at: usize| usize::from(u16::from_le_bytes([step[at], step[at + 1]]));
        let Some(path) = paths.get(usize::from(step[0]) % paths.len().max(1)) else { return };
        let (at, to, length) = (word(2), word(4), word(6));
        let mut bytes = disk.contents(path).expect("it is there");
        if step[1] % 9 == 8 {
            disk.remove(path).expect("it is there");
            continue;
        }
        change(&mut bytes, step, (at, to, length), &paths, disk);
        disk.replace(path, bytes);
    }
}

fn change(
    bytes: &mut Vec<u8>,
    step: &[u8],
    (at, to, length): (usize, usize, usize),
    paths: &[PathBuf],
    disk: &SimulatedDisk,
) {
    let whole = bytes.len();
    let at = at % whole.max(1);
    let end = (at + length % 5000).min(whole);
    match step[1] % 9 {
        _ if whole == 0 => bytes.extend(garbage(step, length % 300)),
        0 => bytes[at] ^= 1 << (step[4] % 8),
        1 => bytes.truncate(at),
        2 => bytes[at..end].fill(0),
        3 => {
            let end = (at + length % 300).min(whole);
            bytes[at..end].copy_from_slice(&garbage(step, end - at));
        }
        4 => {
            let to = to % whole;
            let count = (end - at).min(whole - to);
            bytes.copy_within(at..at + count, to);
        }
        5 => drop(bytes.splice(at..at, garbage(step, length % 300))),
        6 => drop(bytes.drain(at..(at + length % 600).min(whole))),
        _ => {
            // The same place of another file.
            let other = disk.contents(&paths[to % paths.len()]).expect("it is there");
            let end = end.min(other.len());
            if at < end {
                bytes[at..end].copy_from_slice(&other[at..end]);
            }
        }
    }
}

fn garbage(step: &[u8], length: usize) -> Vec<u8> {
    let seed = u64::from_le_bytes(step.try_into().expect("a step has eight bytes"));
    let random = SeededRandom::new(seed);
    (0..length).map(|_| random.next_u64().to_le_bytes()[0]).collect()
}
