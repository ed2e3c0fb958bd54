//! Appends that come together in an async runtime and are to be written together.

use std::sync::Arc;

use annals_core::EventStore;
use annals_core::disk::SimulatedDisk;
use futures::future::try_join_all;

use super::{Log, LogOptions, append, block_on, open_with, small};
use crate::log::format::COMMIT_BYTES;

const APPENDS: u128 = 20;

fn open(gather: bool) -> Arc<Log> {
    open_with(&SimulatedDisk::new(3), LogOptions { gather, ..small() }).unwrap()
}

#[test]
fn what_comes_together_is_written_together() {
    let bytes = |together: bool| {
        let log = open(true);
        block_on(async {
            if together {
                let waiting = (1..=APPENDS).map(|id| log.append(append("account-A", id, vec![])));
                try_join_all(waiting).await.unwrap();
            } else {
                for id in 1..=APPENDS {
                    log.append(append("account-A", id, vec![])).await.unwrap();
                }
            }
        });
        let bytes = log.stats().bytes;
        log.close();
        bytes
    };
    // Every write ends with a commit.
    assert_eq!(bytes(false) - bytes(true), (APPENDS as u64 - 1) * COMMIT_BYTES as u64);
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
    let waiting = runtime.block_on(async { log.append(append("account-A", 1, vec![])) });
    drop(runtime);
    futures::executor::block_on(waiting).unwrap();
    log.close();
}
