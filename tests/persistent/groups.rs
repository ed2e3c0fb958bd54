//! Groups are made, changed, listed, asked about and deleted.

use eventstore::{
    Error, PersistentSubscriptionOptions, PersistentSubscriptionToAllOptions, StreamPosition,
    SubscriptionFilter,
};

use super::harness::scratch;
use super::{GROUP, World, finish, next, number};

#[tokio::test]
async fn a_group_of_a_stream_is_made_changed_listed_and_deleted() {
    let folder = scratch();
    let world = World::start(folder.path());
    let (client, defaults) = (&world.client, Default::default());
    let none = client.list_all_persistent_subscriptions(&Default::default()).await;
    assert!(none.expect("a list").is_empty());
    let of_stream = client.list_persistent_subscriptions_for_stream("s", &Default::default()).await;
    assert!(matches!(of_stream, Err(Error::ResourceNotFound)));

    world.create("s", PersistentSubscriptionOptions::default()).await;
    let again = client.create_persistent_subscription("s", GROUP, &defaults).await;
    assert!(matches!(again, Err(Error::ResourceAlreadyExists)), "{again:?}");
    let all = client.list_all_persistent_subscriptions(&Default::default()).await;
    let all: Vec<_> = all.expect("a list").into_iter().map(|info| info.event_source).collect();
    assert_eq!(all, ["s"]);

    world.write("s", 0..3).await;
    let mut consumer = world.join("s", 10).await;
    assert_eq!(finish(&mut consumer, 1).await, [0]);
    let info = world.info("s").await.expect("the group");
    let settings = info.settings.expect("its settings");
    assert_eq!((info.group_name.as_str(), settings.start_from), (GROUP, StreamPosition::Start));
    let [connection] = &info.connections[..] else { panic!("{:?}", info.connections) };
    let from = connection.from.parse::<std::net::SocketAddr>().expect("an address");
    assert!(from.ip().is_loopback() && from.to_string() != world.server.address, "{from}");
    assert_eq!(connection.username, "anonymous");
    assert_eq!(info.stats.last_known_event_revision, Some(2));

    let changed = defaults.clone().max_retry_count(77);
    client.update_persistent_subscription("s", GROUP, &changed).await.expect("a change");
    let dropped = loop {
        if let Err(error) = consumer.next().await {
            break error;
        }
    };
    assert!(matches!(dropped, Error::IllegalStateError(_)), "{dropped:?}");
    let info = world.info("s").await;
    assert_eq!(info.expect("the group").settings.expect("settings").max_retry_count, 77);

    let mut consumer = world.join("s", 10).await;
    client
        .delete_persistent_subscription("s", GROUP, &Default::default())
        .await
        .expect("a deletion");
    let dropped = loop {
        if let Err(error) = consumer.next().await {
            break error;
        }
    };
    assert!(matches!(dropped, Error::ResourceNotFound), "{dropped:?}");
    let gone = world.info("s").await;
    assert!(matches!(gone, Err(Error::ResourceNotFound)), "{gone:?}");
    let gone = client.update_persistent_subscription("s", GROUP, &changed).await;
    assert!(matches!(gone, Err(Error::ResourceNotFound)), "{gone:?}");
}

#[tokio::test]
async fn a_group_of_the_whole_log_has_what_its_filter_wants() {
    let folder = scratch();
    let world = World::start(folder.path());
    let client = &world.client;
    world.write("other-1", 0..5).await;
    world.write("order-1", 5..8).await;
    let filter = SubscriptionFilter::on_stream_name().regex("^(?!other)order-");
    let options = PersistentSubscriptionToAllOptions::default()
        .start_from(StreamPosition::Start)
        .filter(filter);
    let made = client.create_persistent_subscription_to_all(GROUP, &options).await;
    made.expect("a group");
    let options = Default::default();
    let joined = client.subscribe_to_persistent_subscription_to_all(GROUP, &options).await;
    let mut consumer = joined.expect("a subscription");
    assert_eq!(finish(&mut consumer, 3).await, [5, 6, 7]);
    world.write("other-1", 8..9).await;
    world.write("order-2", 9..10).await;
    let (event, _) = next(&mut consumer).await;
    assert_eq!(number(&event), 9);
    let of_all = client.list_persistent_subscriptions_to_all(&Default::default()).await;
    let of_all = of_all.expect("a list");
    let [info] = &of_all[..] else { panic!("{} groups", of_all.len()) };
    let position = event.get_original_event().position;
    assert_eq!(info.stats.last_known_position.map(|at| at.commit), Some(position.commit));
    client
        .delete_persistent_subscription_to_all(GROUP, &Default::default())
        .await
        .expect("a deletion");
}

#[tokio::test]
async fn a_group_that_cannot_be_is_refused() {
    let folder = scratch();
    let world = World::start(folder.path());
    let wrong = PersistentSubscriptionOptions::default().read_batch_size(500);
    let refused = world.client.create_persistent_subscription("s", GROUP, &wrong).await;
    assert!(refused.is_err());
    let none = world.client.list_all_persistent_subscriptions(&Default::default()).await;
    assert!(none.expect("a list").is_empty());
}
