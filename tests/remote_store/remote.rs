//! A server of a log alone, a store on it, and events to append.

use std::path::Path;
use std::sync::Arc;

use annals_core::metadata::Metadata;
use annals_core::{
    Append, AppendError, Appended, EventId, EventStore, EventType, ExpectedRevision, Filter,
    NewEvent, ReadQuery, RecordedEvent, SchemaFingerprint, StreamName, StreamWrite,
};
use annals_store::kurrent::{Address, KurrentStore};
use futures::StreamExt;
use uuid::Uuid;

use crate::harness::server::Server;

/// A server of the log in this folder.
pub(crate) fn log_server(data: &Path) -> Server {
    Server::start(data, &["--role", "store", "--insecure"])
}

/// The same on an address that was one's before.
pub(crate) fn log_server_again(data: &Path, address: &str) -> Server {
    let mut command = crate::harness::annals();
    command.arg("serve").arg("--data").arg(data).args(["--role", "store", "--insecure"]);
    command.args(["--address", address]).env("ANNALS_LOG_LEVEL", "error");
    Server::start_command(&mut command)
}

/// The store's address.
pub(crate) fn esdb(server: &Server) -> String {
    format!("esdb://{}?tls=false", server.address)
}

pub(crate) async fn connect(server: &Server) -> Arc<KurrentStore> {
    let address: Address = esdb(server).parse().expect("a right address");
    KurrentStore::connect(&address).await.expect("the server answers")
}

/// Runs a test of a store on a server.
pub(crate) fn on_server(test: impl AsyncFnOnce(Arc<KurrentStore>, &Server)) {
    let folder = crate::harness::scratch();
    let server = log_server(folder.path());
    runtime().block_on(async {
        let store = connect(&server).await;
        test(Arc::clone(&store), &server).await;
        store.close().await;
    });
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

pub(crate) fn stream(name: &str) -> StreamName {
    StreamName::new(name).expect("a valid name")
}

pub(crate) fn id(number: u64) -> EventId {
    EventId(Uuid::from_u128(u128::from(number) + (7 << 64)))
}

pub(crate) fn event(number: u64) -> NewEvent {
    let metadata = Metadata {
        causation: Some(Uuid::from_u128(u128::from(number))),
        tags: [format!("number:{number}")].into(),
        ..Metadata::default()
    };
    let names = ["test.Happened", "test.Ended", "other.Happened"];
    let name = names[usize::try_from(number % 3).expect("small")];
    NewEvent {
        id: id(number),
        event_type: EventType::new(name).expect("a valid name"),
        schema: SchemaFingerprint(number % 2),
        metadata: metadata.encode(),
        data: number.to_string().into_bytes().into(),
    }
}

pub(crate) fn write(name: &str, expected: ExpectedRevision, events: Vec<NewEvent>) -> Append {
    Append::to(StreamWrite { stream: stream(name), expected, events })
}

pub(crate) async fn put(
    store: &dyn EventStore,
    name: &str,
    expected: ExpectedRevision,
    numbers: &[u64],
) -> Result<Appended, AppendError> {
    let events = numbers.iter().copied().map(event).collect();
    store.append(write(name, expected, events)).await
}

/// The events that a read gives.
pub(crate) async fn events(store: &dyn EventStore, query: ReadQuery) -> Vec<RecordedEvent> {
    let mut batches = store.read(query);
    let mut all = Vec::new();
    while let Some(batch) = batches.next().await {
        all.extend(Arc::unwrap_or_clone(batch.expect("a read").events));
    }
    all
}

/// The whole log but for what is the stores' own.
pub(crate) fn all() -> ReadQuery {
    ReadQuery::all().filtered(Filter { no_system: true, ..Filter::default() })
}

pub(crate) fn ids(events: &[RecordedEvent]) -> Vec<EventId> {
    events.iter().map(|event| event.id).collect()
}
