//! Bytes that are not what was written: a torn tail is cut off, everything else is reported with
//! its place. With `ANNALS_EXHAUSTIVE=1` every bit is flipped and writes of every size are torn at every byte.

#![allow(clippy::print_stdout, reason = "long runs are summed up")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use annals_core::disk::SimulatedDisk;
use annals_core::{Append, EventStore, ReadError, ReadQuery, RecordedEvent};

use super::super::verify;
use super::{FOLDER, LogOptions, OpenError, append, block_on, open_with, read, small, stream};
use crate::log::address::Address;
use crate::log::format::checkpoint::Checkpoint;
use crate::log::format::header::SegmentHeader;
use crate::log::{Damage, Flaw};

fn segment(number: u32) -> PathBuf {
    Path::new(FOLDER).join(format!("{number:08}.segment"))
}

/// A disk on which a log of two segments was closed, and its events.
fn closed_log(options: &LogOptions) -> (SimulatedDisk, Vec<RecordedEvent>) {
    let name = |id: u128| if id.is_multiple_of(3) { "account-A" } else { "account-B" };
    let appends = (1..=12).map(|id| append(name(id), id, vec![b'a'; 350]));
    let (disk, events) = log_of(appends, options);
    assert!(disk.contents(segment(2)).is_some(), "there are two segments");
    (disk, events)
}

/// A disk on which a log was closed, and its events.
fn log_of(
    appends: impl Iterator<Item = Append>,
    options: &LogOptions,
) -> (SimulatedDisk, Vec<RecordedEvent>) {
    let disk = SimulatedDisk::new(9);
    let log = open_with(&disk, options.clone()).unwrap();
    let events = block_on(async {
        for append in appends {
            log.append(append).await.unwrap();
        }
        read(&log, ReadQuery::all()).await.unwrap()
    });
    log.close();
    (disk, events)
}

/// Whether every bit and every byte is tried, which takes long, or enough of them for each change of the code.
fn exhaustive() -> bool {
    std::env::var_os("ANNALS_EXHAUSTIVE").is_some()
}

/// How many places are tried at once: most of the time goes into starting and ending the threads of a log.
const LANES: usize = 4;

/// Runs one lane in each of several threads, and answers what they came to.
fn in_lanes<T: Send>(run: impl Fn(usize) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let run = &run;
        let lanes: Vec<_> = (0..LANES).map(|lane| scope.spawn(move || run(lane))).collect();
        lanes.into_iter().map(|lane| lane.join().unwrap()).collect()
    })
}

/// What flipping bits came to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flips {
    files: usize,
    bits: usize,
    /// A verification named the place.
    reported: usize,
    /// Everything was served as it was written; what is derived was made again.
    harmless: usize,
}

/// Flips bits of every file of a closed log. Each flip must be reported by a verification and, when the log is opened or
/// read, at its place; or change nothing of what is served. With a step of 1 no bit is left out.
pub(super) fn flip_bits(options: &LogOptions, step: usize) -> Result<Flips, String> {
    let (disk, events) = closed_log(options);
    let mut flips = Flips::default();
    for path in disk.paths() {
        flip_file(&disk, (&events, options), &path, step, &mut flips)?;
    }
    Ok(flips)
}

fn flip_file(
    disk: &SimulatedDisk,
    (events, options): (&[RecordedEvent], &LogOptions),
    path: &Path,
    step: usize,
    flips: &mut Flips,
) -> Result<(), String> {
    let bytes = disk.contents(path).unwrap();
    let root = open_with(&disk.fork(), options.clone()).unwrap().tree_root(events.len() as u64);
    let expected = (events, root.unwrap());
    flips.files += 1;
    let lanes = in_lanes(|lane| {
        let mut flips = Flips::default();
        for bit in (lane * step..bytes.len() * 8).step_by(step * LANES) {
            let (byte, blank) = (bit / 8, bytes[bit / 8..].iter().take(64).all(|b| *b == 0));
            if step > 1 && blank && !byte.is_multiple_of(97) {
                continue; // Of long rows of zeros, some are enough.
            }
            let found = flip_bit(disk, options, expected, path, bit);
            let (verified, served) =
                found.map_err(|wrong| format!("bit {bit} of {}: {wrong}", path.display()))?;
            flips.bits += 1;
            flips.reported += usize::from(verified);
            flips.harmless += usize::from(served);
        }
        Ok::<_, String>(flips)
    });
    for lane in lanes {
        let Flips { bits, reported, harmless, .. } = lane?;
        flips.bits += bits;
        flips.reported += reported;
        flips.harmless += harmless;
    }
    Ok(())
}

