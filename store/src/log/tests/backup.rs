//! Backups and what is restored from them: everything acknowledged before is in, what is there already is not copied
//! again, whatever is cut short leaves the old or the new, and a backup that is not whole is refused.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use annals_core::clock::SimulatedClock;
use annals_core::disk::{Disk, Fault, SimulatedDisk, Survival};
use annals_core::random::SeededRandom;
use annals_core::{Append, EventStore, Position, ReadQuery, RecordedEvent, Timestamp};

use super::super::{Backup, BackupError, Damage, Flaw, Restored, Upto, backup, restore, verify};
use super::{EPOCH, FOLDER, Log, OpenError, append, block_on, event, open_at, open_with, read};
use super::{small, write};

pub(super) const BACKUP: &str = "backup";
pub(super) const RESTORED: &str = "restored";

pub(super) fn shared(disk: &SimulatedDisk) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

pub(super) fn back_up(disk: &SimulatedDisk) -> Result<Backup, BackupError> {
    let clock = SimulatedClock::new(Timestamp(EPOCH.0 + 1_000_000));
    backup(&shared(disk), Path::new(FOLDER), Path::new(BACKUP), &clock, |_, _| {})
}

pub(super) fn restore_upto(disk: &SimulatedDisk, upto: Upto) -> Result<Restored, BackupError> {
    restore(&shared(disk), Path::new(BACKUP), Path::new(RESTORED), upto, |_, _| {})
}

/// Everything in the log of a folder, which is closed again.
pub(super) fn events_in(disk: &SimulatedDisk, folder: &str) -> Vec<RecordedEvent> {
    let clock = SimulatedClock::new(EPOCH);
    let log = open_at(shared(disk), Path::new(folder), clock, small()).unwrap();
    let events = block_on(read(&log, ReadQuery::all())).unwrap();
    log.close();
    events
}

/// Adds appends of one, two and three events, each at a time of its own, and closes the log.
pub(super) fn grow(disk: &SimulatedDisk, ids: std::ops::Range<u128>) {
    let clock = SimulatedClock::new(EPOCH);
    let log = open_at(shared(disk), Path::new(FOLDER), clock.clone(), small()).unwrap();
    block_on(async {
        for id in ids {
            clock.set(Timestamp(EPOCH.0 + i64::try_from(id).unwrap() * 10));
            log.append(several(id)).await.unwrap();
        }
    });
    log.close();
}

/// An append whose events name it.
pub(super) fn several(id: u128) -> Append {
    let name = if id.is_multiple_of(2) { "account-A" } else { "account-B" };
    let events = (0..=id % 3).map(|number| event(id * 10 + number, vec![b'a'; 200]));
    Append::to(write(name, events.collect()))
}

/// The append that an event is of.
pub(super) fn append_of(event: &RecordedEvent) -> u128 {
    event.id.0.as_u128() / 10
}

/// What the log's folder and the backup hold.
pub(super) fn contents(disk: &SimulatedDisk, folder: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = disk.paths().into_iter().filter(|path| path.starts_with(folder));
    paths.map(|path| (path.clone(), disk.contents(&path).unwrap())).collect()
}

pub(super) fn whole(disk: &SimulatedDisk, folder: &str) {
    let found = verify(shared(disk), Path::new(folder), (0, u64::MAX), |_, _| {}).unwrap();
    assert_eq!((found.damages, found.torn_tail), (Vec::new(), None));
}

#[test]
fn a_restored_log_holds_what_was_backed_up_and_goes_on() {
    let disk = SimulatedDisk::new(1);
    grow(&disk, 1..60);
    let events = events_in(&disk, FOLDER);
    let made = back_up(&disk).unwrap();
    assert!(made.segments > 2, "{} segments", made.segments);
    assert_eq!((made.events, made.in_use), (events.len() as u64, false));
    assert_eq!((made.copied_segments, made.copied_bytes), (made.segments, made.bytes));
    let restored = restore_upto(&disk, Upto::Everything).unwrap();
    assert_eq!((restored.identity.id, restored.identity.epoch), (made.identity.id, 2));
    assert_eq!((restored.chain, restored.left_out), (made.chain, 0));
    whole(&disk, RESTORED);
    assert_eq!(events_in(&disk, RESTORED), events);
    let open = || open_at(shared(&disk), Path::new(RESTORED), SimulatedClock::new(EPOCH), small());
    let log = open().unwrap();
    block_on(async {
        for id in 100..120 {
            log.append(several(id)).await.unwrap();
        }
        let again = log.append(several(7)).await.unwrap();
        assert!(again.position < Some(Position(events.len() as u64)), "event ids are known");
    });
    log.close();
    let log = open().unwrap();
    assert_eq!(log.identity().epoch, 2);
    assert!(log.stats().events > events.len() as u64 + 20);
    log.close();
    whole(&disk, RESTORED);
    let again = restore_upto(&disk, Upto::Everything);
    assert!(matches!(again, Err(BackupError::Occupied { .. })), "{again:?}");
}

