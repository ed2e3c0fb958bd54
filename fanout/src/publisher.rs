//! One run of the relay: from the ends of the topics until it is stopped or something fails. It hands records to the
//! producer in log order and never waits for one of them; only a full queue makes it wait.

use std::sync::Arc;
use std::time::Duration;

use annals_core::codec::{EventSchema, SchemaFingerprint, Schemas};
use annals_core::event::{Position, RecordedEvent};
use annals_core::feed::Batch;
use annals_core::{EventStore, Filter, ReadQuery, Start};
use futures::StreamExt;
use hashbrown::HashMap;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseRecord, ThreadedProducer};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::progress::{Deliveries, Progress};
use crate::record;
use crate::registry::RegistryClient;
use crate::relay::{Active, RelayError, RelayOptions};
use crate::topic::{self, Tail, TopicError};

/// The time between two through records of a topic, at least; also how late one can be.
const THROUGH_EVERY: Duration = Duration::from_millis(100);
/// Events handed over before other tasks of the runtime get a turn.
const TURN_EVENTS: usize = 256;
/// How long a stop waits for what is on the way.
const STOP_MAX: Duration = Duration::from_secs(10);

/// One topic, and how far it has been written to.
struct Line {
    context: String,
    topic: String,
    /// The last event handed over, or found on the topic.
    event: Option<Position>,
    /// How far the last record handed over reaches.
    through: Option<Position>,
    /// When the last through record was handed over.
    told: Instant,
}

/// One run of the relay.
pub(crate) struct Publisher {
    store: Arc<dyn EventStore>,
    schemas: Schemas,
    registry: RegistryClient,
    ids: HashMap<SchemaFingerprint, u32>,
    source: String,
    message_bytes_max: u32,
    lines: Vec<Line>,
    /// Every event up to here has been handed over or needs no record.
    through: Option<Position>,
    progress: Arc<Progress>,
    producer: Closing,
    value: Vec<u8>,
}

/// The producer, with the leave to be the only one. Both end together, in a thread of their own because the producer
/// waits for its threads, and only then may another relay begin.
struct Closing(Option<(ThreadedProducer<Deliveries>, Active)>);

impl Drop for Closing {
    fn drop(&mut self) {
        if let Some(both) = self.0.take() {
            std::thread::spawn(move || drop(both));
        }
    }
}

impl Publisher {
    /// Looks for the topics, creates those that are missing, and reads where they end.
    pub(crate) async fn open(
        store: Arc<dyn EventStore>,
        schemas: Schemas,
        options: &RelayOptions,
        published: watch::Sender<Option<Position>>,
        token: Active,
    ) -> Result<Publisher, RelayError> {
        let registry = RegistryClient::new(&options.registry)?;
        let source = record::source(store.identity());
        let topics: Vec<_> = options.contexts.iter().map(|c| options.kafka.topic(c)).collect();
        topic::create(&options.kafka, &topics).await?;
        let tails = read_tails(options, &topics, &source).await?;
        let head = store.head();
        for (topic, tail) in topics.iter().zip(&tails) {
            if let Some(through) = tail.through
                && tail.through > head
            {
                let topic = topic.clone();
                return Err(TopicError::Ahead { topic, through, head }.into());
            }
        }
        let line = |((context, topic), tail): ((&String, &String), &Tail)| Line {
            context: context.clone(),
            topic: topic.clone(),
            event: tail.event,
            through: tail.through,
            told: Instant::now(),
        };
        let lines = options.contexts.iter().zip(&topics).zip(&tails).map(line).collect();
        let through = tails.iter().map(|tail| tail.through).min().flatten();
        let progress = Arc::new(Progress::new(topics.into_iter().zip(tails), published));
        progress.read_through(through);
        let deliveries = Deliveries(Arc::clone(&progress));
        let config = options.kafka.producer();
        let producer = ThreadedProducer::from_config_and_context(&config, deliveries)
            .map_err(RelayError::Producer)?;
        let producer = Closing(Some((producer, token)));
        let (ids, value) = (HashMap::new(), Vec::new());
        let message_bytes_max = options.kafka.message_bytes_max;
        Ok(Publisher {
            store,
            schemas,
            registry,
            ids,
            source,
            message_bytes_max,
            lines,
            through,
            progress,
            producer,
            value,
        })
    }

