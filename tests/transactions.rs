//! Appends over several streams through the KurrentDB protocol, on the built server: all of an append or none of it, whatever
//! others write and whenever the server is killed, and read back over the protocol's first version.

mod harness;

#[path = "transactions/client.rs"]
mod client;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use annals_store::protocol::wire::google::rpc;
use annals_store::protocol::wire::kurrentdb::protocol::v2::streams::errors::StreamRevisionConflictErrorDetails;
use annals_store::protocol::wire::kurrentdb::protocol::v2::streams::{
    AppendRecord, AppendRequest, SchemaFormat, SchemaInfo,
};
use annals_store::protocol::wire::v1::Empty;
use annals_store::protocol::wire::v1::server_features::SupportedMethods;
use eventstore::{
    Client, ReadAllOptions, ReadStreamOptions, ResolvedEvent, StreamPosition,
    SubscribeToAllOptions, SubscriptionFilter,
};
use prost::Message;
use prost_types::value::Kind;
use serde_json::{Value, json};
use tonic::Code;

use client::{Transactions, record, violations};
use harness::scratch;
use harness::server::Server;

/// A server of its own for a test, and its clients.
struct World {
    transactions: Transactions,
    client: Client,
    _server: Server,
    _folder: tempfile::TempDir,
}

fn start(folder: &tempfile::TempDir) -> Server {
    Server::start(&folder.path().join("data"), &["--role", "store", "--insecure"])
}

fn published_client(server: &Server) -> Client {
    let settings = format!("esdb://{}?tls=false", server.address).parse().expect("settings");
    Client::new(settings).expect("a client")
}

async fn world() -> World {
    let folder = scratch();
    let server = start(&folder);
    let transactions = Transactions::connect(&server.address).await;
    World { transactions, client: published_client(&server), _server: server, _folder: folder }
}

fn request(stream: &str, expected: i64, numbers: &[u64]) -> AppendRequest {
    let records =
        numbers.iter().map(|number| AppendRecord { stream: None, ..record(stream, *number) });
    AppendRequest {
        stream: Some(stream.to_owned()),
        records: records.collect(),
        expected_revision: Some(expected),
    }
}

fn number(event: &ResolvedEvent) -> u64 {
    let data: Value = event.get_original_event().as_json().expect("JSON");
    data["number"].as_u64().expect("a number")
}

async fn stream(client: &Client, stream: &str) -> Vec<ResolvedEvent> {
    let options = ReadStreamOptions::default().position(StreamPosition::Start);
    let mut read = client.read_stream(stream, &options).await.expect("it is there");
    let mut events = Vec::new();
    while let Some(event) = read.next().await.expect("it is there") {
        events.push(event);
    }
    events
}

/// All events of the log but the server's own.
async fn log(client: &Client) -> Vec<ResolvedEvent> {
    let options = ReadAllOptions::default().max_count(10_000_000);
    let mut read = client.read_all(&options).await.expect("it is served");
    let mut events = Vec::new();
    while let Some(event) = read.next().await.expect("it is served") {
        if !event.get_original_event().stream_id.starts_with('$') {
            events.push(event);
        }
    }
    events
}

#[tokio::test(flavor = "multi_thread")]
async fn both_methods_are_listed_with_the_version_that_has_them() {
    let world = world().await;
    let path = "/event_store.client.server_features.ServerFeatures/GetSupportedMethods";
    let told: SupportedMethods = world.transactions.call(path, Empty {}).await.expect("served");
    assert_eq!(told.event_store_server_version, "26.1.0");
    let methods = told.methods.into_iter();
    let of_service = methods
        .filter(|method| method.service_name == "kurrentdb.protocol.v2.streams.streamsservice");
    let names: BTreeSet<_> = of_service.map(|method| method.method_name).collect();
    assert_eq!(names, ["appendrecords", "appendsession"].map(str::to_owned).into());
}

