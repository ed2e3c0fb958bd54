//! Appends and deletions: what is expected, repetitions, deletion, revival and the end.

use delete_req::options::ExpectedStreamRevision as OfDelete;
use delete_req::options::ExpectedStreamRevision as OfTombstone;

use super::*;

fn written(revision: u64, position: u64) -> Came {
    Came::Written(Some(revision), Some(position))
}

fn revision(revision: u64) -> Expects {
    Expects::Revision(revision)
}

#[tokio::test]
async fn a_new_stream_meets_every_expectation_but_existence() {
    for client in clients() {
        assert_eq!(client.append("a", revision(0), &[1]).await, Came::Wrong(None));
        assert_eq!(client.append("a", EXISTS, &[1]).await, Came::Wrong(None));
        assert_eq!(client.append("a", NONE, &[1, 2]).await, written(1, 1));
        assert_eq!(client.append("b", ANY, &[1]).await, written(0, 2));
        assert_eq!(client.append("a", NONE, &[3]).await, Came::Wrong(Some(1)));
        assert_eq!(client.append("a", revision(0), &[3]).await, Came::Wrong(Some(1)));
        assert_eq!(client.append("a", revision(2), &[3]).await, Came::Wrong(Some(1)));
        assert_eq!(client.append("a", revision(1), &[3]).await, written(2, 3));
        assert_eq!(client.append("a", EXISTS, &[4]).await, written(3, 4));
        assert_eq!(client.events("a").await, ["0@a 1", "1@a 2", "2@a 3", "3@a 4"]);
    }
}

#[tokio::test]
async fn an_append_of_nothing_checks_what_is_expected() {
    for client in clients() {
        assert_eq!(client.append("a", ANY, &[]).await, Came::Written(None, None));
        assert_eq!(client.append("a", NONE, &[]).await, Came::Written(None, None));
        assert_eq!(client.append("a", NONE, &[1]).await, written(0, 0));
        assert_eq!(client.append("a", revision(0), &[]).await, Came::Written(Some(0), None));
        assert_eq!(client.append("a", NONE, &[]).await, Came::Wrong(Some(0)));
    }
}

#[tokio::test]
async fn a_repetition_is_answered_as_the_first_time() {
    for client in clients() {
        client.append("a", NONE, &[1, 2, 3]).await;
        client.append("b", NONE, &[9]).await;
        let known = [
            (NONE, &[1, 2, 3][..], written(2, 2)),
            (NONE, &[1], written(0, 0)),
            (revision(0), &[2], written(1, 1)),
            (ANY, &[1, 2], written(1, 1)),
            (EXISTS, &[3], written(2, 2)),
        ];
        for (expected, numbers, answer) in known {
            assert_eq!(client.append("a", expected, numbers).await, answer, "{numbers:?}");
        }
        let neither = [
            (NONE, &[1, 4][..]),
            (NONE, &[2]),
            (revision(1), &[3, 4]),
            (revision(0), &[3]),
            (ANY, &[3, 4]),
            (EXISTS, &[3, 4]),
        ];
        for (expected, numbers) in neither {
            let came = client.append("a", expected, numbers).await;
            assert_eq!(came, Came::Wrong(Some(2)), "{numbers:?}");
        }
        // A known id behind the last event is another event, as it is in another stream.
        assert_eq!(client.append("a", revision(2), &[1]).await, written(3, 4));
        assert_eq!(client.append("b", ANY, &[1]).await, written(1, 5));
    }
}

