//! A mangled backup: a restore gives what was written, whole or up to the position asked for, or it names the damage and
//! leaves the target as it was.
#![no_main]

use std::path::Path;
use std::sync::{Arc, LazyLock};

use annals_core::clock::SimulatedClock;
use annals_core::disk::{Disk, SimulatedDisk};
use annals_core::{Position, ReadQuery, Timestamp};
use annals_fuzz::script;
use annals_fuzz::written::{FOLDER, Written, open_in, read, write};
use annals_store::log::{BackupError, Upto, backup, restore};

const BACKUP: &str = "backup";
const TARGET: &str = "target";

/// A log and its backup.
static LOG: LazyLock<Written> = LazyLock::new(|| {
    let log = write(30, true, |number| number * 20);
    let disk: Arc<dyn Disk> = Arc::new(log.disk.clone());
    let clock = SimulatedClock::new(Timestamp(2_000_000_000_000_000));
    let made = backup(&disk, Path::new(FOLDER), Path::new(BACKUP), &clock, |_, _| {});
    made.expect("a sound log is backed up");
    log
});

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((choice, steps)) = input.split_first() else { return };
    let disk = LOG.disk.fork();
    script::follow(steps, &disk, |path| path.starts_with(BACKUP));
    let wanted = u64::from(*choice);
    let upto = if wanted > 40 { Upto::Everything } else { Upto::Position(Position(wanted)) };
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    match restore(&shared, Path::new(BACKUP), Path::new(TARGET), upto, |_, _| {}) {
        Ok(_) => holds(&disk, upto),
        Err(BackupError::Open(error)) => panic!("{error:?}"),
        Err(_) => assert!(!disk.paths().iter().any(|path| path.starts_with(TARGET))),
    }
});

fn holds(disk: &SimulatedDisk, upto: Upto) {
    let log = open_in(disk, Path::new(TARGET)).expect("what was restored opens");
    let events = read(&*log, ReadQuery::all()).expect("what was restored is sound");
    let wanted = match upto {
        Upto::Position(last) => usize::try_from(last.0).expect("a small log") + 1,
        Upto::Everything | Upto::Time(_) => LOG.events.len(),
    };
    // Each event was a batch of its own.
    assert_eq!(events, LOG.events[..wanted]);
}
