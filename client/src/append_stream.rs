//! Many appends on one call, from many callers. Each is sent without waiting for the answers to others; the answers find
//! their callers by the tag. What waits to be sent is bounded, and the server bounds what it has not answered.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::task::AtomicWaker;
use futures::{FutureExt, Stream};
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::{Semaphore, oneshot, watch};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Streaming};

use super::connect::SignIn;
use super::encoded::{Appends, Encoded};
use super::error::{ClientError, Problem};
use super::proto::append_answer::Outcome;
use super::proto::events_client::EventsClient;
use super::proto::{
    AppendAnswer, AppendRequest, AppendResponse, AppendStreamResponse, TaggedAppend,
};

/// How many bytes of appends may wait to be sent, about; one append alone always may.
const UNSENT_BYTES_MAX: usize = 64 << 10;

type Reply = oneshot::Sender<Result<AppendResponse, ClientError>>;

/// A call for appends, which clones share. It ends once the last clone is dropped; what was sent is still answered.
#[derive(Clone, Debug)]
pub struct AppendStream(Arc<Callers>);

/// Everybody who may send.
#[derive(Debug)]
struct Callers {
    call: Arc<Call>,
    /// Why the call ended, once it has.
    end: watch::Receiver<Option<Problem>>,
}

/// What callers and connection share.
#[derive(Debug)]
struct Call {
    state: Mutex<State>,
    /// As many bytes as may still wait to be sent. Closed once nothing is sent any more.
    room: Semaphore,
    /// The connection, while it waits for something to send.
    connection: AtomicWaker,
}

#[derive(Debug, Default)]
struct State {
    unsent: Appends,
    /// The room that they take.
    unsent_room: usize,
    /// Of all appends without an answer, in the order of their tags, in which they are sent and answered.
    replies: VecDeque<Reply>,
    /// The tag of the first of them.
    oldest_tag: u64,
    /// Nobody is left who could send.
    finished: bool,
    /// The call has ended.
    closed: bool,
}

/// The answer to an append, to be awaited. Dropping it does not take the append back.
#[derive(Debug)]
pub struct Answer(oneshot::Receiver<Result<AppendResponse, ClientError>>);

impl AppendStream {
    pub(crate) async fn open(
        mut events: EventsClient<InterceptedService<Channel, SignIn>>,
    ) -> Result<AppendStream, ClientError> {
        let call = Arc::new(Call::new());
        let answers = events.append_stream(Unsent(Arc::clone(&call))).await?.into_inner();
        let (ended, end) = watch::channel(None);
        tokio::spawn(hand_out(answers, Arc::clone(&call), ended));
        Ok(AppendStream(Arc::new(Callers { call, end })))
    }

    /// Appends, and returns once it is durable.
    ///
    /// # Errors
    /// [`ClientError::Refused`], after which the call goes on; [`ClientError::Ended`] and [`ClientError::Unknown`],
    /// after which another has to be opened.
    pub async fn append(&self, append: AppendRequest) -> Result<AppendResponse, ClientError> {
        self.send(append).await?.await
    }

    /// Sends an append, and returns once it has its place: what one caller sends so, one after the other, stands in the
    /// log in that order.
    ///
    /// # Errors
    /// [`ClientError::Ended`].
    pub async fn send(&self, append: AppendRequest) -> Result<Answer, ClientError> {
        match self.0.call.send(append).await {
            Some(answer) => Ok(answer),
            None => Err(self.ended().await),
        }
    }

    /// What is said to who comes after the end.
    async fn ended(&self) -> ClientError {
        let mut end = self.0.end.clone();
        let why = end.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
        ClientError::Ended(why.unwrap_or_else(broken_off))
    }
}

impl Drop for Callers {
    fn drop(&mut self) {
        self.call.state.lock().finished = true;
        self.call.connection.wake();
    }
}

impl Call {
    fn new() -> Call {
        let (room, connection) = (Semaphore::new(UNSENT_BYTES_MAX), AtomicWaker::new());
        Call { state: Mutex::default(), room, connection }
    }

