//! Index files: that they are made, made again, never believed over their segment, and that what was sealed long ago is
//! found as what was written last.

use std::path::{Path, PathBuf};

use annals_core::disk::{Disk, SimulatedDisk};
use annals_core::{
    Append, AppendError, Condition, EventQuery, EventStore, ExpectedRevision, Filter, Metadata,
    Position, ReadQuery, Revision,
};

use super::model::{Step, compare};
use super::{FOLDER, LogOptions, append, block_on, event, open_with, read, small, stream, write};

fn index(number: u32) -> PathBuf {
    Path::new(FOLDER).join(format!("{number:08}.index"))
}

fn tagged(id: u128, tag: &str) -> Append {
    let mut event = event(id, vec![7; 300]);
    event.metadata = Metadata { tags: [tag.to_owned()].into(), ..Metadata::default() }.encode();
    Append::to(write("s", vec![event]))
}

/// Steps that write several segments with tags, open the log again and ask for them.
pub(super) fn tagged_over_segments() -> Vec<Step> {
    let appends =
        (1..60).map(|id| Step::Append(tagged(id, if id % 7 == 0 { "seven" } else { "other" })));
    let query = Filter { query: EventQuery::tagged(["seven".to_owned()]), ..Filter::default() };
    let ask = Step::Read(ReadQuery::all().filtered(query));
    appends.chain([Step::Reopen, ask.clone(), Step::Reopen, ask]).collect()
}

#[test]
fn tags_are_found_over_segments_and_reopenings() {
    compare(&tagged_over_segments(), &small()).unwrap();
}

/// A disk with a closed log of several segments.
fn closed() -> SimulatedDisk {
    let disk = SimulatedDisk::new(4);
    let log = open_with(&disk, small()).unwrap();
    block_on(async {
        for id in 1..=60 {
            log.append(append(["a", "b", "c"][id % 3], id as u128, vec![1; 300])).await.unwrap();
        }
    });
    log.close();
    disk
}

#[test]
fn a_missing_or_damaged_index_is_made_again_as_it_was() {
    let disk = closed();
    let whole = disk.contents(index(1)).expect("a sealed segment has an index file");
    let events = block_on(read(&open_with(&disk, small()).unwrap(), ReadQuery::all())).unwrap();
    for change in ["removed", "cut", "of another segment", "of another kind"] {
        let disk = disk.fork();
        match change {
            "removed" => disk.remove(&index(1)).unwrap(),
            "cut" => disk.replace(index(1), whole[..5000].to_vec()),
            "of another segment" => disk.replace(index(1), disk.contents(index(2)).unwrap()),
            _ => disk.replace(index(1), b"something else".to_vec()),
        }
        let log = open_with(&disk, small()).unwrap();
        for name in ["a", "b", "c"] {
            let found = block_on(read(&log, ReadQuery::stream(stream(name)))).unwrap();
            let of_stream = events.iter().filter(|event| event.stream.as_str() == name);
            assert!(found.iter().eq(of_stream), "{change}: {name}");
        }
        log.close();
        let log = open_with(&disk, small()).unwrap();
        log.close();
        assert_eq!(disk.contents(index(1)).unwrap(), whole, "{change}");
    }
}

#[test]
fn opening_does_not_read_what_is_sealed() {
    let disk = closed();
    let segment = Path::new(FOLDER).join("00000001.segment");
    let mut bytes = disk.contents(&segment).unwrap();
    bytes[5000] ^= 1;
    disk.replace(&segment, bytes);
    let log = open_with(&disk, small()).unwrap();
    let read = block_on(read(&log, ReadQuery::all()));
    assert!(matches!(read, Err(annals_core::ReadError::Damage { .. })), "{read:?}");
}

#[test]
fn a_repetition_is_known_after_its_segment_was_sealed() {
    let disk = closed();
    let log = open_with(&disk, small()).unwrap();
    block_on(async {
        let again = log.append(append("b", 1, vec![1; 300])).await.unwrap();
        assert_eq!(again.position, Some(Position(0)));
        assert_eq!(log.stats().events, 60);
    });
}

#[test]
fn the_same_id_in_another_stream_is_another_event() {
    let disk = closed();
    block_on(async {
        let log = open_with(&disk, small()).unwrap();
        let other = log.append(append("elsewhere", 1, vec![1; 300])).await.unwrap();
        assert_eq!((other.position, log.stats().events), (Some(Position(60)), 61));
        log.close();
        let log = open_with(&disk, small()).unwrap();
        assert_eq!(log.append(append("elsewhere", 1, vec![1; 300])).await.unwrap(), other);
        let first = log.append(append("b", 1, vec![1; 300])).await.unwrap();
        assert_eq!((first.position, log.stats().events), (Some(Position(0)), 61));
    });
}

#[test]
fn beyond_the_remembered_ids_exact_expectations_know_a_repetition() {
    let options = LogOptions { remembered_ids: 4, ..small() };
    let disk = closed();
    let log = open_with(&disk, options).unwrap();
    block_on(async {
        let mut exact = append("b", 1, vec![1; 300]);
        exact.writes[0].expected = ExpectedRevision::NoStream;
        assert_eq!(log.append(exact).await.unwrap().position, Some(Position(0)));
        let mut exact = append("c", 2, vec![1; 300]);
        exact.writes[0].expected = ExpectedRevision::Exact(Revision(0));
        let outcome = log.append(exact).await;
        assert!(matches!(outcome, Err(AppendError::Conflict { .. })), "{outcome:?}");
        assert_eq!(log.stats().events, 60);
    });
}

#[test]
fn a_condition_sees_sealed_segments_and_what_is_not_durable_yet() {
    let log = open_with(&SimulatedDisk::new(4), small()).unwrap();
    let unless = |id, tag: &str, after| {
        let fail_if_events_match = EventQuery::tagged([tag.to_owned()]);
        Append { condition: Some(Condition { fail_if_events_match, after }), ..tagged(id, tag) }
    };
    block_on(async {
        // Both are on their way at the same time; one of them holds.
        let (first, second) = (log.append(unless(1, "x", None)), log.append(unless(2, "x", None)));
        assert!(first.await.is_ok());
        let second = second.await;
        assert!(
            matches!(second, Err(AppendError::ConditionFailed { position: Position(0) })),
            "{second:?}"
        );
        for id in 3..60 {
            log.append(tagged(id, "other")).await.unwrap();
        }
        let late = log.append(unless(60, "x", None)).await;
        assert!(matches!(late, Err(AppendError::ConditionFailed { .. })), "{late:?}");
        assert!(log.append(unless(61, "x", Some(Position(0)))).await.is_ok());
        // The same append again is a repetition, not a failed condition.
        assert!(log.append(unless(61, "x", Some(Position(0)))).await.is_ok());
    });
}