#[test]
fn a_second_backup_copies_only_what_is_new() {
    let disk = SimulatedDisk::new(1);
    grow(&disk, 1..60);
    let first = back_up(&disk).unwrap();
    let none = back_up(&disk).unwrap();
    assert_eq!((none.copied_segments, none.copied_bytes), (0, 0));
    assert_eq!((none.events, none.bytes, none.chain), (first.events, first.bytes, first.chain));
    grow(&disk, 60..62);
    let second = back_up(&disk).unwrap();
    assert_eq!(second.copied_segments, second.segments - first.segments + 1);
    grow(&disk, 62..100);
    let third = back_up(&disk).unwrap();
    assert_eq!(third.copied_segments, third.segments - second.segments + 1);
    let held = contents(&disk, BACKUP).len() as u64;
    assert_eq!(held, third.segments + 1, "what the manifest does not name is removed");
    // A file that was lost is copied again.
    let lost = contents(&disk, BACKUP).remove(0).0;
    disk.remove(&lost).unwrap();
    assert_eq!(back_up(&disk).unwrap().copied_segments, 1);
    restore_upto(&disk, Upto::Everything).unwrap();
    assert_eq!(events_in(&disk, RESTORED), events_in(&disk, FOLDER));
}

#[test]
fn a_backup_beside_appends_holds_all_that_was_acknowledged_before() {
    for by_log in [true, false] {
        let disk = SimulatedDisk::new(2);
        let log = open_with(&disk, small()).unwrap();
        let appender = Arc::clone(&log);
        let running = std::thread::spawn(move || {
            block_on(async {
                for group in 0..150 {
                    let appends = (1..4).map(|id| appender.append(several(group * 3 + id)));
                    for answer in futures::future::join_all(appends).await {
                        answer.unwrap();
                    }
                }
            });
        });
        let mut events = 0;
        let mut copied = 0;
        loop {
            let ended = running.is_finished();
            let acknowledged = log.head().map_or(0, |head| head.0 + 1);
            let made = if by_log {
                log.backup(Path::new(BACKUP), |_, _| {}).unwrap()
            } else {
                let made = back_up(&disk).unwrap();
                assert!(made.in_use);
                made
            };
            assert!(made.events >= acknowledged.max(events), "{made:?} after {acknowledged}");
            events = made.events;
            copied += made.copied_segments;
            let fork = disk.fork();
            let restored = restore_upto(&fork, Upto::Everything).unwrap();
            assert_eq!(restored.events, events);
            let cut = fork.crash(Survival::Nothing);
            let left = events_in(&cut, FOLDER).len() as u64;
            assert!(left >= events, "a power cut took {events} - {left} events of the backup");
            if ended {
                break;
            }
        }
        running.join().unwrap();
        assert_eq!(events, log.stats().events);
        assert!(copied >= log.stats().segments);
        let all = block_on(read(&log, ReadQuery::all())).unwrap();
        log.close();
        restore_upto(&disk, Upto::Everything).unwrap();
        assert_eq!(events_in(&disk, RESTORED), all);
    }
}

/// A disk with the log and the backup of another store.
pub(super) fn of_another_store() -> SimulatedDisk {
    let disk = SimulatedDisk::new(5);
    let (clock, random) = (SimulatedClock::new(EPOCH), SeededRandom::new(12));
    let (clock, random) = (Arc::new(clock), Arc::new(random));
    let log = Log::open(shared(&disk), FOLDER, clock, random, small()).unwrap();
    block_on(log.append(append("s", 1, vec![1; 100]))).unwrap();
    log.close();
    back_up(&disk).unwrap();
    disk
}

