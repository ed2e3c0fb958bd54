//! Many appends on one call, from many callers. Each is sent without waiting for the answers to others; the answers find
//! their callers by the tag. What waits to be sent is bounded, and the server bounds what it has not answered.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Streaming};

use super::connect::SignIn;
use super::error::{ClientError, Problem};
use super::proto::append_stream_response::Outcome;
use super::proto::events_client::EventsClient;
use super::proto::{AppendRequest, AppendResponse, AppendStreamRequest, AppendStreamResponse};

/// How many appends may wait to be sent.
const WAITING_MAX: usize = 1024;

type Reply = oneshot::Sender<Result<AppendResponse, ClientError>>;

/// A call for appends, which clones share. It ends once the last clone is dropped; what was sent is still answered.
#[derive(Clone, Debug)]
pub struct AppendStream {
    requests: mpsc::Sender<AppendStreamRequest>,
    sent: Arc<Mutex<Sent>>,
    /// Why the call ended, once it has.
    end: watch::Receiver<Option<Problem>>,
}

/// What was sent and is not answered.
#[derive(Debug, Default)]
struct Sent {
    /// In the order in which they were sent, which is that of their tags and of their answers.
    replies: VecDeque<Reply>,
    /// The tag of the first of them.
    oldest_tag: u64,
    /// No more is sent.
    closed: bool,
}

/// The answer to an append, to be awaited. Dropping it does not take the append back.
#[derive(Debug)]
pub struct Answer(oneshot::Receiver<Result<AppendResponse, ClientError>>);

impl AppendStream {
    pub(crate) async fn open(
        mut events: EventsClient<InterceptedService<Channel, SignIn>>,
    ) -> Result<AppendStream, ClientError> {
        let (requests, waiting) = mpsc::channel(WAITING_MAX);
        let answers = events.append_stream(ReceiverStream::new(waiting)).await?.into_inner();
        let sent = Arc::new(Mutex::new(Sent::default()));
        let (ended, end) = watch::channel(None);
        tokio::spawn(hand_out(answers, Arc::clone(&sent), ended));
        Ok(AppendStream { requests, sent, end })
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
        let Ok(place) = self.requests.reserve().await else { return Err(self.ended().await) };
        let (reply, answer) = oneshot::channel();
        {
            // Sent within the lock, so that the order is the same for the server.
            let mut sent = self.sent.lock();
            if let Some(tag) = sent.register(reply) {
                place.send(AppendStreamRequest { tag, append: Some(append) });
                return Ok(Answer(answer));
            }
        }
        Err(self.ended().await)
    }

    /// What is said to who comes after the end.
    async fn ended(&self) -> ClientError {
        let mut end = self.end.clone();
        let why = end.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
        ClientError::Ended(why.unwrap_or_else(broken_off))
    }
}

impl Sent {
    /// Expects an answer, to the tag returned; none once the call has ended.
    fn register(&mut self, reply: Reply) -> Option<u64> {
        if self.closed {
            return None;
        }
        let tag = self.oldest_tag + self.replies.len() as u64;
        self.replies.push_back(reply);
        Some(tag)
    }

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
    mut answers: Streaming<AppendStreamResponse>,
    sent: Arc<Mutex<Sent>>,
    ended: watch::Sender<Option<Problem>>,
) {
    let end = loop {
        match answers.message().await {
            Ok(Some(answer)) => {
                if let Err(problem) = hand_over(&sent, answer) {
                    break problem;
                }
            }
            Ok(None) => break broken_off(),
            Err(status) => break Problem::from(status),
        }
    };
    ended.send_replace(Some(end.clone()));
    let mut sent = sent.lock();
    sent.closed = true;
    for reply in std::mem::take(&mut sent.replies) {
        drop(reply.send(Err(ClientError::Unknown(end.clone()))));
    }
}

/// Gives an answer to its caller. Fails where it is not the next one.
fn hand_over(sent: &Mutex<Sent>, answer: AppendStreamResponse) -> Result<(), Problem> {
    let reply = sent.lock().answered(answer.tag).ok_or_else(|| Problem {
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
    use super::*;

    fn answered(tag: u64, outcome: Option<Outcome>) -> AppendStreamResponse {
        AppendStreamResponse { tag, outcome }
    }

    #[tokio::test]
    async fn each_answer_finds_its_caller_and_none_comes_out_of_order() {
        let sent = Mutex::new(Sent::default());
        let register = || {
            let (reply, answer) = oneshot::channel();
            (sent.lock().register(reply).expect("it is open"), Answer(answer))
        };
        let (one, two, three) = (register(), register(), register());
        let at = |position| AppendResponse { position: Some(position), revisions: Vec::new() };
        let refused = super::super::proto::Problem { status: 10, ..Default::default() };
        hand_over(&sent, answered(one.0, Some(Outcome::Problem(refused)))).expect("the next");
        hand_over(&sent, answered(two.0, Some(Outcome::Appended(at(2))))).expect("the next");
        hand_over(&sent, answered(two.0, None)).expect_err("it was answered");
        hand_over(&sent, answered(three.0, None)).expect("the next");
        hand_over(&sent, answered(3, None)).expect_err("nobody waits for it");
        let error = one.1.await.expect_err("refused");
        assert!(matches!(error, ClientError::Refused(Problem { status: Code::Aborted, .. })));
        assert_eq!(two.1.await.expect("appended").position, Some(2));
        assert!(matches!(three.1.await, Err(ClientError::Unknown(_))));
    }

    #[tokio::test]
    async fn an_answer_that_can_no_more_come_is_an_unknown_outcome() {
        let (reply, answer) = oneshot::channel();
        drop(reply);
        assert!(matches!(Answer(answer).await, Err(ClientError::Unknown(_))));
    }

    #[tokio::test]
    async fn after_the_end_nothing_is_sent() {
        let problem = Problem { code: "stopping".to_owned(), ..broken_off() };
        let sent = Arc::new(Mutex::new(Sent { closed: true, ..Sent::default() }));
        let (requests, waiting) = mpsc::channel(1);
        let (_ended, end) = watch::channel(Some(problem.clone()));
        let appends = AppendStream { requests, sent, end };
        for _ in 0..2 {
            let error = appends.append(AppendRequest::default()).await.expect_err("it has ended");
            assert!(matches!(error, ClientError::Ended(why) if why == problem));
        }
        assert!(waiting.is_empty());
    }
}
