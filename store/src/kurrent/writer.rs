//! The one sender of appends. It keeps their order: they go out over one call of batch appends, which a server takes in the
//! order in which they come, many under way at once. An append that follows another one which is not answered yet waits for
//! that answer: the protocol can name a revision and not an event, so only then is it sure that the event it was decided
//! on stands there. When the call breaks, what was under way is repeated one by one, in order, with the same event ids.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use annals_core::{
    AppendError, Appended, ExpectedRevision, PerWrite, Position, Revision, StreamName, StreamWrite,
};
use eventstore::{AppendToStreamOptions, BatchAppendClient, BatchAppendOptions, BatchWriteResult};
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use hashbrown::HashMap;
use tokio::sync::mpsc;

use super::connection::{Connection, Patience};
use super::error::{Failure, failure};
use super::events::{expected_of, sent};
use super::head::Head;
use super::known::Known;
use super::queue::{Answer, Request};
use super::reader;

/// How many appends are under way at once.
const UNDER_WAY_MAX: usize = 1024;
/// The bytes of an append that goes out in one message; a larger one goes by itself, in a message for each event.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// How long an append is repeated before its outcome is told as not known.
const REPEAT_WITHIN: Duration = Duration::from_secs(20);
/// A call that answers nothing for so long while appends are under way is taken for broken.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// The answers of a batch append that are final; others say that the call itself broke. (The codes are gRPC's.)
mod code {
    pub(super) const NOT_FOUND: i32 = 5;
    pub(super) const ALREADY_EXISTS: i32 = 6;
    pub(super) const PERMISSION_DENIED: i32 = 7;
}

type Told = (u64, Result<BatchWriteResult, eventstore::Error>);

/// The sender.
pub(super) struct Writer {
    connection: Arc<Connection>,
    head: Arc<Head>,
    requests: mpsc::UnboundedReceiver<Request>,
    /// The next one in the order, which cannot go out yet.
    next: Option<Request>,
    session: Option<Arc<BatchAppendClient>>,
    /// What is under way, by number.
    under_way: BTreeMap<u64, Request>,
    /// How many of them each stream has.
    busy: HashMap<StreamName, usize>,
    answers: FuturesUnordered<BoxFuture<'static, Told>>,
    count: u64,
    known: Known,
    /// Whether the server takes batch appends.
    takes_batches: bool,
}

impl Writer {
    pub(super) fn new(
        connection: Arc<Connection>,
        head: Arc<Head>,
        requests: mpsc::UnboundedReceiver<Request>,
    ) -> Writer {
        Writer {
            connection,
            head,
            requests,
            next: None,
            session: None,
            under_way: BTreeMap::new(),
            busy: HashMap::new(),
            answers: FuturesUnordered::new(),
            count: 0,
            known: Known::new(),
            takes_batches: true,
        }
    }

    /// Sends until the queue is closed and all that was given is answered.
    pub(super) async fn run(mut self) {
        loop {
            self.send_what_can_go().await;
            if self.under_way.is_empty() {
                // Nothing can be waiting then.
                let Some(request) = self.requests.recv().await else { return };
                self.next = Some(request);
                continue;
            }
            let takes_more = self.next.is_none() && !self.requests.is_closed();
            tokio::select! {
                biased;
                Some((number, told)) = self.answers.next() => self.told(number, told).await,
                request = self.requests.recv(), if takes_more => self.next = request,
                () = tokio::time::sleep(ANSWER_WITHIN) => {
                    tracing::warn!("the server does not answer appends; they are repeated");
                    self.repeat_all().await;
                }
            }
        }
    }

    /// Sends in order until one has to wait.
    async fn send_what_can_go(&mut self) {
        loop {
            let Some(request) = self.next.take().or_else(|| self.requests.try_recv().ok()) else {
                return;
            };
            let alone = !self.takes_batches
                || request.write.events.is_empty()
                || request.bytes > MESSAGE_BYTES_MAX;
            let follows = matches!(request.write.expected, ExpectedRevision::Follows(_, _));
            let waits = if alone {
                !self.under_way.is_empty()
            } else {
                self.under_way.len() >= UNDER_WAY_MAX
                    || (follows && self.busy.contains_key(&request.write.stream))
            };
            if waits {
                self.next = Some(request);
                return;
            }
            match self.check(&request.write).await {
                Ok(()) if alone => self.send_alone(request).await,
                Ok(()) => self.send(request).await,
                Err(error) => request.answer(Err(error)),
            }
        }
    }

