//! One client: appends and reads, one after the other, and what it learned of each.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use annals_client::proto::ReadRequest;
use annals_client::{AppendStream, Client, ClientError, ConnectOptions};
use annals_core::random::SeededRandom;
use annals_core::{
    Append, Appended, EventId, EventType, ExpectedRevision, NewEvent, Random, RecordedEvent,
    Revision, SchemaFingerprint, StreamName, StreamWrite,
};
use annals_oracle::{History, Outcome};
use bytes::Bytes;
use futures::TryStreamExt;
use parking_lot::Mutex;
use tokio::time::{sleep, timeout};
use tonic::Code;
use uuid::Uuid;

use crate::messages;

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
    heads: HashMap<StreamName, Revision>,
    /// What all clients sent and saw.
    history: Arc<Mutex<History>>,
    /// How often it sent an append again with the same ids.
    repeated: u64,
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
        history: Arc<Mutex<History>>,
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
            history,
            repeated: 0,
        }
    }

    /// Works until it is told to stop; answers how often it sent an append again with the same ids.
    pub(crate) async fn run(mut self) -> u64 {
        while !self.stop.load(Ordering::Relaxed) {
            match self.random.below(10) {
                0 => self.read(None).await,
                1 | 2 => self.read(Some(self.any_stream())).await,
                _ => self.append().await,
            }
            sleep(Duration::from_millis(self.random.below(8))).await;
        }
        self.repeated
    }

    fn any_stream(&self) -> StreamName {
        let era = self.begun.elapsed().as_millis() / STREAMS_CHANGE.as_millis();
        let name = StreamName::of("note", format!("{era}-{}", self.random.below(STREAMS)));
        name.expect("a valid name")
    }

    async fn append(&mut self) {
        let append = self.any_append();
        let ticket = self.history.lock().send(&append);
        let outcome = self.settle(&append).await;
        self.history.lock().answer(ticket, outcome.clone());
        for (number, write) in append.writes.into_iter().enumerate() {
            match &outcome {
                Outcome::Acknowledged(answer) => {
                    let last = answer.revisions[number];
                    self.heads.extend(last.map(|last| (write.stream, last)));
                }
                Outcome::Refused => self.read(Some(write.stream)).await,
                Outcome::Unknown => {}
            }
        }
    }

    fn any_append(&self) -> Append {
        let mut writes = vec![self.any_write(self.any_stream())];
        let other = self.any_stream();
        if self.random.below(6) == 0 && other != writes[0].stream {
            writes.push(self.any_write(other));
        }
        Append { writes, condition: None }
    }

    fn any_write(&self, stream: StreamName) -> StreamWrite {
        let expected = match (self.random.below(2), self.heads.get(&stream)) {
            (0, _) => ExpectedRevision::Any,
            (_, Some(head)) => ExpectedRevision::Exact(*head),
            (_, None) => ExpectedRevision::NoStream,
        };
        let events = (0..=self.random.below(3)).map(|_| {
            let id = Uuid::from_u64_pair(self.random.next_u64(), self.random.next_u64());
            NewEvent {
                id: EventId(id),
                event_type: EventType::new("note.Taken").expect("a valid name"),
                schema: SchemaFingerprint::NONE,
                metadata: Bytes::from_static(br#"{"actor":"ann"}"#),
                data: format!("{id} by {}", self.number).into(),
            }
        });
        StreamWrite { stream, expected, events: events.collect() }
    }

    /// Sends an append until its outcome is known; now and then it leaves it unknown.
    async fn settle(&mut self, append: &Append) -> Outcome {
        let gives_up = self.random.below(5) == 0;
        let mut over = None;
        loop {
            match self.attempt(append).await {
                Ok(answer) => return Outcome::Acknowledged(answer),
                Err(Failed::Conflict) => return Outcome::Refused,
                Err(Failed::Unknown) if gives_up => return Outcome::Unknown,
                Err(Failed::Unknown) => {}
            }
            if self.stop.load(Ordering::Relaxed) {
                let begun = *over.get_or_insert_with(Instant::now);
                assert!(begun.elapsed() < LAST_PATIENCE, "the server does not answer any more");
            }
            self.repeated += 1;
            sleep(Duration::from_millis(10)).await;
        }
    }

    async fn attempt(&mut self, append: &Append) -> Result<Appended, Failed> {
        let sent = timeout(PATIENCE, self.send(append)).await;
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
        assert!(!wrong.contains(&problem.status), "{problem}: {append:?}");
        Err(if problem.status == Code::Aborted { Failed::Conflict } else { Failed::Unknown })
    }

    async fn send(&mut self, append: &Append) -> Result<Appended, ClientError> {
        let client = self.client().await?;
        let request = messages::request(append);
        if self.number.is_multiple_of(2) {
            return Ok(messages::answer(client.append(request).await?));
        }
        let appends = match self.appends.clone() {
            Some(appends) => appends,
            None => self.appends.insert(client.append_stream().await?).clone(),
        };
        Ok(messages::answer(appends.append(request).await?))
    }

    async fn client(&mut self) -> Result<Client, ClientError> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        let client = Client::connect(&self.address, ConnectOptions::default()).await?;
        Ok(self.client.insert(client).clone())
    }

    /// Reads the newest events of a stream, or of the whole log; a read that fails says nothing.
    async fn read(&mut self, stream: Option<StreamName>) {
        let begun = self.history.lock().now();
        let request = ReadRequest {
            stream: stream.as_ref().map(StreamName::to_string).unwrap_or_default(),
            backwards: true,
            limit: NEWEST,
            ..ReadRequest::default()
        };
        let reading = async {
            let batches = self.client().await?.read(request).await?;
            batches.try_collect::<Vec<_>>().await
        };
        let Ok(Ok(batches)) = timeout(PATIENCE, reading).await else { return };
        let events = batches.into_iter().flat_map(|batch| batch.events);
        let events: Vec<RecordedEvent> = events.map(|event| messages::recorded(&event)).collect();
        if let (Some(stream), Some(newest)) = (&stream, events.first()) {
            self.heads.insert(stream.clone(), newest.revision);
        }
        self.history.lock().saw(begun, stream, events);
    }
}
