//! The event store as everything above it sees it. What each implementation promises: an append is atomic and
//! acknowledged only once durable; repeating it with the same event ids, each of which counts in its stream, writes
//! nothing and is answered as the first time; one total order, in which a reader never sees an event that a crash could
//! take back, nor a gap filled later.

use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use uuid::Uuid;

use crate::event::{EventId, NewEvent, Position, Revision, StreamName};
use crate::family::Family;
use crate::feed::Batch;
use crate::query::{EventQuery, ReadQuery};

/// An event store: in memory, the embedded log, or a server.
pub trait EventStore: Send + Sync + 'static {
    /// Appends atomically. The append takes its place in the order when this is called, not when the future is first
    /// polled, and goes on whether that is polled or not; the future ends once the events are durable.
    fn append(&self, append: Append) -> BoxFuture<'static, Result<Appended, AppendError>>;

    /// Reads what the log holds at the time of the call, in batches, and ends. The last batch's `through` is the end
    /// of what was looked at, also where no event matched.
    fn read(&self, query: ReadQuery) -> BoxStream<'static, Result<Batch, ReadError>>;

    /// Reads forwards from the query's start and then goes on live, without a seam; the query's `limit` and
    /// `direction` do not apply. Batches tell `through` also while nothing matches. Ends only with an error.
    fn subscribe(&self, query: ReadQuery) -> BoxStream<'static, Result<Batch, ReadError>>;

    /// The revision of the stream's last durable event, whether reads show it or not; nothing where it has none.
    fn stream_head(
        &self,
        stream: &StreamName,
    ) -> BoxFuture<'static, Result<Option<Revision>, ReadError>>;

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
    /// The events stand right behind this revision, or begin the stream: as [`ExpectedRevision::Exact`] and
    /// [`ExpectedRevision::NoStream`], but an append is a repetition only where its events stand in that very place.
    /// An id that the stream has elsewhere makes another event of it. This is KurrentDB's rule.
    Behind(Option<Revision>),
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
    /// The writes, in the order in which their events stand in the log. A write without events only expects. A stream may
    /// occur again, between others too: a write expects it as the writes before it leave it.
    pub writes: Vec<StreamWrite>,
    /// What else must be so.
    pub condition: Option<Condition>,
}

/// A consistency condition over streams, as the specification of dynamic consistency boundaries (dcb.events) has it:
/// the append fails if an event matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// No event may match this.
    pub fail_if_events_match: EventQuery,
    /// Events at this position or before it are left out; nothing means that every event counts.
    pub after: Option<Position>,
}

impl Append {
    /// An append to one stream.
    pub fn to(write: StreamWrite) -> Append {
        Append { writes: vec![write], condition: None }
    }
}

/// Something of each write of an append. Almost every append has one write, for which this takes no memory of its own.
pub type PerWrite<T> = SmallVec<[T; 1]>;

/// The answer to an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The position of the append's last event; nothing where it had no events.
    pub position: Option<Position>,
    /// The last revision of the stream behind each write, in the order of the writes. Of a write without events it is where
    /// the stream was, and nothing in the answer to a repetition.
    pub revisions: PerWrite<Option<Revision>>,
}

/// What a write expected of a stream that is elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmet {
    /// The stream.
    pub stream: StreamName,
    /// What was expected.
    pub expected: ExpectedRevision,
    /// Its last revision; none where it has no event.
    pub actual: Option<Revision>,
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
        /// The other streams whose expectations failed at the same time, in the order of the writes.
        others: Vec<Unmet>,
    },
    /// An event that the append's condition excludes is there.
    #[error("the event at position {position} matches what the condition excludes")]
    ConditionFailed {
        /// The position of such an event.
        position: Position,
    },
    /// The append itself is wrong.
    #[error("the append is malformed: {0}")]
    Malformed(String),
    /// It is neither new nor a repetition.
    #[error("the append is malformed: some of its event ids are stored already and others are not")]
    PartlyRepeated,
    /// Too many appends wait, or the disk is full; the text says which and what to do.
    #[error("the store takes no appends now: {0}")]
    TooMuch(String),
    /// The store stopped taking writes and must be restarted.
    #[error("the store is read-only: {0}")]
    ReadOnly(String),
    /// The stream was deleted for good on the server, and takes no event ever again.
    #[error("stream {stream} was deleted for good and takes no more events")]
    Deleted {
        /// The stream.
        stream: StreamName,
    },
    /// The server lets this user not write.
    #[error("the server does not allow the append: {0}")]
    Denied(String),
    /// A sync failed or the connection broke: the events may or may not be stored. Repeat it with the same ids.
    #[error("the outcome of the append is not known: {0}")]
    Unknown(String),
}

impl AppendError {
    /// The family of this error.
    pub fn family(&self) -> Family {
        match self {
            AppendError::Conflict { .. } | AppendError::ConditionFailed { .. } => Family::Conflict,
            AppendError::Malformed(_) | AppendError::PartlyRepeated => Family::Malformed,
            AppendError::TooMuch(_) => Family::TooMuch,
            AppendError::Deleted { .. } => Family::Refusal,
            AppendError::Denied(_) => Family::Denied,
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
        ExpectedRevision::NoStream | ExpectedRevision::Behind(None) => "no stream".to_owned(),
        ExpectedRevision::Exists => "an existing stream".to_owned(),
        ExpectedRevision::Exact(revision) | ExpectedRevision::Behind(Some(revision)) => {
            format!("revision {revision}")
        }
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
    /// The stream was deleted for good on the server.
    #[error("stream {stream} was deleted for good")]
    Deleted {
        /// The stream.
        stream: StreamName,
    },
    /// The server lets this user not read.
    #[error("the server does not allow the read: {0}")]
    Denied(String),
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
            ReadError::Deleted { .. } => Family::NotFound,
            ReadError::Denied(_) => Family::Denied,
            ReadError::Fault { .. } => Family::Unavailable,
        }
    }
}
