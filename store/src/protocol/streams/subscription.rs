//! Subscriptions: a confirmation, what is there, a word that it is over, and then what comes. They end with an error alone,
//! for a client may take a good end for its own wish. A client that takes events slowly slows its own subscription.

use std::collections::VecDeque;
use std::sync::Arc;

use annals_core::{Position, ReadQuery, Revision, Start, StreamName};
use futures::StreamExt;
use futures::stream;
use prost_types::Timestamp as WireTimestamp;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::options::{Beginning, LogSubscription, StreamSubscription};
use super::read::{Cursor, Reader, Responses, response};
use crate::protocol::access::Caller;
use crate::protocol::errors::ProtocolError;
use crate::protocol::names::{STREAM_DELETED, is_hidden, whole_log};
use crate::protocol::service::Protocol;
use crate::protocol::wire::v1::streams::ReadResp;
use crate::protocol::wire::v1::streams::read_resp::{
    CaughtUp, Checkpoint, Content, Position as WirePosition, SubscriptionConfirmation,
};

/// A subscription.
struct Subscription {
    cursor: Cursor,
    subject: Subject,
    /// Responses that are not events and come next.
    ready: VecDeque<ReadResp>,
    /// What the subscription ends with once those are sent.
    end: Option<ProtocolError>,
    is_over: bool,
    /// How far the batch that is being sent reaches, and whether nothing waits behind it.
    reach: Option<(Option<Position>, bool)>,
    is_live: bool,
    stopping: CancellationToken,
}

/// To what.
enum Subject {
    Stream {
        stream: StreamName,
        /// The last revision sent.
        last: Option<Revision>,
    },
    Log {
        through: Option<Position>,
        checkpoints: Option<Checkpoints>,
    },
}

/// When a filtered subscription tells how far it has looked.
struct Checkpoints {
    interval: u64,
    /// The first position that no checkpoint covers.
    next: u64,
}

impl Checkpoints {
    /// The checkpoint before an event, where one is due.
    fn before(&mut self, event: Position) -> Option<Position> {
        let at = event.0.checked_sub(1)?;
        self.is_due(at).then(|| self.told(at))
    }

    /// The checkpoint of what was looked at through a position; one is due as a subscription goes live.
    fn through(&mut self, at: Position, goes_live: bool) -> Option<Position> {
        (self.is_due(at.0) || (goes_live && at.0 >= self.next)).then(|| self.told(at.0))
    }

    fn is_due(&self, at: u64) -> bool {
        // Positions count events.
        (at + 1).saturating_sub(self.next) >= self.interval
    }

    fn told(&mut self, at: u64) -> Position {
        self.next = at + 1;
        Position(at)
    }
}

/// Subscribes to a stream, which need not be there yet.
///
/// # Errors
/// [`ProtocolError::AccessDenied`], [`ProtocolError::StreamDeleted`] where it has ended for ever, and where its state could
/// not be read.
pub(super) async fn subscribe_to_stream(
    protocol: Arc<Protocol>,
    caller: Caller,
    asked: StreamSubscription,
) -> Result<Responses, ProtocolError> {
    let reader = Reader { caller, source: asked.stream.clone() };
    reader.check(&protocol).await?;
    protocol.check_readable(&asked.stream).await?;
    let query = ReadQuery::stream(asked.stream.clone());
    let (start, last) = match asked.from {
        Beginning::Start => (Start::Edge, None),
        Beginning::At(at) => (Start::Revision(Revision(at.0 + 1)), Some(at)),
        Beginning::End => {
            // The subscription begins before the head is read: what comes between is sent, and counts as sent.
            (Start::End, None)
        }
    };
    let from_end = start == Start::End;
    let batches = protocol.parts.store.subscribe(query.from(start));
    let head = protocol.parts.store.stream_head(&asked.stream).await?;
    let last = if from_end { head } else { last };
    let is_live = from_end || protocol.parts.store.head().is_none();
    let cursor = Cursor::new(protocol, batches, asked.view, reader)?;
    let subject = Subject::Stream { stream: asked.stream, last };
    Ok(Subscription::begin(cursor, subject, is_live))
}

/// Subscribes to the whole log.
///
/// # Errors
/// [`ProtocolError::AccessDenied`], and where too many have.
pub(super) async fn subscribe_to_log(
    protocol: Arc<Protocol>,
    caller: Caller,
    asked: LogSubscription,
) -> Result<Responses, ProtocolError> {
    let reader = Reader { caller, source: whole_log() };
    reader.check(&protocol).await?;
    let (filter, interval) = asked.filter.unzip();
    let head = protocol.parts.store.head();
    let (start, through) = match asked.from {
        Beginning::Start => (Start::Edge, None),
        Beginning::At(at) => (Start::After(at), Some(at)),
        Beginning::End => (Start::End, head),
    };
    let query = ReadQuery::all().filtered(filter.unwrap_or_default()).from(start);
    let batches = protocol.parts.store.subscribe(query);
    let is_live = start == Start::End || through >= head;
    let checkpoints = interval.map(|interval| {
        let next = through.map_or(0, |through| through.0.saturating_add(1));
        Checkpoints { interval, next }
    });
    let cursor = Cursor::new(protocol, batches, asked.view, reader)?;
    Ok(Subscription::begin(cursor, Subject::Log { through, checkpoints }, is_live))
}

