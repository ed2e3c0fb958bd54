//! Projections turned on and off, begun again, started again and asked about.

use futures::{FutureExt, StreamExt};
use tonic::{Code, Request};

use super::super::super::wire::v1::Empty;
use super::super::super::wire::v1::projections as wire;
use super::super::super::wire::v1::projections::projections_server::Projections;
use super::super::kept::stream_of;
use super::super::service::ProjectionsService;
use super::SystemProjection::{ByCategory, ByEventType, Streams};
use super::*;

impl World {
    async fn status(&self, projection: SystemProjection) -> String {
        self.statistics(projection).await.status
    }
}

#[tokio::test]
async fn what_was_turned_off_links_nothing_and_then_goes_on_where_it_was() {
    for world in World::both().await {
        world.note("a-1", 0..3).await;
        world.all_settle().await;
        for write_checkpoint in [true, false] {
            let before = world.links("$ce-a").await;
            world.projections.disable(ByCategory, write_checkpoint).await.expect("managed");
            world.projections.disable(ByCategory, write_checkpoint).await.expect("already so");
            assert_eq!(world.status(ByCategory).await, "Stopped");
            world.note("a-1", 3..6).await;
            world.settled(ByEventType).await;
            assert_eq!(world.links("$ce-a").await, before);
            world.projections.enable(ByCategory).await.expect("managed");
            world.projections.enable(ByCategory).await.expect("already so");
            assert_eq!(world.status(ByCategory).await, "Running");
            world.check(&SystemProjection::ALL).await;
        }
        world.stop().await;
    }
}

#[tokio::test]
async fn asking_for_what_is_so_writes_nothing() {
    for world in World::both().await {
        world.all_settle().await;
        let head = world.store.head();
        world.projections.enable(ByCategory).await.expect("managed");
        assert_eq!(world.store.head(), head);
        world.projections.disable(ByCategory, false).await.expect("managed");
        let head = world.store.head();
        world.projections.disable(ByCategory, false).await.expect("managed");
        assert_eq!(world.store.head(), head);
        world.stop().await;
    }
}

#[tokio::test]
async fn what_was_said_last_holds_after_a_restart_whatever_is_configured() {
    for store in both() {
        let world = World::over(&store, &[ByCategory, ByEventType]).await;
        world.projections.disable(ByCategory, true).await.expect("managed");
        world.projections.enable(Streams).await.expect("managed");
        world.stop().await;
        for configured in [&[][..], &SystemProjection::ALL[..]] {
            let world = World::over(&store, configured).await;
            let status = async |projection| world.status(projection).await;
            assert_eq!(status(ByCategory).await, "Stopped", "{configured:?}");
            assert_eq!(status(ByEventType).await, "Running", "{configured:?}");
            assert_eq!(status(Streams).await, "Running", "{configured:?}");
            world.stop().await;
        }
    }
}

#[tokio::test]
async fn a_projection_that_begins_again_shows_every_link_once() {
    for world in World::both().await {
        world.note("a-1", 0..60).await;
        world.note("b-1", 0..5).await;
        world.all_settle().await;
        let own = |number| new_event(number, "mine", None);
        world.append("$ce-a", vec![own(1)]).await;
        world.projections.reset(ByCategory).await.expect("managed");
        world.note("a-2", 0..5).await;
        world.check(&SystemProjection::ALL).await;
        let head = world.store.stream_head(&name("$ce-a")).await.expect("a read");
        assert_eq!(head.map(|head| head.0), Some(60 + 65), "all were written anew");
        let told = world.statistics(ByCategory).await;
        assert_eq!((told.version, told.status.as_str()), (1, "Running"));

        // Once more: in the middle, turned off, with a client's own events, in streams that are deleted.
        world.projections.reset(ByCategory).await.expect("managed");
        world.projections.disable(ByCategory, false).await.expect("managed");
        let delete = super::super::super::deletion::Deletion::Soft;
        let deleted = world.protocol.delete(&name("$ce-b"), Expected::Any, delete).await;
        deleted.expect("it is there");
        world.projections.reset(ByCategory).await.expect("managed");
        assert_eq!(world.status(ByCategory).await, "Stopped");
        world.note("b-1", 5..9).await;
        world.projections.enable(ByCategory).await.expect("managed");
        world.check(&SystemProjection::ALL).await;
        world.stop().await;
    }
}

#[tokio::test]
async fn the_metadata_of_a_stream_of_links_outlives_a_reset() {
    for world in World::both().await {
        world.note("a-1", 0..3).await;
        world.all_settle().await;
        let metadata = br#"{"$maxCount":2,"owner":"me"}"#.to_vec();
        let event = NewEvent { data: metadata.into(), ..new_event(1, "$metadata", None) };
        world.append("$$$ce-a", vec![event]).await;
        world.projections.reset(ByCategory).await.expect("managed");
        world.settled(ByCategory).await;
        assert_eq!(world.links("$ce-a").await, ["1@a-1", "2@a-1"]);
        let state = world.protocol.state(&name("$ce-a")).await.expect("a read");
        let metadata: serde_json::Value = serde_json::from_slice(&state.metadata).expect("JSON");
        assert_eq!(metadata, serde_json::json!({ "$maxCount": 2, "$tb": 3, "owner": "me" }));
        world.stop().await;
    }
}

