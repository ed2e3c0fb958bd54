//! The event store as everything above it sees it. What each implementation promises: an append is atomic and
//! acknowledged only once durable; repeating it with the same event ids writes nothing and is answered as the first
//! time; one total order, in which a reader never sees an event that a crash could take back, nor a gap filled later.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::event::{EventId, NewEvent, Position, RecordedEvent, Revision, StreamName};
use crate::family::Family;
use crate::feed::Batch;

/// An event store: in memory, the embedded log, or a server.
pub trait EventStore: Send + Sync + 'static {
    /// Appends atomically. The append takes its place in the order when this is called, not when the future is first
    /// polled; the future ends once the events are durable.
    fn append(&self, append: Append) -> BoxFuture<'static, Result<Appended, AppendError>>;

    /// Reads what the log holds at the time of the call, in batches, and ends. The last batch's `through` is the end
    /// of what was looked at, also where no event matched.
    fn read(&self, query: ReadQuery) -> BoxStream<'static, Result<Batch, ReadError>>;

    /// Reads forwards from the query's start and then goes on live, without a seam; the query's `limit` and
    /// `direction` do not apply. Batches tell `through` also while nothing matches. Ends only with an error.
    fn subscribe(&self, query: ReadQuery) -> BoxStream<'static, Result<Batch, ReadError>>;

    /// The position of the last durable event.
    fn head(&self) -> Option<Position>;

    /// Which store this is, so that a checkpoint of another store is not resumed.
    fn identity(&self) -> StoreIdentity;
}

/// Names a store and its epoch; a restored store has a new epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreIdentity {
    /// Given at creation, for ever.
    pub id: Uuid,
    /// Grows with every restore.
    pub epoch: u32,
}

/// What must be so for a write to a stream to go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectedRevision {
    /// Nothing is asked.
    Any,
    /// The stream has no event.
    NoStream,
    /// The stream has an event.
    Exists,
    /// The stream's last event has this revision.
    Exact(Revision),
    /// The stream's last event has this revision and this id. What a pipelined writer asks, which decided on events
    /// that were not durable yet: if those failed, this must fail too, whoever else wrote meanwhile.
    Follows(Revision, EventId),
}

/// Events for one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamWrite {
    /// The stream.
    pub stream: StreamName,
    /// What must be so.
    pub expected: ExpectedRevision,
    /// The events, in order.
    pub events: Vec<NewEvent>,
}

/// One atomic append, over one or several streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// The writes, in the order in which their events stand in the log. A stream occurs once at most.
    pub writes: Vec<StreamWrite>,
}

impl Append {
    /// An append to one stream.
    pub fn to(write: StreamWrite) -> Append {
        Append { writes: vec![write] }
    }
}

/// The answer to an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The position of the append's last event; nothing where it had no events.
    pub position: Option<Position>,
    /// The last revision of each stream written, in the order of the writes.
    pub revisions: Vec<Option<Revision>>,
}

/// Why an append did not go through. Except for `Unknown`, it changed nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// Someone wrote first.
    #[error(
        "stream {stream} is at {actual}, expected was {expected}",
        actual = shown(*actual),
        expected = expected_text(*expected)
    )]
    Conflict {
        /// The first stream whose expectation failed.
        stream: StreamName,
        /// What was expected.
        expected: ExpectedRevision,
        /// Its last revision; none where it has no event.
        actual: Option<Revision>,
    },
    /// The append itself is wrong.
    #[error("the append is malformed: {0}")]
    Malformed(String),
    /// Too many appends wait, or the disk is full; the text says which and what to do.
    #[error("the store takes no appends now: {0}")]
    TooMuch(String),
    /// The store stopped taking writes and must be restarted.
    #[error("the store is read-only: {0}")]
    ReadOnly(String),
    /// A sync failed or the connection broke: the events may or may not be stored. Repeat it with the same ids.
    #[error("the outcome of the append is not known: {0}")]
    Unknown(String),
}

impl AppendError {
    /// The family of this error.
    pub fn family(&self) -> Family {
        match self {
            AppendError::Conflict { .. } => Family::Conflict,
            AppendError::Malformed(_) => Family::Malformed,
            AppendError::TooMuch(_) => Family::TooMuch,
            AppendError::ReadOnly(_) | AppendError::Unknown(_) => Family::Unavailable,
        }
    }
}

fn shown(revision: Option<Revision>) -> String {
    revision.map_or_else(|| "no event".to_owned(), |revision| format!("revision {revision}"))
}

