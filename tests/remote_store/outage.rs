//! The server is killed and started again, on the same folder and port: nothing acknowledged is lost, nothing is written
//! twice, and a subscription shows each event once.

use std::sync::Arc;
use std::time::Duration;

use annals_core::{AppendError, EventStore, ExpectedRevision};
use futures::StreamExt;

use crate::harness::{scratch, server::Server};
use crate::remote::{
    all, connect, events, id, ids, log_server, log_server_again, put, runtime, write,
};

const KILLS: u32 = 3;
const WRITERS: u64 = 8;
/// The event that comes last.
const END: u64 = 77_000_000;

/// Kills the server some times while something goes on, and starts it again each time.
async fn kill_again_and_again(data: &std::path::Path, mut server: Server) -> Server {
    for _ in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(700)).await;
        let address = server.address.clone();
        drop(server); // Killed, with SIGKILL.
        server = log_server_again(data, &address);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    server
}

#[test]
fn nothing_acknowledged_is_lost_and_a_subscription_shows_each_event_once() {
    let folder = scratch();
    let server = log_server(folder.path());
    runtime().block_on(async {
        let store = connect(&server).await;
        let (stop, stopping) = tokio::sync::watch::channel(false);
        let writers = (0..WRITERS).map(|writer| {
            let (store, stopping) = (Arc::clone(&store), stopping.clone());
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                for number in 0.. {
                    if *stopping.borrow() {
                        break;
                    }
                    let number = writer * 1_000_000 + number;
                    let expected = ExpectedRevision::Any;
                    let stream = format!("s-{writer}");
                    put(&*store, &stream, expected, &[number]).await.expect("it is repeated");
                    acknowledged.push(id(number));
                }
                acknowledged
            })
        });
        let writers: Vec<_> = writers.collect();
        let follower = {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut batches = store.subscribe(all());
                let mut seen = Vec::new();
                while seen.last() != Some(&id(END)) {
                    let batch = batches.next().await.expect("it goes on").expect("it resumes");
                    seen.extend(ids(&batch.events));
                }
                seen
            })
        };
        let server = kill_again_and_again(folder.path(), server).await;
        stop.send_replace(true);
        let mut acknowledged = Vec::new();
        for writer in writers {
            acknowledged.push(writer.await.expect("a writer"));
        }
        put(&*store, "end-1", ExpectedRevision::Any, &[END]).await.expect("room");
        let seen = tokio::time::timeout(Duration::from_mins(1), follower).await;
        let seen = seen.expect("it catches up").expect("a follower");
        let stored = events(&*store, all()).await;
        assert_eq!(seen, ids(&stored), "no gap, no double");
        for (writer, acknowledged) in acknowledged.into_iter().enumerate() {
            assert!(acknowledged.len() > 20, "{}", acknowledged.len());
            let stream = format!("s-{writer}");
            let of_stream = stored.iter().filter(|event| event.stream.as_str() == stream);
            assert_eq!(of_stream.map(|event| event.id).collect::<Vec<_>>(), acknowledged);
        }
        store.close().await;
        drop(server);
    });
}

#[test]
fn appends_under_way_keep_their_order_through_a_kill() {
    let folder = scratch();
    let server = log_server(folder.path());
    runtime().block_on(async {
        let store = connect(&server).await;
        let writing = {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut given = Vec::new();
                for number in 0..4_000 {
                    let append = write(
                        &format!("s-{}", number % 5),
                        ExpectedRevision::Any,
                        vec![crate::remote::event(number)],
                    );
                    given.push(store.append(append));
                    if number % 50 == 0 {
                        tokio::time::sleep(Duration::from_millis(25)).await;
                    }
                }
                for answer in futures::future::join_all(given).await {
                    answer.expect("it is repeated");
                }
            })
        };
        let server = kill_again_and_again(folder.path(), server).await;
        writing.await.expect("it wrote");
        assert_eq!(ids(&events(&*store, all()).await), (0..4_000).map(id).collect::<Vec<_>>());
        store.close().await;
        drop(server);
    });
}

#[test]
fn a_server_that_stays_away_leaves_the_outcome_unknown_and_a_read_a_fault() {
    let folder = scratch();
    let server = log_server(folder.path());
    runtime().block_on(async {
        let store = connect(&server).await;
        drop(server);
        let (append, read) =
            tokio::join!(put(&*store, "s-1", ExpectedRevision::Any, &[1]), async {
                store.read(all()).next().await
            },);
        assert!(matches!(append, Err(AppendError::Unknown(_))), "{append:?}");
        let read = read.expect("an answer").expect_err("nobody is there");
        assert_eq!(read.family(), annals_core::Family::Unavailable, "{read}");
    });
}
