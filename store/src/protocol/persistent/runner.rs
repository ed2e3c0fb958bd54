//! Carries out what a group decides: one task for each group. It reads ahead no further than the group has room, and gives a
//! consumer no more than it takes; what waits to be sent is bounded by that.

use std::sync::Arc;
use std::time::Duration;

use annals_core::{Appended, EventId, ReadError, Revision};
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{BoxStream, FuturesUnordered, StreamExt};
use hashbrown::HashMap;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::super::errors::{GroupTrouble, ProtocolError};
use super::configuration::Configuration;
use super::consumers::{About, ConsumerId, Ticket};
use super::group::{Action, Description, Effect, Group};
use super::keeping::{Fed, Keeping, Kept, Replayed};
use super::message::{Message, Origin};

/// Requests that are taken in one go.
const REQUESTS_AT_ONCE: usize = 256;
/// How long after a failed read or write it is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// How often it is looked whether a consumer that was behind takes events again.
const HELD_UP: Duration = Duration::from_millis(50);
/// How long a group that ends waits for its last checkpoint.
const LAST_WRITE: Duration = Duration::from_secs(5);

/// What a group is asked.
pub(crate) enum Request {
    /// A consumer comes.
    Connect(About, oneshot::Sender<Result<Connected, ProtocolError>>),
    /// A consumer has finished events.
    Acknowledge(ConsumerId, Vec<EventId>),
    /// A consumer has not finished events.
    Reject(ConsumerId, Vec<EventId>, Action, String),
    /// A consumer goes.
    Leave(ConsumerId),
    /// How is it?
    Describe(oneshot::Sender<GroupState>),
    /// Take up parked events again, those before the number where there is one.
    Replay(Option<u64>, oneshot::Sender<Result<(), ProtocolError>>),
    /// Let go of parked events, those before the number where there is one.
    Truncate(Option<u64>, oneshot::Sender<Result<(), ProtocolError>>),
    /// End, and tell consumers this. The sender is dropped then.
    Stop(ProtocolError, oneshot::Sender<()>),
}

/// What a new consumer is given.
pub(crate) struct Connected {
    /// Its name.
    pub(crate) id: ConsumerId,
    /// Its events.
    pub(crate) messages: mpsc::Receiver<Message>,
    /// Why there will be no more.
    pub(crate) end: oneshot::Receiver<ProtocolError>,
}

/// How a group is.
#[derive(Clone, Debug)]
pub(crate) struct GroupState {
    /// What it was told when it was made.
    pub(crate) configuration: Arc<Configuration>,
    /// What it tells itself.
    pub(crate) description: Description,
    /// Whether it waits for new events, and is not behind.
    pub(crate) live: bool,
    /// How many events are parked.
    pub(crate) parked: u64,
}

/// A consumer's end of the line.
struct Line {
    messages: mpsc::Sender<Message>,
    end: oneshot::Sender<ProtocolError>,
}

/// What was written.
enum Written {
    Parked(Origin, Option<Revision>),
    Checkpoint(bool),
    Truncated,
}

/// What a consumer's line is looked at for.
enum Looked {
    Gone(ConsumerId),
    HasRoom(ConsumerId),
}

/// The task of a group.
pub(crate) struct Runner {
    group: Group,
    configuration: Arc<Configuration>,
    keeping: Keeping,
    began: Instant,
    requests: mpsc::Receiver<Request>,
    stopping: CancellationToken,
    lines: HashMap<ConsumerId, Line>,
    looks: FuturesUnordered<BoxFuture<'static, Looked>>,
    writes: FuturesUnordered<BoxFuture<'static, Written>>,
    source: Option<BoxStream<'static, Result<Fed, ReadError>>>,
    fed: Fed,
    live: bool,
    replay: Option<BoxStream<'static, Result<Replayed, ReadError>>>,
    parked_end: u64,
}

