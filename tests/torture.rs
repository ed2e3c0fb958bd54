//! The main job interrupted: by a kill of the process at any moment, by the death of what it runs, by a full disk.
//! Whatever happens, a rerun comes to the same totals and the same rows, with nothing lost and nothing doubled.

#![allow(clippy::print_stdout, reason = "seeds, moments and what could not run are told")]

mod harness;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use harness::demo::{demo, demo_command, digests, totals};
use harness::{Running, annals, count_of, pause, run, scratch, trades, wait_for};
use serde_json::Value;

/// How many trades these tests import.
const ROWS: usize = 30_000;
/// How many kills, unless `ANNALS_KILLS` says otherwise.
const KILLS: u64 = 6;

/// One test after the other: the moments of the kills come from how long an undisturbed run takes.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What an undisturbed run comes to.
struct Reference {
    trades: PathBuf,
    totals: Vec<String>,
    digests: Vec<[String; 3]>,
    took: Duration,
}

fn reference(folder: &Path) -> Reference {
    let trades = trades(folder, ROWS);
    let data = folder.join("reference");
    let start = Instant::now();
    let report = demo(&data, &trades, |_| {});
    let took = start.elapsed();
    Reference { totals: totals(&report), digests: digests(&data), trades, took }
}

/// Runs the demo to its end on data that was left in the middle, and compares.
#[track_caller]
fn comes_to_the_same(reference: &Reference, data: &Path, what: &str) {
    let report = demo(data, &reference.trades, |_| {});
    assert_eq!(totals(&report), reference.totals, "{what}");
    assert_eq!(count_of(&report["verify"], "mismatches"), 0, "{what}");
    assert_eq!(digests(data), reference.digests, "{what}");
}

/// A number below `bound` from a seed (SplitMix64), so that a failure can be repeated.
fn below(seed: u64, bound: u64) -> u64 {
    let mut z = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (z ^ (z >> 31)) % bound
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

#[test]
fn a_kill_at_any_moment_loses_nothing_and_doubles_nothing() {
    let _turn = turn();
    let folder = scratch();
    let reference = reference(folder.path());
    let kills = number("ANNALS_KILLS").unwrap_or(KILLS);
    let seed = number("ANNALS_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("{kills} kills within {:?}, ANNALS_SEED={seed}", reference.took);
    let span = u64::try_from(reference.took.as_millis()).expect("a short time");
    let mut met = 0;
    for kill in 0..kills {
        let data = folder.path().join(format!("killed-{kill}"));
        // One moment in each equal part of the run, so that every part of the job is met.
        let part = span / kills;
        let moment = Duration::from_millis(part * kill + below(seed + kill, part.max(1)));
        let mut running = Running::start(&mut demo_command(&data, &reference.trades));
        pause(moment);
        let ended = running.ended();
        met += u64::from(!ended);
        running.kill();
        let what = format!("kill {kill} after {moment:?}, ended before: {ended}");
        println!("{what}");
        comes_to_the_same(&reference, &data, &what);
        fs::remove_dir_all(&data).expect("nothing runs there any more");
    }
    assert!(met * 2 > kills, "only {met} of {kills} kills met a running demo");
}

/// The process that a file `postmaster.pid` below the data folder names.
fn postgres_of(data: &Path) -> Option<u32> {
    let mut folders = vec![data.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).ok()?.flatten() {
            let path = entry.path();
            if path.is_dir() && folders.len() < 64 {
                folders.push(path);
            } else if path.file_name().is_some_and(|name| name == "postmaster.pid") {
                return fs::read_to_string(path).ok()?.lines().next()?.trim().parse().ok();
            }
        }
    }
    None
}

/// The child of `parent` whose command line holds `word`.
fn child_of(parent: u32, word: &str) -> Option<u32> {
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let read = |name: &str| fs::read(entry.path().join(name)).unwrap_or_default();
        let stat = String::from_utf8_lossy(&read("stat")).into_owned();
        // After the name in parentheses: the state, then the parent.
        let after = stat.rsplit(") ").next().unwrap_or_default();
        let is_child = after.split(' ').nth(1) == Some(parent.to_string().as_str());
        if is_child && String::from_utf8_lossy(&read("cmdline")).contains(word) {
            return Some(pid);
        }
    }
    None
}