/// Flips one bit: whether a verification reports it, and whether everything is served.
fn flip_bit(
    disk: &SimulatedDisk,
    options: &LogOptions,
    expected: (&[RecordedEvent], [u8; 32]),
    path: &Path,
    bit: usize,
) -> Result<(bool, bool), String> {
    let damaged = disk.fork();
    let mut bytes = disk.contents(path).unwrap();
    let (byte, length) = (bit / 8, bytes.len());
    bytes[byte] ^= 1 << (bit % 8);
    damaged.replace(path, bytes);
    let verified = is_noticed(&damaged, path, byte);
    let served = is_served(&damaged, options, expected, path, byte)?;
    if !served && damaged.contents(path).unwrap().len() != length {
        return Err("the damaged file was changed".to_owned());
    }
    if !served && !verified {
        return Err("a verification passes".to_owned());
    }
    Ok((verified, served))
}

/// Whether a verification finds something wrong with this file, there or before.
fn is_noticed(disk: &SimulatedDisk, path: &Path, byte: usize) -> bool {
    let all = (0, u64::MAX);
    let here = |damage: &Damage| damage.file == path && damage.offset <= byte as u64;
    match verify(Arc::new(disk.clone()), Path::new(FOLDER), all, |_, _| {}) {
        Err(OpenError::Damage(damage)) => here(&damage),
        Err(_) => false,
        Ok(found) => {
            found.damages.iter().chain(&found.torn_tail).any(here)
                || found.stale_indexes.iter().any(|file| file == path)
        }
    }
}

/// Whether everything is served as it was; an error where something else is, or where damage is reported elsewhere.
fn is_served(
    disk: &SimulatedDisk,
    options: &LogOptions,
    (events, root): (&[RecordedEvent], [u8; 32]),
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
    let names_it = |place: &str| place.contains(&path.display().to_string());
    let mut served = true;
    for (query, expected) in [(ReadQuery::all(), events.to_vec()), of("account-A"), of("account-B")]
    {
        match block_on(read(&log, query)) {
            Ok(found) if found == expected => {}
            Ok(_) => return Err("other events are served".to_owned()),
            Err(ReadError::Damage { place, .. }) if names_it(&place) => served = false,
            Err(error) => return Err(format!("{error:?}")),
        }
    }
    match log.tree_root(events.len() as u64) {
        Ok(found) if found == root => Ok(served),
        Ok(_) => Err("the Merkle tree has another root".to_owned()),
        Err(ReadError::Damage { place, .. }) if names_it(&place) => Ok(false),
        Err(error) => Err(format!("the Merkle tree: {error:?}")),
    }
}

#[test]
fn every_flipped_bit_is_reported_at_its_place_or_changes_nothing() {
    let step = if exhaustive() { 1 } else { 7 };
    let mut flips = flip_bits(&small(), step).unwrap();
    // A log of so many events that the file of the tree holds some.
    let (disk, events) = log_of((1..=300).map(|id| append("account-A", id, Vec::new())), &small());
    let tree = Path::new(FOLDER).join("tree");
    flip_file(&disk, (&events, &small()), &tree, 1, &mut flips).unwrap();
    let Flips { files, bits, reported, harmless } = flips;
    println!("flipped bits: {bits} of {files} files, {reported} reported, {harmless} harmless");
    assert!(reported > 5_000, "{reported} flips were reported");
    assert!(reported + harmless >= bits, "a flip was neither reported nor harmless");
}

