//! Persistent subscriptions of the built binary, by an official client of the KurrentDB protocol: groups are made, changed,
//! listed and deleted; consumers share events, fail, come and go, and lose nothing, also when the server is killed.
#![allow(clippy::default_trait_access, reason = "the client's options have long names")]

#[path = "harness/calls.rs"]
mod calls;
#[path = "persistent/consumers.rs"]
mod consumers;
#[path = "persistent/groups.rs"]
mod groups;
mod harness;
#[path = "persistent/pinned.rs"]
mod pinned;
#[path = "persistent/restart.rs"]
mod restart;
#[path = "persistent/subsystem.rs"]
mod subsystem;

use std::path::Path;
use std::time::Duration;

use eventstore::{
    Client, EventData, PersistentSubscription, PersistentSubscriptionEvent,
    PersistentSubscriptionInfo, PersistentSubscriptionOptions, ResolvedEvent, StreamPosition,
    SubscribeToPersistentSubscriptionOptions,
};
use harness::server::Server;
use tokio::time::timeout;

/// Nothing here takes so long.
const LIMIT: Duration = Duration::from_mins(1);
/// The group, where there is one.
const GROUP: &str = "workers";

/// A server that keeps the log alone, and a client of it.
struct World {
    server: Server,
    client: Client,
}

impl World {
    fn start(data: &Path) -> World {
        let server = Server::start(data, &["--role", "store"]);
        let client = client(&server);
        World { server, client }
    }

    async fn write(&self, stream: &str, numbers: std::ops::Range<u32>) {
        let event = |number| EventData::json("note.Taken", &number).expect("JSON");
        let events: Vec<_> = numbers.map(event).collect();
        let appended = self.client.append_to_stream(stream, &Default::default(), events).await;
        appended.expect("any revision is right");
    }

    async fn create(&self, stream: &str, options: PersistentSubscriptionOptions) {
        let options = options.start_from(StreamPosition::Start);
        let made = self.client.create_persistent_subscription(stream, GROUP, &options).await;
        made.expect("a group");
    }

    async fn join(&self, stream: &str, buffer_size: usize) -> PersistentSubscription {
        join(&self.client, stream, buffer_size).await
    }

    /// How the group is.
    async fn info(&self, stream: &str) -> eventstore::Result<PersistentSubscriptionInfo<u64>> {
        let options = Default::default();
        self.client.get_persistent_subscription_info(stream, GROUP, &options).await
    }

    /// Waits until so many events are parked.
    async fn parked(&self, stream: &str, count: usize) {
        let same = async {
            while self.info(stream).await.expect("the group").stats.parked_message_count != count {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(LIMIT, same).await.unwrap_or_else(|_| panic!("{count} are never parked"));
    }
}

fn client(server: &Server) -> Client {
    let address = format!("esdb://{}?tls=false", server.address);
    Client::new(address.parse().expect("an address")).expect("a client")
}

async fn join(client: &Client, stream: &str, buffer_size: usize) -> PersistentSubscription {
    let options = SubscribeToPersistentSubscriptionOptions::default().buffer_size(buffer_size);
    let joined = client.subscribe_to_persistent_subscription(stream, GROUP, &options).await;
    joined.expect("a subscription")
}

/// The number that an event was written with.
fn number(event: &ResolvedEvent) -> u32 {
    let event = event.event.as_ref().expect("an event");
    event.as_json().expect("a number")
}

/// The next event, and how often it was tried before.
async fn next(consumer: &mut PersistentSubscription) -> (ResolvedEvent, usize) {
    loop {
        let event = timeout(LIMIT, consumer.next_subscription_event()).await;
        match event.expect("an event in time").expect("an event") {
            PersistentSubscriptionEvent::EventAppeared { retry_count, event } => {
                return (event, retry_count);
            }
            PersistentSubscriptionEvent::Confirmed(_) => {}
        }
    }
}

/// The next events' numbers, each acknowledged.
async fn finish(consumer: &mut PersistentSubscription, count: usize) -> Vec<u32> {
    let mut numbers = Vec::new();
    for _ in 0..count {
        let (event, _) = next(consumer).await;
        numbers.push(number(&event));
        consumer.ack(event).await.expect("a line to the server");
    }
    numbers
}
