//! The strategies that keep a stream, or a conversation, with one consumer.

use std::collections::{BTreeMap, BTreeSet};

use annals_store::protocol::wire::v1::Empty;
use annals_store::protocol::wire::v1::persistent_subscriptions::CreateReq;
use annals_store::protocol::wire::v1::persistent_subscriptions::create_req::all_options::filter_options::{
    Expression, Filter,
};
use annals_store::protocol::wire::v1::persistent_subscriptions::create_req::all_options::{
    AllOption, FilterOption, FilterOptions,
};
use annals_store::protocol::wire::v1::persistent_subscriptions::create_req::options::StreamOption;
use annals_store::protocol::wire::v1::persistent_subscriptions::create_req::{
    AllOptions, Options, Settings,
};
use eventstore::{EventData, PersistentSubscription};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::calls::{Caller, GROUPS};
use super::harness::scratch;
use super::{GROUP, LIMIT, World, next, number};

/// Who was given which number of which stream.
type Given = (usize, String, u32);

/// Makes a group of the streams whose names begin with `job-`. The client knows no more than three strategies.
async fn group(world: &World, strategy: &str) {
    let settings = Settings {
        max_retry_count: 10,
        live_buffer_size: 500,
        read_batch_size: 20,
        history_buffer_size: 500,
        consumer_strategy: strategy.to_owned(),
        ..Settings::default()
    };
    let prefix = vec!["job-".to_owned()];
    let expression = Expression { prefix, ..Expression::default() };
    let filter = FilterOptions {
        filter: Some(Filter::StreamIdentifier(expression)),
        ..FilterOptions::default()
    };
    let all = AllOptions {
        all_option: Some(AllOption::Start(Empty {})),
        filter_option: Some(FilterOption::Filter(filter)),
    };
    let options = Options {
        group_name: GROUP.to_owned(),
        settings: Some(settings),
        stream_option: Some(StreamOption::All(all)),
        ..Options::default()
    };
    let caller = Caller::of(&world.server.address).await;
    let request = CreateReq { options: Some(options) };
    caller.ask(&format!("{GROUPS}Create"), &request).await.expect("a group");
}

async fn join(world: &World) -> PersistentSubscription {
    let options = Default::default();
    let joined = world.client.subscribe_to_persistent_subscription_to_all(GROUP, &options).await;
    joined.expect("a subscription")
}

/// Tells what the consumer is given, and acknowledges it.
async fn work(
    mut consumer: PersistentSubscription,
    place: usize,
    told: mpsc::UnboundedSender<Given>,
) {
    loop {
        let (event, _) = next(&mut consumer).await;
        let original = event.get_original_event();
        let given = (place, original.stream_id.clone(), number(&event));
        consumer.ack(event).await.expect("a line to the server");
        if told.send(given).is_err() {
            return;
        }
    }
}

/// Writes so many events, one after the other in streams that take turns, each of a conversation.
async fn write(world: &World, numbers: std::ops::Range<u32>, conversations: u32) {
    for number in numbers {
        let metadata = json!({ "$correlationId": format!("talk-{}", number % conversations) });
        let event = EventData::json("job.Begun", &number).expect("JSON");
        let event = event.metadata_as_json(&metadata).expect("JSON");
        let stream = format!("job-{}", number % 20);
        let options = Default::default();
        world.client.append_to_stream(stream, &options, event).await.expect("any is right");
    }
}

/// The next of what is told, by a key of each.
async fn hear<K: Ord>(
    heard: &mut mpsc::UnboundedReceiver<Given>,
    count: usize,
    key: impl Fn(&Given) -> K,
) -> BTreeMap<K, (BTreeSet<usize>, Vec<u32>)> {
    let mut found = BTreeMap::new();
    for _ in 0..count {
        let given = timeout(LIMIT, heard.recv()).await.expect("in time").expect("a consumer");
        let (places, numbers): &mut (BTreeSet<_>, Vec<_>) = found.entry(key(&given)).or_default();
        places.insert(given.0);
        numbers.push(given.2);
    }
    found
}

#[tokio::test]
async fn each_stream_goes_to_one_consumer_in_order_and_to_another_once_it_is_gone() {
    let folder = scratch();
    let world = World::start(folder.path());
    group(&world, "Pinned").await;
    let (told, mut heard) = mpsc::unbounded_channel();
    let mut consumers = JoinSet::new();
    let first = consumers.spawn(work(join(&world).await, 0, told.clone()));
    consumers.spawn(work(join(&world).await, 1, told));
    write(&world, 0..200, 7).await;
    let by_stream = hear(&mut heard, 200, |given| given.1.clone()).await;
    assert_eq!(by_stream.len(), 20);
    for (stream, (places, numbers)) in &by_stream {
        assert_eq!(places.len(), 1, "{stream} went to two consumers");
        assert!(numbers.is_sorted() && numbers.len() == 10, "{stream}: {numbers:?}");
    }
    let busy: BTreeSet<_> = by_stream.values().flat_map(|(places, _)| places).collect();
    assert_eq!(busy.len(), 2, "one consumer has all streams");

    first.abort();
    while let Ok(info) =
        world.client.get_persistent_subscription_info_to_all(GROUP, &Default::default()).await
        && info.connections.len() > 1
    {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    write(&world, 200..240, 7).await;
    let by_stream = hear(&mut heard, 40, |given| given.1.clone()).await;
    assert!(by_stream.values().all(|(places, _)| *places == BTreeSet::from([1])));
    consumers.shutdown().await;
}

#[tokio::test]
async fn each_conversation_goes_to_one_consumer_whatever_its_streams() {
    let folder = scratch();
    let world = World::start(folder.path());
    group(&world, "PinnedByCorrelation").await;
    let (told, mut heard) = mpsc::unbounded_channel();
    let mut consumers = JoinSet::new();
    for place in 0..2 {
        consumers.spawn(work(join(&world).await, place, told.clone()));
    }
    // Each of nine conversations has events in all of twenty streams.
    write(&world, 0..180, 9).await;
    let by_talk = hear(&mut heard, 180, |given| given.2 % 9).await;
    assert_eq!(by_talk.len(), 9);
    for (talk, (places, numbers)) in &by_talk {
        assert_eq!(places.len(), 1, "conversation {talk} went to two consumers");
        assert!(numbers.is_sorted() && numbers.len() == 20, "conversation {talk}: {numbers:?}");
    }
    let busy: BTreeSet<_> = by_talk.values().flat_map(|(places, _)| places).collect();
    assert_eq!(busy.len(), 2, "one consumer has all conversations");
    consumers.shutdown().await;
}
