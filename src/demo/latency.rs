//! Waits for commands in the background, so that the session need not, and notes how long each took until its events
//! were durable. The number of commands under way is bounded.

use std::time::Instant;

use annals_core::AppendError;
use annals_core::executor::Submitted;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::DemoError;

/// Commands under way at most.
const IN_FLIGHT_MAX: usize = 8192;

type Watched = BoxFuture<'static, Result<f64, AppendError>>;

/// The commands under way.
pub(super) struct Latencies {
    sender: mpsc::Sender<Watched>,
    task: JoinHandle<Result<Vec<f64>, AppendError>>,
}

impl Latencies {
    /// Nothing under way; must be called within a tokio runtime.
    pub(super) fn new() -> Latencies {
        let (sender, receiver) = mpsc::channel(IN_FLIGHT_MAX);
        Latencies { sender, task: tokio::spawn(collect(receiver)) }
    }

    /// Watches a command that was just submitted; waits while too many are under way.
    pub(super) async fn watch<E: Send + 'static>(
        &mut self,
        submitted: Submitted<E>,
    ) -> Result<(), DemoError> {
        let begun = Instant::now();
        let watched = Box::pin(async move {
            submitted.durable().await?;
            Ok(begun.elapsed().as_secs_f64() * 1000.0)
        });
        if self.sender.send(watched).await.is_ok() {
            return Ok(());
        }
        // The collector ended because a command failed: its error says why.
        match (&mut self.task).await {
            Ok(Err(error)) => Err(DemoError::Append(error)),
            Ok(Ok(_)) | Err(_) => Err(DemoError::CutOff),
        }
    }

    /// Waits for every command; their latencies in milliseconds.
    pub(super) async fn finish(self) -> Result<Vec<f64>, DemoError> {
        drop(self.sender);
        self.task.await.map_err(|_| DemoError::CutOff)?.map_err(DemoError::Append)
    }
}

async fn collect(mut receiver: mpsc::Receiver<Watched>) -> Result<Vec<f64>, AppendError> {
    let mut latencies = Vec::new();
    let mut under_way = FuturesUnordered::new();
    let mut open = true;
    while open || !under_way.is_empty() {
        tokio::select! {
            watched = receiver.recv(), if open && under_way.len() < IN_FLIGHT_MAX => match watched {
                Some(watched) => under_way.push(watched),
                None => open = false,
            },
            Some(latency) = under_way.next(), if !under_way.is_empty() => latencies.push(latency?),
        }
    }
    Ok(latencies)
}
