//! Appends to the log itself: one by one and many on one call, what is refused, and that queries find them.

use std::time::Duration;

use annals_client::proto::subscribe_response::Content;
use annals_client::proto::{
    AppendRequest, Condition, EventFilter, ExpectedState, NewEvent, QueryItem, ReadRequest,
    RecordedEvent, StreamWrite, SubscribeRequest, stream_write::Expected,
};
use annals_client::{ApiKey, AppendStream, Client, ClientError, ConnectOptions, Flush, Problem};
use annals_core::DomainEvent;
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use tonic::Code;
use uuid::Uuid;

use crate::client::Shared;
use crate::harness::server::Server;
use crate::harness::{annals, scratch};

async fn connect(server: &Server) -> Client {
    let address = format!("http://{}", server.address);
    Client::connect(&address, ConnectOptions::default()).await.expect("the server listens")
}

fn note(tags: &[&str]) -> NewEvent {
    NewEvent {
        id: Uuid::now_v7().to_string(),
        r#type: "note.Taken".to_owned(),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        data: r#"{"text":"look"}"#.into(),
        ..NewEvent::default()
    }
}

fn to(stream: &str, expected: Expected, events: Vec<NewEvent>) -> AppendRequest {
    let write = StreamWrite { stream: stream.to_owned(), expected: Some(expected), events };
    AppendRequest { writes: vec![write], condition: None }
}

const ANY: Expected = Expected::State(ExpectedState::Any as i32);
const NO_STREAM: Expected = Expected::State(ExpectedState::NoStream as i32);
const EXISTS: Expected = Expected::State(ExpectedState::Exists as i32);

fn tagged(tag: &str) -> QueryItem {
    QueryItem { types: vec!["note.Taken".to_owned()], tags: vec![tag.to_owned()] }
}

/// The append, if no such event stands after that position.
fn unless(append: AppendRequest, tag: &str, after_position: Option<u64>) -> AppendRequest {
    let fail_if_events_match = vec![tagged(tag)];
    AppendRequest { condition: Some(Condition { fail_if_events_match, after_position }), ..append }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, ClientError>, status: Code, code: &str) {
    let Err(ClientError::Refused(problem)) = answer else { panic!("{answer:?}") };
    assert_eq!((problem.status, problem.code.as_str()), (status, code), "{}", problem.detail);
}

async fn all<S>(batches: Result<S, ClientError>) -> Vec<RecordedEvent>
where
    S: Stream<Item = Result<annals_client::proto::ReadResponse, ClientError>>,
{
    let batches: Vec<_> = batches.expect("a read").try_collect().await.expect("no error");
    batches.into_iter().flat_map(|batch| batch.events).collect()
}

