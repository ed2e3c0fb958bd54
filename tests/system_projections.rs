//! The system projections of the built binary, by an official client of the KurrentDB protocol: turned on and off, read and
//! shared with their links resolved, and killed under load; what they wrote is held against a count made from the log.

mod harness;
#[path = "system_projections/kills.rs"]
mod kills;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use eventstore::{
    AppendToStreamOptions, Client, CreateProjectionOptions, Error, EventData, ExpectedRevision,
    GenericProjectionOptions, GetStateProjectionOptions, PersistentSubscriptionEvent,
    PersistentSubscriptionOptions, ProjectionClient, ProjectionStatus, ReadAllOptions,
    ReadStreamOptions, ResolvedEvent, StreamPosition, SubscribeToPersistentSubscriptionOptions,
};
use futures::TryStreamExt;
use harness::scratch;
use harness::server::Server;
use serde_json::{Value, json};
use tokio::time::timeout;

/// Nothing here takes so long.
const LIMIT: Duration = Duration::from_mins(2);
/// All of them.
const ALL: [&str; 5] =
    ["$by_category", "$by_correlation_id", "$by_event_type", "$stream_by_category", "$streams"];

/// A server that keeps the log alone, and a client of it.
struct World {
    server: Server,
    client: Client,
    projections: ProjectionClient,
}

/// An event and where it stands.
type Place = (String, u64);

impl World {
    /// A server told to run these projections in a store that was told nothing of them.
    fn start(data: &Path, configured: &str) -> World {
        let mut command = harness::annals();
        command.args(["serve", "--role", "store", "--address", "127.0.0.1:0", "--data"]).arg(data);
        command.env("ANNALS_LOG_LEVEL", "error").env("ANNALS_SYSTEM_PROJECTIONS", configured);
        let server = Server::start_command(&mut command);
        let address = format!("esdb://{}?tls=false", server.address);
        let client = Client::new(address.parse().expect("an address")).expect("a client");
        let projections = ProjectionClient::from(client.clone());
        World { server, client, projections }
    }

    async fn enable(&self, name: &str) {
        let options = GenericProjectionOptions::default();
        self.projections.enable(name, &options).await.expect("a projection");
    }

    async fn disable(&self, name: &str) {
        let options = GenericProjectionOptions::default();
        self.projections.disable(name, &options).await.expect("a projection");
    }

    async fn status(&self, name: &str) -> ProjectionStatus {
        let options = GenericProjectionOptions::default();
        let status = self.projections.get_status(name, &options).await.expect("a projection");
        status.expect("a status")
    }

