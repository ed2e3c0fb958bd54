//! The appends of one call of `AppendStream`. It takes requests only while few enough are not answered, so a caller who
//! sends faster than the log writes, or reads no answers, is slowed by the connection's flow control; what is held for
//! it is bounded, and nothing that was taken is dropped.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::vec;

use futures::{FutureExt, Stream, StreamExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::unconstrained;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Status;

use super::append::{Waiting, answer};
use super::proto;
use super::proto::append_answer::Outcome;
use super::proto::{
    AppendAnswer, AppendRequest, AppendStreamRequest, AppendStreamResponse, TaggedAppend,
};
use crate::api::problem::Problem;
use crate::api::status;

/// How many appends of one call may be without an answer.
const APPENDS_MAX: usize = 1024;
/// How many bytes they may have; one append alone always may.
const BYTES_MAX: usize = 8 << 20;

/// The answers of one call: requests `R` in, answers out, in the same order. Each append has its place in the log when
/// it is taken, and places are made durable in their order; so only the oldest one is polled. One wake for a group
/// of appends that one sync made durable is enough, and none of them costs a task.
pub(super) struct Answers<R, T> {
    /// None once no more are taken.
    requests: Option<R>,
    /// What came with the last request and is not taken yet.
    received: vec::IntoIter<TaggedAppend>,
    take: T,
    in_flight: VecDeque<InFlight>,
    in_flight_bytes: usize,
    ready: Vec<AppendAnswer>,
    stopping: Pin<Box<WaitForCancellationFutureOwned>>,
    /// What the call ends with once all is answered; none where the caller ended it.
    end: Option<Status>,
    /// Held as long as the call is open.
    _permit: OwnedSemaphorePermit,
}

struct InFlight {
    tag: u64,
    bytes: usize,
    append: Taken,
}

enum Taken {
    Waiting(Waiting),
    /// The log has not seen it.
    Wrong(proto::Problem),
}

/// About how many bytes of memory a request takes.
fn size(append: &AppendRequest) -> usize {
    let write = |write: &proto::StreamWrite| {
        write.events.iter().map(|event| 100 + event.len()).sum::<usize>()
    };
    append.writes.iter().map(write).sum()
}

fn told(problem: &Problem) -> proto::Problem {
    proto::Problem {
        status: status::of(problem.family).grpc.into(),
        code: problem.code.to_string(),
        detail: problem.detail.clone(),
        json: problem.to_json().to_string().into(),
    }
}

impl<R, T> Answers<R, T>
where
    R: Stream<Item = Result<AppendStreamRequest, Status>> + Unpin,
    T: FnMut(AppendRequest) -> Result<Waiting, Problem> + Unpin,
{
    /// The answers to `requests`, each of which `take` gives its place.
    pub(super) fn new(
        requests: R,
        take: T,
        stopping: CancellationToken,
        permit: OwnedSemaphorePermit,
    ) -> Answers<R, T> {
        Answers {
            requests: Some(requests),
            received: Vec::new().into_iter(),
            take,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            ready: Vec::new(),
            stopping: Box::pin(stopping.cancelled_owned()),
            end: None,
            _permit: permit,
        }
    }

    fn take_requests(&mut self, cx: &mut Context<'_>) {
        if self.requests.is_some() && self.stopping.poll_unpin(cx).is_ready() {
            let detail = "the server is stopping; what it took is answered";
            self.end_with(Problem::unavailable("stopping", detail).into());
        }
        while self.in_flight.len() < APPENDS_MAX && self.in_flight_bytes < BYTES_MAX {
            if let Some(append) = self.received.next() {
                self.put(append);
                continue;
            }
            let Some(requests) = &mut self.requests else { return };
            match requests.poll_next_unpin(cx) {
                Poll::Pending => return,
                Poll::Ready(None) => self.requests = None,
                Poll::Ready(Some(Err(status))) => self.end_with(status),
                Poll::Ready(Some(Ok(request))) => self.received = request.appends.into_iter(),
            }
        }
    }

    fn end_with(&mut self, status: Status) {
        self.requests = None;
        self.received = Vec::new().into_iter();
        self.end = Some(status);
    }

    fn put(&mut self, TaggedAppend { tag, append }: TaggedAppend) {
        let append = append.unwrap_or_default();
        let bytes = size(&append);
        let append = match (self.take)(append) {
            Ok(waiting) => Taken::Waiting(waiting),
            Err(problem) => Taken::Wrong(told(&problem)),
        };
        self.in_flight_bytes += bytes;
        self.in_flight.push_back(InFlight { tag, bytes, append });
    }

    /// Moves the oldest append to the answers; pending while it is not durable, or where there is none.
    fn answer_oldest(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(oldest) = self.in_flight.front_mut() else { return Poll::Pending };
        let outcome = match &mut oldest.append {
            Taken::Waiting(waiting) => match answer(ready!(waiting.poll_unpin(cx))) {
                Ok(appended) => Outcome::Appended(appended),
                Err(problem) => Outcome::Problem(told(&problem)),
            },
            Taken::Wrong(problem) => Outcome::Problem(std::mem::take(problem)),
        };
        self.ready.push(AppendAnswer { tag: oldest.tag, outcome: Some(outcome) });
        self.in_flight_bytes -= oldest.bytes;
        self.in_flight.pop_front();
        Poll::Ready(())
    }
}

impl<R, T> Stream for Answers<R, T>
where
    R: Stream<Item = Result<AppendStreamRequest, Status>> + Unpin,
    T: FnMut(AppendRequest) -> Result<Waiting, Problem> + Unpin,
{
    type Item = Result<AppendStreamResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        // What one call may hold bounds the work; the scheduler's budget would cut the answers to a group in pieces.
        let work = unconstrained(poll_fn(|cx| {
            this.take_requests(cx);
            while this.answer_oldest(cx).is_ready() {}
            let answers = std::mem::take(&mut this.ready);
            if !answers.is_empty() {
                return Poll::Ready(Some(Ok(AppendStreamResponse { answers })));
            }
            if this.in_flight.is_empty() && this.requests.is_none() {
                return Poll::Ready(this.end.take().map(Err));
            }
            Poll::Pending
        }));
        pin!(work).poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use annals_core::{AppendError, Appended, Position};
    use futures::channel::mpsc;
    use parking_lot::Mutex;
    use tokio::sync::{Semaphore, oneshot};
    use tonic::Code;

    use super::*;

    type Reply = oneshot::Sender<Result<Appended, AppendError>>;

    fn tagged(tag: u64, bytes: usize) -> TaggedAppend {
        let events = vec![vec![0; bytes].into()];
        let write = proto::StreamWrite { events, ..Default::default() };
        let append = Some(AppendRequest { writes: vec![write], condition: None });
        TaggedAppend { tag, append }
    }

    /// A call whose requests come from a channel, and whose appends are durable when the test says so.
    struct Call {
        requests: mpsc::UnboundedSender<Result<AppendStreamRequest, Status>>,
        answers: Pin<Box<dyn Stream<Item = Result<AppendStreamResponse, Status>>>>,
        taken: Arc<Mutex<VecDeque<Reply>>>,
        stopping: CancellationToken,
    }

    impl Call {
        fn begin() -> Call {
            let (requests, incoming) = mpsc::unbounded();
            let taken = Arc::new(Mutex::new(VecDeque::new()));
            let stopping = CancellationToken::new();
            let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().expect("there is one");
            let log = Arc::clone(&taken);
            let take = move |append: AppendRequest| -> Result<Waiting, Problem> {
                if append.writes.is_empty() {
                    return Err(Problem::malformed("empty", "it is empty"));
                }
                let (reply, answer) = oneshot::channel();
                log.lock().push_back(reply);
                Ok(async { answer.await.expect("the test answers") }.boxed())
            };
            let answers = Answers::new(incoming, take, stopping.clone(), permit);
            Call { requests, answers: Box::pin(answers), taken, stopping }
        }

        fn send(&self, tag: u64, bytes: usize) {
            self.request(vec![tagged(tag, bytes)]);
        }

        fn request(&self, appends: Vec<TaggedAppend>) {
            let request = AppendStreamRequest { appends };
            self.requests.unbounded_send(Ok(request)).expect("the call is open");
        }

        /// What is ready now.
        fn ready(&mut self) -> Vec<Result<AppendAnswer, Status>> {
            let mut ready = Vec::new();
            while let Some(Some(message)) = self.answers.next().now_or_never() {
                match message {
                    Ok(message) => ready.extend(message.answers.into_iter().map(Ok)),
                    Err(status) => ready.push(Err(status)),
                }
            }
            ready
        }

        fn ready_tags(&mut self) -> Vec<u64> {
            self.ready().into_iter().map(|answer| answer.expect("an answer").tag).collect()
        }

        /// Makes the oldest appends durable.
        fn sync(&self, appends: usize) {
            for reply in self.taken.lock().drain(..appends) {
                let appended = Appended {
                    position: Some(Position(0)),
                    revisions: annals_core::PerWrite::new(),
                };
                reply.send(Ok(appended)).expect("the call waits");
            }
        }

        /// How many appends are taken and not durable.
        fn taken(&self) -> usize {
            self.taken.lock().len()
        }
    }

    #[tokio::test]
    async fn no_more_are_taken_than_may_be_in_flight() {
        let mut call = Call::begin();
        // Of the second message, some wait.
        call.request((0..700).map(|tag| tagged(tag, 10)).collect());
        call.request((700..1990).map(|tag| tagged(tag, 10)).collect());
        (1990..2000).for_each(|tag| call.send(tag, 10));
        call.requests.close_channel();
        assert!(call.ready().is_empty());
        assert_eq!(call.taken(), APPENDS_MAX);
        call.sync(300);
        assert_eq!(call.ready_tags(), (0..300).collect::<Vec<_>>());
        assert_eq!(call.taken(), APPENDS_MAX);
        call.sync(APPENDS_MAX);
        assert_eq!(call.ready_tags(), (300..1324).collect::<Vec<_>>());
        call.sync(676);
        assert_eq!(call.ready_tags(), (1324..2000).collect::<Vec<_>>());
        assert!(call.answers.next().await.is_none(), "the end comes after the last");
    }

    #[tokio::test]
    async fn who_reads_no_answers_is_not_read_from() {
        let mut call = Call::begin();
        (0..2000).for_each(|tag| call.send(tag, 10));
        assert!(call.answers.next().now_or_never().is_none());
        call.sync(APPENDS_MAX);
        assert!(call.answers.next().now_or_never().is_some());
        assert_eq!(call.taken(), 0, "answers wait, so none is taken");
    }

    #[tokio::test]
    async fn large_appends_are_bounded_by_their_bytes() {
        let mut call = Call::begin();
        (0..20).for_each(|tag| call.send(tag, 1 << 20));
        assert!(call.ready().is_empty());
        assert_eq!(call.taken(), 8);
        call.sync(1);
        assert_eq!(call.ready_tags(), [0]);
        assert_eq!(call.taken(), 8);
    }

    #[tokio::test]
    async fn a_wrong_append_is_answered_in_its_place_and_the_call_goes_on() {
        let mut call = Call::begin();
        call.send(7, 1);
        call.request(vec![TaggedAppend { tag: 8, append: None }]);
        call.send(9, 1);
        assert!(call.ready().is_empty(), "an answer overtakes none");
        call.sync(2);
        let answers = call.ready().into_iter().map(|answer| answer.expect("an answer"));
        let [one, two, three] = answers.collect::<Vec<_>>().try_into().expect("three answers");
        assert!(matches!((one.tag, one.outcome), (7, Some(Outcome::Appended(_)))));
        let Some(Outcome::Problem(problem)) = two.outcome else { panic!("{two:?}") };
        assert_eq!((two.tag, problem.code.as_str(), problem.status), (8, "empty", 3));
        assert!(matches!((three.tag, three.outcome), (9, Some(Outcome::Appended(_)))));
    }

    #[tokio::test]
    async fn a_call_that_its_caller_ends_is_answered_to_the_end() {
        let mut call = Call::begin();
        call.send(1, 1);
        call.requests.close_channel();
        assert!(call.answers.next().now_or_never().is_none(), "one is not answered");
        call.sync(1);
        assert_eq!(call.ready_tags(), [1]);
        assert!(call.answers.next().await.is_none());
    }

    #[tokio::test]
    async fn a_stopping_server_takes_no_more_and_answers_what_it_took() {
        let mut call = Call::begin();
        call.send(1, 1);
        assert!(call.ready().is_empty());
        call.stopping.cancel();
        call.send(2, 1);
        assert!(call.ready().is_empty());
        call.sync(1);
        let answers = call.ready();
        assert_eq!(answers.len(), 2);
        assert_eq!(answers[0].as_ref().expect("the first was taken").tag, 1);
        let status = answers[1].as_ref().expect_err("the end");
        assert_eq!(status.code(), Code::Unavailable);
    }
}
