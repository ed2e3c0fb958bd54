//! Rights to streams, over TLS: those of an ACL, of subscriptions and groups, and of those who look after the server.

use eventstore::operations::{self, OperationalOptions, StatsOptions};
use eventstore::{
    Acl, AppendToStreamOptions, BatchAppendOptions, Client, DeleteStreamOptions,
    PersistentSubscriptionOptions, ReadAllOptions, ReadStreamOptions, StreamAcl, StreamAclBuilder,
    StreamMetadata, StreamMetadataBuilder, SubscribeToPersistentSubscriptionOptions,
    SubscribeToStreamOptions, TombstoneStreamOptions,
};

use crate::world::{Speaks, World, append, event, is_denied, read};

fn metadata(acl: StreamAcl) -> StreamMetadata {
    StreamMetadataBuilder::new().acl(Acl::Stream(acl)).build()
}

async fn set(client: &Client, stream: &str, acl: StreamAcl) -> eventstore::Result<()> {
    let options = AppendToStreamOptions::default();
    client.set_stream_metadata(stream, &options, &metadata(acl)).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acl_refuses_and_allows_each_thing() {
    let world = World::first(Speaks::Tls);
    world.make_users(&[("ann", "staff"), ("bob", "else")]).await;
    let admin = world.admin();
    let (ann, bob) = (world.client("ann:of-ann"), world.client("bob:of-bob"));
    append(&admin, "a").await.expect("admin may");
    let all = StreamAclBuilder::new()
        .add_read_roles("staff")
        .add_write_roles("ann")
        .add_delete_roles("staff")
        .add_meta_read_roles("staff")
        .add_meta_write_roles("ann");
    set(&admin, "a", all.build()).await.expect("admin may");

    assert_eq!(read(&ann, "a").await.expect("ann may"), 1);
    is_denied(read(&bob, "a").await);
    append(&ann, "a").await.expect("ann may");
    is_denied(append(&bob, "a").await);
    let options = ReadStreamOptions::default();
    ann.get_stream_metadata("a", &options).await.expect("ann may");
    is_denied(bob.get_stream_metadata("a", &options).await.map(drop));
    let mine = StreamAclBuilder::new().add_read_roles("bob").add_write_roles("bob").build();
    is_denied(set(&bob, "a", mine).await);
    let options = SubscribeToStreamOptions::default();
    is_denied(bob.subscribe_to_stream("a", &options).await.next().await.map(drop));
    for (client, may) in [(&ann, true), (&bob, false)] {
        let batches = client.batch_append(&BatchAppendOptions::default()).await;
        let batches = batches.expect("the call is let in");
        let written =
            batches.append_to_stream("a", eventstore::ExpectedRevision::Any, vec![event()]);
        assert_eq!(written.await.is_ok(), may);
    }
    assert_eq!(read(&ann, "a").await.expect("ann may"), 3);
    is_denied(bob.delete_stream("a", &DeleteStreamOptions::default()).await.map(drop));
    is_denied(bob.tombstone_stream("a", &TombstoneStreamOptions::default()).await.map(drop));
    ann.delete_stream("a", &DeleteStreamOptions::default()).await.expect("ann may");
    is_denied(append(&bob, "a").await);

    for stream in ["$settings", "$user-admin", "$users"] {
        is_denied(read(&ann, stream).await);
        is_denied(append(&ann, stream).await);
    }
    is_denied(ann.read_all(&ReadAllOptions::default()).await.map(drop));
    let mut whole = admin.read_all(&ReadAllOptions::default()).await.expect("admin may");
    while let Some(event) = whole.next().await.expect("it goes on") {
        let stream = &event.get_original_event().stream_id;
        assert!(!stream.starts_with("$user"), "{stream} is shown");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_are_managed_by_operators_and_read_by_who_may_read_the_stream() {
    let world = World::first(Speaks::Tls);
    world.make_users(&[("ann", "staff"), ("bob", "else"), ("olga", "$ops")]).await;
    let (ann, bob) = (world.client("ann:of-ann"), world.client("bob:of-bob"));
    let (admin, olga) = (world.admin(), world.client("olga:of-olga"));
    append(&admin, "a").await.expect("admin may");
    append(&admin, "a").await.expect("admin may");
    set(&admin, "a", StreamAclBuilder::new().add_read_roles("staff").build()).await.expect("may");
    let options =
        PersistentSubscriptionOptions::default().start_from(eventstore::StreamPosition::Start);
    is_denied(ann.create_persistent_subscription("a", "g", &options).await);
    olga.create_persistent_subscription("a", "g", &options).await.expect("olga may");
    let options = SubscribeToPersistentSubscriptionOptions::default();
    for client in [&bob, &olga] {
        let joined = client.subscribe_to_persistent_subscription("a", "g", &options).await;
        is_denied(match joined {
            Ok(mut joined) => joined.next().await.map(drop),
            Err(error) => Err(error),
        });
    }
    let joined = ann.subscribe_to_persistent_subscription("a", "g", &options).await;
    let mut joined = joined.expect("ann may");
    let first = joined.next().await.expect("an event");
    joined.ack(first).await.expect("it is hers");
    let options = eventstore::DeletePersistentSubscriptionOptions::default();
    is_denied(ann.delete_persistent_subscription("a", "g", &options).await);
    olga.delete_persistent_subscription("a", "g", &options).await.expect("olga may");

    let (of_ann, of_olga) = (operations::Client::from(ann), operations::Client::from(olga));
    let stats = StatsOptions::default();
    is_denied(match of_ann.stats(&stats).await {
        Ok(mut stats) => stats.next().await.map(drop),
        Err(error) => Err(error),
    });
    let mut told = of_olga.stats(&stats).await.expect("olga may");
    told.next().await.expect("olga may");
    let options = OperationalOptions::default();
    let groups = vec!["$admins".to_owned()];
    is_denied(of_olga.create_user("eve", "x", "", groups.clone(), &options).await);
    is_denied(of_olga.update_user("olga", "", "", groups, &options).await);
    is_denied(of_ann.shutdown(&options).await);
    of_olga.shutdown(&options).await.expect("olga may");
}