    /// Whether the event that a write follows stands where it says.
    async fn check(&mut self, write: &StreamWrite) -> Result<(), AppendError> {
        let ExpectedRevision::Follows(revision, id) = write.expected else { return Ok(()) };
        let stands = if let Some(stands) = self.known.stands(&write.stream, revision, id) {
            stands
        } else {
            let found = reader::id_at(&self.connection, &write.stream, revision).await;
            found.map_err(|error| AppendError::Unknown(error.to_string()))? == Some(id)
        };
        if stands { Ok(()) } else { Err(conflict(&self.connection, write).await) }
    }

    /// Sends over the call of batch appends.
    async fn send(&mut self, request: Request) {
        let Some(session) = self.session().await else {
            // There is none: it goes by itself, and waits as long as that waits.
            self.under_way.insert(self.count, request);
            self.count += 1;
            return self.repeat_all().await;
        };
        let number = self.count;
        self.count += 1;
        let (stream, events) = (request.write.stream.clone(), sent(&request.write));
        let expected = expected_of(request.write.expected);
        *self.busy.entry(stream.clone()).or_default() += 1;
        self.under_way.insert(number, request);
        let mut answer: BoxFuture<'static, Told> = Box::pin(async move {
            (number, session.append_to_stream(stream.as_str(), expected, events).await)
        });
        // It takes its place in the call when it is first polled.
        let answer = match futures::poll!(answer.as_mut()) {
            std::task::Poll::Ready(told) => Box::pin(futures::future::ready(told)),
            std::task::Poll::Pending => answer,
        };
        self.answers.push(answer);
    }

    async fn session(&mut self) -> Option<Arc<BatchAppendClient>> {
        if self.session.is_none() {
            let (number, client) = self.connection.client();
            match client.batch_append(&BatchAppendOptions::default()).await {
                Ok(session) => self.session = Some(Arc::new(session)),
                Err(eventstore::Error::UnsupportedFeature) => self.takes_batches = false,
                Err(error) => self.connection.failed(number, &error),
            }
        }
        self.session.clone()
    }

    /// Takes the answer to one append of the call.
    async fn told(&mut self, number: u64, told: Result<BatchWriteResult, eventstore::Error>) {
        let refused = match told {
            Ok(done) => {
                if let Some(request) = self.take(number) {
                    let position = done.current_position().map(|place| Position(place.commit));
                    self.done(request, position, done.current_revision().map(Revision));
                }
                return;
            }
            Err(eventstore::Error::Grpc { code, .. }) => i32::from(code),
            Err(_) => 0,
        };
        let final_answer = match (refused, self.under_way.get(&number)) {
            (code::ALREADY_EXISTS, Some(request)) => {
                Some(conflict(&self.connection, &request.write).await)
            }
            (code::NOT_FOUND, Some(request)) => {
                Some(AppendError::Deleted { stream: request.write.stream.clone() })
            }
            (code::PERMISSION_DENIED, Some(request)) => Some(denied(&request.write.stream)),
            _ => None,
        };
        if let Some(error) = final_answer
            && let Some(request) = self.take(number)
        {
            request.answer(Err(error));
        }
        // The crate gives a call up with the first append that fails, and says nothing of the others.
        self.repeat_all().await;
    }

    fn take(&mut self, number: u64) -> Option<Request> {
        let request = self.under_way.remove(&number)?;
        if let Some(count) = self.busy.get_mut(&request.write.stream) {
            *count -= 1;
            if *count == 0 {
                self.busy.remove(&request.write.stream);
            }
        }
        Some(request)
    }

    fn done(&mut self, request: Request, position: Option<Position>, revision: Option<Revision>) {
        if let Some(position) = position {
            self.head.saw(position);
        }
        if let (Some(revision), Some(last)) = (revision, request.write.events.last()) {
            self.known.learn(&request.write.stream, revision, last.id);
        }
        request.answer(Ok(Appended { position, revisions: PerWrite::from([revision]) }));
    }

    /// Repeats what was under way, in order, each until it is answered or time is up.
    async fn repeat_all(&mut self) {
        self.session = None;
        self.answers = FuturesUnordered::new();
        self.busy.clear();
        // What a restored server holds is not what was acknowledged before.
        self.known.forget();
        for (_, request) in std::mem::take(&mut self.under_way) {
            self.send_alone(request).await;
        }
    }

    /// Sends one append by a call of its own, with nothing else under way.
    async fn send_alone(&mut self, request: Request) {
        if request.write.events.is_empty() {
            let answer = nothing(&self.connection, &request.write).await;
            return request.answer(answer);
        }
        let options =
            AppendToStreamOptions::default().expected_revision(expected_of(request.write.expected));
        let mut patience = Patience::within(REPEAT_WITHIN);
        loop {
            let (number, client) = self.connection.client();
            let (stream, events) = (request.write.stream.as_str(), sent(&request.write));
            let error = match client.append_to_stream(stream, &options, events).await {
                Ok(done) => {
                    let position = Some(Position(done.position.commit));
                    let revision = Some(Revision(done.next_expected_version));
                    return self.done(request, position, revision);
                }
                Err(error) => error,
            };
            let refusal = refusal(&request.write, &error);
            if let Some(refusal) = refusal {
                return request.answer(Err(refusal));
            }
            self.connection.failed(number, &error);
            if !patience.pause().await {
                tracing::warn!(%error, "the server cannot be reached; the outcome of appends is not known");
                let text =
                    "the server could not be reached for a while; repeat it with the same ids";
                return request.answer(Err(AppendError::Unknown(text.to_owned())));
            }
        }
    }
}