async fn read(client: &Client, stream: &str, items: Vec<QueryItem>) -> Vec<RecordedEvent> {
    let filter = Some(EventFilter { items, ..EventFilter::default() });
    let read = ReadRequest { stream: stream.to_owned(), filter, ..ReadRequest::default() };
    all(client.read(read).await).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_append_is_stored_once_and_only_where_it_was_expected() {
    let shared = Shared::get();
    let client = connect(shared.server()).await;
    let stream = "note-append-1";
    let first = NewEvent { metadata_json: r#"{"actor":"ann"}"#.into(), ..note(&["reader:1"]) };
    let request = to(stream, NO_STREAM, vec![first.clone(), note(&[])]);
    let answer = client.append(request.clone()).await.expect("nobody was there");
    let position = answer.position.expect("a position");
    assert_eq!(answer.revisions[0].revision, Some(1));
    assert_eq!(client.append(request.clone()).await.expect("a repetition"), answer);
    let by_id = to(stream, ANY, request.writes[0].events.clone());
    assert_eq!(client.append(by_id).await.expect("a repetition by its ids"), answer);

    refused(
        client.append(to(stream, NO_STREAM, vec![note(&[])])).await,
        Code::Aborted,
        "wrong-revision",
    );
    let wrong = to(stream, Expected::Revision(0), vec![note(&[])]);
    refused(client.append(wrong).await, Code::Aborted, "wrong-revision");
    let nobody = to("note-append-nobody", EXISTS, vec![note(&[])]);
    refused(client.append(nobody).await, Code::Aborted, "wrong-revision");

    // Two streams, all or none; the write without events only expects.
    let mut both = to(stream, Expected::Revision(1), vec![]);
    both.writes.extend(to("note-append-2", NO_STREAM, vec![note(&[])]).writes);
    let answer = client.append(both).await.expect("both are as expected");
    assert!(answer.position > Some(position));
    assert_eq!(answer.revisions[1].revision, Some(0));
    let mut neither = to("note-append-2", Expected::Revision(0), vec![note(&[])]);
    neither.writes.extend(to(stream, NO_STREAM, vec![note(&[])]).writes);
    refused(client.append(neither).await, Code::Aborted, "wrong-revision");

    let events = read(&client, stream, vec![]).await;
    assert_eq!(events.len(), 2);
    assert_eq!(events[1].position, position);
    assert_eq!((events[0].id(), events[0].data()), (first.id.as_str(), &first.data[..]));
    let metadata: serde_json::Value =
        serde_json::from_slice(events[0].metadata_json()).expect("JSON");
    assert_eq!(metadata, serde_json::json!({"actor": "ann", "tags": ["reader:1"]}));
    assert_eq!(read(&client, "note-append-2", vec![]).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_append_goes_through_while_its_condition_holds() {
    let shared = Shared::get();
    let client = connect(shared.server()).await;
    let claim = |tag: &str| to("note-claim", ANY, vec![note(&[tag])]);
    let first = unless(claim("name:ann"), "name:ann", None);
    let position = client.append(first.clone()).await.expect("the name is free").position;
    assert_eq!(client.append(first).await.expect("a repetition").position, position);
    let second = unless(claim("name:ann"), "name:ann", None);
    refused(client.append(second).await, Code::Aborted, "condition-failed");
    let other = unless(claim("name:bob"), "name:bob", None);
    client.append(other).await.expect("another name is free");
    let knowing = unless(claim("name:ann"), "name:ann", position);
    client.append(knowing.clone()).await.expect("the one before does not count");
    let late = unless(claim("name:ann"), "name:ann", position);
    refused(client.append(late).await, Code::Aborted, "condition-failed");
    let names: Vec<_> = read(&client, "", vec![tagged("name:ann")]).await;
    assert_eq!(names.len(), 2);
    assert_eq!(names[1].id(), knowing.writes[0].events[0].id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_the_log_would_not_understand_is_refused() {
    let shared = Shared::get();
    shared.account("append-1", "1");
    let client = connect(shared.server()).await;
    let of = |event| to("note-wrong", ANY, vec![event]);
    let unknown = of(NewEvent { schema: 7, ..note(&[]) });
    refused(client.append(unknown).await, Code::InvalidArgument, "unknown-schema");
    let schema = annals_events::trading::TradingEvent::schemas()[0].clone();
    let other = of(NewEvent { schema: schema.fingerprint.0, ..note(&[]) });
    refused(client.append(other).await, Code::InvalidArgument, "wrong-schema");
    let own = of(NewEvent { r#type: schema.event_type.to_string(), ..note(&[]) });
    refused(client.append(own).await, Code::FailedPrecondition, "own-type");
    let system = to("$schemas", ANY, vec![note(&[])]);
    refused(client.append(system).await, Code::FailedPrecondition, "system-name");
    let decider = to("account-append-1", ANY, vec![note(&[])]);
    refused(client.append(decider).await, Code::FailedPrecondition, "own-stream");
    let no_id = of(NewEvent { id: "seven".to_owned(), ..note(&[]) });
    refused(client.append(no_id).await, Code::InvalidArgument, "wrong-value");
    let twice = note(&[]);
    let twice = to("note-wrong", ANY, vec![twice.clone(), twice]);
    refused(client.append(twice).await, Code::InvalidArgument, "malformed-append");
    assert!(read(&client, "note-wrong", vec![]).await.is_empty(), "nothing was changed");

    // The bytes of a known schema go in as they are.
    let recorded = read(&client, "account-append-1", vec![]).await.remove(0);
    let copied = NewEvent {
        r#type: recorded.event_type().to_owned(),
        schema: recorded.schema,
        data: Bytes::copy_from_slice(recorded.data()),
        ..note(&[])
    };
    client.append(to("note-copy", ANY, vec![copied])).await.expect("a known schema");
    assert_eq!(read(&client, "note-copy", vec![]).await[0].data(), recorded.data());
}

/// Sends a thousand appends before it looks at an answer; gives the positions in the order of sending.
async fn a_thousand(appends: &AppendStream, stream: &str) -> Vec<u64> {
    let mut answers = Vec::new();
    for _ in 0..1000 {
        let append = to(stream, ANY, vec![note(&["thousand"])]);
        answers.push(appends.send(append).await.expect("the call is open"));
    }
    let answers = futures::future::try_join_all(answers).await.expect("all are durable");
    answers.into_iter().map(|answer| answer.position.expect("a position")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_thousand_appends_are_in_flight_on_one_call() {
    let shared = Shared::get();
    let client = connect(shared.server()).await;
    let appends = client.append_stream().await.expect("a call");
    let (one, two) =
        tokio::join!(a_thousand(&appends, "note-many-1"), a_thousand(&appends, "note-many-2"));
    for (stream, positions) in [("note-many-1", one), ("note-many-2", two)] {
        assert!(positions.is_sorted_by(|one, next| one < next), "each caller's order is kept");
        let stored = read(&client, stream, vec![tagged("thousand")]).await;
        assert!(stored.iter().map(|event| event.position).eq(positions));
        assert!(stored.iter().map(|event| event.revision).eq(0..1000));
    }
    assert_eq!(read(&client, "", vec![tagged("thousand")]).await.len(), 2000);

    // A refused append does not end the call.
    let wrong = to("note-many-1", NO_STREAM, vec![note(&[])]);
    refused(appends.append(wrong).await, Code::Aborted, "wrong-revision");
    let taken = unless(to("note-many-1", ANY, vec![note(&[])]), "thousand", None);
    refused(appends.append(taken).await, Code::Aborted, "condition-failed");
    let unknown = to("note-many-1", ANY, vec![NewEvent { schema: 7, ..note(&[]) }]);
    refused(appends.append(unknown).await, Code::InvalidArgument, "unknown-schema");
    let last = to("note-many-1", Expected::Revision(999), vec![note(&[])]);
    let answer = appends.clone().append(last.clone()).await.expect("the call goes on");
    assert_eq!(appends.append(last).await.expect("a repetition"), answer);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_subscription_by_query_sees_what_is_appended() {
    let shared = Shared::get();
    let client = connect(shared.server()).await;
    client.append(to("note-live", ANY, vec![note(&["live:1"])])).await.expect("appended");
    let filter = EventFilter { items: vec![tagged("live:1")], ..EventFilter::default() };
    let subscribe = SubscribeRequest { filter: Some(filter), ..SubscribeRequest::default() };
    let mut messages = client.subscribe(subscribe).await.expect("a subscription");
    let (mut seen, mut sent) = (Vec::new(), Vec::new());
    while seen.len() < 3 {
        let next = tokio::time::timeout(Duration::from_secs(20), messages.next()).await;
        let message = next.expect("it comes").expect("no end").expect("no error");
        match message.content.expect("content") {
            Content::Batch(batch) => seen.extend(batch.events),
            Content::CaughtUp(_) if sent.is_empty() => {
                assert_eq!(seen.len(), 1, "history comes before what is live");
                for tag in ["live:1", "live:2", "live:1"] {
                    let append = to("note-live", ANY, vec![note(&[tag])]);
                    let answer = client.append(append).await.expect("appended");
                    sent.push(answer.position.expect("a position"));
                }
            }
            Content::CaughtUp(_) | Content::Checkpoint(_) => {}
        }
    }
    let positions: Vec<_> = seen[1..].iter().map(|event| event.position).collect();
    assert_eq!(positions, [sent[0], sent[2]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_server_of_the_log_alone_serves_it_and_nothing_else() {
    let folder = scratch();
    let server = Server::start(folder.path(), &["--role", "store"]);
    let client = connect(&server).await;
    let append = to("note-1", NO_STREAM, vec![note(&["shelf:1"])]);
    client.append(append).await.expect("it is stored");
    assert_eq!(read(&client, "", vec![tagged("shelf:1")]).await.len(), 1);
    assert_eq!(server.get("/v1/streams/note-1")["events"].as_array().map(Vec::len), Some(1));
    assert_eq!(server.request("GET", "/health/ready", &[], "").0, 204);
    assert!(server.get("/openapi.json")["paths"].get("/v1/streams/{stream}").is_some());
    for path in ["/v1/trading_accounts", "/v1/commands", "/v1/projections"] {
        let (status, body) = server.request("GET", path, &[], "");
        assert_eq!(status, 404, "{path}: {body}");
        assert!(body.contains("log-alone"), "{path}: {body}");
    }
    assert!(!folder.path().join("postgres").exists());
    assert_eq!(server.stop().code, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn only_who_has_the_key_appends_and_a_stopping_server_ends_the_call() {
    const KEY: &str = "a-key-of-this-test-only";
    let folder = scratch();
    let mut serve = annals();
    serve.env("ANNALS_API_KEY", KEY).args(["serve", "--address", "127.0.0.1:0", "--data"]);
    let server = Server::start_command(serve.arg(folder.path().join("data")));
    let append = || to("note-key", ANY, vec![note(&[])]);
    let stranger = connect(&server).await;
    refused(stranger.append(append()).await, Code::Unauthenticated, "unauthenticated");
    refused(stranger.append_stream().await, Code::Unauthenticated, "unauthenticated");

    let address = format!("http://{}", server.address);
    let api_key = Some(ApiKey::new(KEY).expect("ASCII"));
    let options = ConnectOptions { api_key, flush: Flush::Immediate };
    let client = Client::connect(&address, options).await.expect("the server listens");
    client.append(append()).await.expect("the key is right");
    let appends = client.append_stream().await.expect("the key is right");
    appends.append(append()).await.expect("the call is open");
    assert_eq!(read(&client, "note-key", vec![]).await.len(), 2);

    let stopped = tokio::task::spawn_blocking(move || server.stop());
    let ended = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            match appends.append(append()).await {
                Ok(_) => {}
                Err(ClientError::Ended(why) | ClientError::Unknown(why)) => return why,
                Err(error) => panic!("{error:?}"),
            }
        }
    });
    let Problem { status, code, .. } = ended.await.expect("in time");
    assert_eq!((status, code.as_str()), (Code::Unavailable, "stopping"));
    drop((stranger, client, appends));
    stopped.await.expect("no panic").exits_with(0);
}