#[tokio::test]
async fn a_deleted_stream_is_not_found_until_the_next_append() {
    for client in clients() {
        client.append("a", NONE, &[1, 2]).await;
        assert_eq!(client.delete("a", OfDelete::Revision(1)).await.expect("it is there"), 2);
        assert_eq!(client.events("a").await, ["no a"]);
        assert_eq!(client.append("a", EXISTS, &[3]).await, Came::Deleted);
        assert_eq!(client.append("a", revision(0), &[3]).await, Came::Wrong(Some(1)));
        // It can be deleted again, and an append is revived at the next revision.
        client.delete("a", OfDelete::Revision(1)).await.expect("it is there");
        is_deleted(client.delete("a", OfDelete::StreamExists(Empty {})).await);
        let came = client.append("a", NONE, &[3]).await;
        assert_eq!(came, written(2, 5));
        assert_eq!(client.events("a").await, ["2@a 3"]);
        assert_eq!(client.append("a", NONE, &[3]).await, Came::Wrong(Some(2)));
        assert_eq!(client.append("a", revision(1), &[3]).await, written(2, 5));
        assert_eq!(client.append("a", EXISTS, &[4]).await, written(3, 6));
        let metadata = client.events("$$a").await;
        assert_eq!(metadata, [r#"2@$$a {"$tb":2}"#]);
    }
}

#[tokio::test]
async fn every_expectation_that_fits_revives_a_deleted_stream() {
    for client in clients() {
        for (stream, expected) in [("a", ANY), ("b", NONE), ("c", revision(1))] {
            client.append(stream, NONE, &[1, 2]).await;
            client.delete(stream, OfDelete::Any(Empty {})).await.expect("it is there");
            let Came::Written(Some(2), Some(position)) =
                client.append(stream, expected, &[3]).await
            else {
                panic!("{stream} is not revived")
            };
            // The position is the one that a read gives.
            let read = client.read(count(of_log(at(position)), 1)).await;
            assert_eq!(read, [format!("2@{stream} 3")]);
            assert_eq!(client.events(stream).await, [format!("2@{stream} 3")]);
        }
    }
}

#[tokio::test]
async fn a_repetition_revives_nothing() {
    for client in clients() {
        for (stream, expected) in [("a", ANY), ("b", NONE), ("c", revision(0))] {
            let first = if expected == revision(0) { &[7][..] } else { &[] };
            client.append(stream, NONE, first).await;
            let answer = client.append(stream, expected, &[1, 2]).await;
            client.delete(stream, OfDelete::Any(Empty {})).await.expect("it is there");
            assert_eq!(client.append(stream, expected, &[1, 2]).await, answer, "{stream}");
            assert_eq!(client.events(stream).await, [format!("no {stream}")]);
        }
    }
}

#[tokio::test]
async fn other_metadata_survives_a_revival() {
    for client in clients() {
        client.append("a", NONE, &[1, 2]).await;
        let metadata = typed(8, "$metadata", r#"{"$tb":9223372036854775807,"mine":[1]}"#);
        client.try_append("$$a", ANY, vec![metadata]).await.expect("an answer");
        assert_eq!(client.events("a").await, ["no a"]);
        client.append("a", ANY, &[3]).await;
        let metadata = client.events("$$a").await;
        assert_eq!(metadata, [r#"1@$$a {"$tb":2,"mine":[1]}"#]);
    }
}

#[tokio::test]
async fn metadata_for_a_deleted_stream_revives_it() {
    for client in clients() {
        client.append("a", NONE, &[1, 2]).await;
        client.delete("a", OfDelete::Any(Empty {})).await.expect("it is there");
        let metadata = typed(8, "$metadata", r#"{"mine":1}"#);
        let came = client.try_append("$$a", ANY, vec![metadata.clone()]).await;
        assert_eq!(came.expect("an answer"), written(1, 3));
        assert_eq!(client.events("$$a").await, [r#"2@$$a {"mine":1,"$tb":2}"#]);
        let came = client.try_append("$$a", ANY, vec![metadata]).await;
        assert_eq!(came.expect("an answer"), written(1, 3));
        // It is there, and all that it held stays hidden.
        assert!(client.events("a").await.is_empty());
        assert_eq!(client.append("a", EXISTS, &[3]).await, written(2, 5));
    }
}

#[tokio::test]
async fn metadata_alone_makes_a_stream_exist() {
    for client in clients() {
        let metadata = typed(8, "$metadata", r#"{"$maxCount":1}"#);
        client.try_append("$$a", NONE, vec![metadata]).await.expect("an answer");
        assert_eq!(client.events("a").await, ["no a"]);
        assert_eq!(client.append("a", EXISTS, &[1, 2]).await, written(1, 2));
        assert_eq!(client.events("a").await, ["1@a 2"]);
    }
}

#[tokio::test]
async fn what_never_was_cannot_be_deleted() {
    for client in clients() {
        for expected in [OfDelete::Any(Empty {}), OfDelete::Revision(3)] {
            let refused = client.delete("a", expected).await.expect_err("it is not there");
            assert_eq!(refused.code(), Code::FailedPrecondition);
            let actual = refused.metadata().get("actual-version").expect("it is told");
            assert_eq!(actual, "-1");
        }
        client.append("a", NONE, &[1]).await;
        let refused = client.delete("a", OfDelete::Revision(3)).await.expect_err("it is at 0");
        assert_eq!(refused.metadata().get("actual-version").expect("it is told"), "0");
        assert_eq!(client.events("a").await, ["0@a 1"]);
    }
}

#[tokio::test]
async fn a_stream_that_ended_is_neither_read_nor_written() {
    for client in clients() {
        client.append("a", NONE, &[1]).await;
        client.tombstone("a", OfTombstone::Revision(0)).await.expect("it is there");
        client.tombstone("new", OfTombstone::NoStream(Empty {})).await.expect("it may be new");
        for expected in [ANY, NONE, EXISTS, revision(0), revision(1)] {
            assert_eq!(client.append("a", expected, &[2]).await, Came::Deleted);
        }
        is_deleted(client.delete("a", OfDelete::Any(Empty {})).await);
        is_deleted(client.tombstone("a", OfTombstone::Any(Empty {})).await);
        for stream in ["a", "$$a"] {
            let from = RevisionOption::Start(Empty {});
            is_deleted(client.try_read(of_stream(stream, from)).await);
            is_deleted(client.try_read(live(of_stream(stream, from))).await);
        }
        // Its metadata can be written, which does not bring it back.
        let metadata = typed(8, "$metadata", "{}");
        client.try_append("$$a", ANY, vec![metadata]).await.expect("an answer");
        assert_eq!(client.append("a", ANY, &[2]).await, Came::Deleted);
        let fresh = Client::of(Arc::clone(&client.protocol.parts.store), client.clock.clone());
        assert_eq!(fresh.append("a", ANY, &[2]).await, Came::Deleted);
        // The whole log shows its end, and not our mark.
        let all = client.read(of_log(START)).await;
        assert_eq!(
            all,
            ["0@a 1", "9223372036854775807@a ", "9223372036854775807@new ", "1@$$a {}"]
        );
        let two = client.read(count(of_log(START), 2)).await;
        assert_eq!(two, all[..2]);
    }
}

#[tokio::test]
async fn an_append_that_another_server_decided_before_a_deletion_is_decided_again() {
    for client in clients() {
        client.append("a", NONE, &[1]).await;
        let other = Client::of(Arc::clone(&client.protocol.parts.store), client.clock.clone());
        other.delete("a", OfDelete::Any(Empty {})).await.expect("it is there");
        assert_eq!(client.append("a", ANY, &[2]).await, written(1, 3));
        assert_eq!(client.events("a").await, ["1@a 2"]);
        // What this one remembers is older than what the other does.
        other.tombstone("a", OfTombstone::Any(Empty {})).await.expect("it is there");
        assert_eq!(client.append("a", ANY, &[3]).await, Came::Deleted);
    }
}

#[tokio::test]
async fn what_is_wrong_in_an_append_is_told() {
    let client = in_memory();
    let refused = async |stream: &str, expected, change: fn(&mut ProposedMessage), says: &str| {
        let mut message = event(1);
        change(&mut message);
        let answer = client.try_append(stream, expected, vec![message]).await;
        let status = answer.expect_err("it is wrong");
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains(says), "{status}");
    };
    refused("", ANY, |_| {}, "stream name").await;
    refused("$$", ANY, |_| {}, "$$").await;
    refused("a", revision(u64::MAX), |_| {}, "revision").await;
    refused("a", revision(i64::MAX as u64), |_| {}, "revision").await;
    refused("a", ANY, |message| message.id = None, "UUID").await;
    refused("a", ANY, |message| drop(message.metadata.remove("type")), "'type'").await;
    refused("a", ANY, |message| drop(message.metadata.remove("content-type")), "content-type")
        .await;
    let named = |message: &mut ProposedMessage, name: &str| {
        message.metadata.insert("type".to_owned(), name.to_owned());
    };
    refused(
        "a",
        ANY,
        |message| _ = message.metadata.insert("type".into(), String::new()),
        "event type",
    )
    .await;
    let mut ours = event(1);
    named(&mut ours, "$annals.tombstone");
    assert!(client.try_append("a", ANY, vec![ours]).await.is_err());
    refused("a", ANY, |message| message.data = vec![0; 999].into(), "Maximum Append Event Size")
        .await;
    let large = |number| ProposedMessage { data: vec![0; 900].into(), ..event(number) };
    let many = (1..5).map(large).collect();
    let status = client.try_append("a", ANY, many).await.expect_err("too large");
    assert_eq!(status.message(), "Maximum Append Size of 3000 Exceeded.");
    let status = client.send(vec![]).await.expect_err("nothing came");
    assert_eq!(status.code(), Code::InvalidArgument);
    let no_options = vec![Content::ProposedMessage(event(1))];
    assert!(client.send(no_options).await.is_err());
    assert_eq!(client.protocol.parts.store.head(), None);
}