/// Sees that the backup on this disk is refused as damaged, and the target left alone.
#[track_caller]
fn refused(disk: &SimulatedDisk) -> Option<Damage> {
    let found = restore_upto(disk, Upto::Position(Position(0)));
    assert_eq!(contents(disk, RESTORED), [], "the target was touched");
    match found {
        Err(BackupError::Backup(damage)) => Some(damage),
        Err(BackupError::NoBackup { .. }) => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_flipped_bit_of_a_backup_is_refused_before_the_target_is_touched() {
    let disk = SimulatedDisk::new(4);
    grow(&disk, 1..20);
    back_up(&disk).unwrap();
    let mut flips = 0;
    for (path, bytes) in contents(&disk, BACKUP) {
        for bit in (0..bytes.len() * 8).step_by(53) {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let damaged = disk.fork();
            damaged.replace(&path, flipped);
            let damage = refused(&damaged).expect("there is a manifest");
            assert_eq!(damage.file, path, "bit {bit}");
            assert!(damage.offset <= bit as u64 / 8, "bit {bit}: {damage}");
            flips += 1;
        }
    }
    assert!(flips > 2_000, "{flips} flips");
}

#[test]
fn missing_swapped_short_and_foreign_files_of_a_backup_are_refused() {
    let disk = SimulatedDisk::new(4);
    grow(&disk, 1..60);
    back_up(&disk).unwrap();
    let other = of_another_store();
    let files = contents(&disk, BACKUP);
    for (path, bytes) in &files {
        let missing = disk.fork();
        missing.remove(path).unwrap();
        let damage = refused(&missing);
        assert!(damage.is_none_or(|damage| damage.file == *path && damage.flaw == Flaw::Missing));
        for length in [0, 100, 4_096, bytes.len() - 1] {
            let short = disk.fork();
            short.replace(path, bytes[..length.min(bytes.len() - 1)].to_vec());
            assert_eq!(refused(&short).unwrap().file, *path);
        }
        let long = disk.fork();
        long.replace(path, [&bytes[..], &[0]].concat());
        assert_eq!(refused(&long).unwrap().file, *path);
        for (theirs, _) in files.iter().filter(|(theirs, _)| theirs != path) {
            let swapped = disk.fork();
            swapped.replace(path, disk.contents(theirs).unwrap());
            swapped.replace(theirs, bytes.clone());
            assert!(refused(&swapped).is_some());
        }
        for (_, foreign) in contents(&other, BACKUP) {
            let mixed = disk.fork();
            mixed.replace(path, foreign);
            assert!(refused(&mixed).is_some());
        }
    }
}

#[test]
fn a_backup_is_extended_only_by_the_history_that_it_holds() {
    let disk = SimulatedDisk::new(6);
    grow(&disk, 1..60);
    back_up(&disk).unwrap();
    // A log that was restored to before goes another way.
    restore_upto(&disk, Upto::Position(Position(30))).unwrap();
    let clock = SimulatedClock::new(EPOCH);
    let again =
        || backup(&shared(&disk), Path::new(RESTORED), Path::new(BACKUP), &clock, |_, _| {});
    let before = contents(&disk, BACKUP);
    assert!(matches!(again(), Err(BackupError::Diverged { .. })));
    let log = open_at(shared(&disk), Path::new(RESTORED), clock.clone(), small()).unwrap();
    block_on(async {
        for id in 100..160 {
            log.append(several(id)).await.unwrap();
        }
    });
    log.close();
    assert!(matches!(again(), Err(BackupError::Diverged { .. })));
    disk.replace("busy/notes", vec![1]);
    let busy = backup(&shared(&disk), Path::new(FOLDER), Path::new("busy"), &clock, |_, _| {});
    assert!(matches!(busy, Err(BackupError::Occupied { .. })), "{busy:?}");
    for (path, bytes) in contents(&of_another_store(), BACKUP) {
        disk.replace(Path::new("foreign").join(path.file_name().unwrap()), bytes);
    }
    let foreign =
        backup(&shared(&disk), Path::new(FOLDER), Path::new("foreign"), &clock, |_, _| {});
    assert!(matches!(foreign, Err(BackupError::Foreign { .. })), "{foreign:?}");
    let nothing = backup(&shared(&disk), Path::new("none"), Path::new("new"), &clock, |_, _| {});
    assert!(matches!(nothing, Err(BackupError::Open(OpenError::NoLog { .. }))), "{nothing:?}");
    assert_eq!(contents(&disk, BACKUP), before);
}

#[test]
fn damage_of_the_log_ends_a_backup_with_its_place() {
    let disk = SimulatedDisk::new(8);
    grow(&disk, 1..60);
    let path = Path::new(FOLDER).join("00000002.segment");
    let mut bytes = disk.contents(&path).unwrap();
    bytes[5_000] ^= 1;
    disk.replace(&path, bytes);
    let found = back_up(&disk);
    let Err(BackupError::Log(damage)) = found else { panic!("{found:?}") };
    assert_eq!(damage.file, path);
    assert!(damage.offset <= 5_000 && damage.position.is_some());
    let found = restore_upto(&disk, Upto::Everything);
    assert!(matches!(found, Err(BackupError::NoBackup { .. })), "{found:?}");
}

/// The events that a crash of the backup's disk leaves.
fn after_crash(disk: &SimulatedDisk) -> Result<usize, BackupError> {
    restore_upto(disk, Upto::Everything)?;
    let events = events_in(disk, RESTORED);
    assert_eq!(events, events_in(disk, FOLDER)[..events.len()]);
    Ok(events.len())
}

/// Every other fault lasts.
pub(super) fn fault(number: u64) -> Fault {
    if number.is_multiple_of(2) { Fault::Once } else { Fault::Lasting }
}

pub(super) const SURVIVALS: [Survival; 3] =
    [Survival::Nothing, Survival::Random, Survival::Everything];

#[test]
fn a_backup_cut_short_anywhere_leaves_the_old_or_the_new() {
    for begun in [false, true] {
        let disk = SimulatedDisk::new(9);
        grow(&disk, 1..12);
        if begun {
            back_up(&disk).unwrap();
        }
        let old = events_in(&disk, FOLDER).len();
        grow(&disk, 12..25);
        let new = events_in(&disk, FOLDER).len();
        let fork = disk.fork();
        let from = fork.operations();
        back_up(&fork).unwrap();
        let operations = fork.operations() - from;
        assert!(operations > 40, "{operations} operations");
        let mut found = [0, 0];
        for number in 1..=operations + 1 {
            let disk = disk.fork();
            disk.fail_operation(disk.operations() + number, fault(number));
            let done = back_up(&disk);
            for survival in SURVIVALS {
                let crashed = disk.fork().crash(survival);
                match after_crash(&crashed.fork()) {
                    Ok(events) if events == new => found[1] += 1,
                    Ok(events) if begun && events == old && done.is_err() => found[0] += 1,
                    Err(BackupError::NoBackup { .. }) if !begun && done.is_err() => found[0] += 1,
                    other => panic!("operation {number}, {survival:?}: {other:?}"),
                }
                assert_eq!(back_up(&crashed).unwrap().events, new as u64);
                assert_eq!(after_crash(&crashed).unwrap(), new);
            }
        }
        assert!(found[0] > 90 && found[1] > 2, "{found:?}");
    }
}

#[test]
fn a_log_without_events_is_backed_up_and_restored() {
    let disk = SimulatedDisk::new(11);
    grow(&disk, 1..1);
    let made = back_up(&disk).unwrap();
    assert_eq!((made.events, made.segments, made.last_time), (0, 0, None));
    restore_upto(&disk, Upto::Everything).unwrap();
    assert_eq!(events_in(&disk, RESTORED), []);
}

#[test]
fn a_log_whose_tail_was_torn_is_backed_up_without_it() {
    let disk = SimulatedDisk::new(12);
    let log = open_with(&disk, small()).unwrap();
    block_on(async {
        for id in 1..4 {
            log.append(several(id)).await.unwrap();
        }
    });
    let (events, end) = (log.stats().events, log.stats().bytes);
    let disk = disk.crash(Survival::Everything);
    let path = Path::new(FOLDER).join("00000001.segment");
    let mut bytes = disk.contents(&path).unwrap();
    bytes[usize::try_from(end).unwrap() + 30] = 7;
    disk.replace(&path, bytes);
    assert_eq!(back_up(&disk).unwrap().events, events);
    // Opened, it begins a segment of its own behind the cut.
    grow(&disk, 10..30);
    assert!(back_up(&disk).unwrap().events > events);
    restore_upto(&disk, Upto::Everything).unwrap();
    assert_eq!(events_in(&disk, RESTORED), events_in(&disk, FOLDER));
}

#[test]
fn no_power_cut_takes_from_the_log_what_a_backup_holds() {
    let run = |disk: &SimulatedDisk| {
        if let Ok(log) = open_with(disk, small()) {
            let appends = (1..12).map(|id| log.append(several(id)));
            block_on(async {
                for answer in appends {
                    if answer.await.is_err() {
                        break;
                    }
                }
            });
            log.close();
        }
    };
    let disk = SimulatedDisk::new(13);
    run(&disk);
    let mut held = 0;
    for number in 1..=disk.operations() {
        for fault in [Fault::Once, Fault::Lasting] {
            let disk = SimulatedDisk::new(13 + number);
            disk.fail_operation(number, fault);
            run(&disk);
            let left = disk.kill();
            let Ok(made) = back_up(&left) else { continue };
            held += made.events;
            let cut = left.crash(Survival::Nothing);
            let events = events_in(&cut, FOLDER).len() as u64;
            assert!(events >= made.events, "operation {number}: {events} of {}", made.events);
        }
    }
    assert!(held > 100, "{held} events were backed up");
}

#[test]
fn what_an_ended_process_left_unsynced_is_durable_before_it_is_copied() {
    let disk = SimulatedDisk::new(14);
    let log = open_with(&disk, small()).unwrap();
    block_on(log.append(several(1))).unwrap();
    // It ends after a write and before the sync.
    disk.lie_about_syncs(true);
    block_on(log.append(several(2))).unwrap();
    let left = disk.kill();
    left.lie_about_syncs(false);
    let made = back_up(&left).unwrap();
    assert_eq!(made.events, 5);
    assert_eq!(events_in(&left.crash(Survival::Nothing), FOLDER).len(), 5);
}