impl Runner {
    /// The task of a group that goes on where it was.
    pub(crate) fn new(
        configuration: Arc<Configuration>,
        kept: Kept,
        keeping: Keeping,
        requests: mpsc::Receiver<Request>,
        stopping: CancellationToken,
    ) -> Runner {
        let settings = configuration.settings.clone();
        let replayed = kept.parked_from.checked_sub(1);
        Runner {
            group: Group::new(settings, kept.checkpoint, replayed, Duration::ZERO),
            configuration,
            keeping,
            began: Instant::now(),
            requests,
            stopping,
            lines: HashMap::new(),
            looks: FuturesUnordered::new(),
            writes: FuturesUnordered::new(),
            source: None,
            fed: Fed::default(),
            live: false,
            replay: None,
            parked_end: kept.parked_end,
        }
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Runs until it is told to stop.
    pub(crate) async fn run(mut self) {
        self.open_source();
        let mut requests = Vec::with_capacity(REQUESTS_AT_ONCE);
        loop {
            self.carry_out();
            let tick = self.group.next_tick().map(|tick| self.began + tick);
            let tick = async move {
                match tick {
                    Some(tick) => sleep_until(tick).await,
                    None => std::future::pending().await,
                }
            };
            let wants = self.fed.messages.is_empty() && self.group.room() > 0;
            let wants_parked = self.group.replay_room() > 0;
            tokio::select! {
                () = self.stopping.cancelled() => return self.end(&ProtocolError::Stopping).await,
                count = self.requests.recv_many(&mut requests, REQUESTS_AT_ONCE) => {
                    if count == 0 {
                        return self.end(&ProtocolError::Stopping).await;
                    }
                    for request in requests.drain(..) {
                        if let Request::Stop(why, stopped) = request {
                            self.end(&why).await;
                            // Whoever waits for this hears nothing else.
                            return drop(stopped);
                        }
                        self.answer(request);
                    }
                }
                fed = next(&mut self.source), if wants => self.take_fed(fed),
                parked = next(&mut self.replay), if wants_parked => self.take_parked(parked),
                Some(written) = self.writes.next() => self.take_written(&written),
                Some(looked) = self.looks.next() => match looked {
                    Looked::Gone(consumer) => self.leave(consumer),
                    Looked::HasRoom(consumer) => {
                        let now = self.now();
                        self.group.go_on(consumer, now);
                    }
                },
                () = tick => {
                    let now = self.now();
                    self.group.tick(now);
                }
            }
        }
    }

    fn open_source(&mut self) {
        let from = self.group.reached();
        match self.keeping.follow(&self.configuration, from) {
            Ok(source) => self.source = Some(source),
            Err(error) => tracing::error!(%error, "a persistent subscription cannot read"),
        }
    }

    fn answer(&mut self, request: Request) {
        let now = self.now();
        match request {
            Request::Connect(about, reply) => {
                let answer = self.connect(about);
                let connected = answer.as_ref().ok().map(|connected| connected.id);
                if let (Err(_), Some(id)) = (reply.send(answer), connected) {
                    self.leave(id);
                }
            }
            Request::Acknowledge(consumer, events) => {
                self.group.acknowledge(consumer, &events, now);
            }
            Request::Reject(consumer, events, action, reason) => {
                self.group.reject(consumer, &events, action, &reason, now);
            }
            Request::Leave(consumer) => self.leave(consumer),
            Request::Describe(reply) => drop(reply.send(GroupState {
                configuration: Arc::clone(&self.configuration),
                description: self.group.describe(now),
                live: self.live && self.fed.messages.is_empty(),
                parked: self.parked_end.saturating_sub(self.group.replayed()),
            })),
            Request::Replay(before, reply) => {
                let from = self.group.replayed();
                let end = before.unwrap_or(self.parked_end).min(self.parked_end);
                let events = self.keeping.replay(&self.configuration, from, end);
                drop(reply.send(match events {
                    Ok(events) => {
                        self.replay = Some(events).filter(|_| from < end);
                        Ok(())
                    }
                    Err(error) => Err(error.into()),
                }));
            }
            Request::Truncate(before, reply) => {
                let before = before.unwrap_or(self.parked_end).min(self.parked_end);
                if let Some(last) = before.checked_sub(1) {
                    self.group.pass_parked(last);
                }
                drop(reply.send(Ok(())));
            }
            Request::Stop(..) => {} // It was looked at before.
        }
        self.carry_out();
    }

    fn connect(&mut self, about: About) -> Result<Connected, ProtocolError> {
        let (sender, messages) = mpsc::channel(about.buffer_size);
        let (end, ended) = oneshot::channel();
        let now = self.now();
        let Some(id) = self.group.connect(about, now) else {
            return Err(self.trouble(GroupTrouble::MaximumSubscribers));
        };
        let line = sender.clone();
        self.looks.push(async move { line.closed().map(|()| Looked::Gone(id)).await }.boxed());
        self.lines.insert(id, Line { messages: sender, end });
        Ok(Connected { id, messages, end: ended })
    }

    fn trouble(&self, trouble: GroupTrouble) -> ProtocolError {
        let key = &self.configuration.key;
        ProtocolError::Group { trouble, stream: key.source.to_string(), group: key.group.clone() }
    }

    fn leave(&mut self, consumer: ConsumerId) {
        self.lines.remove(&consumer);
        let now = self.now();
        self.group.leave(consumer, now);
    }

    fn take_fed(&mut self, fed: Option<Result<Fed, ReadError>>) {
        match fed {
            Some(Ok(fed)) => {
                self.live = fed.caught_up;
                self.fed = fed;
                self.feed();
            }
            Some(Err(error)) => {
                tracing::warn!(%error, "a persistent subscription could not read and tries again");
                self.reopen();
            }
            None => self.reopen(),
        }
    }

    /// Reads again after a while, from where the group is.
    fn reopen(&mut self) {
        let from = self.group.reached();
        match self.keeping.follow(&self.configuration, from) {
            Ok(source) => {
                let later = sleep(PAUSE).map(|()| source).flatten_stream();
                self.source = Some(later.boxed());
            }
            Err(error) => tracing::error!(%error, "a persistent subscription cannot read"),
        }
    }

    /// Gives the group what it has room for.
    fn feed(&mut self) {
        let now = self.now();
        let count = self.group.room().min(self.fed.messages.len());
        if count > 0 {
            self.group.feed(self.fed.messages.drain(..count), now);
        }
        if self.fed.messages.is_empty()
            && let Some(through) = self.fed.through.take()
        {
            self.group.pass(through, now);
        }
    }

    fn take_parked(&mut self, parked: Option<Result<Replayed, ReadError>>) {
        let now = self.now();
        match parked {
            Some(Ok(Replayed { message: Some(message), .. })) => self.group.feed([message], now),
            Some(Ok(Replayed { place, message: None })) => self.group.pass_parked(place),
            Some(Err(error)) => {
                tracing::warn!(%error, "parked events could not be read");
                self.replay = None;
            }
            None => self.replay = None,
        }
    }

    fn take_written(&mut self, written: &Written) {
        let now = self.now();
        match written {
            Written::Parked(origin, revision) => {
                let end = revision.map_or(0, |Revision(revision)| revision + 1);
                self.parked_end = self.parked_end.max(end);
                self.group.parked(*origin, now);
            }
            Written::Checkpoint(written) => self.group.checkpointed(*written, now),
            Written::Truncated => {}
        }
    }

    /// Does what the group wants done, and feeds it what it then has room for.
    fn carry_out(&mut self) {
        loop {
            while let Some(effect) = self.group.next_effect() {
                match effect {
                    Effect::Send { consumer, ticket, message } => {
                        self.send(consumer, ticket, message);
                    }
                    Effect::Park { message, reason } => self.park(&message, &reason),
                    Effect::Checkpoint(place) => self.checkpoint(place),
                    Effect::Truncate(before) => self.truncate(before),
                }
            }
            if self.fed.messages.is_empty() || self.group.room() == 0 {
                return;
            }
            self.feed();
        }
    }

    fn send(&mut self, consumer: ConsumerId, ticket: Ticket, message: Message) {
        let Some(line) = self.lines.get(&consumer) else { return };
        match line.messages.try_send(message) {
            // One whose end is gone is about to leave.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.group.hold_up(consumer, ticket);
                let line = line.messages.clone();
                let look = async move {
                    while line.capacity() < line.max_capacity().div_ceil(2) && !line.is_closed() {
                        sleep(HELD_UP).await;
                    }
                    Looked::HasRoom(consumer)
                };
                self.looks.push(look.boxed());
            }
        }
    }

