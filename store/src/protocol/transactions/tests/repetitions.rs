//! A transaction that is sent again is answered as the first time, whatever has become of its streams; one that is known in
//! part is refused.

use super::*;

#[tokio::test]
async fn a_repetition_is_answered_as_the_first_time_even_if_checks_fail_now() {
    for world in worlds() {
        world.append(records(&[("a", 1), ("gate", 2)]), &[]).await.expect("new");
        let of = [("a", 3), ("b", 4), ("a", 5), ("c", 3)];
        let checks = [("a", 0), ("gate", 0), ("b", -1), ("nowhere", -1)];
        let first = world.append(records(&of), &checks).await.expect("as expected");
        assert_eq!(first, came(&[("a", 2), ("b", 0), ("c", 0)], 5));
        // Everything moves on.
        let more = [("a", 6), ("b", 7), ("gate", 8), ("nowhere", 9)];
        world.append(records(&more), &[]).await.expect("new");
        let before = world.log().await;
        let again = world.append(records(&of), &checks).await.expect("a repetition");
        assert_eq!(again, first);
        // What it only checks counts no more.
        for checks in [&[("gate", 7), ("a", 0)][..], &[("gate", -6)], &[("c", -5)], &[]] {
            let checks = [checks, &[("b", -1)]].concat();
            let again = world.append(records(&of), &checks).await.expect("a repetition");
            assert_eq!(again, first, "{checks:?}");
        }
        world.delete("gate", Deletion::Tombstone).await;
        let again = world.append(records(&of), &checks).await.expect("a repetition");
        assert_eq!(again, first);
        assert_eq!(world.log().await.len(), before.len() + 2);
    }
}

#[tokio::test]
async fn a_session_that_is_sent_again_is_answered_as_the_first_time() {
    for world in worlds() {
        let requests =
            || vec![request("a", -1, &[1, 2]), request("b", None, &[3]), request("c", -2, &[1])];
        let first = world.session(requests()).await.expect("new");
        assert_eq!(first, came_in_session(&[("a", 1, 1), ("b", 0, 2), ("c", 0, 3)], 3));
        world.session(vec![request("c", 0, &[4]), request("a", 1, &[5])]).await.expect("new");
        assert_eq!(world.session(requests()).await.expect("a repetition"), first);
        assert_eq!(world.log().await.len(), 6);
    }
}

#[tokio::test]
async fn what_is_known_in_part_is_refused() {
    for world in worlds() {
        let both = || vec![request("a", -1, &[1, 2]), request("b", None, &[3])];
        world.session(both()).await.expect("new");
        let before = world.log().await;
        // By their ids alone.
        for of in [&[("a", 1), ("a", 9)][..], &[("a", 1), ("b", 9)], &[("b", 3), ("c", 3)]] {
            let status = world.append(records(of), &[]).await.expect_err("some are known");
            assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        }
        // What stands where it was expected is known, and so are the ids of the others.
        let conflicts = [
            vec![request("a", -1, &[1, 2]), request("b", None, &[4])],
            vec![request("a", -1, &[1, 9]), request("b", None, &[3])],
            vec![request("a", 0, &[1]), request("b", None, &[3])],
        ];
        for requests in conflicts {
            let status = world.session(requests).await.expect_err("some are known");
            assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
        }
        let behind = vec![request("a", 1, &[9]), request("b", None, &[3])];
        let status = world.session(behind).await.expect_err("one is known");
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert_eq!(world.log().await, before);
        // A check that fails is told first.
        let status = world.append(records(&[("b", 3), ("c", 3)]), &[("a", 7)]).await;
        assert_eq!(violations(&status.expect_err("a check fails")), [violation(0, "a", 7, 1)]);
        assert_eq!(world.log().await, before);
    }
}

#[tokio::test]
async fn a_repetition_revives_nothing() {
    for world in worlds() {
        for (stream, expected) in [("a", -1), ("b", -2), ("c", -2)] {
            let other = format!("other-{stream}");
            let requests = || vec![request(stream, expected, &[1, 2]), request(&other, None, &[3])];
            let first = world.session(requests()).await.expect("new");
            world.delete(stream, Deletion::Soft).await;
            world.delete(&other, Deletion::Soft).await;
            let before = world.log().await;
            assert_eq!(world.session(requests()).await.expect("a repetition"), first);
            assert_eq!(world.log().await, before, "{stream}");
            let part = vec![request(stream, None, &[1, 9]), request(&other, None, &[4])];
            let status = world.session(part).await.expect_err("one is known");
            assert_eq!(status.code(), Code::InvalidArgument, "{status}");
            assert_eq!(world.log().await, before, "{stream}");
        }
    }
}

#[tokio::test]
async fn a_stream_that_has_ended_has_no_repetitions() {
    for world in worlds() {
        let of = [("a", 1), ("b", 2)];
        world.append(records(&of), &[]).await.expect("new");
        world.delete("b", Deletion::Tombstone).await;
        let status = world.append(records(&of), &[]).await.expect_err("it has ended");
        assert_eq!(violations(&status), [violation(1, "b", -2, -6)]);
    }
}
