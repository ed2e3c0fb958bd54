//! Bytes that are not what was written: a torn tail is cut off, everything else is reported with
//! its place.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use annals_core::disk::SimulatedDisk;
use annals_core::{EventStore, ReadError, ReadQuery, RecordedEvent};

use super::super::verify;
use super::{FOLDER, LogOptions, OpenError, append, block_on, open_with, read, small, stream};
use crate::log::Damage;
use crate::log::address::Address;
use crate::log::format::checkpoint::Checkpoint;
use crate::log::format::header::SegmentHeader;

fn segment(number: u32) -> PathBuf {
    Path::new(FOLDER).join(format!("{number:08}.segment"))
}

/// A disk on which a log of two segments was closed, and its events.
fn closed_log(options: &LogOptions) -> (SimulatedDisk, Vec<RecordedEvent>) {
    let disk = SimulatedDisk::new(9);
    let log = open_with(&disk, options.clone()).unwrap();
    let events = block_on(async {
        for id in 1..=12 {
            let name = if id % 3 == 0 { "account-A" } else { "account-B" };
            log.append(append(name, id, vec![b'a'; 350])).await.unwrap();
        }
        read(&log, ReadQuery::all()).await.unwrap()
    });
    log.close();
    assert!(disk.contents(segment(2)).is_some(), "there are two segments");
    (disk, events)
}

/// Flips bits of every file of a closed log. Each flip must be reported by a verification and, when the log is opened or
/// read, at its place; or change nothing of what is served.
pub(super) fn flip_bits(options: &LogOptions, step: usize) -> Result<usize, String> {
    let (disk, events) = closed_log(options);
    let mut reported = 0;
    for path in disk.paths() {
        let bytes = disk.contents(&path).unwrap();
        for bit in (0..bytes.len() * 8).step_by(step) {
            let (byte, blank) = (bit / 8, bytes[bit / 8..].iter().take(64).all(|b| *b == 0));
            if blank && !byte.is_multiple_of(97) {
                continue; // Of long rows of zeros, some are enough.
            }
            let damaged = disk.fork();
            let mut flipped = bytes.clone();
            flipped[byte] ^= 1 << (bit % 8);
            damaged.replace(&path, flipped);
            let place = format!("bit {bit} of {}", path.display());
            let verified = is_noticed(&damaged, &path);
            let served = is_served(&damaged, options, &events, &path, byte);
            let served = served.map_err(|wrong| format!("{place}: {wrong}"))?;
            if !served && damaged.contents(&path).unwrap().len() != bytes.len() {
                return Err(format!("{place}: the damaged file was changed"));
            }
            if !served && !verified {
                return Err(format!("{place}: a verification passes"));
            }
            reported += usize::from(verified);
        }
    }
    Ok(reported)
}

/// Whether a verification finds something wrong with this file.
fn is_noticed(disk: &SimulatedDisk, path: &Path) -> bool {
    let all = (0, u64::MAX);
    match verify(Arc::new(disk.clone()), Path::new(FOLDER), all, |_, _| {}) {
        Err(OpenError::Damage(damage)) => damage.file == path,
        Err(_) => false,
        Ok(found) => {
            let damages = found.damages.iter().chain(&found.torn_tail);
            damages.map(|damage| &damage.file).chain(&found.stale_indexes).any(|file| file == path)
        }
    }
}

/// Whether everything is served as it was; an error where something else is, or where damage is reported elsewhere.
fn is_served(
    disk: &SimulatedDisk,
    options: &LogOptions,
    events: &[RecordedEvent],
    path: &Path,
    byte: usize,
) -> Result<bool, String> {
    let log = match open_with(disk, options.clone()) {
        Ok(log) => log,
        Err(OpenError::Damage(damage)) => {
            let right = damage.file == path && damage.offset <= byte as u64;
            return if right { Ok(false) } else { Err(format!("it is reported as {damage}")) };
        }
        Err(error) => return Err(format!("{error:?}")),
    };
    let of = |name: &str| {
        let mine = events.iter().filter(|event| event.stream.as_str() == name);
        (ReadQuery::stream(stream(name)), mine.cloned().collect())
    };
    let mut served = true;
    for (query, expected) in [(ReadQuery::all(), events.to_vec()), of("account-A"), of("account-B")]
    {
        match block_on(read(&log, query)) {
            Ok(found) if found == expected => {}
            Ok(_) => return Err("other events are served".to_owned()),
            Err(ReadError::Damage { place, .. }) if place.contains(&path.display().to_string()) => {
                served = false;
            }
            Err(error) => return Err(format!("{error:?}")),
        }
    }
    Ok(served)
}