/// A last event of that size, torn from one of its bytes on in one of four ways, is gone and what was before it is there.
fn tear(size: usize, step: usize) -> usize {
    let options = LogOptions {
        segment_bytes: if size > 2_000 { 128 << 10 } else { small().segment_bytes },
        ..small()
    };
    let disk = SimulatedDisk::new(9);
    let log = open_with(&disk, options.clone()).unwrap();
    let (start, end) = block_on(async {
        log.append(append("s", 1, vec![1; 100])).await.unwrap();
        log.append(append("s", 2, vec![2; 100])).await.unwrap();
        let start = log.stats().bytes;
        log.append(append("s", 3, vec![3; size])).await.unwrap();
        (usize::try_from(start).unwrap(), usize::try_from(log.stats().bytes).unwrap())
    });
    let whole = disk.contents(segment(1)).unwrap();
    let disk = disk.crash(annals_core::disk::Survival::Everything);
    let tear_at = |cut: usize, kind: &str| {
        let mut bytes = whole.clone();
        match kind {
            "zeros" => bytes[cut..end].fill(0),
            "garbage" => bytes[cut..end].iter_mut().for_each(|byte| *byte ^= 0xa5),
            "older" => bytes.copy_within(start - (end - cut).min(start)..start, cut),
            _ => bytes.truncate(cut),
        }
        let disk = disk.fork();
        disk.replace(segment(1), bytes);
        let log = open_with(&disk, options.clone())
            .unwrap_or_else(|error| panic!("{kind} from {cut}, size {size}: {error:?}"));
        block_on(async {
            let events = read(&log, ReadQuery::all()).await.unwrap();
            assert_eq!(events.len(), 2, "{kind} from {cut}, size {size}");
            assert_eq!(events[1].data, vec![2; 100], "{kind} from {cut}, size {size}");
            if cut.is_multiple_of(16) {
                log.append(append("s", 4, vec![4; 10])).await.unwrap();
                log.close();
                let log = open_with(&disk, options.clone()).unwrap();
                assert_eq!(read(&log, ReadQuery::all()).await.unwrap().len(), 3);
            }
        });
    };
    let lanes = in_lanes(|lane| {
        let cuts = (start + lane * step..end).step_by(step * LANES);
        let kinds = ["zeros", "garbage", "older", "short"];
        let torn = cuts.flat_map(|cut| kinds.map(|kind| tear_at(cut, kind)));
        torn.count()
    });
    lanes.into_iter().sum()
}

#[test]
fn a_write_torn_at_any_byte_leaves_what_was_there_before() {
    let mut torn = 0;
    for size in [0, 1, 511, 512, 513] {
        torn += tear(size, 1);
    }
    if exhaustive() {
        for size in [2_000, 4_095, 4_096, 4_097, 65_536] {
            torn += tear(size, 1);
        }
    } else {
        torn += tear(2_000, 7);
    }
    println!("torn writes: {torn}, each gone whole");
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

#[test]
fn a_first_segment_that_continues_another_is_reported() {
    let (disk, _) = closed_log(&small());
    let mut bytes = disk.contents(segment(1)).unwrap();
    let header = SegmentHeader::decode(&bytes[..4096]).unwrap();
    let forged = SegmentHeader { chain: [9; 32], ..header };
    bytes[..4096].copy_from_slice(&forged.encode());
    disk.replace(segment(1), bytes);
    let found = verify(Arc::new(disk.clone()), Path::new(FOLDER), (0, u64::MAX), |_, _| {});
    let damages = found.unwrap().damages;
    let place = (segment(1), 0, Flaw::Chain);
    assert!(damages.iter().any(|it| (it.file.clone(), it.offset, it.flaw) == place), "{damages:?}");
    assert!(matches!(open_with(&disk, small()), Err(OpenError::Damage(_))));
}
