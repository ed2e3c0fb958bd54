//! What is expected and how streams stand: the whole table, all that fails at once, and nobody passed over.

use super::*;

/// How a stream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stands {
    /// It has the revisions 0 to 2.
    Open,
    Nowhere,
    /// As open, and then deleted.
    Deleted,
    Ended,
}

const ALL: [Stands; 4] = [Stands::Open, Stands::Nowhere, Stands::Deleted, Stands::Ended];
const EXPECTED: [i64; 7] = [2, 1, -1, -2, -4, -5, -6];
/// What is told, by what is expected, in that order; nothing where it is met.
const OPEN: [Option<i64>; 7] = [None, Some(2), Some(2), None, None, Some(2), Some(2)];
const NOWHERE: [Option<i64>; 7] = [Some(-1), Some(-1), None, None, Some(-1), Some(-1), Some(-1)];
const DELETED: [Option<i64>; 7] = [None, Some(2), None, None, Some(-5), None, Some(-5)];
const ENDED_CHECKED: [Option<i64>; 7] = [Some(-6), Some(-6), None, None, Some(-6), Some(-6), None];
const ENDED_WRITTEN: [Option<i64>; 7] = [Some(-6); 7];

async fn make(world: &World, stream: &str, stands: Stands) {
    if stands != Stands::Nowhere {
        let three = records(&[(stream, 1), (stream, 2), (stream, 3)]);
        world.append(three, &[]).await.expect("it is new");
    }
    match stands {
        Stands::Open | Stands::Nowhere => {}
        Stands::Deleted => world.delete(stream, Deletion::Soft).await,
        Stands::Ended => world.delete(stream, Deletion::Tombstone).await,
    }
}

/// A stream that stands so for each expectation: its name, what is expected, and what is told.
async fn each(
    world: &World,
    stands: Stands,
    row: [Option<i64>; 7],
) -> Vec<(String, i64, Option<i64>)> {
    let mut cases = Vec::new();
    for (expected, told) in EXPECTED.into_iter().zip(row) {
        let stream = format!("{stands:?}-{expected}-{}", world.log().await.len());
        make(world, &stream, stands).await;
        cases.push((stream, expected, told));
    }
    cases
}

