//! Power cuts at random operations: whatever is lost, torn and reordered, what was acknowledged is
//! there.

#![allow(clippy::print_stdout, reason = "long runs are summed up")]

use annals_core::ReadQuery;
use annals_core::disk::{Fault, SimulatedDisk, Survival};
use annals_core::random::SeededRandom;

use super::oracle::Oracle;
use super::{Log, LogOptions, OpenError, block_on, open_with, read, small};

/// One life of a store: some runs, each cut short at a random operation, each followed by a
/// recovery and a check.
pub(super) fn life(
    seed: u64,
    options: &LogOptions,
    rig: fn(&SimulatedDisk),
) -> Result<u64, String> {
    let random = SeededRandom::new(seed);
    let mut disk = SimulatedDisk::new(seed);
    let mut oracle = Oracle::default();
    for _ in 0..4 {
        rig(&disk);
        let cut = disk.operations() + 1 + random.below(90);
        disk.fail_operation(cut, Fault::Lasting);
        match open_with(&disk, options.clone()) {
            Ok(log) => {
                block_on(oracle.drive(&log, &random, 12));
                log.close();
            }
            Err(OpenError::Disk { .. }) => {}
            Err(error) => return Err(format!("seed {seed}: {error}: {error:?}")),
        }
        disk = match random.below(4) {
            0 => disk.crash(Survival::Nothing),
            1 => disk.kill(),
            _ => disk.crash(Survival::Random),
        };
        rig(&disk);
        restart(&disk, &oracle, options).map_err(|found| format!("seed {seed}: {found}"))?;
    }
    Ok(oracle.acknowledged() as u64)
}

/// Opens a disk that a process or the power left, and sees that it holds what it must; then cuts
/// the power: what was served once stays.
pub(super) fn restart(
    disk: &SimulatedDisk,
    oracle: &Oracle,
    options: &LogOptions,
) -> Result<(), String> {
    let open = |disk: &SimulatedDisk| {
        open_with(disk, options.clone()).map_err(|error| format!("{error}: {error:?}"))
    };
    let all = |log: &Log| block_on(read(log, ReadQuery::all())).map_err(|error| error.to_string());
    let log = open(disk)?;
    block_on(oracle.check(&log))?;
    let served = all(&log)?;
    let cut = open(&disk.fork().crash(Survival::Nothing)).map_err(|e| format!("cut again: {e}"))?;
    if all(&cut)? != served {
        return Err("what was served was taken back by a power cut".to_owned());
    }
    Ok(())
}

#[test]
fn what_was_acknowledged_survives_every_power_cut() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let lives: u64 = number("ANNALS_LIVES").unwrap_or(250);
    let first = number("ANNALS_SEED").unwrap_or(0);
    let mut acknowledged = 0;
    for seed in first..first + lives {
        acknowledged += life(seed, &small(), |_| {}).unwrap();
    }
    assert!(acknowledged > 8 * lives, "{acknowledged} appends were acknowledged");
    println!("power cuts: {} cuts, {acknowledged} appends acknowledged, 0 lost", 4 * lives);
}
