//! The log: pages, time travel, subscriptions.

use std::time::Duration;

use annals_client::proto;
use annals_client::proto::events_client::EventsClient;
use serde_json::{Value, json};

use crate::client::{JSON, Request, Shared, channel, post, rest};

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_log_is_read_in_pages_and_through_time() {
    let shared = Shared::get();
    let position = shared.account("log-1", "1");
    let (_, deposited) =
        shared.server().command("trading", "deposit", &json!({"account": "log-1", "amount": "2"}));
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let (status, _, traced) = rest(
        shared.server(),
        Request {
            headers: &[JSON[0], ("traceparent", trace)],
            ..post("/v1/commands/trading/open-account", r#"{"account":"log-2"}"#)
        },
    )
    .await;
    assert_eq!(status, 201, "{traced}");
    let page = shared.server().get("/v1/streams/account-log-2");
    assert_eq!(page["events"][0]["metadata"]["traceparent"], trace);

    let page = shared.server().get("/v1/streams/account-log-1?limit=2");
    assert_eq!(page["events"][0]["type"], "trading.AccountOpened");
    assert_eq!(page["events"][1]["data"]["amount"], "1");
    assert_eq!(page["next_from_revision"], 2);
    let page = shared.server().get("/v1/streams/account-log-1?from_revision=2");
    assert_eq!(
        (&page["events"][0]["revision"], &page["next_from_revision"]),
        (&json!(2), &Value::Null)
    );
    let page = shared.server().get("/v1/streams/account-log-1?backwards=true&limit=1");
    assert_eq!(
        (&page["events"][0]["revision"], &page["next_from_revision"]),
        (&json!(2), &json!(1))
    );
    let path = format!("/v1/events?from_position={position}&type_prefix=trading.Cash&limit=1");
    assert_eq!(shared.server().get(&path)["events"][0]["position"], position);

    let server = shared.server();
    let before =
        server.get(&format!("/v1/debug/state?stream=account-log-1&at_position={position}"));
    assert_eq!(before["state"]["cash"], "1.00000000", "{before}");
    let row = "read_model=trading_accounts&key=log-1";
    let difference = server.get(&format!("/v1/debug/diff?{row}&from_position={position}"));
    assert_eq!(difference["to"]["state"]["cash"], "3.00000000", "{difference}");
    let history = server.get(&format!("/v1/debug/history?{row}&youngest=true&limit=1"));
    assert_eq!(history["changes"][0]["position"], deposited["position"], "{history}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_subscription_goes_on_live_without_a_seam() {
    use proto::subscribe_response::Content;

    let shared = Shared::get();
    let position = shared.account("live-1", "1");
    let mut grpc = EventsClient::new(channel(shared.server()).await);
    let request = proto::SubscribeRequest {
        stream: String::new(),
        start: Some(proto::subscribe_request::Start::AfterPosition(position - 1)),
        filter: Some(proto::EventFilter {
            stream_prefixes: vec!["account-live-".to_owned()],
            type_prefixes: vec!["trading.Cash".to_owned()],
            ..proto::EventFilter::default()
        }),
        payload: proto::Payload::Both.into(),
    };
    let mut stream = grpc.subscribe(request).await.expect("a subscription").into_inner();
    let (mut amounts, mut caught_up, mut checkpoint) = (Vec::new(), false, 0);
    while amounts.len() < 4 {
        let next = tokio::time::timeout(Duration::from_secs(20), stream.message());
        let message = next.await.expect("it comes").expect("no error").expect("no end");
        match message.content.expect("content") {
            Content::Batch(batch) => {
                for event in batch.events {
                    assert!(event.position >= position && !event.data().is_empty());
                    assert_ne!(event.schema, 0);
                    let json: Value = serde_json::from_slice(event.json()).expect("JSON");
                    amounts.push(json["amount"].as_str().expect("text").to_owned());
                }
            }
            Content::Checkpoint(reached) => {
                assert!(reached.position >= checkpoint);
                checkpoint = reached.position;
            }
            Content::CaughtUp(_) => {
                if !std::mem::replace(&mut caught_up, true) {
                    assert_eq!(amounts, ["1"], "history comes before what is live");
                    for amount in ["2", "3", "4"] {
                        let deposit = json!({"account": "live-1", "amount": amount});
                        let (status, _) = shared.server().command("trading", "deposit", &deposit);
                        assert_eq!(status, 201);
                    }
                }
            }
        }
    }
    assert_eq!(amounts, ["1", "2", "3", "4"]);

    let request = proto::ReadRequest {
        stream: "account-live-1".to_owned(),
        backwards: true,
        limit: 2,
        payload: proto::Payload::Json.into(),
        ..proto::ReadRequest::default()
    };
    let mut read = grpc.read(request).await.expect("a read").into_inner();
    let mut revisions = Vec::new();
    while let Some(message) = read.message().await.expect("no error") {
        revisions.extend(message.events.into_iter().map(|event| event.revision));
    }
    assert_eq!(revisions, [4, 3]);
}