    /// Waits until a projection has written all that there is.
    async fn settled(&self, name: &str) -> ProjectionStatus {
        let same = async {
            loop {
                let status = self.status(name).await;
                if status.progress >= 100.0 && status.buffered_events == 0 {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(LIMIT, same).await.unwrap_or_else(|_| panic!("{name} never settles"))
    }

    /// Every event of the log.
    async fn log(&self) -> Vec<ResolvedEvent> {
        let options = ReadAllOptions::default().max_count(10_000_000);
        let mut read = self.client.read_all(&options).await.expect("a log");
        let mut events = Vec::new();
        while let Some(event) = read.next().await.expect("an event") {
            events.push(event);
        }
        events
    }

    /// The events that the links of a stream name.
    async fn resolved(&self, stream: &str) -> eventstore::Result<Vec<Place>> {
        let options = ReadStreamOptions::default().resolve_link_tos().max_count(10_000_000);
        let options = options.position(StreamPosition::Start);
        let mut read = self.client.read_stream(stream, &options).await?;
        let mut places = Vec::new();
        while let Some(event) = read.next().await? {
            assert!(event.link.is_some(), "{event:?}");
            places.push(place(&event));
        }
        Ok(places)
    }
}

/// Where the event stands that was read.
fn place(event: &ResolvedEvent) -> Place {
    let event = event.event.as_ref().expect("a link leads to an event");
    (event.stream_id.clone(), event.revision)
}

/// Appends to a stream until the server is gone, counting what it was told of.
async fn write(client: Client, stream: String, appends: u64, written: &AtomicU64) {
    for number in 0..appends {
        let kind = if number % 3 == 0 { "order.Placed" } else { "order.Paid" };
        let metadata = json!({ "$correlationId": format!("c-{}", number % 7) });
        let event = EventData::json(kind, &json!({ "number": number })).expect("JSON");
        let event = event.metadata_as_json(&metadata).expect("JSON");
        let options = AppendToStreamOptions::default().expected_revision(ExpectedRevision::Any);
        if client.append_to_stream(stream.as_str(), &options, event).await.is_err() {
            return;
        }
        written.fetch_add(1, Ordering::SeqCst);
    }
}

/// The events of a category, in the order of the log.
fn of_category(log: &[ResolvedEvent], category: &str) -> Vec<Place> {
    let places = log.iter().map(place);
    places.filter(|(stream, _)| stream.starts_with(&format!("{category}-"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_off_until_they_are_turned_on_and_stay_as_they_were_told() {
    let folder = scratch();
    let world = World::start(folder.path(), "");
    let (options, written) = (GenericProjectionOptions::default(), AtomicU64::new(0));
    write(world.client.clone(), "order-1".to_owned(), 5, &written).await;
    let listed: Vec<_> =
        world.projections.list(&options).await.expect("a list").try_collect().await.expect("all");
    let names: Vec<_> = listed.iter().map(|status| status.name.as_str()).collect();
    assert_eq!(names, ALL);
    assert!(listed.iter().all(|it| it.status == "Stopped" && it.mode == "Continuous"));
    let missing = world.resolved("$ce-order").await;
    assert!(matches!(missing, Err(Error::ResourceNotFound)), "{missing:?}");
    assert_eq!(world.server.get("/info")["features"]["projections"], true);

    world.enable("$by_category").await;
    world.enable("$streams").await;
    let status = world.settled("$by_category").await;
    assert_eq!((status.status.as_str(), status.events_processed_after_restart), ("Running", 5));
    assert!(status.position.starts_with("C:") && status.state_reason.is_empty(), "{status:?}");
    let expected: Vec<_> = (0..5).map(|number| ("order-1".to_owned(), number)).collect();
    assert_eq!(world.resolved("$ce-order").await.expect("links"), expected);
    world.disable("$streams").await;
    world.server.stop().exits_with(0);

    // What was said to the store comes before what is configured.
    let world = World::start(folder.path(), "true");
    let mut statuses = BTreeMap::new();
    for name in ALL {
        statuses.insert(name, world.status(name).await.status);
    }
    assert_eq!(statuses.remove("$streams").as_deref(), Some("Stopped"));
    assert!(statuses.values().all(|status| status == "Running"), "{statuses:?}");
    write(world.client.clone(), "order-1".to_owned(), 5, &written).await;
    assert_eq!(world.settled("$by_event_type").await.status, "Running");
    assert_eq!(world.resolved("$et-order.Placed").await.expect("links").len(), 4);
    world.settled("$by_category").await;
    assert_eq!(world.resolved("$ce-order").await.expect("links").len(), 10);
    let of_category = world.resolved("$category-order").await.expect("links");
    assert_eq!(of_category, [("order-1".to_owned(), 0)]);
    world.projections.reset("$by_category", &options).await.expect("a projection");
    world.settled("$by_category").await;
    assert_eq!(world.resolved("$ce-order").await.expect("links").len(), 10);
    world.server.stop().exits_with(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_what_is_not_there_is_told() {
    let folder = scratch();
    let world = World::start(folder.path(), "");
    let options = GenericProjectionOptions::default();
    let unknown = world.projections.enable("mine", &options).await.expect_err("there is none");
    assert!(matches!(unknown, Error::ResourceNotFound), "{unknown:?}");
    let query = "fromAll()".to_owned();
    let created =
        world.projections.create("mine", query, &CreateProjectionOptions::default()).await;
    let refused = created.expect_err("it is not served");
    assert!(matches!(refused, Error::UnsupportedFeature), "{refused:?}");
    let state: serde_json::Result<Value> = world
        .projections
        .get_state("$streams", &GetStateProjectionOptions::default())
        .await
        .expect("a projection");
    assert_eq!(state.expect("JSON"), json!({}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_category_is_read_and_shared_in_the_order_of_the_log_under_load() {
    const STREAMS: u64 = 8;
    const APPENDS: u64 = 150;
    let folder = scratch();
    let world = World::start(folder.path(), r#"["$by_category", "$by_event_type", "$streams"]"#);
    let links = PersistentSubscriptionOptions::default().resolve_link_tos(true);
    let links = links.start_from(StreamPosition::Start);
    let made = world.client.create_persistent_subscription("$ce-order", "workers", &links).await;
    made.expect("a group");
    let options = SubscribeToPersistentSubscriptionOptions::default().buffer_size(100);
    let group =
        world.client.subscribe_to_persistent_subscription("$ce-order", "workers", &options).await;
    let mut group = group.expect("a subscription");

    let (mut writers, written) = (Vec::new(), Arc::new(AtomicU64::new(0)));
    for number in 0..STREAMS {
        let stream = if number % 4 == 0 { "note" } else { "order" };
        let stream = format!("{stream}-{number}");
        let (client, written) = (world.client.clone(), Arc::clone(&written));
        writers.push(tokio::spawn(async move { write(client, stream, APPENDS, &written).await }));
    }
    let wanted = usize::try_from(STREAMS * 3 / 4 * APPENDS).expect("few");
    let taken = async {
        let mut taken = Vec::new();
        while taken.len() < wanted {
            let event = group.next_subscription_event().await.expect("it goes on");
            if let PersistentSubscriptionEvent::EventAppeared { event, .. } = event {
                taken.push(place(&event));
                group.ack(event).await.expect("a line to the server");
            }
        }
        taken
    };
    let taken = timeout(LIMIT, taken).await.expect("all in time");
    for writer in writers {
        writer.await.expect("it writes");
    }
    assert_eq!(written.load(Ordering::SeqCst), STREAMS * APPENDS);
    let log = world.log().await;
    let expected = of_category(&log, "order");
    assert_eq!(expected.len(), wanted);
    assert_eq!(taken, expected);
    assert_eq!(world.resolved("$ce-order").await.expect("links"), expected);
    world.settled("$by_category").await;
    assert_eq!(world.resolved("$ce-note").await.expect("links"), of_category(&log, "note"));
}