#[test]
fn every_flipped_bit_is_reported_at_its_place_or_changes_nothing() {
    let reported = flip_bits(&small(), 7).unwrap();
    assert!(reported > 5_000, "{reported} flips were reported");
}

#[test]
fn a_write_torn_at_any_byte_leaves_what_was_there_before() {
    for size in [0, 1, 511, 512, 513, 2_000] {
        let disk = SimulatedDisk::new(9);
        let log = open_with(&disk, small()).unwrap();
        let (start, end) = block_on(async {
            log.append(append("s", 1, vec![1; 100])).await.unwrap();
            log.append(append("s", 2, vec![2; 100])).await.unwrap();
            let start = log.stats().bytes;
            log.append(append("s", 3, vec![3; size])).await.unwrap();
            (usize::try_from(start).unwrap(), usize::try_from(log.stats().bytes).unwrap())
        });
        let whole = disk.contents(segment(1)).unwrap();
        let disk = disk.crash(annals_core::disk::Survival::Everything);
        for cut in (start..end).step_by(if size < 600 { 1 } else { 7 }) {
            for kind in ["zeros", "garbage", "older", "short"] {
                let mut torn = whole.clone();
                match kind {
                    "zeros" => torn[cut..end].fill(0),
                    "garbage" => torn[cut..end].iter_mut().for_each(|byte| *byte ^= 0xa5),
                    "older" => torn.copy_within(start - (end - cut).min(start)..start, cut),
                    _ => torn.truncate(cut),
                }
                let disk = disk.fork();
                disk.replace(segment(1), torn);
                let log = open_with(&disk, small())
                    .unwrap_or_else(|error| panic!("{kind} from {cut}, size {size}: {error:?}"));
                block_on(async {
                    let events = read(&log, ReadQuery::all()).await.unwrap();
                    assert_eq!(events.len(), 2, "{kind} from {cut}, size {size}");
                    if cut % 16 == 0 {
                        log.append(append("s", 4, vec![4; 10])).await.unwrap();
                        log.close();
                        let log = open_with(&disk, small()).unwrap();
                        assert_eq!(read(&log, ReadQuery::all()).await.unwrap().len(), 3);
                    }
                });
            }
        }
    }
}

#[test]
fn damage_before_a_later_batch_is_never_taken_for_a_torn_tail() {
    let disk = SimulatedDisk::new(9);
    let log = open_with(&disk, small()).unwrap();
    let mut starts = Vec::new();
    block_on(async {
        for id in 1..=6 {
            log.append(append("s", id, vec![1; 100])).await.unwrap();
            starts.push(log.stats().bytes);
        }
    });
    // As after a power cut: no checkpoint says how far the log is durable, only its batches do.
    let disk = disk.crash(annals_core::disk::Survival::Everything);
    let whole = disk.contents(segment(1)).unwrap();
    for (batch, start) in (1_u64..).zip(&starts[..5]) {
        let disk = disk.fork();
        let mut damaged = whole.clone();
        let at = usize::try_from(*start).unwrap() + 70;
        // The last batch is the only one that nothing later vouches for.
        damaged[at] ^= 1;
        disk.replace(segment(1), damaged);
        let found = verify(Arc::new(disk.clone()), Path::new(FOLDER), (0, u64::MAX), |_, _| {});
        let found = found.unwrap();
        assert_eq!(
            (found.damages.len(), found.torn_tail.is_some()),
            if batch == 5 { (0, true) } else { (1, false) }
        );
        let opened = open_with(&disk, small());
        if batch == 5 {
            assert_eq!(opened.unwrap().stats().events, 5);
            continue;
        }
        let Err(OpenError::Damage(damage)) = opened else { panic!("batch {batch} was lost") };
        assert_eq!((damage.offset, damage.position), (*start, Some(batch)));
    }
}

