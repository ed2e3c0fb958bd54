//! The format of version 1 as files: what was written once is read for ever, and is written the
//! same today. `ANNALS_BLESS=1` writes the files anew; a change of them is a change of the format.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use annals_core::clock::SimulatedClock;
use annals_core::disk::{Disk, RealDisk};
use annals_core::{EventStore, ReadQuery};

use super::super::{Upto, backup, restore};
use super::{EPOCH, append, block_on, open_at, read, small};

const FILES: [&str; 3] = ["identity", "checkpoint", "00000001.segment"];

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/format-1")
}

/// Makes the log that the files are of.
fn write_log(folder: &Path) {
    let log = open_at(Arc::new(RealDisk), folder, SimulatedClock::new(EPOCH), small()).unwrap();
    block_on(async {
        for id in 1..=3 {
            log.append(append("account-A", id, vec![b'a'; 20])).await.unwrap();
        }
        log.append(append("market-X", 4, Vec::new())).await.unwrap();
    });
    log.close();
}

#[test]
fn the_format_of_version_1_is_written_as_ever() {
    let folder = tempfile::tempdir().unwrap();
    write_log(folder.path());
    for name in FILES {
        let written = std::fs::read(folder.path().join(name)).unwrap();
        if std::env::var_os("ANNALS_BLESS").is_some() {
            std::fs::create_dir_all(golden()).unwrap();
            std::fs::write(golden().join(name), &written).unwrap();
        }
        let kept = std::fs::read(golden().join(name)).unwrap();
        assert!(written == kept, "{name} is written otherwise than in version 1");
    }
}

#[test]
fn a_log_of_version_1_is_read_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    for name in FILES {
        std::fs::copy(golden().join(name), folder.path().join(name)).unwrap();
    }
    let open = || open_at(Arc::new(RealDisk), folder.path(), SimulatedClock::new(EPOCH), small());
    let log = open().unwrap();
    block_on(async {
        let events = read(&log, ReadQuery::all()).await.unwrap();
        let ids: Vec<_> = events.iter().map(|event| event.id.0.as_u128()).collect();
        assert_eq!(ids, [1, 2, 3, 4]);
        assert_eq!(&events[1].data[..], [b'a'; 20]);
        assert_eq!((events[1].stream.as_str(), events[1].revision.0), ("account-A", 1));
        assert_eq!(events[1].metadata().tenant.as_deref(), Some("eu"));
        log.append(append("account-A", 5, vec![5])).await.unwrap();
    });
    log.close();
    assert_eq!(open().unwrap().stats().events, 5);
}

const BACKUP_FILES: [&str; 2] = ["manifest", "00000001-4875.segment"];

fn golden_backup() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/backup-1")
}

#[test]
fn the_backup_of_version_1_is_written_as_ever() {
    let folder = tempfile::tempdir().unwrap();
    let [log, target] = ["log", "backup"].map(|name| folder.path().join(name));
    write_log(&log);
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    backup(&disk, &log, &target, &SimulatedClock::new(EPOCH), |_, _| {}).unwrap();
    for name in BACKUP_FILES {
        let written = std::fs::read(target.join(name)).unwrap();
        if std::env::var_os("ANNALS_BLESS").is_some() {
            std::fs::create_dir_all(golden_backup()).unwrap();
            std::fs::write(golden_backup().join(name), &written).unwrap();
        }
        let kept = std::fs::read(golden_backup().join(name)).unwrap();
        assert!(written == kept, "{name} is written otherwise than in version 1");
    }
}

#[test]
fn a_backup_of_version_1_is_restored() {
    let folder = tempfile::tempdir().unwrap();
    let [from, target] = ["backup", "log"].map(|name| folder.path().join(name));
    std::fs::create_dir(&from).unwrap();
    for name in BACKUP_FILES {
        std::fs::copy(golden_backup().join(name), from.join(name)).unwrap();
    }
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    restore(&disk, &from, &target, Upto::Everything, |_, _| {}).unwrap();
    let log = open_at(disk, &target, SimulatedClock::new(EPOCH), small()).unwrap();
    let events = block_on(read(&log, ReadQuery::all())).unwrap();
    let ids: Vec<_> = events.iter().map(|event| event.id.0.as_u128()).collect();
    assert_eq!((ids, log.identity().epoch), (vec![1, 2, 3, 4], 2));
}
