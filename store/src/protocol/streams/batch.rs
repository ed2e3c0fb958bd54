//! Many appends on one call, told apart by their correlation ids. It takes messages only while few enough appends are without
//! an answer, so a client that sends faster than the log writes, or reads no answers, is slowed by the
//! connection's flow control; what is held for it is bounded. An append that is complete has its place in the log at once.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use annals_core::event::NAME_BYTES_MAX;
use annals_core::{AppendError, Appended};
use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt};
use hashbrown::HashMap;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::unconstrained;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::Status;
use uuid::Uuid;

use super::expected::Given;
use super::told::{Outcome, answer};
use crate::protocol::access::{Caller, Right};
use crate::protocol::errors::ProtocolError;
use crate::protocol::names::uuid;
use crate::protocol::proposed::{BESIDE, EVENTS_MAX, Names, Proposed};
use crate::protocol::service::Protocol;
use crate::protocol::wire::v1::streams::batch_append_req::Options;
use crate::protocol::wire::v1::streams::batch_append_req::options::{
    DeadlineOption, ExpectedStreamPosition,
};
use crate::protocol::wire::v1::streams::{BatchAppendReq, BatchAppendResp};
use crate::protocol::wire::v1::{StreamIdentifier, Uuid as WireUuid};
use crate::protocol::writes::{Proposal, Settled, WriteError, Written, settled};

/// How many appends of one call may be without an answer.
const APPENDS_MAX: usize = 4096;
/// From how many bytes of them on no more messages are taken.
const BYTES_MAX: usize = 16 << 20;
/// How many appends of one call may be incomplete, with those that were refused before their end came. The call ends with
/// the next.
const INCOMPLETE_MAX: usize = 1024;
/// How often it is looked whether an append has taken too long.
const LATE_EVERY: Duration = Duration::from_millis(100);

/// Whose answer it is.
struct Address {
    correlation: WireUuid,
    stream: StreamIdentifier,
    /// What the client said that it expects.
    expected: Option<ExpectedStreamPosition>,
    deadline: Instant,
    /// Bytes that its events count for, and those that are held for them.
    size: usize,
    bytes: usize,
}

/// An append that is not complete.
struct Incomplete {
    address: Address,
    proposal: Proposal,
}

/// What is known of the append of a correlation id.
enum Known {
    Incomplete(Box<Incomplete>),
    /// It was answered before it was complete; what is left of it is passed over.
    Answered,
}

/// An append that has its place.
struct InFlight {
    address: Address,
    proposal: Proposal,
    append: BoxFuture<'static, Result<Appended, AppendError>>,
}

/// An append that is decided again.
struct Again {
    address: Address,
    write: BoxFuture<'static, Result<Written, WriteError>>,
}

/// The answers of one call.
pub(super) struct Answers<R> {
    protocol: Arc<Protocol>,
    caller: Caller,
    /// None once no more are taken.
    requests: Option<R>,
    names: Names,
    known: HashMap<Uuid, Known>,
    /// Places are made durable in their order, so only the oldest is polled.
    in_flight: VecDeque<InFlight>,
    /// One after the other, as they came.
    again: VecDeque<Again>,
    bytes: usize,
    ready: VecDeque<BatchAppendResp>,
    late: Interval,
    stopping: Pin<Box<WaitForCancellationFutureOwned>>,
    /// What the call ends with once all is answered; none where the client ended it.
    end: Option<Status>,
    _permit: OwnedSemaphorePermit,
}

