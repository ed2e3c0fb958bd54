//! Appends that come together in an async runtime and are to be written together.

use std::sync::Arc;
use std::time::{Duration, Instant};

use annals_core::EventStore;
use annals_core::disk::SimulatedDisk;
use futures::future::try_join;

use super::{Log, LogOptions, append, block_on, open_with, small};
use crate::log::format::COMMIT_BYTES;

fn open(gather: bool) -> Arc<Log> {
    open_with(&SimulatedDisk::new(3), LogOptions { gather, ..small() }).unwrap()
}

#[test]
fn what_comes_before_the_task_gives_way_is_written_together() {
    let bytes = |together: bool| {
        let log = open(true);
        block_on(async {
            let first = log.append(append("account-A", 1, vec![]));
            if together {
                // Long enough for a writer that would begin.
                let begun = Instant::now();
                while begun.elapsed() < Duration::from_millis(50) {
                    std::thread::yield_now();
                }
                assert_eq!(log.stats().events, 0, "the task has not given way");
                try_join(first, log.append(append("account-A", 2, vec![]))).await.unwrap();
            } else {
                first.await.unwrap();
                log.append(append("account-A", 2, vec![])).await.unwrap();
            }
        });
        let bytes = log.stats().bytes;
        log.close();
        bytes
    };
    // Every write ends with a commit.
    assert_eq!(bytes(false) - bytes(true), COMMIT_BYTES as u64);
}

#[test]
fn an_append_outside_of_a_runtime_is_written_at_once() {
    let log = open(true);
    futures::executor::block_on(log.append(append("account-A", 1, vec![]))).unwrap();
    log.close();
}

#[test]
fn a_runtime_that_ends_leaves_no_append_behind() {
    let log = open(true);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let entered = runtime.enter();
    let waiting = log.append(append("account-A", 1, vec![]));
    drop(entered);
    drop(runtime);
    futures::executor::block_on(waiting).unwrap();
    log.close();
}
