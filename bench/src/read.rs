//! Reads of a log of two million events: all of it, single streams, and a verification, all from the page cache.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use annals_core::disk::RealDisk;
use annals_core::{EventStore, ReadQuery};
use annals_store::Log;
use annals_store::log::verify_with;
use futures::{StreamExt, TryStreamExt};
use tokio::runtime::Runtime;

use crate::BenchError;
use crate::append::Measurement;
use crate::figure::{Figure, rate};
use crate::log::{self, Source};

/// Streams in the log.
const STREAMS: u64 = 2_000;
/// Events in each.
const STREAM_EVENTS: u64 = 1_000;
/// How many streams are read, one after the other.
const STREAMS_READ: u64 = 200;

/// All measurements of this file.
pub(crate) const ALL: &[(&str, Measurement)] = &[
    ("read the whole log", |runtime, folder, runs| {
        measure(runtime, folder, runs, "read all", "2,000,000 events", |log| {
            runtime.block_on(async {
                assert_eq!(count(log, ReadQuery::all()).await?, STREAMS * STREAM_EVENTS);
                Ok(STREAMS * STREAM_EVENTS)
            })
        })
    }),
    ("read one stream", |runtime, folder, runs| {
        measure(runtime, folder, runs, "read stream", "streams of 1,000 events", |log| {
            runtime.block_on(async {
                let mut events = 0;
                for number in 0..STREAMS_READ {
                    let stream = Source::new(number * 7 % STREAMS).stream();
                    events += count(log, ReadQuery::stream(stream)).await?;
                }
                assert_eq!(events, STREAMS_READ * STREAM_EVENTS);
                Ok(events)
            })
        })
    }),
    ("verify the log", verify),
];

async fn count(log: &Arc<Log>, query: ReadQuery) -> Result<u64, BenchError> {
    let sizes = log.read(query).map_ok(|batch| batch.events.len() as u64);
    Ok(sizes.try_fold(0, |sum, events| async move { Ok(sum + events) }).await?)
}

/// Bytes of segments and index files that one thread verifies.
fn verify(runtime: &Runtime, folder: &Path, runs: u32) -> Result<Figure, BenchError> {
    let folder = folder.join("read");
    filled(runtime, &folder)?.close();
    let mut rates = Vec::new();
    for _ in 0..runs {
        let start = Instant::now();
        let found = verify_with(1, Arc::new(RealDisk), &folder, (0, u64::MAX), |_, _| {})?;
        rates.push(rate(found.bytes, start.elapsed()) / 1e6);
        let sound = found.damages.is_empty() && found.stale_indexes.is_empty();
        assert!(sound && found.events == STREAMS * STREAM_EVENTS, "{found:?}");
    }
    let conditions = "page cache, one thread, 2,000,000 events".to_owned();
    Ok(Figure::of("verify", "MB/s", rates, conditions))
}

/// Opens the log, which is filled the first time.
fn filled(runtime: &Runtime, folder: &Path) -> Result<Arc<Log>, BenchError> {
    let log = log::open(folder)?;
    if log.stats().events == 0 {
        runtime.block_on(fill(&log))?;
    }
    Ok(log)
}

fn measure(
    runtime: &Runtime,
    folder: &Path,
    runs: u32,
    name: &str,
    conditions: &str,
    read: impl Fn(&Arc<Log>) -> Result<u64, BenchError>,
) -> Result<Figure, BenchError> {
    let log = filled(runtime, &folder.join("read"))?;
    let mut rates = Vec::new();
    for _ in 0..runs {
        let start = Instant::now();
        let events = read(&log)?;
        rates.push(rate(events, start.elapsed()));
    }
    log.close();
    Ok(Figure::of(name, "events/s", rates, format!("page cache, {conditions}")))
}

/// Streams that lie interleaved, ten events of one at a time.
async fn fill(log: &Arc<Log>) -> Result<(), BenchError> {
    const TOGETHER: u64 = 10;
    let mut sources: Vec<_> = (0..STREAMS).map(Source::new).collect();
    for _ in 0..STREAM_EVENTS / TOGETHER {
        let appends = sources.iter_mut().map(|source| log.append(source.append(10)));
        let waiting: Vec<_> = appends.collect();
        futures::stream::iter(waiting).buffered(256).try_for_each(|_| async { Ok(()) }).await?;
    }
    Ok(())
}
