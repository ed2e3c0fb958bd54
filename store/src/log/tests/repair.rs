//! Repairs by a backup: what was damaged is as it was, what was replaced is kept, and nothing is changed where something
//! would be lost or cannot be proven.

use std::path::{Path, PathBuf};

use annals_core::clock::SimulatedClock;
use annals_core::disk::{Disk, SimulatedDisk, Survival};
use annals_core::{EventStore, Position};

use super::super::{BackupError, OpenError, Repaired, Upto, repair, verify};
use super::backup::{
    BACKUP, RESTORED, SURVIVALS, back_up, contents, events_in, fault, grow, of_another_store,
    restore_upto, several, shared, whole,
};
use super::{EPOCH, FOLDER, block_on, open_at, open_with, small};

fn mend(disk: &SimulatedDisk) -> Result<Repaired, BackupError> {
    repair(&shared(disk), Path::new(FOLDER), Path::new(BACKUP), |_, _| {})
}

fn segment(number: u32) -> PathBuf {
    Path::new(FOLDER).join(format!("{number:08}.segment"))
}

/// How many segments the log has.
fn segments(disk: &SimulatedDisk) -> u32 {
    (1..1_000).take_while(|number| disk.contents(segment(*number)).is_some()).last().unwrap_or(0)
}

fn change(disk: &SimulatedDisk, number: u32, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = disk.contents(segment(number)).unwrap();
    change(&mut bytes);
    disk.replace(segment(number), bytes);
}

/// Sees that a repair is refused and changes nothing.
#[track_caller]
fn refused(disk: &SimulatedDisk) -> BackupError {
    let before = contents(disk, FOLDER);
    let error = mend(disk).unwrap_err();
    assert!(contents(disk, FOLDER) == before, "something was changed: {error:?}");
    error
}

/// Sees that a repair makes these segments what they were.
#[track_caller]
fn mended(disk: &SimulatedDisk, sound: &SimulatedDisk, damaged: &[u32]) -> Repaired {
    let before: Vec<_> = damaged.iter().map(|number| disk.contents(segment(*number))).collect();
    let done = mend(disk).unwrap();
    let files: Vec<_> = done.replaced.iter().map(|one| one.damage.file.clone()).collect();
    assert_eq!(files, damaged.iter().map(|number| segment(*number)).collect::<Vec<_>>());
    for (one, before) in done.replaced.iter().zip(before) {
        assert_eq!(one.kept.as_ref().map(|path| disk.contents(path).unwrap()), before);
    }
    let found = verify(shared(disk), Path::new(FOLDER), (0, u64::MAX), |_, _| {}).unwrap();
    assert_eq!(found.damages, []);
    assert!(disk.paths().iter().all(|path| path.extension() != Some("repaired".as_ref())));
    assert_eq!(events_in(disk, FOLDER), events_in(sound, FOLDER));
    assert_eq!(mend(disk).unwrap().replaced, []);
    done
}

type Change = fn(&mut Vec<u8>);
const CHANGES: [Change; 6] = [
    |bytes| bytes[4_200] ^= 1,
    |bytes| bytes[50] ^= 1,
    |bytes| bytes.truncate(4_200),
    |bytes| bytes.truncate(100),
    |bytes| bytes[4_096..].fill(0),
    |bytes| bytes.fill(7),
];

#[test]
fn every_segment_that_the_backup_holds_is_repaired() {
    let disk = SimulatedDisk::new(1);
    grow(&disk, 1..80);
    back_up(&disk).unwrap();
    let all = segments(&disk);
    assert!(all > 4, "{all} segments");
    assert_eq!(mend(&disk).unwrap().replaced, []);
    for number in 1..=all {
        for damage in CHANGES {
            let damaged = disk.fork();
            change(&damaged, number, damage);
            mended(&damaged, &disk, &[number]);
        }
        let missing = disk.fork();
        missing.remove(&segment(number)).unwrap();
        let done = mended(&missing, &disk, &[number]);
        assert_eq!(done.replaced[0].kept, None);
        let other = if number == 1 { 2 } else { number - 1 };
        let swapped = disk.fork();
        swapped.replace(segment(number), disk.contents(segment(other)).unwrap());
        mended(&swapped, &disk, &[number]);
    }
    let everywhere = disk.fork();
    (1..=all).for_each(|number| change(&everywhere, number, CHANGES[0]));
    let numbers: Vec<_> = (1..=all).collect();
    mended(&everywhere, &disk, &numbers);
    grow(&everywhere, 80..120);
    whole(&everywhere, FOLDER);
}

#[test]
fn a_second_damage_is_kept_beside_the_first() {
    let disk = SimulatedDisk::new(1);
    grow(&disk, 1..30);
    back_up(&disk).unwrap();
    let mut kept: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    for at in [4_500, 5_000, 5_500] {
        let damaged = disk.fork();
        for (path, bytes) in &kept {
            damaged.replace(path, Vec::clone(bytes));
        }
        change(&damaged, 1, |bytes| bytes[at] ^= 1);
        let path = mended(&damaged, &disk, &[1]).replaced.remove(0).kept.unwrap();
        kept.push((path.clone(), damaged.contents(&path).unwrap()));
    }
    let names: Vec<_> = kept.iter().map(|(path, _)| path.to_str().unwrap()).collect();
    let name = "log/00000001.segment.damaged";
    assert_eq!(names, [name.to_owned(), format!("{name}-2"), format!("{name}-3")]);
}

