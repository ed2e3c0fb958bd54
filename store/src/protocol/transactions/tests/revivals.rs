//! Streams that were deleted come back to life with the transaction that writes to them, and with it alone.

use super::*;

/// The metadata of a stream as they stand, oldest first.
async fn metadata(world: &World, stream: &str) -> Vec<String> {
    world.stream(&format!("$${stream}")).await
}

async fn make_deleted(world: &World, streams: &[&str]) {
    for stream in streams {
        world.append(records(&[(stream, 1), (stream, 2)]), &[]).await.expect("new");
        world.delete(stream, Deletion::Soft).await;
    }
}

#[tokio::test]
async fn all_that_a_transaction_writes_comes_back_at_once() {
    for world in worlds() {
        make_deleted(&world, &["a", "b", "c"]).await;
        let of = [("a", 3), ("b", 4), ("a", 5)];
        let checks = [("b", -5), ("c", -5), ("$$a", 0), ("$$c", 0)];
        let answer = world.append(records(&of), &checks).await.expect("as expected");
        // Six events, three deletions, two revivals, and the records.
        assert_eq!(answer, came(&[("a", 3), ("b", 2)], 13));
        assert_eq!(world.stream("a").await, ["2@a 3", "3@a 5"]);
        assert_eq!(world.stream("b").await, ["2@b 4"]);
        assert!(world.stream("c").await.is_empty(), "it was only checked");
        assert_eq!(metadata(&world, "a").await[1], r#"1@$$a {"$tb":2}"#);
        assert_eq!(metadata(&world, "b").await[1], r#"1@$$b {"$tb":2}"#);
        let answer = world.session(vec![request("c", 1, &[3]), request("d", None, &[4])]).await;
        let told = came_in_session(&[("c", 2, 15), ("d", 0, 16)], 16);
        assert_eq!(answer.expect("it ends at 1"), told);
    }
}

#[tokio::test]
async fn a_transaction_that_is_refused_revives_nothing() {
    for world in worlds() {
        make_deleted(&world, &["a", "b"]).await;
        let before = world.log().await;
        let status = world.append(records(&[("a", 3), ("b", 4)]), &[("b", 0)]).await;
        assert_eq!(violations(&status.expect_err("it is at 1")), [violation(0, "b", 0, 1)]);
        let status = world.append(records(&[("a", 3)]), &[("nowhere", 2)]).await;
        let told = [violation(0, "nowhere", 2, -1)];
        assert_eq!(violations(&status.expect_err("it is not there")), told);
        assert_eq!(world.log().await, before);
    }
}

#[tokio::test]
async fn metadata_that_are_written_along_begin_the_stream_again() {
    let of_metadata = |stream: &str, number, json: &'static str| AppendRecord {
        data: Some(json.into()),
        ..record(stream, number)
    };
    for world in worlds() {
        make_deleted(&world, &["a", "b", "c"]).await;
        let both = vec![
            record("a", 3),
            of_metadata("$$a", 4, r#"{"mine":1}"#),
            record("a", 5),
            of_metadata("$$a", 6, r#"{"mine":2}"#),
        ];
        let answer = world.append(both.clone(), &[("$$a", 0)]).await.expect("as expected");
        // The position is that of the last record, and the metadata that revive stand behind it.
        assert_eq!(answer, came(&[("a", 3), ("$$a", 2)], 12));
        assert_eq!(metadata(&world, "a").await[3], r#"3@$$a {"mine":2,"$tb":2}"#);
        assert_eq!(world.stream("a").await, ["2@a 3", "3@a 5"]);
        assert_eq!(world.append(both, &[("$$a", 0)]).await.expect("a repetition"), answer);
        // Alone they do the same.
        let alone = vec![of_metadata("$$b", 3, "{}")];
        let answer = world.append(alone, &[]).await.expect("as expected");
        assert_eq!(answer, came(&[("$$b", 1)], 14));
        assert_eq!(metadata(&world, "b").await[2], r#"2@$$b {"$tb":2}"#);
        // A stream that has ended keeps its end.
        world.delete("c", Deletion::Tombstone).await;
        let alone = || vec![of_metadata("$$c", 3, "{}")];
        world.append(alone(), &[("c", -6)]).await.expect("its metadata can be written");
        let status = world.append(vec![record("c", 9)], &[]).await.expect_err("it has ended");
        assert_eq!(violations(&status), [violation(0, "c", -2, -6)]);
    }
}