/// The conflict, with where the stream is now.
async fn conflict(connection: &Arc<Connection>, write: &StreamWrite) -> AppendError {
    match reader::last_revision(connection, &write.stream).await {
        Ok(actual) => conflict_at(write, actual),
        Err(error) => AppendError::Unknown(error.to_string()),
    }
}

fn conflict_at(write: &StreamWrite, actual: Option<Revision>) -> AppendError {
    let (stream, expected) = (write.stream.clone(), write.expected);
    AppendError::Conflict { stream, expected, actual, others: Vec::new() }
}

/// An append of no events only asks whether the stream is as expected.
async fn nothing(connection: &Arc<Connection>, write: &StreamWrite) -> Answer {
    let actual = reader::last_revision(connection, &write.stream).await;
    let actual = actual.map_err(|error| AppendError::Unknown(error.to_string()))?;
    let expected = match write.expected {
        ExpectedRevision::Any => true,
        ExpectedRevision::NoStream => actual.is_none(),
        ExpectedRevision::Exists => actual.is_some(),
        ExpectedRevision::Behind(revision) => actual == revision,
        ExpectedRevision::Exact(revision) | ExpectedRevision::Follows(revision, _) => {
            actual == Some(revision)
        }
    };
    if expected {
        return Ok(Appended { position: None, revisions: PerWrite::from([actual]) });
    }
    Err(conflict_at(write, actual))
}

fn denied(stream: &StreamName) -> AppendError {
    AppendError::Denied(format!("this user may not write to stream {stream}"))
}

/// The final answer that an error of an append by itself is; nothing where it is worth another try.
fn refusal(write: &StreamWrite, error: &eventstore::Error) -> Option<AppendError> {
    Some(match failure(error) {
        Failure::Conflict(actual) => conflict_at(write, actual),
        Failure::Deleted => AppendError::Deleted { stream: write.stream.clone() },
        Failure::Denied => denied(&write.stream),
        Failure::NotFound => {
            AppendError::Malformed("the server does not know this kind of append".to_owned())
        }
        Failure::Refused(text) => AppendError::Malformed(text),
        Failure::Full(text) => AppendError::TooMuch(text),
        Failure::Passing => return None,
    })
}
