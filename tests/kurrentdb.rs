//! The server under KurrentDB's Rust client, as it is published: appends with every expectation, repetitions, reads,
//! subscriptions that go live under load, deletions, metadata, and batches.

mod harness;

use std::collections::HashMap;
use std::time::Duration;

use eventstore::{
    AppendToStreamOptions, BatchAppendOptions, Client, CurrentRevision, DeleteStreamOptions, Error,
    EventData, ExpectedRevision, ReadAllOptions, ReadStreamOptions, ResolvedEvent,
    StreamMetadataBuilder, StreamMetadataResult, StreamPosition, SubscribeToAllOptions,
    SubscribeToStreamOptions, SubscriptionEvent, SubscriptionFilter, TombstoneStreamOptions,
};
use serde_json::{Value, json};
use uuid::Uuid;

use harness::scratch;
use harness::server::Server;

/// A server of its own for a test, and a client of it.
struct World {
    client: Client,
    _server: Server,
    _folder: tempfile::TempDir,
}

fn world() -> World {
    let folder = scratch();
    let data = folder.path().join("data");
    let server = Server::start(&data, &["--role", "store", "--insecure"]);
    let client = client(&server.address, "");
    World { client, _server: server, _folder: folder }
}

fn client(address: &str, login: &str) -> Client {
    let settings = format!("esdb://{login}{address}?tls=false").parse().expect("settings");
    Client::new(settings).expect("a client")
}

fn event(number: u64) -> EventData {
    let event = EventData::json("note.Taken", &json!({ "number": number })).expect("JSON");
    event.id(Uuid::from_u128(number.into()))
}

fn events(numbers: impl IntoIterator<Item = u64>) -> Vec<EventData> {
    numbers.into_iter().map(event).collect()
}

fn expecting(expected: ExpectedRevision) -> AppendToStreamOptions {
    AppendToStreamOptions::default().expected_revision(expected)
}

fn number(event: &ResolvedEvent) -> u64 {
    let data: Value = event.get_original_event().as_json().expect("JSON");
    data["number"].as_u64().expect("a number")
}

impl World {
    async fn append(
        &self,
        stream: &str,
        expected: ExpectedRevision,
        numbers: impl IntoIterator<Item = u64>,
    ) -> eventstore::Result<u64> {
        let options = expecting(expected);
        let written = self.client.append_to_stream(stream, &options, events(numbers)).await?;
        assert_eq!(written.position.commit, written.position.prepare);
        Ok(written.next_expected_version)
    }

    async fn numbers(&self, stream: &str, options: ReadStreamOptions) -> Vec<u64> {
        let mut read = self.client.read_stream(stream, &options).await.expect("it is there");
        let mut numbers = Vec::new();
        while let Some(event) = read.next().await.expect("it is there") {
            numbers.push(number(&event));
        }
        numbers
    }
}

