//! Breaks the log on purpose, and sees that schedules notice.

use std::panic::{AssertUnwindSafe, catch_unwind};

use shuttle::FailurePersistence;
use shuttle::scheduler::RandomScheduler;

use super::{Scenario, Trouble, config, scenario, under};
use crate::log::LogOptions;
use crate::log::options::Sabotage;

/// Schedules find that something is wrong, and what.
#[track_caller]
fn check(sabotage: Sabotage, scenario: &Scenario, wrong: &[&str]) {
    let options = LogOptions { sabotage, ..scenario.options.clone() };
    let scenario = Scenario { options, ..scenario.clone() };
    let random = RandomScheduler::new_from_seed(0, 1000);
    let config = config(FailurePersistence::None);
    let ended = catch_unwind(AssertUnwindSafe(|| under(random, config, &scenario)));
    let found = ended.expect_err("nothing was found");
    let found = found.downcast::<String>().expect("a text");
    assert!(wrong.iter().any(|wrong| found.contains(wrong)), "found was: {found}");
}

#[test]
fn an_answer_before_the_sync_is_noticed() {
    let sabotage = Sabotage { answer_before_sync: true, ..Sabotage::default() };
    check(sabotage, &scenario(), &["answered before it was durable"]);
}

#[test]
fn a_swallowed_error_is_noticed() {
    let sabotage = Sabotage { swallow_errors: true, ..Sabotage::default() };
    let scenario = Scenario { trouble: Trouble::Fault, ..scenario() };
    let ways = ["before it was durable", "is lost", "cannot be opened", "is damaged"];
    check(sabotage, &scenario, &ways);
}

#[test]
fn a_promise_that_is_not_kept_is_noticed() {
    let sabotage = Sabotage { forget_promise: true, ..Sabotage::default() };
    let options = LogOptions { gather: true, ..scenario().options };
    check(sabotage, &Scenario { options, ..scenario() }, &["deadlock"]);
}

#[test]
fn publishing_before_the_sync_is_noticed() {
    let sabotage = Sabotage { publish_before_sync: true, ..Sabotage::default() };
    let scenario = Scenario { followers: 1, ..scenario() };
    check(sabotage, &scenario, &["delivered before it was durable"]);
}

#[test]
fn waking_before_there_is_something_new_is_noticed() {
    let sabotage = Sabotage { wake_before_publishing: true, ..Sabotage::default() };
    check(sabotage, &Scenario { followers: 1, ..scenario() }, &["deadlock"]);
}