    fn park(&mut self, message: &Message, reason: &str) {
        let link = self.keeping.link(message, reason);
        let stream = super::keeping::parked_stream(&self.configuration.key).ok();
        let (keeping, origin) = (self.keeping.clone(), message.origin);
        let write = async move {
            let (Some(link), Some(stream)) = (link, stream) else {
                return Written::Parked(origin, None);
            };
            // The same event until it is there: it is not done before.
            loop {
                match keeping.append(stream.clone(), link.clone()).await {
                    Ok(Appended { revisions, .. }) => {
                        return Written::Parked(origin, revisions.first().copied().flatten());
                    }
                    Err(error) => tracing::warn!(%error, "an event could not be parked"),
                }
                sleep(PAUSE).await;
            }
        };
        self.writes.push(write.boxed());
    }

    fn checkpoint(&mut self, place: u64) {
        let write = self.keeping.save_checkpoint(&self.configuration, place);
        let write = async move {
            let Some(write) = write else { return Written::Checkpoint(false) };
            let written = write.await;
            if let Err(error) = &written {
                tracing::warn!(%error, "a checkpoint could not be written");
            }
            Written::Checkpoint(written.is_ok())
        };
        self.writes.push(write.boxed());
    }

    fn truncate(&mut self, before: u64) {
        let write = self.keeping.truncate_parked(&self.configuration.key, before);
        let write = async move {
            if let Some(write) = write
                && let Err(error) = write.await
            {
                tracing::warn!(%error, "parked events that are done could not be let go");
            }
            Written::Truncated
        };
        self.writes.push(write.boxed());
    }

    /// Tells consumers why, and writes what is done.
    async fn end(&mut self, why: &ProtocolError) {
        for (_, line) in self.lines.drain() {
            drop(line.end.send(why.clone()));
        }
        let limit = Instant::now() + LAST_WRITE;
        if let Some(place) = self.group.unwritten() {
            self.checkpoint(place);
        }
        while let Ok(Some(_)) = tokio::time::timeout_at(limit, self.writes.next()).await {}
    }
}

/// The next of a stream that may not be there.
async fn next<T>(stream: &mut Option<BoxStream<'static, T>>) -> Option<T> {
    match stream {
        Some(stream) => stream.next().await,
        None => std::future::pending().await,
    }
}