    /// Gives an append its place among those to be sent, as soon as there is room; none once the call has ended.
    async fn send(&self, append: AppendRequest) -> Option<Answer> {
        let mut append = TaggedAppend { tag: u64::MAX, append: Some(append) };
        let room = append.encoded_len().min(UNSENT_BYTES_MAX);
        let room = u32::try_from(room).expect("the bound is small");
        self.room.acquire_many(room).await.ok()?.forget();
        let (reply, answer) = oneshot::channel();
        let mut state = self.state.lock();
        if state.closed {
            return None;
        }
        append.tag = state.oldest_tag + state.replies.len() as u64;
        state.replies.push_back(reply);
        state.unsent.add(&append);
        state.unsent_room += room as usize;
        drop(state);
        self.connection.wake();
        Some(Answer(answer))
    }

    /// Ends the call for everybody.
    fn close(&self, why: &Problem) {
        let mut state = self.state.lock();
        state.closed = true;
        let replies = std::mem::take(&mut state.replies);
        drop(state);
        self.room.close();
        for reply in replies {
            drop(reply.send(Err(ClientError::Unknown(why.clone()))));
        }
    }
}

/// What waits to be sent, in messages of all that waits.
struct Unsent(Arc<Call>);

impl Stream for Unsent {
    type Item = Encoded;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Encoded>> {
        // Before the look, so that nobody who comes after it is missed.
        self.0.connection.register(cx.waker());
        let mut state = self.0.state.lock();
        if let Some(message) = state.unsent.take() {
            let room = std::mem::take(&mut state.unsent_room);
            drop(state);
            self.0.room.add_permits(room);
            return Poll::Ready(Some(message));
        }
        if state.finished { Poll::Ready(None) } else { Poll::Pending }
    }
}

impl State {
    /// Who waits for the answer with this tag, if it is the next one.
    fn answered(&mut self, tag: u64) -> Option<Reply> {
        if tag != self.oldest_tag {
            return None;
        }
        let reply = self.replies.pop_front()?;
        self.oldest_tag += 1;
        Some(reply)
    }
}

fn broken_off() -> Problem {
    let detail = "the call broke off".to_owned();
    Problem { status: Code::Unavailable, code: String::new(), detail }
}

/// Gives each answer to its caller, until the call ends; then all that wait hear of it.
async fn hand_out(
    mut messages: Streaming<AppendStreamResponse>,
    call: Arc<Call>,
    ended: watch::Sender<Option<Problem>>,
) {
    let end = 'call: loop {
        match messages.message().await {
            Ok(Some(message)) => {
                for answer in message.answers {
                    if let Err(problem) = hand_over(&call, answer) {
                        break 'call problem;
                    }
                }
            }
            Ok(None) => break broken_off(),
            Err(status) => break Problem::from(status),
        }
    };
    ended.send_replace(Some(end.clone()));
    call.close(&end);
}

/// Gives an answer to its caller. Fails where it is not the next one.
fn hand_over(call: &Call, answer: AppendAnswer) -> Result<(), Problem> {
    let reply = call.state.lock().answered(answer.tag).ok_or_else(|| Problem {
        status: Code::Internal,
        code: String::new(),
        detail: format!("the server answered tag {}, which is not the next one", answer.tag),
    })?;
    let outcome = match answer.outcome {
        Some(Outcome::Appended(appended)) => Ok(appended),
        Some(Outcome::Problem(problem)) => Err(ClientError::Refused(problem.into())),
        None => {
            let detail = "the answer to it is of a kind that this client does not know".to_owned();
            let problem = Problem { status: Code::Unknown, code: String::new(), detail };
            Err(ClientError::Unknown(problem))
        }
    };
    // Who sent it may have gone.
    drop(reply.send(outcome));
    Ok(())
}

impl Future for Answer {
    type Output = Result<AppendResponse, ClientError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = self.0.poll_unpin(cx);
        answer.map(|answer| answer.unwrap_or_else(|_| Err(ClientError::Unknown(broken_off()))))
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::super::proto::{NewEvent, StreamWrite};
    use super::*;

    fn call() -> (Arc<Call>, Unsent) {
        let call = Arc::new(Call::new());
        (Arc::clone(&call), Unsent(call))
    }

    fn of_bytes(bytes: usize) -> AppendRequest {
        let event = NewEvent { data: vec![7; bytes].into(), ..NewEvent::default() };
        let write = StreamWrite { events: vec![event], ..StreamWrite::default() };
        AppendRequest { writes: vec![write], condition: None }
    }

    fn sent_at_once(call: &Call, append: AppendRequest) -> Answer {
        call.send(append).now_or_never().expect("there is room").expect("the call is open")
    }

