//! Many subscriptions at once, and some that read nothing: memory stays flat, others are served, and what was taken is given
//! back.

use std::time::Duration;

use annals_store::protocol::wire::v1::streams::read_req::Options;
use annals_store::protocol::wire::v1::streams::read_req::options::stream_options::RevisionOption;
use annals_store::protocol::wire::v1::streams::read_req::options::{
    CountOption, StreamOption, StreamOptions, SubscriptionOptions, UuidOption, uuid_option,
};
use annals_store::protocol::wire::v1::streams::{BatchAppendReq, ReadReq};
use annals_store::protocol::wire::v1::{Empty, StreamIdentifier};
use bytes::Bytes;
use eventstore::{SubscribeToStreamOptions, SubscriptionEvent};
use futures::stream::{self, StreamExt};
use prost::Message;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::{Code, Streaming};

use crate::calls::{
    Caller, LIMIT, PATIENCE, STREAMS, World, encoded, handed_on, named, new_id, piece, refused,
};
use crate::harness::wait_for;

const MIB: u64 = 1 << 20;

/// A subscription to a stream from its beginning.
fn subscription(stream: &str) -> ReadReq {
    let string = uuid_option::Content::String(Empty {});
    let asked = StreamOptions {
        stream_identifier: named(stream),
        revision_option: Some(RevisionOption::Start(Empty {})),
    };
    let options = Options {
        stream_option: Some(StreamOption::Stream(asked)),
        count_option: Some(CountOption::Subscription(SubscriptionOptions {})),
        uuid_option: Some(UuidOption { content: Some(string) }),
        ..Options::default()
    };
    ReadReq { options: Some(options) }
}

async fn subscribe(caller: &Caller, stream: &str) -> Streaming<Bytes> {
    let request = encoded(subscription(stream));
    let opened = caller.open(&format!("{STREAMS}Read"), stream::iter([request])).await;
    opened.expect("it is served")
}

/// What of an answer the tests look at: the revision of an event.
#[derive(Clone, PartialEq, Message)]
struct Answer {
    #[prost(message, optional, tag = "1")]
    event: Option<ReadEvent>,
}

#[derive(Clone, PartialEq, Message)]
struct ReadEvent {
    #[prost(message, optional, tag = "1")]
    event: Option<Recorded>,
}

#[derive(Clone, PartialEq, Message)]
struct Recorded {
    #[prost(message, optional, tag = "2")]
    stream: Option<StreamIdentifier>,
    #[prost(uint64, tag = "3")]
    revision: u64,
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_subscriptions_cost_little_and_give_it_back() {
    const COUNT: usize = 10_000;
    /// What each may take.
    const EACH: u64 = 32 << 10;
    let world = World::with(&[("ANNALS_LIMITS_SUBSCRIPTIONS_MAX", "20000")]);
    let client = world.client();
    let other = world.caller().await;
    other.append("a-1", &[10]).await.expect("room");
    let before = world.memory();
    let opened = stream::iter(0..COUNT).map(|number| {
        let client = client.clone();
        async move {
            let stream = if number % 2 == 0 { "a-1".to_owned() } else { format!("b-{number}") };
            let options = SubscribeToStreamOptions::default();
            let mut subscription = client.subscribe_to_stream(stream, &options).await;
            let begun = timeout(LIMIT, subscription.next_subscription_event()).await;
            let begun = begun.expect("in time").expect("it is let in");
            assert!(matches!(begun, SubscriptionEvent::Confirmed(_)), "{begun:?}");
            subscription
        }
    });
    let opened = opened.buffered(64).collect::<Vec<_>>();
    let (mut open, waited) = world.others_wait(opened).await;
    assert_eq!(open.len(), COUNT);
    assert!(waited < PATIENCE, "{waited:?}");
    // The last one is live.
    let last = open.last_mut().expect("many");
    let stream = format!("b-{}", COUNT - 1);
    let appended = other.append(&stream, &[10]);
    let (appended, event) = tokio::join!(appended, timeout(LIMIT, last.next()));
    appended.expect("others are served");
    event.expect("in time").expect("an event");
    let grown = world.memory().saturating_sub(before);
    assert!(grown < EACH * COUNT as u64, "{} bytes each", grown / COUNT as u64);

    drop((open, client));
    wait_for("the memory of ten thousand subscriptions", LIMIT, || {
        // The allocator keeps some of it.
        (world.memory() < before + 96 * MIB).then_some(())
    });
    other.append("a-1", &[10]).await.expect("others are served");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_too_late_is_told_until_another_goes() {
    let world = World::with(&[("ANNALS_LIMITS_SUBSCRIPTIONS_MAX", "3")]);
    let caller = world.caller().await;
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(subscribe(&caller, "a-1").await);
    }
    let read = format!("{STREAMS}Read");
    let late = caller.ask(&read, &subscription("a-1")).await;
    refused(late, Code::Unavailable, "Server Is Too Busy", "the fourth");
    let batch = caller.ask(&format!("{STREAMS}BatchAppend"), &BatchAppendReq::default()).await;
    refused(batch, Code::Unavailable, "Server Is Too Busy", "the fourth");
    caller.append("a-1", &[3]).await.expect("appends are served");
    open.pop();
    let again = async {
        while caller.ask(&read, &subscription("a-1")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LIMIT, again).await.expect("the place is free again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_reads_nothing_costs_nothing_and_misses_nothing() {
    /// 800 MiB of them: what is held for the subscription is a small part.
    const EVENTS: usize = 12_800;
    const BYTES: usize = 64 << 10;
    let world = World::start();
    let caller = world.caller().await;
    let mut idle = subscribe(&caller, "a-1").await;
    let before = world.forget_peak();
    let (sender, requests) = mpsc::channel(4);
    let writer = world.caller().await;
    let path = format!("{STREAMS}BatchAppend");
    let mut answers = writer.open(&path, handed_on(requests)).await.expect("it is served");
    let sending = tokio::spawn(async move {
        for _ in 0..EVENTS / 4 {
            let append = encoded(piece(new_id(), Some("a-1"), &[BYTES; 4], true));
            sender.send(append).await.expect("the call goes on");
        }
    });
    let written = async { while answers.message().await.expect("it is written").is_some() {} };
    let ((), waited) = world.others_wait(written).await;
    sending.await.expect("it sends");
    assert!(world.written() >= EVENTS as u64, "not all was written");
    assert!(waited < PATIENCE, "{waited:?}");
    let grown = world.grown_since(before);
    assert!(grown < 384 * MIB, "{} MiB more", grown / MIB);

    let mut revisions = Vec::new();
    while revisions.len() < EVENTS {
        let answer = timeout(LIMIT, idle.message()).await.expect("in time").expect("it goes on");
        let answer = Answer::decode(answer.expect("an answer")).expect("a right message");
        revisions.extend(answer.event.and_then(|read| read.event).map(|event| event.revision));
    }
    assert!(revisions.into_iter().eq(0..EVENTS as u64));
}
