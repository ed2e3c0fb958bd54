//! The server is killed again and again while clients write; each link is there once, in the order of the log.

use std::collections::BTreeMap;
use std::time::Duration;

use eventstore::ResolvedEvent;
use serde_json::Value;

use super::harness::scratch;
use super::{ALL, World, write};

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
        let mut writers = Vec::new();
        for writer in 0..6 {
            let category = ["order", "note", "lone"][writer % 3];
            let stream = format!("{category}-{writer}-{}", kill % 4);
            writers.push(tokio::spawn(write(world.client.clone(), stream, u64::MAX)));
        }
        let lone = format!("lone{kill}");
        writers.push(tokio::spawn(write(world.client.clone(), lone, u64::MAX)));
        tokio::time::sleep(Duration::from_millis(60 + kill.wrapping_mul(7_919) % 400)).await;
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
    assert!(wanted["$et-order.Paid"].len() > 500, "{} are few", wanted["$et-order.Paid"].len());
    assert_eq!(found.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>());
    for (stream, links) in &wanted {
        assert!(found[stream] == *links, "{stream}: {:?}, not {links:?}", found[stream]);
    }
    world.server.stop().exits_with(0);
}