#[tokio::test]
async fn all_start_again_where_they_were() {
    for world in World::both().await {
        world.note("a-1", 0..3).await;
        world.all_settle().await;
        world.projections.disable(Streams, true).await.expect("managed");
        world.projections.restart().await.expect("a store");
        assert_eq!(world.status(Streams).await, "Stopped");
        world.note("a-1", 3..6).await;
        world.check(&[ByCategory, ByEventType]).await;
        assert_eq!(world.settled(ByCategory).await.events_processed_after_restart, 3);
        world.stop().await;
    }
}

#[tokio::test]
async fn a_checkpoint_that_is_none_is_told_and_not_guessed() {
    for store in both() {
        let world = World::over(&store, &[]).await;
        let stream = stream_of(ByCategory);
        world.append(stream.as_str(), vec![new_event(1, "x", None)]).await;
        let refused = world.projections.enable(ByCategory).await.expect_err("it is no checkpoint");
        let status = tonic::Status::from(refused);
        assert_eq!(status.code(), Code::DataLoss, "{status:?}");
        assert_eq!(store.stream_head(&stream).await.expect("a read").map(|at| at.0), Some(0));
        world.stop().await;
    }
}

#[tokio::test]
async fn a_store_that_keeps_no_projections_says_so() {
    let [store, _] = both();
    let world = World::of(&store, None);
    world.projections.start().await;
    let refused = world.projections.enable(ByCategory).await.expect_err("there are none");
    assert_eq!(tonic::Status::from(refused).code(), Code::Unimplemented);
    assert_eq!(store.head(), None);
}

#[tokio::test]
async fn a_client_that_leaves_leaves_nothing_half_done() {
    for world in World::both().await {
        let service = ProjectionsService(Arc::clone(&world.projections));
        let name = ByCategory.name().to_owned();
        let options = Some(wire::reset_req::Options { name, write_checkpoint: false });
        let reset = service.reset(Request::new(wire::ResetReq { options }));
        assert!(reset.now_or_never().is_none(), "it takes longer");
        let restart = service.restart_subsystem(Request::new(Empty {}));
        assert!(restart.now_or_never().is_none(), "it takes longer");
        world.note("a-1", 0..3).await;
        world.check(&[ByCategory]).await;
        let told = world.statistics(ByCategory).await;
        assert_eq!((told.status.as_str(), told.version), ("Running", 1));
        world.stop().await;
    }
}

#[tokio::test]
async fn a_client_manages_and_asks_by_name() {
    use wire::statistics_req::options::Mode;
    let [store, _] = both();
    let world = World::over(&store, &[]).await;
    let service = ProjectionsService(Arc::clone(&world.projections));
    let told = async |mode| {
        let options = Some(wire::statistics_req::Options { mode: Some(mode) });
        let told = service.statistics(Request::new(wire::StatisticsReq { options })).await?;
        let told: Vec<_> = told.into_inner().collect().await;
        Ok::<_, tonic::Status>(
            told.into_iter()
                .map(|told| told.expect("an answer").details.expect("details").name)
                .collect::<Vec<_>>(),
        )
    };
    let all = SystemProjection::ALL.map(SystemProjection::name);
    assert_eq!(told(Mode::All(Empty {})).await.expect("served"), all);
    assert_eq!(told(Mode::Continuous(Empty {})).await.expect("served"), all);
    assert_eq!(told(Mode::Transient(Empty {})).await.expect("served"), [""; 0]);
    assert_eq!(told(Mode::OneTime(Empty {})).await.expect("served"), [""; 0]);
    assert_eq!(told(Mode::Name("$streams".to_owned())).await.expect("served"), ["$streams"]);
    let unknown = told(Mode::Name("mine".to_owned())).await.expect_err("there is none");
    assert_eq!(
        (unknown.code(), unknown.message()),
        (Code::NotFound, "Projection 'mine' not found")
    );

    let enable = async |name: &str| {
        let options = Some(wire::enable_req::Options { name: name.to_owned() });
        service.enable(Request::new(wire::EnableReq { options })).await.map(drop)
    };
    enable("$streams").await.expect("it is managed");
    assert_eq!(world.status(Streams).await, "Running");
    assert_eq!(enable("mine").await.expect_err("there is none").code(), Code::NotFound);
    let empty = service.enable(Request::new(wire::EnableReq { options: None })).await;
    assert_eq!(empty.expect_err("no name").code(), Code::InvalidArgument);
    let create = service.create(Request::new(wire::CreateReq { options: None })).await;
    assert_eq!(create.expect_err("not served").code(), Code::Unimplemented);
    let options = wire::state_req::Options { name: "$streams".to_owned(), ..Default::default() };
    let state = service.state(Request::new(wire::StateReq { options: Some(options) })).await;
    let kind = state.expect("served").into_inner().state.and_then(|state| state.kind);
    assert_eq!(kind, Some(prost_types::value::Kind::StructValue(prost_types::Struct::default())));
    world.stop().await;
}