#[track_caller]
fn is_wrong<T: std::fmt::Debug>(answer: &eventstore::Result<T>, current: CurrentRevision) {
    let Err(Error::WrongExpectedVersion { current: found, .. }) = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(*found, current);
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_meet_what_they_expect_or_are_told_what_is() {
    use CurrentRevision::{Current, NoStream};
    let world = world();
    is_wrong(&world.append("a-1", ExpectedRevision::Exact(3), [1]).await, NoStream);
    is_wrong(&world.append("a-1", ExpectedRevision::StreamExists, [1]).await, NoStream);
    assert_eq!(world.append("a-1", ExpectedRevision::NoStream, 1..4).await.expect("new"), 2);
    assert_eq!(world.append("a-1", ExpectedRevision::Any, [4]).await.expect("new"), 3);
    assert_eq!(world.append("a-1", ExpectedRevision::Exact(3), [5]).await.expect("new"), 4);
    assert_eq!(world.append("a-1", ExpectedRevision::StreamExists, [6]).await.expect("new"), 5);
    is_wrong(&world.append("a-1", ExpectedRevision::NoStream, [7]).await, Current(5));
    is_wrong(&world.append("a-1", ExpectedRevision::Exact(1), [7]).await, Current(5));
    // Repetitions are answered as the first time.
    assert_eq!(world.append("a-1", ExpectedRevision::NoStream, 1..4).await.expect("known"), 2);
    assert_eq!(world.append("a-1", ExpectedRevision::Exact(3), [5]).await.expect("known"), 4);
    assert_eq!(world.append("a-1", ExpectedRevision::Any, 2..4).await.expect("known"), 2);
    is_wrong(&world.append("a-1", ExpectedRevision::Exact(3), [5, 9]).await, Current(5));
    is_wrong(&world.append("a-1", ExpectedRevision::Any, [5, 9]).await, Current(5));
    // Known ids behind the last event are other events.
    assert_eq!(world.append("a-1", ExpectedRevision::Exact(5), [1]).await.expect("new"), 6);
    let options = ReadStreamOptions::default().position(StreamPosition::Start);
    assert_eq!(world.numbers("a-1", options).await, [1, 2, 3, 4, 5, 6, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_read_as_they_were_written() {
    let world = world();
    let custom = json!({ "$correlationId": "c", "mine": [1, 2] });
    let binary = EventData::binary("raw", vec![0, 255].into()).id(Uuid::from_u128(77));
    let written = [event(7).metadata_as_json(&custom).expect("JSON"), binary];
    world
        .client
        .append_to_stream("a-1", &expecting(ExpectedRevision::NoStream), written.to_vec())
        .await
        .expect("it is new");
    let mut read = world.client.read_all(&ReadAllOptions::default()).await.expect("served");
    let mut found = Vec::new();
    while let Some(event) = read.next().await.expect("served") {
        if event.get_original_event().stream_id == "a-1" {
            found.push(event);
        }
    }
    assert_eq!(found.len(), 2, "{found:?}");
    let [first, second] = [0, 1].map(|place| found[place].get_original_event());
    assert_eq!((first.id, first.revision, first.is_json), (Uuid::from_u128(7), 0, true));
    assert_eq!(first.event_type, "note.Taken");
    assert_eq!(first.custom_metadata, custom.to_string().as_bytes());
    assert_eq!((second.id, second.revision, second.is_json), (Uuid::from_u128(77), 1, false));
    assert_eq!(second.data, &[0, 255][..]);
    assert!(first.position < second.position);
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_begin_anywhere_and_go_both_ways() {
    let world = world();
    world.append("a-1", ExpectedRevision::NoStream, 0..500).await.expect("new");
    let options = || ReadStreamOptions::default().max_count(1_000_000);
    let all: Vec<u64> = (0..500).collect();
    let forwards = options().forwards().position(StreamPosition::Position(490));
    assert_eq!(world.numbers("a-1", forwards).await, all[490..]);
    let backwards = options().backwards().position(StreamPosition::End);
    let reversed: Vec<u64> = (0..500).rev().collect();
    assert_eq!(world.numbers("a-1", backwards).await, reversed);
    let few = ReadStreamOptions::default().forwards().position(StreamPosition::Start).max_count(3);
    assert_eq!(world.numbers("a-1", few).await, [0, 1, 2]);
    let missing = world.client.read_stream("b-1", &options()).await;
    let missing = match missing {
        Ok(mut read) => read.next().await.map(|_| ()),
        Err(error) => Err(error),
    };
    assert!(matches!(missing, Err(Error::ResourceNotFound)), "{missing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_go_live_under_load_without_gap_or_double() {
    const EVENTS: u64 = 2_000;
    let world = world();
    world.append("a-1", ExpectedRevision::NoStream, 0..100).await.expect("new");
    let writer = tokio::spawn({
        let client = world.client.clone();
        async move {
            for first in (100..EVENTS).step_by(10) {
                let options = expecting(ExpectedRevision::Exact(first - 1));
                let written = events(first..first + 10);
                client.append_to_stream("a-1", &options, written).await.expect("in order");
                let options = expecting(ExpectedRevision::Any);
                let other = events([1_000_000 + first]);
                client.append_to_stream("b-1", &options, other).await.expect("any");
            }
        }
    });
    let mut readers = Vec::new();
    for reader in 0..6 {
        let client = world.client.clone();
        readers.push(tokio::spawn(async move {
            let mut subscription = if reader % 2 == 0 {
                let start = SubscribeToStreamOptions::default().start_from(StreamPosition::Start);
                client.subscribe_to_stream("a-1", &start).await
            } else {
                // Negative look-ahead, as clients leave streams out.
                let filter = SubscriptionFilter::on_stream_name().regex(r"^(?!(b-|\$))").max(16);
                let start = SubscribeToAllOptions::default().position(StreamPosition::Start);
                client.subscribe_to_all(&start.filter(filter)).await
            };
            let (mut numbers, mut checkpoints) = (Vec::new(), 0);
            while (numbers.len() as u64) < EVENTS {
                let next = subscription.next_subscription_event().await.expect("it goes on");
                if let SubscriptionEvent::EventAppeared(event) = next {
                    numbers.push(number(&event));
                } else if let SubscriptionEvent::Checkpoint(_) = next {
                    checkpoints += 1;
                }
            }
            assert!(reader % 2 == 0 || checkpoints > 0);
            numbers
        }));
    }
    writer.await.expect("it writes");
    let expected: Vec<u64> = (0..EVENTS).collect();
    for reader in readers {
        let read = tokio::time::timeout(Duration::from_mins(1), reader).await;
        assert_eq!(read.expect("in time").expect("it reads"), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_deleted_revived_and_ended() {
    let world = world();
    let (client, start) =
        (&world.client, || ReadStreamOptions::default().position(StreamPosition::Start));
    let never = client.delete_stream("a-1", &DeleteStreamOptions::default()).await;
    assert!(never.is_err(), "{never:?}");
    world.append("a-1", ExpectedRevision::NoStream, 0..3).await.expect("new");
    let wrong = DeleteStreamOptions::default().expected_revision(ExpectedRevision::Exact(1));
    let refused = client.delete_stream("a-1", &wrong).await.expect_err("it is at 2");
    assert!(refused.to_string().contains("Actual version: 2"), "{refused}");
    let right = DeleteStreamOptions::default().expected_revision(ExpectedRevision::Exact(2));
    client.delete_stream("a-1", &right).await.expect("it is at 2").expect("a position");
    let mut read = client.read_stream("a-1", &start()).await.expect("served");
    assert!(matches!(read.next().await, Err(Error::ResourceNotFound)));
    assert_eq!(world.append("a-1", ExpectedRevision::NoStream, [3]).await.expect("new"), 3);
    assert_eq!(world.numbers("a-1", start()).await, [3]);
    client.tombstone_stream("a-1", &TombstoneStreamOptions::default()).await.expect("it is there");
    let ended = client.read_stream("a-1", &start()).await.map(|_| ());
    assert!(matches!(ended, Err(Error::ResourceDeleted)), "{ended:?}");
    let ended = world.append("a-1", ExpectedRevision::Any, [4]).await;
    assert!(matches!(ended, Err(Error::ResourceDeleted)), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_hides_and_is_read_back() {
    let world = world();
    world.append("a-1", ExpectedRevision::NoStream, 0..5).await.expect("new");
    let custom: HashMap<String, String> = [("owner".to_owned(), "me".to_owned())].into();
    let metadata =
        StreamMetadataBuilder::new().max_count(2).insert_custom_property("mine", &custom).build();
    world
        .client
        .set_stream_metadata("a-1", &AppendToStreamOptions::default(), &metadata)
        .await
        .expect("it is set");
    let options = ReadStreamOptions::default().position(StreamPosition::Start);
    assert_eq!(world.numbers("a-1", options).await, [3, 4]);
    let read = world.client.get_stream_metadata("a-1", &ReadStreamOptions::default()).await;
    let Ok(StreamMetadataResult::Success(read)) = read else { panic!("{read:?}") };
    assert_eq!(read.metadata(), &metadata);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_appends_of_one_call_are_under_way_at_once() {
    let world = world();
    let batch = world.client.batch_append(&BatchAppendOptions::default()).await.expect("served");
    let appends = (0..1000_u64).map(|number| {
        let stream = format!("batch-{}", number % 10);
        let batch = &batch;
        async move {
            let event = vec![event(number)];
            batch.append_to_stream(stream, ExpectedRevision::Any, event).await
        }
    });
    for written in futures::future::join_all(appends).await {
        written.expect("it is new").current_revision().expect("it has events");
    }
    let options = ReadStreamOptions::default().position(StreamPosition::Start);
    for stream in 0..10 {
        let mut numbers = world.numbers(&format!("batch-{stream}"), options.clone()).await;
        numbers.sort_unstable();
        let expected: Vec<u64> = (0..1000).filter(|number| number % 10 == stream).collect();
        assert_eq!(numbers, expected);
    }
    let refused =
        batch.append_to_stream("batch-0", ExpectedRevision::Exact(5), vec![event(5000)]).await;
    refused.expect_err("it is elsewhere");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_a_key_refuses_who_does_not_know_it() {
    let folder = scratch();
    let mut command = harness::annals();
    command.args(["serve", "--role", "store", "--address", "127.0.0.1:0", "--data"]);
    command.arg(folder.path().join("data")).env("ANNALS_LOG_LEVEL", "error");
    let server = Server::start_command(command.env("ANNALS_API_KEY", "0123456789abcdef"));
    let append = async |login: &str| {
        let client = client(&server.address, login);
        let options = AppendToStreamOptions::default();
        client.append_to_stream("a-1", &options, events([1])).await.map(|_| ())
    };
    append("admin:0123456789abcdef@").await.expect("it knows the key");
    append("admin:changeit@").await.expect_err("it does not");
    append("").await.expect_err("it does not");
}

#[test]
fn a_server_tells_where_it_is() {
    let folder = scratch();
    let data = folder.path().join("data");
    let server = Server::start(&data, &["--role", "store", "--insecure"]);
    let member = &server.get("/gossip")["members"][0];
    let port = server.address.rsplit(':').next().and_then(|port| port.parse::<u64>().ok());
    assert_eq!(member["state"], "Leader");
    assert_eq!(member["httpEndPointIp"], "127.0.0.1");
    assert_eq!(member["httpEndPointPort"].as_u64(), port);
    assert!(server.get("/info")["esVersion"].is_string());
    assert_eq!(server.request("GET", "/health/live", &[], "").0, 204);
    server.stop().exits_with(0);
}