fn expected_text(expected: ExpectedRevision) -> String {
    match expected {
        ExpectedRevision::Any => "anything".to_owned(),
        ExpectedRevision::NoStream => "no stream".to_owned(),
        ExpectedRevision::Exists => "an existing stream".to_owned(),
        ExpectedRevision::Exact(revision) => format!("revision {revision}"),
        ExpectedRevision::Follows(revision, id) => format!("revision {revision} by event {id}"),
    }
}

/// Why a read ended.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// The query itself is wrong.
    #[error("the read is malformed: {0}")]
    Malformed(String),
    /// Stored bytes are damaged.
    #[error("the log is damaged in {place}: {reason}")]
    Damage {
        /// File and offset, and positions where they are known.
        place: String,
        /// What was wrong.
        reason: String,
    },
    /// A fault that passes.
    #[error("reading {attempt} failed")]
    Fault {
        /// What was being read.
        attempt: String,
        /// The cause.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
}

impl ReadError {
    /// The family of this error.
    pub fn family(&self) -> Family {
        match self {
            ReadError::Malformed(_) => Family::Malformed,
            ReadError::Damage { .. } => Family::Damage,
            ReadError::Fault { .. } => Family::Unavailable,
        }
    }
}

/// Which events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The whole log, in order of position.
    All,
    /// One stream, in order of revision.
    Stream(StreamName),
}

/// Where to begin. The event named is included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the first event (forwards) or the last one (backwards).
    Edge,
    /// At this revision; of a stream only.
    Revision(Revision),
    /// At this position, or the nearest one in the direction of reading.
    Position(Position),
    /// After this position (exclusive): what a checkpoint resumes from.
    After(Position),
    /// Forwards, at the first event that is not older; backwards, at the last one that is not younger.
    Time(Timestamp),
    /// Behind the last event: only what comes from now on; of a subscription only.
    End,
}

/// In which direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From older to younger.
    Forwards,
    /// From younger to older.
    Backwards,
}

/// Which events to leave out. All conditions that are set must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The stream's name begins with one of these; empty asks nothing.
    pub stream_prefixes: Vec<String>,
    /// The event's type begins with one of these; empty asks nothing.
    pub type_prefixes: Vec<String>,
    /// The event carries all of these tags.
    pub tags: BTreeMap<String, String>,
    /// System streams (`$…`) are left out.
    pub no_system: bool,
}

impl Filter {
    /// The events of one context.
    pub fn context(context: &str) -> Filter {
        Filter { type_prefixes: vec![format!("{context}.")], ..Filter::default() }
    }

    /// Whether an event of this stream and type can match at all: what a reader asks before it builds the event.
    pub fn admits(&self, stream: &str, event_type: &str) -> bool {
        let begins = |prefixes: &[String], name: &str| {
            prefixes.is_empty() || prefixes.iter().any(|prefix| name.starts_with(prefix.as_str()))
        };
        begins(&self.stream_prefixes, stream)
            && begins(&self.type_prefixes, event_type)
            && !(self.no_system && stream.starts_with('$'))
    }

    /// Whether the event matches.
    pub fn matches(&self, event: &RecordedEvent) -> bool {
        self.admits(event.stream.as_str(), event.event_type.as_str()) && self.tags_match(event)
    }

    fn tags_match(&self, event: &RecordedEvent) -> bool {
        if self.tags.is_empty() {
            return true;
        }
        let tags = event.metadata().tags;
        self.tags.iter().all(|(name, value)| tags.get(name) == Some(value))
    }
}

/// What to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadQuery {
    /// Which events.
    pub source: Source,
    /// In which direction.
    pub direction: Direction,
    /// From where.
    pub start: Start,
    /// How many matching events at most.
    pub limit: Option<u64>,
    /// Which to leave out.
    pub filter: Filter,
}

impl ReadQuery {
    /// The whole log, forwards from the first event.
    pub fn all() -> ReadQuery {
        ReadQuery {
            source: Source::All,
            direction: Direction::Forwards,
            start: Start::Edge,
            limit: None,
            filter: Filter::default(),
        }
    }

    /// One stream, forwards from its first event.
    pub fn stream(stream: StreamName) -> ReadQuery {
        ReadQuery { source: Source::Stream(stream), ..ReadQuery::all() }
    }

    /// The same from another start.
    pub fn from(self, start: Start) -> ReadQuery {
        ReadQuery { start, ..self }
    }

    /// The same with a filter.
    pub fn filtered(self, filter: Filter) -> ReadQuery {
        ReadQuery { filter, ..self }
    }

    /// The same backwards.
    pub fn backwards(self) -> ReadQuery {
        ReadQuery { direction: Direction::Backwards, ..self }
    }

    /// The same with at most `limit` events.
    pub fn limit(self, limit: u64) -> ReadQuery {
        ReadQuery { limit: Some(limit), ..self }
    }
}
