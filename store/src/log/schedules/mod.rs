//! The whole log, on the simulated disk, under schedules: which of its threads, of the callers' and of the subscribers' runs
//! next is chosen at each lock, wait and operation of the disk, half of them at random and half with few switches
//! at chosen places (PCT). Whatever is chosen, every append gets one answer, none before its sync, positions are given
//! in the order of the queue, closing leaves nothing behind, subscriptions see each position once, and nobody waits
//! for ever: a schedule in which all wait is a failure.

#![allow(clippy::print_stdout, reason = "long runs are summed up")]

mod disk;
mod run;
mod sabotage;

use std::sync::Arc;

use parking_lot::Mutex;
use shuttle::scheduler::{
    PctScheduler, RandomScheduler, ReplayScheduler, Scheduler,
    UncontrolledNondeterminismCheckScheduler,
};
use shuttle::{Config, FailurePersistence, Runner};

use super::LogOptions;
use run::{Outcome, Scenario, Trouble, run};

/// How many schedules of each scenario, unless `ANNALS_SCHEDULES` says so.
const SCHEDULES: usize = 1000;
/// So many switches of a schedule are chosen, beside those where a thread waits.
const SWITCHES: usize = 4;

fn scenario() -> Scenario {
    let options =
        LogOptions { segment_bytes: 8 << 10, remembered_ids: 100, ..LogOptions::default() };
    let (callers, appends, followers) = (3, 3, 0);
    Scenario { options, callers, appends, followers, crowd: false, trouble: Trouble::Nothing }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

fn config(persistence: FailurePersistence) -> Config {
    let mut config = Config::new();
    config.stack_size = 256 << 10;
    config.silence_warnings = true;
    config.failure_persistence = persistence;
    config.ungraceful_shutdown_config.immediately_return_on_panic = true;
    config
}

/// What all scenarios of this process came to, and how many schedules that were.
static ALL: Mutex<(u64, Outcome)> =
    Mutex::new((0, Outcome { acknowledged: 0, refused: 0, followed: 0 }));

/// Runs a scenario so often under a scheduler and sums up what the runs came to; panics with the first that is wrong.
fn under(scheduler: impl Scheduler + 'static, config: Config, scenario: &Scenario) -> Outcome {
    let sum = Arc::new(Mutex::new(Outcome::default()));
    let (add, scenario) = (Arc::clone(&sum), scenario.clone());
    Runner::new(scheduler, config).run(move || {
        let outcome = run(&scenario).unwrap_or_else(|found| panic!("{found}"));
        add.lock().add(outcome);
    });
    *sum.lock()
}

#[track_caller]
fn check(name: &str, scenario: &Scenario) {
    if let Ok(schedule) = std::env::var("ANNALS_SCHEDULE") {
        let again = ReplayScheduler::new_from_encoded(&schedule);
        println!("{name}: {:?}", under(again, config(FailurePersistence::None), scenario));
        return;
    }
    let seed = number("ANNALS_SEED").unwrap_or(0);
    let schedules = number("ANNALS_SCHEDULES").and_then(|text| usize::try_from(text).ok());
    let schedules = schedules.unwrap_or(SCHEDULES);
    let half = schedules / 2;
    println!("{name}: ANNALS_SEED={seed} ANNALS_SCHEDULES={schedules}");
    let config = || config(FailurePersistence::Print);
    let random = RandomScheduler::new_from_seed(seed, schedules - half);
    let mut sum = under(random, config(), scenario);
    sum.add(under(PctScheduler::new_from_seed(seed, SWITCHES, half), config(), scenario));
    let Outcome { acknowledged, refused, followed } = sum;
    println!("schedules: {schedules} of {name}: {sum}");
    let mut all = ALL.lock();
    all.0 += schedules as u64;
    all.1.add(sum);
    println!("schedules: {} in all: {}, 0 wrong, ANNALS_SEED={seed}", all.0, all.1);
    drop(all);
    let appends = schedules as u64 * scenario.callers * scenario.appends;
    let troubled = scenario.trouble != Trouble::Nothing;
    assert_eq!(refused > 0, troubled, "the trouble was met");
    assert!(acknowledged > appends / 6, "{acknowledged} of {appends} were acknowledged");
    assert_eq!(followed > 0, scenario.followers > 0, "followers got something");
}

#[test]
fn a_schedule_goes_the_same_way_again() {
    let options = LogOptions { gather: true, ..scenario().options };
    let scenario = Scenario { options, followers: 2, trouble: Trouble::Fault, ..scenario() };
    let random = RandomScheduler::new_from_seed(0, 100);
    let twice = UncontrolledNondeterminismCheckScheduler::new(random);
    under(twice, config(FailurePersistence::None), &scenario);
}

#[test]
fn every_append_gets_one_answer_and_none_before_its_sync() {
    check("appends", &scenario());
}

#[test]
fn a_promise_to_begin_is_kept() {
    let options = LogOptions { gather: true, ..scenario().options };
    check("gathered appends", &Scenario { options, ..scenario() });
}

#[test]
fn closing_leaves_no_append_behind() {
    for gather in [false, true] {
        let options = LogOptions { gather, ..scenario().options };
        let trouble = Trouble::Closed;
        check("closing", &Scenario { options, followers: 1, trouble, ..scenario() });
    }
}

#[test]
fn a_log_that_is_poisoned_leaves_no_caller_waiting() {
    check("poisoned", &Scenario { followers: 1, trouble: Trouble::Poisoned, ..scenario() });
}

#[test]
fn a_disk_that_fails_leaves_no_caller_waiting() {
    for gather in [false, true] {
        let options = LogOptions { gather, ..scenario().options };
        let trouble = Trouble::Fault;
        check("faults", &Scenario { options, followers: 1, trouble, ..scenario() });
    }
}

#[test]
fn a_full_disk_leaves_no_caller_waiting() {
    check("full disks", &Scenario { appends: 5, trouble: Trouble::Full, ..scenario() });
}

#[test]
fn followers_see_each_position_once_and_in_order() {
    for tail_bytes_max in [0, 2 << 10, 64 << 20] {
        let options = LogOptions { tail_bytes_max, ..scenario().options };
        check("followers", &Scenario { options, followers: 2, ..scenario() });
    }
}

#[test]
fn followers_in_a_crowd_are_woken() {
    check("crowds", &Scenario { crowd: true, followers: 2, ..scenario() });
}