#[test]
fn what_the_log_holds_behind_the_backup_stays() {
    let disk = SimulatedDisk::new(2);
    grow(&disk, 1..6);
    back_up(&disk).unwrap();
    for more in [7, 30] {
        let disk = disk.fork();
        grow(&disk, 6..more);
        for damage in [CHANGES[0], CHANGES[1]] {
            let damaged = disk.fork();
            change(&damaged, 1, damage);
            let done = mended(&damaged, &disk, &[1]);
            assert!(done.replaced[0].own > 0, "{done:?}");
        }
        if more == 30 {
            let damaged = disk.fork();
            change(&damaged, 3, CHANGES[0]);
            let error = refused(&damaged);
            let BackupError::Lost { from, upto, damage } = error else { panic!("{error:?}") };
            assert_eq!((damage.file, Some(from)), (segment(3), damage.position));
            assert!(upto > Some(from) && upto <= Some(events_in(&disk, FOLDER).len() as u64));
        }
    }
}

#[test]
fn damage_behind_what_the_backup_holds_is_told_and_left() {
    let disk = SimulatedDisk::new(2);
    grow(&disk, 1..6);
    let held = back_up(&disk).unwrap();
    grow(&disk, 6..9);
    let bytes = usize::try_from(held.bytes).unwrap();
    for at in [bytes + 10, bytes + 300] {
        let damaged = disk.fork();
        change(&damaged, 1, |file| file[at] ^= 1);
        let error = refused(&damaged);
        let BackupError::Lost { from, upto, .. } = error else { panic!("{error:?}") };
        assert!(from >= held.events && upto > Some(from), "{from} to {upto:?}");
        // Damage that the backup reaches does not make the other one go away.
        change(&damaged, 1, CHANGES[0]);
        assert!(matches!(refused(&damaged), BackupError::Lost { .. }));
    }
    let cut = disk.fork();
    change(&cut, 1, |file| file.truncate(bytes + 10));
    assert!(matches!(refused(&cut), BackupError::Lost { .. }));
    let missing = disk.fork();
    missing.remove(&segment(1)).unwrap();
    assert!(matches!(refused(&missing), BackupError::Lost { .. }));
}

#[test]
fn the_backup_knows_of_a_last_batch_that_looks_torn() {
    let disk = SimulatedDisk::new(3);
    let log = open_with(&disk, small()).unwrap();
    block_on(async {
        for id in 1..4 {
            log.append(several(id)).await.unwrap();
        }
    });
    log.backup(Path::new(BACKUP), |_, _| {}).unwrap();
    let end = usize::try_from(log.stats().bytes).unwrap();
    let disk = disk.crash(Survival::Everything);
    let torn = disk.fork();
    change(&torn, 1, |bytes| bytes[end - 100] ^= 1);
    mended(&torn, &disk, &[1]);
    let behind = disk.fork();
    change(&behind, 1, |bytes| bytes[end + 100] ^= 1);
    assert_eq!(mend(&behind).unwrap().replaced, [], "that is a torn tail and nothing else");
}

#[test]
fn what_hashes_do_not_prove_is_refused() {
    let disk = SimulatedDisk::new(4);
    grow(&disk, 1..60);
    back_up(&disk).unwrap();
    let foreign = of_another_store();
    change(&foreign, 1, |bytes| bytes[4_200] ^= 1);
    for (path, _) in contents(&foreign, BACKUP) {
        foreign.remove(&path).unwrap();
    }
    for (path, bytes) in contents(&disk, BACKUP) {
        foreign.replace(path, bytes);
    }
    assert!(matches!(refused(&foreign), BackupError::Foreign { .. }));
    // A log that went another way since it was restored.
    restore_upto(&disk, Upto::Position(Position(30))).unwrap();
    let clock = SimulatedClock::new(EPOCH);
    let log = open_at(shared(&disk), Path::new(RESTORED), clock, small()).unwrap();
    block_on(async {
        for id in 100..160 {
            log.append(several(id)).await.unwrap();
        }
    });
    log.close();
    let other = SimulatedDisk::new(5);
    other.create_directory(Path::new(FOLDER)).unwrap();
    for (path, bytes) in contents(&disk, RESTORED) {
        other.replace(Path::new(FOLDER).join(path.file_name().unwrap()), bytes);
    }
    other.create_directory(Path::new(BACKUP)).unwrap();
    for (path, bytes) in contents(&disk, BACKUP) {
        other.replace(path, bytes);
    }
    assert_eq!(mend(&other).unwrap().replaced, []);
    let shared_part = other.fork();
    change(&shared_part, 1, CHANGES[0]);
    mended(&shared_part, &other, &[1]);
    let all = segments(&other);
    let mut unproven = 0;
    for number in 2..=all {
        let damaged = other.fork();
        change(&damaged, number, CHANGES[0]);
        if mend(&damaged.fork()).is_ok() {
            mended(&damaged, &other, &[number]);
            continue;
        }
        let error = refused(&damaged);
        unproven += usize::from(matches!(error, BackupError::Unproven(_)));
        assert_eq!(error.family(), annals_core::Family::Damage);
    }
    assert!(unproven > 2, "{unproven} of {all} were refused as not proven");
}

