//! What projections write: as it comes, behind what they had, around what cannot be, and into streams that clients delete.

use annals_core::{Position, Revision};
use bytes::Bytes;

use super::super::super::deletion::Deletion;
use super::super::super::names::LINK;
use super::super::kept::stream_of;
use super::*;

#[tokio::test]
async fn every_event_is_linked_once_and_in_order_as_it_comes() {
    for world in World::both().await {
        for round in 0..20_u128 {
            for stream in ["a-1", "a-2", "b-1", "lone", "$own-1"] {
                world.note(stream, round * 10..round * 10 + 3).await;
            }
            if round % 5 == 0 {
                world.all_settle().await;
            }
        }
        world.append("a-3", vec![new_event(1, LINK, Some("c")), new_event(2, "x", None)]).await;
        world.check(&SystemProjection::ALL).await;
        let first = world.links("$category-a").await;
        assert_eq!(first, ["0@a-1", "0@a-2", "0@a-3"]);
        assert_eq!(world.links("$bc-c").await.len(), 20 * 3 * 4);
        world.stop().await;
    }
}

#[tokio::test]
async fn links_are_resolved_to_the_events_that_they_name() {
    for world in World::both().await {
        world.note("a-1", 0..3).await;
        world.all_settle().await;
        let links = world.read(ReadQuery::stream(name("$ce-a"))).await;
        let mut named = Vec::new();
        for link in &links {
            assert_eq!(link.event_type.as_str(), LINK);
            let event = world.protocol.linked(link).await.expect("a read").expect("an event");
            named.push((event.stream.to_string(), event.revision));
        }
        assert_eq!(named, [0, 1, 2].map(|number| ("a-1".to_owned(), Revision(number))));
        world.stop().await;
    }
}

#[tokio::test]
async fn a_projection_that_comes_late_links_what_was_there() {
    for store in both() {
        let world = World::over(&store, &[]).await;
        for stream in 0..700 {
            world.note(&format!("s{}-{stream}", stream % 300), 0..2).await;
        }
        let head = store.head();
        world.all_settle_stopped().await;
        assert_eq!(store.head(), head, "what is off writes nothing");
        for projection in SystemProjection::ALL {
            world.projections.enable(projection).await.expect("it is managed");
        }
        world.check(&SystemProjection::ALL).await;
        world.stop().await;
    }
}

impl World {
    /// None runs.
    async fn all_settle_stopped(&self) {
        for projection in SystemProjection::ALL {
            let told = self.statistics(projection).await;
            assert_eq!((told.status.as_str(), told.processed()), ("Stopped", 0), "{projection}");
        }
    }
}

impl Details {
    fn processed(&self) -> i64 {
        self.events_processed_after_restart
    }
}

#[tokio::test]
async fn what_cannot_be_linked_is_counted_and_holds_nothing_up() {
    for world in World::both().await {
        let long = "t".repeat(annals_core::event::NAME_BYTES_MAX);
        world
            .append("a-1", vec![new_event(1, &long, Some("x\\ny")), new_event(2, "x", None)])
            .await;
        world.check(&[SystemProjection::ByCategory, SystemProjection::Streams]).await;
        let told = [SystemProjection::ByEventType, SystemProjection::ByCorrelationId];
        for projection in told {
            let told = world.settled(projection).await;
            assert!(told.state_reason.starts_with("1 events are not linked"), "{told:?}");
        }
        assert_eq!(world.links("$et-x").await, ["1@a-1"]);
        assert_eq!(world.settled(SystemProjection::ByCategory).await.state_reason, "");
        world.stop().await;
    }
}

#[tokio::test]
async fn a_deleted_stream_of_links_begins_again_with_the_next_link() {
    for world in World::both().await {
        world.note("a-1", 0..3).await;
        world.all_settle().await;
        let delete = |how| world.protocol.delete(&TARGET, Expected::Any, how);
        delete(Deletion::Soft).await.expect("it is there");
        assert_eq!(world.links("$ce-a").await, [""; 0]);
        world.note("a-1", 3..5).await;
        world.all_settle().await;
        assert_eq!(world.links("$ce-a").await, ["3@a-1", "4@a-1"]);
        delete(Deletion::Tombstone).await.expect("it is there");
        let ended = world.store.stream_head(&TARGET).await.expect("a read");
        world.note("a-1", 5..6).await;
        world.note("b-1", 0..1).await;
        let told = world.settled(SystemProjection::ByCategory).await;
        assert!(told.state_reason.starts_with("1 events are not linked"), "{told:?}");
        assert_eq!(world.store.stream_head(&TARGET).await.expect("a read"), ended);
        assert_eq!(world.links("$ce-b").await, ["0@b-1"]);
        world.stop().await;
    }
}

#[tokio::test]
async fn streams_with_large_metadata_are_revived_few_at_a_time() {
    for world in World::both().await {
        let owner = "o".repeat(1_000);
        let metadata = serde_json::json!({ "$tb": i64::MAX, "owner": owner }).to_string();
        let event = NewEvent { data: metadata.into(), ..new_event(1, "$metadata", None) };
        for number in 0..10 {
            world.append(&format!("$$$ce-c{number}"), vec![event.clone()]).await;
        }
        world.all_settle().await;
        let checkpoints = ReadQuery::stream(stream_of(SystemProjection::ByCategory));
        let before = world.read(checkpoints.clone()).await.len();
        for number in 0..10 {
            world.note(&format!("c{number}-1"), 0..1).await;
        }
        world.check(&SystemProjection::ALL).await;
        let appends = world.read(checkpoints).await.len() - before;
        assert!((5..=10).contains(&appends), "{appends} appends");
        world.stop().await;
    }
}

static TARGET: std::sync::LazyLock<StreamName> = std::sync::LazyLock::new(|| name("$ce-a"));

#[tokio::test]
async fn a_long_stretch_without_links_is_not_read_again() {
    let [store, _] = both();
    let world = World::over(&store, &[SystemProjection::ByCategory]).await;
    let mut number = 0;
    while number < 70_000 {
        let events = (number..number + 1_000).map(|number| new_event(number, "x", None));
        let proposal = Proposal::new(name("lone"), Expected::Any, events.collect());
        world.protocol.write(&proposal).await.expect("room");
        number += 1_000;
    }
    world.settled(SystemProjection::ByCategory).await;
    let stream = stream_of(SystemProjection::ByCategory);
    let checkpoints = world.read(ReadQuery::stream(stream)).await;
    assert_eq!(checkpoints.len(), 2, "{checkpoints:?}");
    let told = world.statistics(SystemProjection::ByCategory).await;
    assert_ne!(told.last_checkpoint, "C:-1/P:-1");
    world.stop().await;
    let world = World::over(&store, &[]).await;
    let told = world.settled(SystemProjection::ByCategory).await;
    assert!(told.processed() < 10_000, "{told:?}");
    world.stop().await;
}

#[tokio::test]
async fn a_link_has_the_bytes_of_one_and_no_more() {
    for world in World::both().await {
        world.note("a-1", 0..1).await;
        world.all_settle().await;
        let [link] = &world.read(ReadQuery::stream(name("$streams"))).await[..] else {
            panic!("one link")
        };
        assert_eq!(link.data, Bytes::from_static(b"0@a-1"));
        assert!(link.metadata().custom.is_empty() && link.position > Position(0));
        world.stop().await;
    }
}
