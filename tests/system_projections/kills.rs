//! The server is killed again and again while clients write; each link is there once, in the order of the log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use eventstore::ResolvedEvent;
use serde_json::Value;
use tokio::time::timeout;

use super::harness::scratch;
use super::{ALL, LIMIT, World, write};

/// How often it is killed.
const KILLS: u64 = 15;

/// The links that the log is to have, by the stream of each, made from the events alone.
fn wanted(log: &[ResolvedEvent]) -> BTreeMap<String, Vec<String>> {
    let mut wanted = BTreeMap::<String, Vec<String>>::new();
    for event in log.iter().map(ResolvedEvent::get_original_event) {
        if event.stream_id.starts_with('$') {
            continue;
        }
        let mut targets = vec![format!("$et-{}", event.event_type)];
        let metadata: Value = serde_json::from_slice(&event.custom_metadata).unwrap_or_default();
        if let Some(id) = metadata["$correlationId"].as_str() {
            targets.push(format!("$bc-{id}"));
        }
        let category = event.stream_id.split_once('-').map(|(category, _)| category);
        if let Some(category) = category {
            targets.push(format!("$ce-{category}"));
        }
        if event.revision == 0 {
            targets.push("$streams".to_owned());
            targets.extend(category.map(|category| format!("$category-{category}")));
        }
        for target in targets {
            let link = format!("{}@{}", event.revision, event.stream_id);
            wanted.entry(target).or_default().push(link);
        }
    }
    wanted
}

/// The links that the log has, by the stream of each, in the order in which they stand.
fn found(log: &[ResolvedEvent]) -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::<String, Vec<String>>::new();
    for event in log.iter().map(ResolvedEvent::get_original_event) {
        if event.event_type == "$>" {
            let links = found.entry(event.stream_id.clone()).or_default();
            assert_eq!(event.revision, links.len() as u64, "{}", event.stream_id);
            links.push(String::from_utf8_lossy(&event.data).into_owned());
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_again_and_again_has_every_link_once() {
    let folder = scratch();
    for kill in 0..KILLS {
        let world = World::start(folder.path(), "true");
        let (mut writers, written) = (Vec::new(), Arc::new(AtomicU64::new(0)));
        for writer in 0..7 {
            let stream = match writer % 4 {
                0 => format!("order-{writer}-{}", kill % 4),
                1 => format!("note-{writer}"),
                2 => format!("order-{writer}"),
                _ => format!("lone{kill}"),
            };
            let (client, written) = (world.client.clone(), Arc::clone(&written));
            let writer = async move { write(client, stream, u64::MAX, &written).await };
            writers.push(tokio::spawn(writer));
        }
        let busy = async {
            while written.load(Ordering::SeqCst) < 60 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(LIMIT, busy).await.expect("clients write");
        tokio::time::sleep(Duration::from_millis(kill.wrapping_mul(7_919) % 150)).await;
        // Dropping a server is a kill; its clients need not look for it then.
        drop(world);
        for writer in &writers {
            writer.abort();
        }
    }
    let world = World::start(folder.path(), "");
    for name in ALL {
        let status = world.settled(name).await;
        assert_eq!((status.status.as_str(), status.state_reason.as_str()), ("Running", ""));
    }
    let log = world.log().await;
    let (found, wanted) = (found(&log), wanted(&log));
    let count = wanted.get("$ce-order").map_or(0, Vec::len);
    assert!(count as u64 > KILLS * 20, "{count} are few");
    assert_eq!(found.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>());
    for (stream, links) in &wanted {
        assert!(found[stream] == *links, "{stream}: {:?}, not {links:?}", found[stream]);
    }
    world.server.stop().exits_with(0);
}