#[tokio::test]
async fn a_stream_that_is_only_checked_is_as_expected_or_told() {
    for world in worlds() {
        let rows = [OPEN, NOWHERE, DELETED, ENDED_CHECKED];
        for (stands, row) in ALL.into_iter().zip(rows) {
            for (stream, expected, told) in each(&world, stands, row).await {
                let before = world.log().await;
                let other = format!("other-{stream}");
                let answer = world.append(vec![record(&other, 9)], &[(&stream, expected)]).await;
                let after = world.log().await;
                match told {
                    None => {
                        let position = i64::try_from(before.len()).expect("it is short");
                        let answer = answer.unwrap_or_else(|status| panic!("{stream}: {status}"));
                        assert_eq!(answer, came(&[(&other, 0)], position));
                        assert_eq!(after.len(), before.len() + 1, "{stream}");
                    }
                    Some(actual) => {
                        let status = answer.expect_err(&stream);
                        let told = violation(0, &stream, expected, actual);
                        assert_eq!(violations(&status), [told], "{stream}");
                        assert_eq!(after, before, "{stream}");
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn a_stream_that_is_written_is_as_expected_or_told() {
    for world in worlds() {
        let rows = [OPEN, NOWHERE, DELETED, ENDED_WRITTEN];
        for (stands, row) in ALL.into_iter().zip(rows) {
            for (stream, expected, told) in each(&world, stands, row).await {
                let before = world.log().await;
                let other = format!("other-{stream}");
                let both = records(&[(&other, 9), (&stream, 9)]);
                let answer = world.append(both, &[(&stream, expected)]).await;
                let after = world.log().await;
                match told {
                    None => {
                        let answer = answer.unwrap_or_else(|status| panic!("{stream}: {status}"));
                        let (revisions, position) = answer;
                        let at = if stands == Stands::Nowhere { 0 } else { 3 };
                        assert_eq!(revisions[1], (stream.clone(), at, None));
                        let last = after.last().expect("it was written");
                        assert_eq!(u64::try_from(position), Ok(last.position.0));
                        let shown = world.stream(&stream).await;
                        assert_eq!(shown.last(), Some(&format!("{at}@{stream} 9")));
                        let hidden = stands == Stands::Deleted;
                        assert_eq!(shown.len() == 1, hidden || at == 0, "{stream}");
                    }
                    Some(actual) => {
                        let status = answer.expect_err(&stream);
                        let told = violation(0, &stream, expected, actual);
                        assert_eq!(violations(&status), [told], "{stream}");
                        assert_eq!(after, before, "{stream}");
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn a_session_tells_the_first_stream_that_is_not_as_expected() {
    for world in worlds() {
        let rows = [OPEN, NOWHERE, DELETED, ENDED_WRITTEN];
        for (stands, row) in ALL.into_iter().zip(rows) {
            for (stream, expected, told) in each(&world, stands, row).await {
                if expected < -4 {
                    continue;
                }
                let before = world.log().await;
                let other = format!("other-{stream}");
                let requests = vec![request(&other, None, &[1]), request(&stream, expected, &[9])];
                let answer = world.session(requests).await;
                let Some(actual) = told else {
                    let (output, position) =
                        answer.unwrap_or_else(|status| panic!("{stream}: {status}"));
                    assert_eq!(output[1].2, Some(position));
                    assert_eq!(output[0].2, Some(position - 1), "{stream}");
                    continue;
                };
                let status = answer.expect_err(&stream);
                assert_eq!(status.code(), Code::FailedPrecondition);
                if actual == -6 {
                    let (reason, detail): (_, details::StreamTombstonedErrorDetails) =
                        carried(&status);
                    assert_eq!(reason, "STREAM_TOMBSTONED");
                    assert_eq!(detail.stream, Some(stream));
                } else {
                    let (reason, detail): (_, details::StreamRevisionConflictErrorDetails) =
                        carried(&status);
                    assert_eq!(reason, "STREAM_REVISION_CONFLICT");
                    assert_eq!(detail.stream, Some(stream));
                    assert_eq!(detail.expected_revision, Some(expected));
                    assert_eq!(detail.actual_revision, Some(actual));
                }
                assert_eq!(world.log().await, before);
            }
        }
    }
}

#[tokio::test]
async fn every_check_that_fails_is_told_and_no_other() {
    for world in worlds() {
        make(&world, "open", Stands::Open).await;
        make(&world, "deleted", Stands::Deleted).await;
        make(&world, "ended", Stands::Ended).await;
        make(&world, "ended-too", Stands::Ended).await;
        let before = world.log().await;
        let checks = [
            ("none", -1),
            ("open", 1),
            ("deleted", -4),
            ("nowhere", -4),
            ("ended", -6),
            ("$$open", 0),
            ("written", 7),
        ];
        let of = [("new", 1), ("written", 2), ("ended-too", 3), ("new", 4)];
        let status = world.append(records(&of), &checks).await.expect_err("much is wrong");
        let told = [
            violation(1, "open", 1, 2),
            violation(2, "deleted", -4, -5),
            violation(3, "nowhere", -4, -1),
            violation(5, "$$open", 0, -1),
            violation(6, "written", 7, -1),
            // Behind the checks come the streams that are only written, in their order.
            violation(8, "ended-too", -2, -6),
        ];
        assert_eq!(violations(&status), told);
        assert!(status.message().contains("'deleted' was expected to exist and is deleted"));
        assert_eq!(world.log().await, before);
    }
}

#[tokio::test]
async fn what_is_told_of_checks_that_fail_fits_into_the_trailers() {
    let world = in_memory();
    let names: Vec<_> = (0..300).map(|number| format!("order-{number:020}")).collect();
    let checks: Vec<_> = names.iter().map(|name| (name.as_str(), 7)).collect();
    for (count, told) in [(60, 60..=60), (300, 61..=200)] {
        let status = world.append(vec![record("a", 1)], &checks[..count]).await;
        let status = status.expect_err("none is there");
        let violations = violations(&status);
        assert!(told.contains(&violations.len()), "{}", violations.len());
        for (place, found) in (0..).zip(&violations) {
            assert_eq!(
                *found,
                violation(place, checks[usize::try_from(place).expect("small")].0, 7, -1)
            );
        }
        assert!(status.details().len() < 5 << 10, "{}", status.details().len());
        let all = format!("({} of {count} are told in the details)", violations.len());
        assert!(status.message().ends_with(&all), "{status}");
    }
    let long = ["x".repeat(1000), "y".repeat(1000)].map(|name| (name, 7));
    let long = long.each_ref().map(|(name, state)| (name.as_str(), *state));
    let status = world.append(vec![record("a", 1)], &long).await.expect_err("none is there");
    assert_eq!(violations(&status).len(), 2);
    assert!(status.message().starts_with("stream 'xxx"));
}

#[tokio::test]
async fn metadata_alone_makes_a_stream_exist() {
    for world in worlds() {
        world.append(vec![record("$$a", 1)], &[("$$a", -1)]).await.expect("it is new");
        let answer = world.append(vec![record("b", 1)], &[("a", -4), ("$$a", 0)]).await;
        assert_eq!(answer.expect("it has metadata"), came(&[("b", 0)], 1));
        let answer = world.session(vec![request("a", -4, &[1])]).await;
        assert_eq!(answer.expect("it has metadata"), came_in_session(&[("a", 0, 2)], 2));
    }
}

#[tokio::test]
async fn what_another_server_did_to_a_stream_is_not_passed_over() {
    for world in worlds() {
        make(&world, "a", Stands::Open).await;
        make(&world, "b", Stands::Open).await;
        let other = world.another();
        other.delete("a", Deletion::Soft).await;
        other.delete("b", Deletion::Tombstone).await;
        let status = world.append(vec![record("c", 1)], &[("a", -4), ("b", 2)]).await;
        let told = [violation(0, "a", -4, -5), violation(1, "b", 2, -6)];
        assert_eq!(violations(&status.expect_err("both are gone")), told);
        let revived = world.append(records(&[("a", 4), ("c", 1)]), &[("a", -5)]).await;
        assert_eq!(revived.expect("it is deleted").0, came(&[("a", 3), ("c", 0)], 0).0);
        // What this server remembers of it is older than what the other one does.
        other.delete("a", Deletion::Tombstone).await;
        let status = world.session(vec![request("a", None, &[5])]).await.expect_err("it has ended");
        assert_eq!(status.code(), Code::FailedPrecondition);
    }
}

/// Each of many writes a stream of its own and checks that those of all others stand still.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_check_what_the_others_write_one_goes_through() {
    const WRITERS: usize = 6;
    const GENERATIONS: u128 = 40;
    for world in worlds() {
        let world = Arc::new(world);
        let mut lasts = [-1_i64; WRITERS];
        for generation in 0..GENERATIONS {
            let barrier = Arc::new(tokio::sync::Barrier::new(WRITERS));
            let writers = (0..WRITERS).map(|writer| {
                let (world, barrier) = (Arc::clone(&world), Arc::clone(&barrier));
                tokio::spawn(async move {
                    let names: Vec<_> = (0..WRITERS).map(|other| format!("s-{other}")).collect();
                    let others = (0..WRITERS).filter(|other| *other != writer);
                    let checks: Vec<_> =
                        others.map(|other| (names[other].as_str(), lasts[other])).collect();
                    barrier.wait().await;
                    world.append(vec![record(&names[writer], generation)], &checks).await
                })
            });
            let mut winners = Vec::new();
            for (writer, task) in writers.collect::<Vec<_>>().into_iter().enumerate() {
                match task.await.expect("it ends") {
                    Ok(_) => winners.push(writer),
                    Err(status) => {
                        let told = violations(&status);
                        assert_eq!(told.len(), 1, "{told:?}");
                        assert_eq!(told[0].3, told[0].2 + 1, "one step further");
                    }
                }
            }
            assert_eq!(winners.len(), 1, "generation {generation}: {winners:?}");
            lasts[winners[0]] += 1;
        }
        assert_eq!(world.log().await.len() as u128, GENERATIONS);
    }
}
