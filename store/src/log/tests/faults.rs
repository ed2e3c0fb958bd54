//! Operations that fail, and disks that are full.

use std::path::Path;

use annals_core::disk::{Fault, SimulatedDisk, Survival};
use annals_core::random::SeededRandom;
use annals_core::{AppendError, EventStore, ReadQuery};

use super::crash::restart;
use super::oracle::Oracle;
use super::{FOLDER, LogOptions, OpenError, append, block_on, open_with, read, small};

/// A run in which operation `number` fails; then the process is started again, with and without a
/// power cut. Answers how many operations there were.
pub(super) fn run_with_fault(number: u64, options: &LogOptions) -> Result<u64, String> {
    let disk = SimulatedDisk::new(number);
    disk.fail_operation(number, Fault::Once);
    let random = SeededRandom::new(5);
    let mut oracle = Oracle::default();
    match open_with(&disk, options.clone()) {
        Ok(log) => {
            block_on(oracle.drive(&log, &random, 25));
            if log.poisoned().is_some() {
                let late = block_on(log.append(append("account-A", 1 << 90, vec![1])));
                if !matches!(late, Err(AppendError::ReadOnly(_))) {
                    return Err(format!("operation {number}: a poisoned log answered {late:?}"));
                }
            }
            log.close();
        }
        Err(OpenError::Disk { .. }) => {}
        Err(error) => return Err(format!("operation {number}: {error:?}")),
    }
    let operations = disk.operations();
    for survival in [Survival::Everything, Survival::Random, Survival::Nothing] {
        restart(&disk.fork().crash(survival), &oracle, options)
            .map_err(|found| format!("operation {number}, {survival:?}: {found}"))?;
    }
    restart(&disk.kill(), &oracle, options)
        .map_err(|found| format!("operation {number}, only the process ended: {found}"))?;
    Ok(operations)
}

#[test]
fn an_error_at_any_operation_loses_nothing_acknowledged() {
    let operations = run_with_fault(u64::MAX, &small()).unwrap();
    assert!(operations > 60, "{operations} operations");
    for number in 1..=operations {
        run_with_fault(number, &small()).unwrap();
    }
}

#[test]
fn a_failed_sync_leaves_the_outcome_unknown_and_the_log_read_only() {
    let disk = SimulatedDisk::new(3);
    let log = open_with(&disk, small()).unwrap();
    block_on(async {
        log.append(append("s", 1, vec![1])).await.unwrap();
        disk.fail_sync(Path::new(FOLDER).join("00000001.segment"));
        let outcome = log.append(append("s", 2, vec![2])).await;
        assert!(matches!(outcome, Err(AppendError::Unknown(_))), "{outcome:?}");
        let outcome = log.append(append("s", 3, vec![3])).await;
        assert!(matches!(outcome, Err(AppendError::ReadOnly(_))), "{outcome:?}");
        assert!(log.poisoned().is_some_and(|reason| reason.contains("syncing")));
        assert!(log.watch_poison().borrow().is_some());
        let events = read(&log, ReadQuery::all()).await.unwrap();
        assert_eq!(events.len(), 1, "reading goes on, up to what is durable");
    });
    log.close();
    let log = open_with(&disk, small()).unwrap();
    block_on(async {
        log.append(append("s", 2, vec![2])).await.unwrap();
        assert_eq!(read(&log, ReadQuery::all()).await.unwrap().len(), 2);
    });
}

#[test]
fn a_full_disk_refuses_writes_goes_on_reading_and_recovers() {
    let disk = SimulatedDisk::new(4);
    disk.set_capacity(Some(30_000)); // The small files, and two segments.
    let log = open_with(&disk, small()).unwrap();
    let stored = block_on(async {
        let mut stored = 0;
        let refused = loop {
            match log.append(append("s", stored + 1, vec![7; 500])).await {
                Ok(_) => stored += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(&refused, AppendError::TooMuch(text) if text.contains("no room")));
        assert!(stored > 5, "{stored} were stored");
        assert_eq!(read(&log, ReadQuery::all()).await.unwrap().len() as u128, stored);
        assert_eq!(log.poisoned(), None);
        stored
    });
    log.close();
    let log = open_with(&disk, small()).unwrap();
    block_on(async {
        assert_eq!(read(&log, ReadQuery::all()).await.unwrap().len() as u128, stored);
        let again = log.append(append("s", stored + 1, vec![7; 500])).await;
        assert!(matches!(again, Err(AppendError::TooMuch(_))), "{again:?}");
        disk.set_capacity(None);
        log.append(append("s", stored + 1, vec![7; 500])).await.unwrap();
        assert_eq!(read(&log, ReadQuery::all()).await.unwrap().len() as u128, stored + 1);
    });
}

#[test]
fn a_full_queue_and_an_append_too_large_are_refused() {
    let disk = SimulatedDisk::new(4);
    let options = LogOptions { queue_bytes_max: 4_000, ..small() };
    let log = open_with(&disk, options).unwrap();
    let answers: Vec<_> = (1..=200).map(|id| log.append(append("s", id, vec![1; 1_000]))).collect();
    block_on(async {
        let outcomes = futures::future::join_all(answers).await;
        let refused = outcomes.iter().filter(|o| matches!(o, Err(AppendError::TooMuch(_)))).count();
        let stored = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(refused + stored, 200);
        assert!(stored >= 3, "{stored} were stored");
        let outcome = log.append(append("s", 1_000, vec![1; 5_000])).await;
        assert!(matches!(outcome, Err(AppendError::Malformed(_))), "{outcome:?}");
        assert_eq!(read(&log, ReadQuery::all()).await.unwrap().len(), stored);
    });
}

#[test]
fn a_folder_belongs_to_one_log_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let open = || {
        super::open_at(
            std::sync::Arc::new(annals_core::disk::RealDisk),
            folder.path(),
            annals_core::clock::SimulatedClock::new(super::EPOCH),
            small(),
        )
    };
    let log = open().unwrap();
    assert!(matches!(open(), Err(OpenError::Locked { .. })));
    log.close();
    let late = block_on(log.append(append("s", 1, vec![1])));
    assert!(matches!(late, Err(AppendError::ReadOnly(_))), "{late:?}");
    open().unwrap();
}