    /// Publishes until told to stop.
    pub(crate) async fn run(&mut self, stop: &mut watch::Receiver<bool>) -> Result<(), RelayError> {
        let prefixes = self.lines.iter().map(|line| format!("{}.", line.context)).collect();
        let filter = Filter { type_prefixes: prefixes, ..Filter::default() };
        let start = self.through.map_or(Start::Edge, Start::After);
        let mut batches = self.store.subscribe(ReadQuery::all().filtered(filter).from(start));
        let progress = Arc::clone(&self.progress);
        let stopped = stop.clone();
        loop {
            let due = self.through_due();
            tokio::select! {
                biased;
                () = told(stop) => return self.finish().await,
                failure = progress.failure() => return Err(failure),
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    self.tell_through().await?;
                }
                batch = batches.next() => match batch {
                    Some(batch) => self.publish(batch?, &stopped).await?,
                    None => return Err(RelayError::StoreEnded),
                },
            }
        }
    }

    /// Ends the producer and waits for its end.
    pub(crate) async fn close(mut self) {
        if let Some(both) = self.producer.0.take() {
            // It ends also where this task is dropped while it waits.
            tokio::task::spawn_blocking(move || drop(both)).await.ok();
        }
    }

    async fn finish(&mut self) -> Result<(), RelayError> {
        let deadline = Instant::now() + STOP_MAX;
        self.tell_through().await?;
        while self.progress.in_flight() > 0 && Instant::now() < deadline {
            if let Some(failure) = self.progress.take_failure() {
                tracing::warn!(error = %failure, "the relay stopped with records on the way");
                break;
            }
            self.progress.moved(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    async fn publish(
        &mut self,
        batch: Batch,
        stop: &watch::Receiver<bool>,
    ) -> Result<(), RelayError> {
        for turn in batch.events.chunks(TURN_EVENTS) {
            for event in turn {
                let context = event.event_type.context();
                let line = self.lines.iter().position(|line| line.context == context);
                if let Some(line) = line
                    && self.lines[line].through < Some(event.position)
                {
                    self.publish_event(line, event).await?;
                }
            }
            self.through = self.through.max(turn.last().map(|event| event.position));
            self.progress.read_through(self.through);
            if let Some(failure) = self.progress.take_failure() {
                return Err(failure);
            }
            if *stop.borrow() {
                return Ok(());
            }
            if self.through_due().is_some_and(|due| due <= Instant::now()) {
                self.tell_through().await?;
            }
            tokio::task::yield_now().await;
        }
        metrics::counter!("annals_relay_events_total").increment(batch.events.len() as u64);
        self.through = self.through.max(batch.through);
        self.progress.read_through(self.through);
        Ok(())
    }

    async fn publish_event(
        &mut self,
        line: usize,
        event: &RecordedEvent,
    ) -> Result<(), RelayError> {
        let id = if event.schema == SchemaFingerprint::NONE {
            None
        } else if let Some(id) = self.ids.get(&event.schema) {
            Some(*id)
        } else {
            Some(self.register(event).await?)
        };
        record::put_value(&mut self.value, id, &event.data);
        let headers = record::event_headers(event, &self.source, self.lines[line].event);
        let value = std::mem::take(&mut self.value);
        let sent = self.send(line, event.stream.as_str(), Some(&value), headers, event.position);
        sent.await?;
        self.value = value;
        self.lines[line].event = Some(event.position);
        self.lines[line].through = Some(event.position);
        Ok(())
    }

    /// The registry's id of an event's schema, asked for once.
    async fn register(&mut self, event: &RecordedEvent) -> Result<u32, RelayError> {
        let fingerprint = event.schema;
        if self.schemas.get(fingerprint).is_none() {
            self.schemas.refresh(&*self.store).await?;
        }
        let Some(schema) = self.schemas.get(fingerprint) else {
            return Err(RelayError::UnknownSchema { position: event.position, fingerprint });
        };
        let schema = EventSchema { event_type: event.event_type.clone(), ..schema };
        let id = self.registry.register(&schema).await?.0;
        tracing::info!(subject = %schema.event_type, id, "schema registered");
        self.ids.insert(fingerprint, id);
        Ok(id)
    }

    /// When the next through record is due; none where every topic has what the relay has read.
    fn through_due(&self) -> Option<Instant> {
        let lagging = self.lines.iter().filter(|line| line.through < self.through);
        lagging.map(|line| line.told + THROUGH_EVERY).min()
    }

    /// Tells the topics that lag how far the relay is.
    async fn tell_through(&mut self) -> Result<(), RelayError> {
        let Some(through) = self.through else { return Ok(()) };
        for line in 0..self.lines.len() {
            if self.lines[line].through >= Some(through) {
                continue;
            }
            let headers = record::through_headers(through, &self.source, self.lines[line].event);
            self.send(line, record::THROUGH_KEY, None, headers, through).await?;
            self.lines[line].through = Some(through);
            self.lines[line].told = Instant::now();
        }
        Ok(())
    }

    async fn send(
        &self,
        line: usize,
        key: &str,
        value: Option<&[u8]>,
        headers: OwnedHeaders,
        position: Position,
    ) -> Result<(), RelayError> {
        let topic = self.lines[line].topic.as_str();
        let Some((producer, _)) = &self.producer.0 else { return Ok(()) };
        let opaque = usize::try_from(position.0).unwrap_or(usize::MAX);
        let mut record: BaseRecord<'_, str, [u8], usize> =
            BaseRecord::with_opaque_to(topic, opaque).partition(0).key(key).headers(headers);
        record.payload = value;
        loop {
            self.progress.enqueue(line);
            let (error, back) = match producer.send(record) {
                Ok(()) => return Ok(()),
                Err(refused) => refused,
            };
            self.progress.take_back(line);
            record = back;
            match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::QueueFull) => {
                    if let Some(failure) = self.progress.take_failure() {
                        return Err(failure);
                    }
                    self.progress.moved(Duration::from_millis(20)).await;
                }
                Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
                    return Err(RelayError::TooLarge { position, limit: self.message_bytes_max });
                }
                _ => return Err(self.not_taken(topic, position, error)),
            }
        }
    }

    /// After a fatal error the producer refuses everything: what was fatal is the better answer.
    fn not_taken(&self, topic: &str, position: Position, source: KafkaError) -> RelayError {
        self.progress.take_failure().unwrap_or_else(|| RelayError::Send {
            topic: topic.to_owned(),
            position,
            source,
        })
    }
}

/// Waits for the word to stop; its sender being gone is one too.
pub(crate) async fn told(stop: &mut watch::Receiver<bool>) {
    stop.wait_for(|stop| *stop).await.ok();
}

async fn read_tails(
    options: &RelayOptions,
    topics: &[String],
    source: &str,
) -> Result<Vec<Tail>, RelayError> {
    let mut tails = Vec::with_capacity(topics.len());
    for topic in topics {
        let (kafka, topic, source) = (options.kafka.clone(), topic.clone(), source.to_owned());
        let read = tokio::task::spawn_blocking(move || topic::tail(&kafka, &topic, &source));
        match read.await {
            Ok(tail) => tails.push(tail?),
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => std::future::pending().await, // The runtime is ending, and this task with it.
            },
        }
    }
    Ok(tails)
}