    /// What the connection sends now: the tags and the sizes of the events.
    fn message(unsent: &mut Unsent) -> Option<Vec<(u64, usize)>> {
        /// `AppendStreamRequest`, for which the client has no type.
        #[derive(Clone, PartialEq, Message)]
        struct Sent {
            #[prost(message, repeated, tag = "1")]
            appends: Vec<TaggedAppend>,
        }
        let message = unsent.next().now_or_never()?.expect("not the end");
        let sent = Sent::decode(message.encode_to_vec().as_slice()).expect("a right message");
        let size = |append: AppendRequest| append.writes[0].events[0].data.len();
        let appends = sent.appends.into_iter();
        Some(appends.map(|it| (it.tag, size(it.append.expect("an append")))).collect())
    }

    #[tokio::test]
    async fn each_answer_finds_its_caller_and_none_comes_out_of_order() {
        let (call, _unsent) = call();
        let [one, two, three] = [(); 3].map(|()| sent_at_once(&call, AppendRequest::default()));
        let answer = |tag, outcome| hand_over(&call, AppendAnswer { tag, outcome });
        let at = |position| AppendResponse { position: Some(position), revisions: Vec::new() };
        let refused = super::super::proto::Problem { status: 10, ..Default::default() };
        answer(0, Some(Outcome::Problem(refused))).expect("the next");
        answer(1, Some(Outcome::Appended(at(2)))).expect("the next");
        answer(1, None).expect_err("it was answered");
        answer(2, None).expect("the next");
        answer(3, None).expect_err("nobody waits for it");
        let error = one.await.expect_err("refused");
        assert!(matches!(error, ClientError::Refused(Problem { status: Code::Aborted, .. })));
        assert_eq!(two.await.expect("appended").position, Some(2));
        assert!(matches!(three.await, Err(ClientError::Unknown(_))));
    }

    #[tokio::test]
    async fn an_answer_that_can_no_more_come_is_an_unknown_outcome() {
        let (reply, answer) = oneshot::channel();
        drop(reply);
        assert!(matches!(Answer(answer).await, Err(ClientError::Unknown(_))));
    }

    #[tokio::test]
    async fn what_waits_goes_out_in_one_message_and_is_bounded() {
        let (call, mut unsent) = call();
        assert_eq!(message(&mut unsent), None);
        let most = UNSENT_BYTES_MAX;
        let _sent = [10, 20, most - 300].map(|bytes| sent_at_once(&call, of_bytes(bytes)));
        let mut waits = Box::pin(call.send(of_bytes(most)));
        assert!((&mut waits).now_or_never().is_none(), "there is no room");
        assert_eq!(message(&mut unsent), Some(vec![(0, 10), (1, 20), (2, most - 300)]));
        waits.now_or_never().expect("there is room").expect("the call is open");
        let _sent = call.send(of_bytes(2 * most)).now_or_never();
        assert_eq!(message(&mut unsent), Some(vec![(3, most)]), "one alone always may");
        assert_eq!(message(&mut unsent), None);
    }

    #[tokio::test]
    async fn the_call_ends_after_the_last_caller_and_what_it_sent() {
        let (call, mut unsent) = call();
        let (_ended, end) = watch::channel(None);
        let one = AppendStream(Arc::new(Callers { call, end }));
        let other = one.clone();
        let _answer = one.send(of_bytes(1)).await.expect("the call is open");
        drop((one, other));
        assert_eq!(message(&mut unsent), Some(vec![(0, 1)]));
        assert!(unsent.next().await.is_none());
    }

    #[tokio::test]
    async fn the_end_is_an_unknown_outcome_to_who_waits_and_nothing_is_sent_behind_it() {
        let (call, mut unsent) = call();
        let problem = Problem { code: "stopping".to_owned(), ..broken_off() };
        let (ended, end) = watch::channel(None);
        let appends = AppendStream(Arc::new(Callers { call: Arc::clone(&call), end }));
        let waiting = appends.send(of_bytes(1)).await.expect("the call is open");
        assert_eq!(message(&mut unsent), Some(vec![(0, 1)]));
        ended.send_replace(Some(problem.clone()));
        call.close(&problem);
        let error = waiting.await.expect_err("its answer will not come");
        assert!(matches!(error, ClientError::Unknown(why) if why == problem));
        for _ in 0..2 {
            let error = appends.append(of_bytes(1)).await.expect_err("it has ended");
            assert!(matches!(error, ClientError::Ended(why) if why == problem));
        }
        assert_eq!(message(&mut unsent), None);
    }
}
