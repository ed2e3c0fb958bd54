//! Breaks the log, or the disk under it, on purpose, and sees that the checks notice.

use annals_core::disk::SimulatedDisk;
use annals_core::{Append, Condition, EventQuery, ExpectedRevision, Revision, StreamWrite};

use super::crash::life;
use super::damage::flip_bits;
use super::faults::run_with_fault;
use super::index::tagged_over_segments;
use super::model::{Step, compare};
use super::{LogOptions, append, event, small, write};
use crate::log::options::Sabotage;

fn broken(sabotage: Sabotage) -> LogOptions {
    LogOptions { sabotage, ..small() }
}

fn power_cuts_notice(options: &LogOptions, rig: fn(&SimulatedDisk)) -> bool {
    (0..400).any(|seed| life(seed, options, rig).is_err())
}

#[test]
fn an_answer_before_the_sync_is_noticed() {
    let options = broken(Sabotage { answer_before_sync: true, ..Sabotage::default() });
    assert!(power_cuts_notice(&options, |_| {}));
}

#[test]
fn a_new_segment_whose_name_is_not_synced_is_noticed() {
    let options = broken(Sabotage { skip_directory_sync: true, ..Sabotage::default() });
    assert!(power_cuts_notice(&options, |_| {}));
}

#[test]
fn a_disk_that_lies_about_syncs_is_noticed() {
    assert!(power_cuts_notice(&small(), |disk| disk.lie_about_syncs(true)));
}

#[test]
fn a_disk_that_lies_about_directory_syncs_is_noticed() {
    assert!(power_cuts_notice(&small(), |disk| disk.lie_about_directory_syncs(true)));
}

#[test]
fn a_swallowed_error_is_noticed() {
    let options = broken(Sabotage { swallow_errors: true, ..Sabotage::default() });
    assert!((1..200).any(|number| run_with_fault(number, &options).is_err()));
}

#[test]
fn serving_what_an_ended_process_left_unsynced_is_noticed() {
    let options = broken(Sabotage { skip_sync_at_open: true, ..Sabotage::default() });
    assert!(power_cuts_notice(&options, |_| {}));
}

#[test]
fn believing_the_cache_after_a_failed_sync_is_noticed() {
    let options = broken(Sabotage { trust_cache_at_open: true, ..Sabotage::default() });
    assert!((1..200).any(|number| run_with_fault(number, &options).is_err()));
}

#[test]
fn a_checksum_that_is_not_checked_is_noticed() {
    let options = broken(Sabotage { skip_checksum: true, ..Sabotage::default() });
    assert!(flip_bits(&options, 7).is_err());
}

#[test]
fn damage_that_is_cut_off_is_noticed() {
    let options = broken(Sabotage { cut_damage_off: true, ..Sabotage::default() });
    assert!(flip_bits(&options, 7).is_err());
}

#[test]
fn forgotten_event_ids_are_noticed() {
    let options = broken(Sabotage { forget_ids: true, ..Sabotage::default() });
    let twice = Step::Append(append("s", 1, vec![1]));
    assert!(compare(&[twice.clone(), twice], &options).is_err());
}

#[test]
fn an_expected_revision_that_is_not_checked_is_noticed() {
    let options = broken(Sabotage { ignore_expected: true, ..Sabotage::default() });
    let mut wrong = write("s", vec![event(1, vec![1])]);
    wrong.expected = ExpectedRevision::Exact(Revision(3));
    assert!(compare(&[Step::Append(Append::to(wrong))], &options).is_err());
}

#[test]
fn a_stream_that_is_only_expected_and_not_checked_is_noticed() {
    let options = broken(Sabotage { ignore_expected: true, ..Sabotage::default() });
    let expected = ExpectedRevision::Exact(Revision(3));
    let mut append = append("s", 1, vec![1]);
    append.writes.push(StreamWrite { expected, ..write("t", Vec::new()) });
    assert!(compare(&[Step::Append(append)], &options).is_err());
}

#[test]
fn a_condition_that_is_not_checked_is_noticed() {
    let options = broken(Sabotage { ignore_condition: true, ..Sabotage::default() });
    let mut excluded = append("s", 2, vec![1]);
    excluded.condition =
        Some(Condition { fail_if_events_match: EventQuery::default(), after: None });
    let steps = [Step::Append(append("s", 1, vec![1])), Step::Append(excluded)];
    assert!(compare(&steps, &options).is_err());
}

#[test]
fn an_index_page_that_is_not_checked_is_noticed() {
    let options = broken(Sabotage { believe_pages: true, ..Sabotage::default() });
    assert!(flip_bits(&options, 7).is_err());
}

#[test]
fn a_stream_that_is_looked_for_in_the_active_segment_only_is_noticed() {
    let options = broken(Sabotage { stale_heads: true, ..Sabotage::default() });
    let steps: Vec<_> = (1..30)
        .map(|id| Step::Append(append(["s", "t"][usize::from(id > 2)], id, vec![1; 300])))
        .collect();
    let again = Step::Append(append("s", 30, vec![1]));
    assert!(compare(&[steps, vec![again]].concat(), &options).is_err());
}

#[test]
fn an_index_without_tags_is_noticed() {
    let options = broken(Sabotage { index_without_tags: true, ..Sabotage::default() });
    assert!(compare(&tagged_over_segments(), &options).is_err());
}