#[test]
fn a_damaged_backup_a_missing_one_and_an_open_log_are_refused() {
    let disk = SimulatedDisk::new(6);
    grow(&disk, 1..30);
    assert!(matches!(refused(&disk), BackupError::NoBackup { .. }));
    back_up(&disk).unwrap();
    let both = disk.fork();
    change(&both, 1, CHANGES[0]);
    let (path, mut bytes) = contents(&both, BACKUP).remove(0);
    bytes[6_000] ^= 1;
    both.replace(&path, bytes);
    let error = refused(&both);
    assert!(matches!(&error, BackupError::Backup(damage) if damage.file == path), "{error:?}");
    let log = open_with(&disk, small()).unwrap();
    assert!(matches!(mend(&disk), Err(BackupError::Open(OpenError::Locked { .. }))));
    log.close();
    disk.remove(&Path::new(FOLDER).join("identity")).unwrap();
    assert!(matches!(refused(&disk), BackupError::Log(_)));
}

#[test]
fn a_repair_cut_short_anywhere_can_be_made_again() {
    let disk = SimulatedDisk::new(7);
    grow(&disk, 1..15);
    back_up(&disk).unwrap();
    grow(&disk, 15..18);
    let damaged = disk.fork();
    let all = segments(&disk);
    (1..=all.min(2)).for_each(|number| change(&damaged, number, CHANGES[0]));
    let fork = damaged.fork();
    let from = fork.operations();
    mend(&fork).unwrap();
    let operations = fork.operations() - from;
    assert!(operations > 40, "{operations} operations");
    for number in 1..=operations {
        let disk_cut = damaged.fork();
        disk_cut.fail_operation(disk_cut.operations() + number, fault(number));
        if mend(&disk_cut).is_ok() {
            continue;
        }
        for survival in SURVIVALS {
            let crashed = disk_cut.fork().crash(survival);
            mend(&crashed).unwrap();
            whole(&crashed, FOLDER);
            let power_cut = crashed.crash(Survival::Nothing);
            assert_eq!(events_in(&power_cut, FOLDER), events_in(&disk, FOLDER));
        }
    }
}

/// Two logs that were one up to some event, each then closed, and the first one with the backup of the second.
fn copies_that_parted(
    ours: std::ops::Range<u128>,
    theirs: std::ops::Range<u128>,
) -> (SimulatedDisk, u32) {
    let disk = SimulatedDisk::new(8);
    grow(&disk, 1..4);
    let other = disk.fork();
    grow(&disk, ours);
    grow(&other, theirs);
    back_up(&other).unwrap();
    disk.create_directory(Path::new(BACKUP)).unwrap();
    for (path, bytes) in contents(&other, BACKUP) {
        disk.replace(path, bytes);
    }
    let last = segments(&disk);
    (disk, last)
}

#[test]
fn a_backup_of_a_copy_that_went_another_way_is_refused() {
    // Appends of the same sizes, of others, and more or fewer of them.
    for (ours, theirs) in [
        (101..102, 104..105),
        (100..101, 102..103),
        (102..103, 100..101),
        (102..105, 105..106),
        (102..103, 105..108),
        (102..125, 105..128),
        (102..125, 104..127),
    ] {
        let case = format!("{ours:?} and {theirs:?}");
        let (disk, last) = copies_that_parted(ours, theirs);
        for (number, damage) in
            [(1, CHANGES[0]), (1, CHANGES[1]), (1, CHANGES[4]), (last, CHANGES[5])]
        {
            let damaged = disk.fork();
            change(&damaged, number, damage);
            let error = refused(&damaged);
            assert_eq!(error.family(), annals_core::Family::Damage, "{case}: {error:?}");
        }
        let missing = disk.fork();
        missing.remove(&segment(last)).unwrap();
        refused(&missing);
    }
}

#[test]
fn where_nothing_is_left_of_the_end_nothing_is_proven() {
    let disk = SimulatedDisk::new(9);
    let log = open_with(&disk, small()).unwrap();
    block_on(log.append(several(1))).unwrap();
    log.backup(Path::new(BACKUP), |_, _| {}).unwrap();
    let disk = disk.crash(Survival::Everything);
    let blank = disk.fork();
    change(&blank, 1, |bytes| bytes.fill(0));
    assert!(matches!(refused(&blank), BackupError::Unproven(_)));
    disk.remove(&segment(1)).unwrap();
    assert!(matches!(refused(&disk), BackupError::Unproven(_)));
}
