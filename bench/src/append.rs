//! Durable appends in the process: many callers with one event each, some with a hundred, groups of a thousand. Each
//! caller waits for its answer before it appends again, so the figures are those of a closed loop.

use std::path::Path;
use std::time::{Duration, Instant};

use annals_core::EventStore;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::BenchError;
use crate::figure::{Figure, Latency, rate};
use crate::log::{self, Source};
use crate::machine::RUN;

/// A measurement: the threads it may use, where it may write, how often it is taken.
pub(crate) type Measurement = fn(&Runtime, &Path, u32) -> Result<Figure, BenchError>;

/// All measurements of this file.
pub(crate) const ALL: &[(&str, Measurement)] = &[
    ("append 1 event x 64 callers", |runtime, folder, runs| {
        Load::new(64, 1).measure(runtime, folder, runs)
    }),
    ("append 100 events x 16 callers", |runtime, folder, runs| {
        Load::new(16, 100).measure(runtime, folder, runs)
    }),
    ("append 1,000 events x 4 callers", |runtime, folder, runs| {
        Load::new(4, 1000).measure(runtime, folder, runs)
    }),
    ("append 1 event x 1 caller", |runtime, folder, runs| {
        Load::new(1, 1).measure(runtime, folder, runs)
    }),
];

/// Who appends how much.
#[derive(Clone, Copy)]
struct Load {
    callers: u64,
    events: usize,
}

/// What one run gave.
struct Run {
    events: u64,
    took: Duration,
    calls: Vec<Duration>,
}

impl Load {
    const fn new(callers: u64, events: usize) -> Load {
        Load { callers, events }
    }

    fn measure(self, runtime: &Runtime, folder: &Path, runs: u32) -> Result<Figure, BenchError> {
        let (mut rates, mut calls) = (Vec::new(), Vec::new());
        for run in 0..runs {
            let folder = folder.join(format!("append-{}-{}-{run}", self.callers, self.events));
            let done = runtime.block_on(self.run(&folder))?;
            rates.push(rate(done.events, done.took));
            calls.extend(done.calls);
            std::fs::remove_dir_all(&folder).map_err(BenchError::of("deleting a log"))?;
        }
        let name = format!("append {} x {}", self.events, self.callers);
        let conditions = format!(
            "durable, in the process, {} callers with {} events each, {} s",
            self.callers,
            self.events,
            RUN.as_secs()
        );
        let mut figure = Figure::of(&name, "events/s", rates, conditions);
        figure.latency_ms = Latency::of(&mut calls);
        Ok(figure)
    }

    async fn run(self, folder: &Path) -> Result<Run, BenchError> {
        let log = log::open(folder)?;
        let start = Instant::now();
        let mut callers = JoinSet::new();
        for caller in 0..self.callers {
            let (log, mut source) = (log.clone(), Source::new(caller));
            callers.spawn(async move {
                let mut calls = Vec::with_capacity(1 << 16);
                while start.elapsed() < RUN {
                    let append = source.append(self.events);
                    let asked = Instant::now();
                    log.append(append).await?;
                    calls.push(asked.elapsed());
                }
                Ok::<_, BenchError>(calls)
            });
        }
        let mut calls = Vec::new();
        for caller in callers.join_all().await {
            calls.extend(caller?);
        }
        let took = start.elapsed();
        let done = Run { events: calls.len() as u64 * self.events as u64, took, calls };
        assert_eq!(log.stats().events, done.events, "what was acknowledged is what is there");
        log.close();
        Ok(done)
    }
}