#[test]
fn swapped_missing_and_foreign_files_are_reported() {
    let (disk, _) = closed_log(&small());
    let check = |change: &dyn Fn(&SimulatedDisk)| {
        let disk = disk.fork();
        change(&disk);
        let verified = verify(Arc::new(disk.clone()), Path::new(FOLDER), (0, u64::MAX), |_, _| {});
        let found = verified.map(|found| found.damages.len());
        assert!(matches!(found, Err(OpenError::Damage(_)) | Ok(1..)), "{found:?}");
        // What lies in a sealed segment is noticed when it is read.
        match open_with(&disk, small()) {
            Err(OpenError::Damage(_)) => {}
            Err(error) => panic!("{error:?}"),
            Ok(log) => {
                let read = block_on(read(&log, ReadQuery::all()));
                assert!(matches!(read, Err(ReadError::Damage { .. })), "{read:?}");
            }
        }
    };
    let contents = |number| disk.contents(segment(number)).unwrap();
    check(&|disk| disk.replace(segment(1), contents(2)));
    check(&|disk| {
        disk.replace(segment(1), contents(2));
        disk.replace(segment(2), contents(1));
    });
    check(&|disk| remove(disk, &segment(1)));
    check(&|disk| remove(disk, &segment(2)));
    check(&|disk| {
        remove(disk, &segment(1));
        remove(disk, &segment(2));
    });
    check(&|disk| remove(disk, &Path::new(FOLDER).join("identity")));
    check(&|disk| remove(disk, &Path::new(FOLDER).join("checkpoint")));
    check(&|disk| {
        let mut other = contents(1);
        other.truncate(5_000);
        disk.replace(segment(1), other);
    });
}

fn remove(disk: &SimulatedDisk, path: &Path) {
    annals_core::disk::Disk::remove(disk, path).unwrap();
}

#[test]
fn a_checkpoint_that_contradicts_a_sealed_segment_is_reported() {
    let (disk, _) = closed_log(&small());
    let path = Path::new(FOLDER).join("checkpoint");
    let mut bytes = disk.contents(&path).unwrap();
    let known = Checkpoint::decode(&bytes).unwrap();
    let next = SegmentHeader::decode(&disk.contents(segment(2)).unwrap()[..4096]).unwrap();
    let end = Address { segment: 1, offset: next.previous_end };
    let forged = Checkpoint { end, events: next.first_position, chain: [9; 32], ..known };
    let (offset, slot) = forged.encode();
    let offset = usize::try_from(offset).unwrap();
    bytes[offset..offset + slot.len()].copy_from_slice(&slot);
    disk.replace(&path, bytes);
    let found = verify(Arc::new(disk.clone()), Path::new(FOLDER), (0, u64::MAX), |_, _| {});
    let damages = found.unwrap().damages;
    assert!(matches!(&damages[..], [damage] if damage.file == segment(1)), "{damages:?}");
}

#[test]
fn a_header_whose_time_contradicts_the_events_is_reported() {
    for by in [-1, 1] {
        let (disk, _) = closed_log(&small());
        // With its index file, the sealed segment would not be read.
        remove(&disk, &Path::new(FOLDER).join("00000001.index"));
        let mut bytes = disk.contents(segment(2)).unwrap();
        let header = SegmentHeader::decode(&bytes[..4096]).unwrap();
        let forged = SegmentHeader { time: header.time + by, ..header };
        bytes[..4096].copy_from_slice(&forged.encode());
        disk.replace(segment(2), bytes);
        let all = (0, u64::MAX);
        let found = verify(Arc::new(disk.clone()), Path::new(FOLDER), all, |_, _| {});
        assert!(!found.unwrap().damages.is_empty(), "{by}");
        let opened = open_with(&disk, small()).map(|log| log.stats());
        let there = |damage: &Damage| damage.file == segment(2);
        assert!(matches!(&opened, Err(OpenError::Damage(damage)) if there(damage)), "{opened:?}");
    }
}