#[tokio::test(flavor = "multi_thread")]
async fn several_streams_are_written_at_once_and_read_over_the_first_version() {
    let world = world().await;
    let requests = vec![request("a-1", -1, &[1, 2]), request("b-1", -2, &[3])];
    let answer = world.transactions.session(requests).await.expect("both are new");
    let [a, b] = &answer.output[..] else { panic!("{answer:?}") };
    assert_eq!((a.stream.as_deref(), a.stream_revision), (Some("a-1"), Some(1)));
    assert_eq!((b.stream.as_deref(), b.stream_revision), (Some("b-1"), Some(0)));
    assert_eq!(b.position, answer.position);
    let read = stream(&world.client, "a-1").await;
    assert_eq!(read.iter().map(number).collect::<Vec<_>>(), [1, 2]);
    let last = read[1].get_original_event();
    assert_eq!(i64::try_from(last.position.commit).ok(), a.position);
    assert!(last.is_json);

    let text = |text: &str| prost_types::Value { kind: Some(Kind::StringValue(text.to_owned())) };
    let binary = AppendRecord {
        properties: [("$correlationId".to_owned(), text("c"))].into(),
        schema: Some(SchemaInfo {
            format: Some(SchemaFormat::Protobuf.into()),
            name: Some("raw.Bytes".to_owned()),
            id: Some("f7e55044-10b1-426f-9247-bb680e5fe0c8".to_owned()),
        }),
        data: Some(vec![0, 255].into()),
        ..record("c-1", 5)
    };
    let records = vec![record("b-1", 4), binary, record("b-1", 6)];
    let answer = world.transactions.append(records, &[("a-1", 1), ("c-1", -1)]).await;
    let answer = answer.expect("as expected");
    let revisions: Vec<_> = answer.revisions.iter().map(|it| it.revision).collect();
    assert_eq!(revisions, [Some(2), Some(0)]);
    let read = stream(&world.client, "c-1").await;
    let event = read[0].get_original_event();
    assert_eq!((event.event_type.as_str(), event.is_json), ("raw.Bytes", false));
    assert_eq!(event.data, &[0, 255][..]);
    let custom: Value = serde_json::from_slice(&event.custom_metadata).expect("JSON");
    let expected = json!({
        "$correlationId": "c",
        "$schema.name": "raw.Bytes",
        "$schema.format": "Protobuf",
        "$schema.id": "f7e55044-10b1-426f-9247-bb680e5fe0c8",
    });
    assert_eq!(custom, expected);
    // In the log they stand as they were sent.
    let log = log(&world.client).await;
    let order: Vec<_> =
        log[3..].iter().map(|event| event.get_original_event().stream_id.as_str()).collect();
    assert_eq!(order, ["b-1", "c-1", "b-1"]);
    let last = log[5].get_original_event().position.commit;
    assert_eq!(answer.position, i64::try_from(last).ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_as_expected_is_told_and_changes_nothing() {
    let world = world().await;
    let both = vec![request("a-1", -1, &[1]), request("b-1", -1, &[2])];
    world.transactions.session(both.clone()).await.expect("both are new");
    world.transactions.session(both).await.expect("a repetition");
    let requests = vec![request("c-1", -1, &[3]), request("b-1", 7, &[4])];
    let status = world.transactions.session(requests).await.expect_err("it is at 0");
    assert_eq!(status.code(), Code::FailedPrecondition);
    let carried = rpc::Status::decode(status.details()).expect("a status within the status");
    let info = rpc::ErrorInfo::decode(carried.details[0].value.as_slice()).expect("a reason");
    assert_eq!(info.reason, "STREAM_REVISION_CONFLICT");
    let detail = StreamRevisionConflictErrorDetails::decode(carried.details[1].value.as_slice());
    let detail = detail.expect("a right message");
    assert_eq!((detail.stream.as_deref(), detail.actual_revision), (Some("b-1"), Some(0)));

    let checks = [("a-1", 0), ("b-1", -1), ("d-1", -4)];
    let status = world.transactions.append(vec![record("c-1", 3)], &checks).await;
    let told = [(1, "b-1".to_owned(), 0), (2, "d-1".to_owned(), -1)];
    assert_eq!(violations(&status.expect_err("two are not so")), told);
    assert_eq!(log(&world.client).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_clients_who_check_what_the_others_write_one_goes_through() {
    const CLIENTS: usize = 6;
    const GENERATIONS: u64 = 30;
    let folder = scratch();
    let server = start(&folder);
    let names: Arc<Vec<_>> = Arc::new((0..CLIENTS).map(|client| format!("s-{client}")).collect());
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(Transactions::connect(&server.address).await);
    }
    let mut lasts = [-1_i64; CLIENTS];
    for generation in 0..GENERATIONS {
        let barrier = Arc::new(tokio::sync::Barrier::new(CLIENTS));
        let sent: Vec<_> = clients
            .iter()
            .cloned()
            .enumerate()
            .map(|(place, client)| {
                let (names, barrier) = (Arc::clone(&names), Arc::clone(&barrier));
                tokio::spawn(async move {
                    let others = (0..CLIENTS).filter(|other| *other != place);
                    let checks: Vec<_> =
                        others.map(|other| (names[other].as_str(), lasts[other])).collect();
                    let number = generation * CLIENTS as u64 + place as u64;
                    barrier.wait().await;
                    client.append(vec![record(&names[place], number)], &checks).await
                })
            })
            .collect();
        let mut winners = Vec::new();
        for (place, task) in sent.into_iter().enumerate() {
            match task.await.expect("it ends") {
                Ok(_) => winners.push(place),
                Err(status) => assert_eq!(violations(&status).len(), 1, "{status}"),
            }
        }
        assert_eq!(winners.len(), 1, "generation {generation}: {winners:?}");
        lasts[winners[0]] += 1;
    }
    assert_eq!(log(&published_client(&server)).await.len() as u64, GENERATIONS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_shows_each_transaction_whole_and_in_the_order_of_the_log() {
    const WRITERS: u64 = 3;
    const EACH: u64 = 60;
    const PARTS: u64 = 4;
    let world = world().await;
    let filter = SubscriptionFilter::on_stream_name().regex("^[^$].*");
    let options = SubscribeToAllOptions::default().position(StreamPosition::Start).filter(filter);
    let mut subscription = world.client.subscribe_to_all(&options).await;
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let transactions = world.transactions.clone();
            tokio::spawn(async move {
                for transaction in 0..EACH {
                    let first = (writer * EACH + transaction) * PARTS;
                    // Two streams in turn, one of which all writers share.
                    let own = format!("own-{writer}");
                    let parts = (0..PARTS).map(|part| {
                        record(if part % 2 == 0 { "shared-1" } else { &own }, first + part)
                    });
                    transactions.append(parts.collect(), &[]).await.expect("nothing is expected");
                }
            })
        })
        .collect();
    let mut seen = Vec::new();
    let showing = async {
        while (seen.len() as u64) < WRITERS * EACH * PARTS {
            seen.push(number(&subscription.next().await.expect("it goes on")));
        }
    };
    tokio::time::timeout(Duration::from_mins(1), showing).await.expect("in time");
    for writer in writers {
        writer.await.expect("it writes");
    }
    assert_eq!(seen, log(&world.client).await.iter().map(number).collect::<Vec<_>>());
    for parts in seen.chunks(usize::try_from(PARTS).expect("it is small")) {
        assert_eq!(parts[0] % PARTS, 0, "{parts:?}");
        assert!(parts.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{parts:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_leaves_all_of_a_transaction_or_nothing() {
    const WRITERS: u64 = 8;
    const KILLS: u64 = 3;
    const PARTS: u64 = 3;
    let folder = scratch();
    let mut acknowledged = BTreeSet::new();
    for life in 0..KILLS {
        let server = start(&folder);
        let mut writers = Vec::new();
        for writer in 0..WRITERS {
            let transactions = Transactions::connect(&server.address).await;
            writers.push(tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                for transaction in 0.. {
                    let first = (((life * WRITERS + writer) << 32) + transaction) * PARTS;
                    let names = [format!("a-{writer}"), format!("b-{writer}"), "all-1".to_owned()];
                    let parts = names.iter().zip(first..).map(|(name, part)| record(name, part));
                    if transactions.append(parts.collect(), &[]).await.is_err() {
                        return acknowledged;
                    }
                    acknowledged.push(first);
                }
                acknowledged
            }));
        }
        tokio::time::sleep(Duration::from_millis(700)).await;
        drop(server); // Killed, with SIGKILL.
        for writer in writers {
            let one = writer.await.expect("it ends with the server");
            assert!(!one.is_empty(), "nothing was under way");
            acknowledged.extend(one);
        }
    }
    let server = start(&folder);
    let mut found: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for event in log(&published_client(&server)).await {
        let number = number(&event);
        found.entry(number / PARTS * PARTS).or_default().push(number);
    }
    for (first, parts) in &found {
        assert_eq!(*parts, (*first..first + PARTS).collect::<Vec<_>>(), "it is torn");
    }
    let lost: Vec<_> = acknowledged.iter().filter(|first| !found.contains_key(first)).collect();
    assert!(lost.is_empty(), "{lost:?}");
}
