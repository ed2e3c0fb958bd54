//! One client: appends and reads, one after the other, and what it learned of each.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use annals_client::proto::{
    AppendRequest, AppendResponse, ExpectedState, NewEvent, ReadRequest, StreamWrite,
    stream_write::Expected,
};
use annals_client::{AppendStream, Client, ClientError, ConnectOptions};
use annals_core::Random;
use annals_core::random::SeededRandom;
use futures::TryStreamExt;
use tokio::time::{sleep, timeout};
use tonic::Code;
use uuid::Uuid;

use crate::history::{History, Outcome, Seen, Sent};

/// How many streams are written to at a time; they change, so that each stays small.
const STREAMS: u64 = 6;
/// How long the streams stay the same.
const STREAMS_CHANGE: Duration = Duration::from_secs(2);
/// How long an answer is waited for before the outcome counts as unknown.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a client goes on asking what became of its last append once the test is over.
const LAST_PATIENCE: Duration = Duration::from_secs(30);
/// How many of the newest events a read asks for.
const NEWEST: u64 = 6;

pub(crate) struct Worker {
    number: u64,
    address: String,
    random: SeededRandom,
    begun: Instant,
    stop: Arc<AtomicBool>,
    client: Option<Client>,
    /// Every second client sends its appends on one call.
    appends: Option<AppendStream>,
    /// The last revision that it knows of each stream.
    heads: HashMap<String, u64>,
    history: History,
}

/// Why an attempt did not come to an acknowledgement.
enum Failed {
    Conflict,
    Unknown,
}

impl Worker {
    pub(crate) fn new(
        number: u64,
        address: &str,
        random: SeededRandom,
        begun: Instant,
        stop: Arc<AtomicBool>,
    ) -> Worker {
        Worker {
            number,
            address: format!("http://{address}"),
            random,
            begun,
            stop,
            client: None,
            appends: None,
            heads: HashMap::new(),
            history: History::default(),
        }
    }

    /// Works until it is told to stop.
    pub(crate) async fn run(mut self) -> History {
        while !self.stop.load(Ordering::Relaxed) {
            match self.random.below(10) {
                0 => self.read(String::new()).await,
                1 | 2 => {
                    let stream = self.any_stream();
                    self.read(stream).await;
                }
                _ => self.append().await,
            }
            sleep(Duration::from_millis(self.random.below(8))).await;
        }
        self.history
    }

    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    fn any_stream(&self) -> String {
        let era = self.now().as_millis() / STREAMS_CHANGE.as_millis();
        format!("note-{era}-{}", self.random.below(STREAMS))
    }

    async fn append(&mut self) {
        let request = self.any_append();
        let invoked = self.now();
        let outcome = self.settle(&request).await;
        for (number, write) in request.writes.iter().enumerate() {
            match &outcome {
                Outcome::Stored(_, answer) => {
                    let last = answer.revisions[number].revision;
                    self.heads.extend(last.map(|last| (write.stream.clone(), last)));
                }
                Outcome::Refused => self.read(write.stream.clone()).await,
                Outcome::Unknown => {}
            }
        }
        self.history.appends.push(Sent { request, invoked, outcome });
    }

    fn any_append(&self) -> AppendRequest {
        let mut writes = vec![self.any_write(self.any_stream())];
        let other = self.any_stream();
        if self.random.below(6) == 0 && other != writes[0].stream {
            writes.push(self.any_write(other));
        }
        AppendRequest { writes, condition: None }
    }

    fn any_write(&self, stream: String) -> StreamWrite {
        let head = self.heads.get(&stream).copied();
        let expected = match (self.random.below(2), head) {
            (0, _) => Expected::State(ExpectedState::Any.into()),
            (_, Some(head)) => Expected::Revision(head),
            (_, None) => Expected::State(ExpectedState::NoStream.into()),
        };
        let events = (0..=self.random.below(3)).map(|_| {
            let id = Uuid::from_u64_pair(self.random.next_u64(), self.random.next_u64());
            let data = format!("{id} by {}", self.number).into();
            let r#type = "note.Taken".to_owned();
            NewEvent { id: id.to_string(), r#type, data, ..NewEvent::default() }
        });
        StreamWrite { stream, expected: Some(expected), events: events.collect() }
    }

    /// Sends an append until its outcome is known; now and then it leaves it unknown.
    async fn settle(&mut self, request: &AppendRequest) -> Outcome {
        let gives_up = self.random.below(5) == 0;
        let mut over = None;
        loop {
            match self.attempt(request).await {
                Ok(answer) => return Outcome::Stored(self.now(), answer),
                Err(Failed::Conflict) => return Outcome::Refused,
                Err(Failed::Unknown) if gives_up => return Outcome::Unknown,
                Err(Failed::Unknown) => {}
            }
            if self.stop.load(Ordering::Relaxed) {
                let begun = *over.get_or_insert_with(Instant::now);
                assert!(begun.elapsed() < LAST_PATIENCE, "the server does not answer any more");
            }
            self.history.repeated += 1;
            sleep(Duration::from_millis(10)).await;
        }
    }

    async fn attempt(&mut self, request: &AppendRequest) -> Result<AppendResponse, Failed> {
        let sent = timeout(PATIENCE, self.send(request)).await;
        let error = match sent {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error,
            Err(_) => {
                self.appends = None;
                return Err(Failed::Unknown);
            }
        };
        let ClientError::Refused(problem) = &error else {
            self.appends = None;
            return Err(Failed::Unknown);
        };
        let wrong = [Code::InvalidArgument, Code::FailedPrecondition, Code::DataLoss];
        assert!(!wrong.contains(&problem.status), "{problem}: {request:?}");
        Err(if problem.status == Code::Aborted { Failed::Conflict } else { Failed::Unknown })
    }

    async fn send(&mut self, request: &AppendRequest) -> Result<AppendResponse, ClientError> {
        let client = self.client().await?;
        if self.number.is_multiple_of(2) {
            return client.append(request.clone()).await;
        }
        let appends = match self.appends.clone() {
            Some(appends) => appends,
            None => self.appends.insert(client.append_stream().await?).clone(),
        };
        appends.append(request.clone()).await
    }

    async fn client(&mut self) -> Result<Client, ClientError> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        let client = Client::connect(&self.address, ConnectOptions::default()).await?;
        Ok(self.client.insert(client).clone())
    }

    /// Reads the newest events; a read that fails says nothing.
    async fn read(&mut self, stream: String) {
        let invoked = self.now();
        let request = ReadRequest {
            stream: stream.clone(),
            backwards: true,
            limit: NEWEST,
            ..ReadRequest::default()
        };
        let reading = async {
            let batches = self.client().await?.read(request).await?;
            batches.try_collect::<Vec<_>>().await
        };
        let Ok(Ok(batches)) = timeout(PATIENCE, reading).await else { return };
        let completed = self.now();
        let events: Vec<_> = batches.into_iter().flat_map(|batch| batch.events).collect();
        if let Some(newest) = events.first().filter(|_| !stream.is_empty()) {
            self.heads.insert(stream.clone(), newest.revision);
        }
        self.history.reads.push(Seen { stream, invoked, completed, events });
    }
}
