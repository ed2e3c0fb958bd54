//! Subscriptions: the order of what they tell, checkpoints, and how they end.

use std::time::Duration;

use delete_req::options::ExpectedStreamRevision as OfDelete;
use delete_req::options::ExpectedStreamRevision as OfTombstone;

use super::reads::{expression, filtered};
use super::*;
use crate::protocol::wire::v1::streams::read_req::options::filter_options::Filter as ByWhat;

const FIRST: RevisionOption = RevisionOption::Start(Empty {});
const LAST: RevisionOption = RevisionOption::End(Empty {});

/// The next response in words; the end's code where it is one.
async fn next(told_of: &mut (impl Stream<Item = Result<ReadResp, Status>> + Unpin)) -> String {
    let next = tokio::time::timeout(Duration::from_secs(20), told_of.next()).await;
    match next.expect("in time").expect("it goes on") {
        Ok(response) => told(&response),
        Err(status) => format!("ended {:?}", status.code()),
    }
}

#[track_caller]
fn silent(told_of: &mut (impl Stream<Item = Result<ReadResp, Status>> + Unpin)) {
    use futures::FutureExt;
    assert!(told_of.next().now_or_never().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_followed_from_what_is_there_to_what_comes() {
    for client in clients() {
        client.append("a", NONE, &[10, 11]).await;
        let mut told_of = client.try_read(live(of_stream("a", FIRST))).await.expect("served");
        for expected in ["confirmed", "0@a 10", "1@a 11", "caught up Some(1) None"] {
            assert_eq!(next(&mut told_of).await, expected);
        }
        client.append("b", NONE, &[12]).await;
        client.append("a", ANY, &[13]).await;
        assert_eq!(next(&mut told_of).await, "2@a 13");
        // A subscription begins behind the revision named.
        let from = RevisionOption::Revision(1);
        let mut behind = client.try_read(live(of_stream("a", from))).await.expect("served");
        for expected in ["confirmed", "2@a 13", "caught up Some(2) None"] {
            assert_eq!(next(&mut behind).await, expected);
        }
        let mut later = client.try_read(live(of_stream("a", LAST))).await.expect("served");
        for expected in ["confirmed", "caught up Some(2) None"] {
            assert_eq!(next(&mut later).await, expected);
        }
        client.delete("a", OfDelete::Any(Empty {})).await.expect("it is there");
        client.append("a", ANY, &[14]).await;
        for told_of in [&mut told_of, &mut behind, &mut later] {
            assert_eq!(next(told_of).await, "3@a 14");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_not_there_is_waited_for() {
    for client in clients() {
        let mut early = client.try_read(live(of_stream("a", FIRST))).await.expect("served");
        for expected in ["confirmed", "caught up None None"] {
            assert_eq!(next(&mut early).await, expected);
        }
        client.append("b", NONE, &[9]).await;
        let mut told_of = client.try_read(live(of_stream("a", FIRST))).await.expect("served");
        for expected in ["confirmed", "caught up None None"] {
            assert_eq!(next(&mut told_of).await, expected);
        }
        client.append("a", NONE, &[10]).await;
        for told_of in [&mut early, &mut told_of] {
            assert_eq!(next(told_of).await, "0@a 10");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_stream_ends_its_subscriptions() {
    for client in clients() {
        client.append("a", NONE, &[10]).await;
        let mut told_of = client.try_read(live(of_stream("a", LAST))).await.expect("served");
        for expected in ["confirmed", "caught up Some(0) None"] {
            assert_eq!(next(&mut told_of).await, expected);
        }
        client.tombstone("a", OfTombstone::Any(Empty {})).await.expect("it is there");
        assert_eq!(next(&mut told_of).await, "9223372036854775807@a ");
        assert_eq!(next(&mut told_of).await, "ended FailedPrecondition");
        assert!(told_of.next().await.is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_followed_behind_a_position() {
    for client in clients() {
        client.append("a", NONE, &[10, 11]).await;
        let subscribe = async |from| client.try_read(live(of_log(from))).await.expect("served");
        let mut all = subscribe(START).await;
        for expected in ["confirmed", "0@a 10", "1@a 11", "caught up None Some(1)"] {
            assert_eq!(next(&mut all).await, expected);
        }
        let mut behind = subscribe(at(0)).await;
        for expected in ["confirmed", "1@a 11", "caught up None Some(1)"] {
            assert_eq!(next(&mut behind).await, expected);
        }
        let (mut last, mut end) = (subscribe(at(1)).await, subscribe(END).await);
        for told_of in [&mut last, &mut end] {
            for expected in ["confirmed", "caught up None Some(1)"] {
                assert_eq!(next(told_of).await, expected);
            }
        }
        client.append("b", NONE, &[12]).await;
        for told_of in [&mut all, &mut behind, &mut last, &mut end] {
            assert_eq!(next(told_of).await, "0@b 12");
        }
        client.protocol.parts.stopping.cancel();
        for told_of in [&mut all, &mut behind, &mut last, &mut end] {
            assert_eq!(next(told_of).await, "ended Unavailable");
            assert!(told_of.next().await.is_none());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_tell_how_far_a_filter_has_looked() {
    for client in clients() {
        for number in 0..10_u128 {
            let stream = if number == 7 { "wanted" } else { "other" };
            client.append(stream, ANY, &[number]).await;
        }
        let wanted = ByWhat::StreamIdentifier(expression("", &["wanted"]));
        let options = filtered(live(of_log(at(0))), wanted, 4);
        let mut told_of = client.try_read(options).await.expect("served");
        let expected =
            ["confirmed", "checkpoint 6", "0@wanted 7", "checkpoint 9", "caught up None Some(9)"];
        for expected in expected {
            assert_eq!(next(&mut told_of).await, expected);
        }
        // Live too, and not sooner than the client asked for.
        for number in 20..23 {
            client.append("other", ANY, &[number]).await;
            silent(&mut told_of);
        }
        client.append("other", ANY, &[23]).await;
        assert_eq!(next(&mut told_of).await, "checkpoint 13");
        client.append("wanted", ANY, &[24]).await;
        assert_eq!(next(&mut told_of).await, "1@wanted 24");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_between_what_was_and_what_comes() {
    for client in clients() {
        let client = Arc::new(client);
        let writer = tokio::spawn({
            let client = Arc::clone(&client);
            async move {
                for number in 0..600 {
                    client.append("a", ANY, &[number]).await;
                }
            }
        });
        let mut readers = Vec::new();
        for _ in 0..4 {
            let told_of = client.try_read(live(of_stream("a", FIRST))).await.expect("served");
            readers.push(tokio::spawn(async move {
                let events = told_of.filter_map(|response| async {
                    let told = told(&response.expect("it goes on"));
                    told.contains('@').then_some(told)
                });
                events.take(600).collect::<Vec<_>>().await
            }));
            tokio::task::yield_now().await;
        }
        writer.await.expect("it writes");
        let expected: Vec<_> = (0..600).map(|number| format!("{number}@a {number}")).collect();
        for reader in readers {
            let read = tokio::time::timeout(Duration::from_mins(1), reader).await;
            assert_eq!(read.expect("in time").expect("it reads"), expected);
        }
    }
}
