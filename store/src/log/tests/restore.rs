//! Logs made of backups: up to a position or a time, never a part of an append, and whole or not at all.

use std::path::Path;

use annals_core::clock::SimulatedClock;
use annals_core::disk::SimulatedDisk;
use annals_core::{EventStore, Position, Timestamp};

use super::super::{BackupError, Flaw, Upto, verify};
use super::backup::{
    RESTORED, SURVIVALS, append_of, back_up, contents, events_in, fault, grow, restore_upto,
    several, shared, whole,
};
use super::{EPOCH, FOLDER, OpenError, block_on, open_at, open_with, small};

#[test]
fn a_restore_ends_with_the_append_that_holds_the_last_position_wanted() {
    let disk = SimulatedDisk::new(3);
    grow(&disk, 1..40);
    let events = events_in(&disk, FOLDER);
    back_up(&disk).unwrap();
    for wanted in &events {
        let disk = disk.fork();
        let restored = restore_upto(&disk, Upto::Position(wanted.position)).unwrap();
        let whole_append = events.iter().filter(|event| append_of(event) <= append_of(wanted));
        let expected: Vec<_> = whole_append.cloned().collect();
        assert_eq!(restored.events, expected.len() as u64);
        assert_eq!(restored.left_out, (events.len() - expected.len()) as u64);
        whole(&disk, RESTORED);
        assert_eq!(events_in(&disk, RESTORED), expected, "position {}", wanted.position);
        if wanted.position.0.is_multiple_of(5) {
            let clock = SimulatedClock::new(EPOCH);
            let log = open_at(shared(&disk), Path::new(RESTORED), clock, small()).unwrap();
            block_on(log.append(several(500))).unwrap();
            log.close();
            assert_eq!(events_in(&disk, RESTORED).len(), expected.len() + 3);
            whole(&disk, RESTORED);
        }
    }
    let beyond = restore_upto(&disk, Upto::Position(Position(events.len() as u64)));
    assert!(matches!(beyond, Err(BackupError::BeyondPosition { .. })), "{beyond:?}");
    assert_eq!(contents(&disk, RESTORED), []);
}

#[test]
fn a_restore_never_divides_appends_that_were_written_together() {
    let disk = SimulatedDisk::new(3);
    let log = open_with(&disk, small()).unwrap();
    block_on(async {
        for group in 0..6 {
            let appends = (1..8).map(|id| log.append(several(group * 10 + id)));
            futures::future::join_all(appends).await;
        }
    });
    log.close();
    let events = events_in(&disk, FOLDER);
    back_up(&disk).unwrap();
    for wanted in &events {
        let disk = disk.fork();
        restore_upto(&disk, Upto::Position(wanted.position)).unwrap();
        let restored = events_in(&disk, RESTORED);
        assert!(restored.len() as u64 > wanted.position.0);
        assert_eq!(restored, events[..restored.len()]);
        let last = restored.last().map(append_of);
        let next = events.get(restored.len()).map(append_of);
        assert_ne!(last, next, "position {} divides an append", wanted.position);
    }
}

#[test]
fn a_restore_by_time_holds_what_was_recorded_by_then() {
    let disk = SimulatedDisk::new(3);
    grow(&disk, 1..40);
    let events = events_in(&disk, FOLDER);
    let made = back_up(&disk).unwrap();
    for id in 1..40 {
        for (time, last) in [(id * 10, id), (id * 10 + 9, id)] {
            let disk = disk.fork();
            let time = Timestamp(EPOCH.0 + i64::try_from(time).unwrap());
            restore_upto(&disk, Upto::Time(time)).unwrap();
            let restored = events_in(&disk, RESTORED);
            assert_eq!(restored.last().map(append_of), Some(last));
            assert_eq!(restored, events[..restored.len()]);
        }
    }
    let early = restore_upto(&disk, Upto::Time(Timestamp(EPOCH.0 + 9)));
    assert!(matches!(early, Err(BackupError::BeforeTime { .. })), "{early:?}");
    let late = restore_upto(&disk, Upto::Time(Timestamp(made.begun.0 + 1)));
    assert!(matches!(late, Err(BackupError::BeyondTime { .. })), "{late:?}");
    assert_eq!(contents(&disk, RESTORED), []);
    restore_upto(&disk, Upto::Time(made.begun)).unwrap();
    assert_eq!(events_in(&disk, RESTORED), events);
}

#[test]
fn a_restore_cut_short_anywhere_leaves_no_log_or_all_of_it() {
    let disk = SimulatedDisk::new(10);
    grow(&disk, 1..20);
    back_up(&disk).unwrap();
    let events = events_in(&disk, FOLDER);
    let fork = disk.fork();
    let from = fork.operations();
    restore_upto(&fork, Upto::Everything).unwrap();
    let operations = fork.operations() - from;
    assert!(operations > 40, "{operations} operations");
    let mut found = [0, 0];
    for number in 1..=operations {
        let disk = disk.fork();
        disk.fail_operation(disk.operations() + number, fault(number));
        let done = restore_upto(&disk, Upto::Everything);
        assert!(done.is_err(), "operation {number}");
        for survival in SURVIVALS {
            let crashed = disk.fork().crash(survival);
            match verify(shared(&crashed), Path::new(RESTORED), (0, u64::MAX), |_, _| {}) {
                Ok(_) => {
                    found[1] += 1;
                    assert_eq!(events_in(&crashed, RESTORED), events);
                    continue;
                }
                Err(OpenError::NoLog { .. }) => {}
                Err(OpenError::Damage(damage)) => {
                    let identity = Path::new(RESTORED).join("identity");
                    assert_eq!((damage.file, damage.flaw), (identity, Flaw::Missing));
                }
                Err(error) => panic!("operation {number}, {survival:?}: {error:?}"),
            }
            found[0] += 1;
            restore_upto(&crashed, Upto::Everything).unwrap();
            assert_eq!(events_in(&crashed, RESTORED), events);
        }
    }
    assert!(found[0] > 100 && found[1] > 1, "{found:?}");
}