impl Subscription {
    fn begin(cursor: Cursor, subject: Subject, is_live: bool) -> Responses {
        let parts = &cursor.protocol.parts;
        let subscription_id = parts.random.uuid_v7(parts.clock.now()).to_string();
        let confirmation = SubscriptionConfirmation { subscription_id };
        let stopping = parts.stopping.clone();
        let mut subscription = Box::new(Subscription {
            cursor,
            subject,
            ready: [response(Content::Confirmation(confirmation))].into(),
            end: None,
            is_over: false,
            reach: None,
            is_live,
            stopping,
        });
        if is_live {
            subscription.tell_caught_up();
        }
        stream::unfold(subscription, |mut subscription| async move {
            let next = subscription.next().await?;
            Some((next, subscription))
        })
        .boxed()
    }

    async fn next(&mut self) -> Option<Result<ReadResp, Status>> {
        loop {
            if let Some(response) = self.ready.pop_front() {
                return Some(Ok(response));
            }
            if self.is_over {
                return None;
            }
            if let Some(error) = self.end.take() {
                self.is_over = true;
                return Some(Err(error.into()));
            }
            if let Err(error) = self.step().await {
                self.end = Some(error);
            }
        }
    }

    /// Puts what comes next to what is ready, or the reason of the end.
    async fn step(&mut self) -> Result<(), ProtocolError> {
        let Some(event) = self.cursor.peek() else {
            return match self.reach.take() {
                Some((through, caught_up)) => self.arrived(through, caught_up).await,
                None => self.fetch().await,
            };
        };
        let whole_log = matches!(self.subject, Subject::Log { .. });
        if is_hidden(event, whole_log) {
            self.cursor.skip();
            return Ok(());
        }
        match &mut self.subject {
            Subject::Stream { stream, last } => {
                *last = Some(event.revision);
                if event.event_type.as_str() == STREAM_DELETED {
                    self.end = Some(ProtocolError::StreamDeleted(stream.clone()));
                }
            }
            Subject::Log { checkpoints, .. } => {
                let due = checkpoints.as_mut().and_then(|it| it.before(event.position));
                if let Some(at) = due {
                    self.tell_checkpoint(at);
                }
            }
        }
        let event = self.cursor.take().await?;
        self.ready.push_back(event);
        Ok(())
    }

    async fn fetch(&mut self) -> Result<(), ProtocolError> {
        let fetched = tokio::select! {
            biased;
            () = self.stopping.cancelled() => return Err(ProtocolError::Stopping),
            fetched = self.cursor.fetch() => fetched,
        };
        match fetched {
            Some(Ok(reach)) => {
                self.reach = Some(reach);
                Ok(())
            }
            Some(Err(error)) => Err(error),
            None => Err(ProtocolError::NotReady("the log was closed".to_owned())),
        }
    }

    /// A batch is sent.
    async fn arrived(
        &mut self,
        reached: Option<Position>,
        caught_up: bool,
    ) -> Result<(), ProtocolError> {
        let goes_live = caught_up && !self.is_live;
        self.is_live = caught_up;
        if let Subject::Log { through, checkpoints } = &mut self.subject
            && let Some(reached) = reached
        {
            *through = Some(reached).max(*through);
            let due = checkpoints.as_mut().and_then(|it| it.through(reached, goes_live));
            if let Some(at) = due {
                self.tell_checkpoint(at);
            }
        }
        if goes_live {
            self.tell_caught_up();
            // The event that ended the stream may be one that its metadata hides.
            if let Subject::Stream { stream, .. } = &self.subject
                && self.end.is_none()
            {
                self.cursor.protocol.check_readable(stream).await?;
            }
        }
        Ok(())
    }

    fn now(&self) -> WireTimestamp {
        let micros = self.cursor.protocol.parts.clock.now().0;
        let nanos = i32::try_from(micros.rem_euclid(1_000_000) * 1000).unwrap_or(0);
        WireTimestamp { seconds: micros.div_euclid(1_000_000), nanos }
    }

    fn tell_checkpoint(&mut self, Position(at): Position) {
        let timestamp = Some(self.now());
        let checkpoint = Checkpoint { commit_position: at, prepare_position: at, timestamp };
        self.ready.push_back(response(Content::Checkpoint(checkpoint)));
    }

    fn tell_caught_up(&mut self) {
        let (stream_revision, position) = match &self.subject {
            Subject::Stream { last, .. } => {
                (last.and_then(|last| i64::try_from(last.0).ok()), None)
            }
            Subject::Log { through, .. } => {
                let position = |Position(at): Position| WirePosition {
                    commit_position: at,
                    prepare_position: at,
                };
                (None, through.map(position))
            }
        };
        let caught_up = CaughtUp { timestamp: Some(self.now()), stream_revision, position };
        self.ready.push_back(response(Content::CaughtUp(caught_up)));
    }
}
