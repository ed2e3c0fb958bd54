//! Regular expressions that are built to take for ever, against names that make them: others are served meanwhile, half of
//! the processors are left to them, and nothing goes on once nobody asks.

use std::time::{Duration, Instant};

use annals_store::protocol::wire::v1::Empty;
use annals_store::protocol::wire::v1::streams::read_req::Options;
use annals_store::protocol::wire::v1::streams::read_req::options::all_options::AllOption;
use annals_store::protocol::wire::v1::streams::read_req::options::filter_options::{
    Expression, Filter, Window,
};
use annals_store::protocol::wire::v1::streams::read_req::options::{
    AllOptions, CountOption, FilterOption, FilterOptions, StreamOption, SubscriptionOptions,
    UuidOption, uuid_option,
};
use annals_store::protocol::wire::v1::streams::{AppendReq, ReadReq, append_req};
use bytes::Bytes;
use futures::stream;
use tokio::time::timeout;
use tonic::Streaming;

use crate::calls::{
    Caller, LIMIT, PATIENCE, STREAMS, World, append_event, append_options, encoded, event,
};
use crate::harness::wait_for;

const EXPLOSIVE: [&str; 6] = [
    r"^(a+)+(?=$)",
    r"^(?=(a|aa)+$)(a*)*b",
    r"^(a*)*\1b",
    r"(?=(a+a+)+x)",
    r"^((a|a?)+)(?!a)$",
    r"(x+x+)+y|(?<=z)(a+)+$",
];

/// A read or a subscription of the whole log, backwards where it is a read, by stream or by type.
fn filtered(regex: &str, is_live: bool, by_type: bool) -> ReadReq {
    let expression = Expression { regex: regex.to_owned(), prefix: vec![] };
    let filter = FilterOptions {
        filter: Some(if by_type {
            Filter::EventType(expression)
        } else {
            Filter::StreamIdentifier(expression)
        }),
        window: Some(Window::Max(u32::MAX)),
        checkpoint_interval_multiplier: u32::MAX,
    };
    let string = uuid_option::Content::String(Empty {});
    let from = if is_live { AllOption::Start(Empty {}) } else { AllOption::End(Empty {}) };
    let options = Options {
        stream_option: Some(StreamOption::All(AllOptions { all_option: Some(from) })),
        read_direction: i32::from(!is_live),
        count_option: Some(if is_live {
            CountOption::Subscription(SubscriptionOptions {})
        } else {
            CountOption::Count(1_000_000)
        }),
        filter_option: Some(FilterOption::Filter(filter)),
        uuid_option: Some(UuidOption { content: Some(string) }),
        ..Options::default()
    };
    ReadReq { options: Some(options) }
}

async fn open(caller: &Caller, request: &ReadReq) -> Streaming<Bytes> {
    let path = format!("{STREAMS}Read");
    let opened = caller.open(&path, stream::iter([encoded(request.clone())])).await;
    opened.expect("it is served")
}

/// Many small events whose names and types nearly match.
async fn write(caller: &Caller, events: usize) {
    let name = "a".repeat(40) + "!";
    let with_type = |mut event: append_req::ProposedMessage| -> AppendReq {
        event.metadata.insert("type".to_owned(), name.clone());
        append_event(event)
    };
    let mut messages = vec![encoded(append_options(&name))];
    messages.extend((0..events).map(|_| encoded(with_type(event(3)))));
    caller.call(&format!("{STREAMS}Append"), messages).await.expect("room");
}

#[tokio::test(flavor = "multi_thread")]
async fn others_are_served_while_expressions_explode() {
    let world = World::start();
    let caller = world.caller().await;
    write(&caller, 10_000).await;
    let hostile = world.caller().await;
    let mut opened = Vec::new();
    for round in 0..8 {
        for regex in EXPLOSIVE {
            let request = filtered(regex, round % 2 == 0, round % 4 < 2);
            opened.push(tokio::spawn({
                let hostile = hostile.clone();
                async move {
                    let mut answers = open(&hostile, &request).await;
                    while let Ok(Some(_)) = answers.message().await {}
                }
            }));
        }
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (begun, taken) = (Instant::now(), world.processor_time());
    // A filter that is no burden is served beside them, and what is new comes to it.
    let plain = async {
        let mut live = open(&caller, &filtered("^(?!a)plain-", true, false)).await;
        for _ in 0..20 {
            caller.append("plain-1", &[3]).await.expect("others are served");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        for _ in 0..20 {
            let next = timeout(LIMIT, live.message()).await.expect("in time");
            next.expect("it goes on").expect("an answer");
        }
    };
    let ((), waited) = world.others_wait(plain).await;
    assert!(waited < PATIENCE, "{waited:?}");
    assert!(opened.iter().any(|reader| !reader.is_finished()), "they took no time");
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let used = world.processor_time().saturating_sub(taken);
    let share = used.as_secs_f64() / begun.elapsed().as_secs_f64();
    // Half of them, and what serving the others takes.
    let most = f64::from(u32::try_from((processors / 2).max(1)).expect("a few")) + 0.6;
    assert!(share < most, "{share:.2} processors of {processors}");

    for reader in opened {
        reader.abort();
    }
    drop(hostile);
    wait_for("an end of the work that nobody asks for", Duration::from_secs(15), || {
        let taken = world.processor_time();
        crate::harness::pause(Duration::from_millis(500));
        let used = world.processor_time().saturating_sub(taken);
        (used < Duration::from_millis(200)).then_some(())
    });
}