impl<R> Answers<R>
where
    R: Stream<Item = Result<BatchAppendReq, Status>> + Unpin,
{
    /// The answers to these messages.
    pub(super) fn new(
        protocol: Arc<Protocol>,
        caller: Caller,
        requests: R,
    ) -> Result<Answers<R>, ProtocolError> {
        protocol.may_be_here(&caller)?;
        let permit = protocol.open()?;
        let mut late = interval(LATE_EVERY);
        late.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stopping = Box::pin(protocol.parts.stopping.clone().cancelled_owned());
        Ok(Answers {
            protocol,
            caller,
            requests: Some(requests),
            names: Names::default(),
            known: HashMap::new(),
            in_flight: VecDeque::new(),
            again: VecDeque::new(),
            bytes: 0,
            ready: VecDeque::new(),
            late,
            stopping,
            end: None,
            _permit: permit,
        })
    }

    fn take_requests(&mut self, cx: &mut Context<'_>) {
        if self.requests.is_some() && self.stopping.poll_unpin(cx).is_ready() {
            self.end_with(ProtocolError::Stopping.into());
        }
        while self.in_flight.len() + self.again.len() + self.ready.len() < APPENDS_MAX
            && (self.bytes < BYTES_MAX || !self.waits())
        {
            let Some(requests) = &mut self.requests else { return };
            match requests.poll_next_unpin(cx) {
                Poll::Pending => return,
                Poll::Ready(None) => self.requests = None,
                Poll::Ready(Some(Err(status))) => self.end_with(status),
                Poll::Ready(Some(Ok(request))) => self.receive(request),
            }
        }
    }

    /// Whether an append has no answer that will have one without another message.
    fn waits(&self) -> bool {
        !(self.in_flight.is_empty() && self.again.is_empty())
    }

    fn end_with(&mut self, status: Status) {
        self.requests = None;
        self.known.clear();
        self.end = Some(status);
    }

    fn receive(&mut self, request: BatchAppendReq) {
        let Some(correlation) = request.correlation_id else { return };
        let Ok(id) = uuid(Some(&correlation)) else { return };
        let messages = request.proposed_messages.into_iter().map(|message| Proposed {
            id: message.id,
            metadata: message.metadata,
            custom_metadata: message.custom_metadata,
            data: message.data,
        });
        let known = self.known.remove(&id);
        let mut incomplete = match (known, request.options) {
            (Some(Known::Incomplete(incomplete)), _) => incomplete,
            (Some(Known::Answered), _) => {
                if !request.is_final {
                    self.known.insert(id, Known::Answered);
                }
                return;
            }
            // An id that nothing is known of.
            (None, None) => return,
            (None, Some(options)) => {
                if self.known.len() >= INCOMPLETE_MAX {
                    let text =
                        format!("more than {INCOMPLETE_MAX} appends of one call are incomplete");
                    return self.end_with(Status::resource_exhausted(text));
                }
                let address = self.address(correlation, &options);
                match self.begin(&options) {
                    Ok(proposal) => Box::new(Incomplete { address, proposal }),
                    Err(error) => {
                        self.answer(&address, Outcome::Failed(error));
                        return self.pass_over(id, request.is_final);
                    }
                }
            }
        };
        if let Err(error) = self.add(&mut incomplete, messages) {
            self.bytes -= incomplete.address.bytes;
            self.answer(&incomplete.address, Outcome::Failed(error));
            return self.pass_over(id, request.is_final);
        }
        if !request.is_final {
            self.known.insert(id, Known::Incomplete(incomplete));
            return;
        }
        let Incomplete { address, proposal } = *incomplete;
        if address.deadline <= Instant::now() {
            self.bytes -= address.bytes;
            return self.answer(&address, Outcome::Late);
        }
        match self.may_write(&proposal) {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                self.bytes -= address.bytes;
                return self.answer(&address, Outcome::Failed(error));
            }
            None => return self.write_again(address, proposal),
        }
        match self.protocol.on_remembered(&proposal) {
            Some(append) => {
                let append = self.protocol.parts.store.append(append);
                self.in_flight.push_back(InFlight { address, proposal, append });
            }
            None => self.write_again(address, proposal),
        }
    }

    /// Whether the caller may; nothing where that is not known at once, or others wait for it.
    fn may_write(&self, proposal: &Proposal) -> Option<Result<(), ProtocolError>> {
        let may = self.protocol.may(&self.caller, Right::Write, &proposal.stream);
        let is_asked = self.caller != Caller::Anybody && !self.again.is_empty();
        if is_asked { None } else { may.now_or_never() }
    }

    /// The rest of an append that is answered already is not looked at.
    fn pass_over(&mut self, id: Uuid, is_final: bool) {
        if !is_final {
            self.known.insert(id, Known::Answered);
        }
    }

    fn address(&self, correlation: WireUuid, options: &Options) -> Address {
        let deadline = Instant::now() + time_given(options, &self.protocol);
        // A name that is refused is not kept for the answer.
        let named = options.stream_identifier.clone();
        let stream = named.filter(|name| name.stream_name.len() <= NAME_BYTES_MAX);
        let stream = stream.unwrap_or_default();
        let expected = options.expected_stream_position;
        Address { correlation, stream, expected, deadline, size: 0, bytes: 0 }
    }

    fn begin(&mut self, options: &Options) -> Result<Proposal, ProtocolError> {
        let expected = Given::of_batch(options)?;
        let (stream, metastream) = self.names.stream(options.stream_identifier.as_ref())?;
        Ok(Proposal { stream, metastream, expected, events: Vec::new() })
    }

    fn add(
        &mut self,
        incomplete: &mut Incomplete,
        messages: impl ExactSizeIterator<Item = Proposed>,
    ) -> Result<(), ProtocolError> {
        let settings = &self.protocol.parts.settings;
        let Incomplete { address, proposal } = incomplete;
        proposal.events.reserve(messages.len());
        for message in messages {
            let size = message.size();
            address.size += size;
            address.bytes += size + BESIDE;
            self.bytes += size + BESIDE;
            proposal.events.push(message.event(&mut self.names, settings)?);
            let most = settings.append_bytes_max;
            // Appends that are never completed are held to what one may have.
            let held = self.bytes > most + BYTES_MAX && !self.known.is_empty();
            if address.size > most || proposal.events.len() > EVENTS_MAX || held {
                return Err(ProtocolError::AppendTooLarge { most });
            }
        }
        Ok(())
    }

    fn write_again(&mut self, address: Address, proposal: Proposal) {
        let (protocol, caller) = (Arc::clone(&self.protocol), self.caller.clone());
        let write = async move {
            protocol.may(&caller, Right::Write, &proposal.stream).await?;
            protocol.write_on_present(&proposal).await
        }
        .boxed();
        self.again.push_back(Again { address, write });
    }

    /// Answers the oldest append; pending while it is not durable, or where there is none.
    fn answer_oldest(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(oldest) = self.in_flight.front_mut() else { return Poll::Pending };
        let Poll::Ready(outcome) = oldest.append.poll_unpin(cx) else { return Poll::Pending };
        let Some(InFlight { address, proposal, .. }) = self.in_flight.pop_front() else {
            return Poll::Pending;
        };
        match settled(&proposal, outcome) {
            Settled::Done(outcome) => self.done(&address, outcome),
            Settled::Again | Settled::Partly => self.write_again(address, proposal),
        }
        Poll::Ready(())
    }

    fn answer_again(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(oldest) = self.again.front_mut() else { return Poll::Pending };
        let Poll::Ready(outcome) = oldest.write.poll_unpin(cx) else { return Poll::Pending };
        if let Some(Again { address, .. }) = self.again.pop_front() {
            self.done(&address, outcome);
        }
        Poll::Ready(())
    }

    /// Tells those who waited too long; what they wanted may happen yet.
    fn answer_late(&mut self, cx: &mut Context<'_>) {
        while self.waits() && self.late.poll_tick(cx).is_ready() {
            let now = Instant::now();
            let is_late = |address: &Address| address.deadline <= now;
            let (mut in_flight, mut again) = (VecDeque::new(), VecDeque::new());
            std::mem::swap(&mut in_flight, &mut self.in_flight);
            std::mem::swap(&mut again, &mut self.again);
            let mut late = Vec::new();
            for append in in_flight {
                if is_late(&append.address) {
                    late.push(append.address);
                } else {
                    self.in_flight.push_back(append);
                }
            }
            for append in again {
                if is_late(&append.address) {
                    late.push(append.address);
                } else {
                    self.again.push_back(append);
                }
            }
            for address in late {
                self.bytes -= address.bytes;
                self.answer(&address, Outcome::Late);
            }
        }
    }

    fn done(&mut self, address: &Address, outcome: Result<Written, WriteError>) {
        self.bytes -= address.bytes;
        self.answer(
            address,
            match outcome {
                Ok(written) => Outcome::Written(written),
                Err(WriteError::Wrong(actual)) => {
                    Outcome::Wrong { expected: address.expected, actual }
                }
                Err(WriteError::Other(error)) => Outcome::Failed(error),
            },
        );
    }

    fn answer(&mut self, address: &Address, outcome: Outcome) {
        let (correlation, stream) = (address.correlation.clone(), address.stream.clone());
        self.ready.push_back(answer(correlation, stream, outcome));
    }
}