fn kill(pid: u32) {
    let sent = Command::new("kill").args(["-KILL", &pid.to_string()]).status().expect("kill");
    assert!(sent.success(), "process {pid} was gone already");
}

/// Starts the demo, kills what `find` finds once it has worked for a while, and compares what comes out.
#[track_caller]
fn survives_the_death(what: &str, find: impl Fn(u32, &Path) -> Option<u32>) {
    let _turn = turn();
    let folder = scratch();
    let reference = reference(folder.path());
    let data = folder.path().join("data");
    let mut command = demo_command(&data, &reference.trades);
    let mut running = Running::start(&mut command);
    let minute = Duration::from_mins(1);
    let pid = wait_for(what, minute, || find(running.0.id(), &data));
    pause(reference.took / 4);
    assert!(!running.ended(), "the demo was over before {what} was killed");
    kill(pid);
    wait_for("the end of the demo", minute * 3, || running.ended().then_some(()));
    comes_to_the_same(&reference, &data, what);
}

#[test]
fn the_death_of_postgresql_in_mid_run_changes_nothing() {
    survives_the_death("PostgreSQL", |_, data| postgres_of(data));
}

#[test]
fn the_death_of_the_analytics_child_in_mid_run_changes_nothing() {
    survives_the_death("the analytics child", |parent, _| child_of(parent, "analytics"));
}

/// A file system of its own size, unmounted when the test leaves it.
struct SmallDisk(PathBuf);

impl SmallDisk {
    #[track_caller]
    fn mount(folder: PathBuf, megabytes: u32) -> SmallDisk {
        fs::create_dir_all(&folder).expect("a folder");
        let size = format!("size={megabytes}m,mode=755");
        let mut mount = Command::new("mount");
        run(mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&folder)).exits_with(0);
        SmallDisk(folder)
    }

    #[track_caller]
    fn grow(&self, megabytes: u32) {
        let size = format!("remount,size={megabytes}m");
        run(Command::new("mount").args(["-o", &size]).arg(&self.0)).exits_with(0);
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("--lazy").arg(&self.0).status());
    }
}

/// Whether this process may mount a file system; where it may not, what needs one says so and is not counted.
fn may_mount() -> bool {
    let folder = scratch();
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(folder.path());
    let mounted = mount.output().is_ok_and(|done| done.status.success());
    if mounted {
        drop(SmallDisk(folder.path().to_path_buf()));
    }
    mounted
}

#[test]
fn a_full_disk_refuses_writes_keeps_reading_and_recovers() {
    let _turn = turn();
    if !may_mount() {
        println!("NOT RUN: mounting a small file system needs root");
        return;
    }
    let folder = scratch();
    let trades = trades(folder.path(), ROWS);
    let disk = SmallDisk::mount(folder.path().join("small"), 3);
    let import = || {
        let mut command = annals();
        command.args(["import", "trades"]).arg(&trades).arg("--data").arg(&disk.0);
        command.env("ANNALS_SEGMENT_BYTES", "1048576");
        run(&mut command)
    };
    let events = || {
        let mut command = annals();
        command.args(["events", "read", "--json", "--limit", "0", "--data"]).arg(&disk.0);
        run(command.env("ANNALS_SEGMENT_BYTES", "1048576")).exits_with(0).stdout
    };
    let refused = import().exits_with(6);
    assert!(refused.stderr.contains("full") || refused.stderr.contains("space"), "{refused:?}");
    let kept = events();
    assert!(kept.lines().count() > 1_000, "what was acknowledged is still read");
    import().exits_with(6);
    assert_eq!(events(), kept, "a refused import changes nothing");

    disk.grow(256);
    import().exits_with(0);
    let all = events();
    assert!(all.starts_with(&kept), "what was there is as it was");
    let trades = all.lines().filter(|line| line.contains("market.TradeRecorded")).count();
    assert_eq!(trades, ROWS);
    let event: Value = serde_json::from_str(all.lines().next().unwrap_or_default()).expect("JSON");
    assert!(event.is_object());
}