/// How long an append may take: as long as the client says, and no longer than the server does. Some clients give a time
/// of day where a duration is meant.
fn time_given(options: &Options, protocol: &Protocol) -> Duration {
    let limit = protocol.parts.settings.write_timeout;
    let micros = |seconds: i64, nanos: i32| {
        let micros = seconds.saturating_mul(1_000_000).saturating_add(i64::from(nanos) / 1000);
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    };
    let given = match &options.deadline_option {
        None => limit,
        Some(DeadlineOption::Deadline(given)) => micros(given.seconds, given.nanos),
        Some(DeadlineOption::Deadline21100(at)) => {
            let now = protocol.parts.clock.now().0;
            let left = at.seconds.saturating_mul(1_000_000).saturating_sub(now);
            micros(0, 0).max(Duration::from_micros(u64::try_from(left).unwrap_or(0)))
        }
    };
    given.min(limit)
}

impl<R> Stream for Answers<R>
where
    R: Stream<Item = Result<BatchAppendReq, Status>> + Unpin,
{
    type Item = Result<BatchAppendResp, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Some(answer) = this.ready.pop_front() {
            return Poll::Ready(Some(Ok(answer)));
        }
        // What one call may hold bounds the work; the scheduler's budget would cut the answers to a group in pieces.
        let work = unconstrained(poll_fn(|cx| {
            this.take_requests(cx);
            while this.answer_oldest(cx).is_ready() {}
            while this.answer_again(cx).is_ready() {}
            this.answer_late(cx);
            if let Some(answer) = this.ready.pop_front() {
                return Poll::Ready(Some(Ok(answer)));
            }
            if !this.waits() && this.requests.is_none() {
                return Poll::Ready(this.end.take().map(Err));
            }
            Poll::Pending
        }));
        pin!(work).poll(cx)
    }
}
