//! Requests to persistent subscriptions that say too little, too much, or what cannot be.

use annals_store::protocol::wire::v1::persistent_subscriptions as wire;
use annals_store::protocol::wire::v1::persistent_subscriptions::create_req::options::StreamOption;
use annals_store::protocol::wire::v1::persistent_subscriptions::create_req::stream_options::RevisionOption;
use annals_store::protocol::wire::v1::persistent_subscriptions::create_req::{
    AllOptions, Options, Settings, StreamOptions, all_options,
};
use annals_store::protocol::wire::v1::persistent_subscriptions::read_req::{self, Content, nack};
use annals_store::protocol::wire::v1::{Empty, Uuid as WireUuid};
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::{Code, Status};

use crate::calls::{Caller, GROUPS, LIMIT, World, encoded, handed_on, id, kind, named, refused};

fn settings() -> Settings {
    Settings {
        max_retry_count: 3,
        min_checkpoint_count: 1,
        max_checkpoint_count: 10,
        live_buffer_size: 50,
        read_batch_size: 10,
        history_buffer_size: 50,
        ..Settings::default()
    }
}

fn of_stream(revision_option: Option<RevisionOption>) -> Option<StreamOption> {
    let stream_identifier = named("s");
    Some(StreamOption::Stream(StreamOptions { stream_identifier, revision_option }))
}

fn options(stream_option: Option<StreamOption>) -> Options {
    let group_name = "g".to_owned();
    Options { stream_option, group_name, settings: Some(settings()), ..Options::default() }
}

fn at(number: u64) -> Option<StreamOption> {
    use all_options::AllOption;
    use wire::create_req::Position;
    let position = Position { commit_position: number, prepare_position: number };
    let all_option = Some(AllOption::Position(position));
    Some(StreamOption::All(AllOptions { all_option, filter_option: None }))
}

fn filtered(regex: &str) -> Option<StreamOption> {
    use all_options::filter_options::{Expression, Filter};
    let expression = Expression { regex: regex.to_owned(), prefix: vec![] };
    let filter = all_options::FilterOptions {
        filter: Some(Filter::EventType(expression)),
        ..all_options::FilterOptions::default()
    };
    let filter_option = Some(all_options::FilterOption::Filter(filter));
    Some(StreamOption::All(AllOptions { all_option: None, filter_option }))
}

const MALFORMED: (Code, Option<&str>) = (Code::InvalidArgument, None);
const FAILED: (Code, Option<&str>) = (Code::Internal, Some("persistent-subscription-failed"));

#[tokio::test(flavor = "multi_thread")]
async fn groups_that_cannot_be_are_named_and_are_not_made() {
    let world = World::start();
    let caller = world.caller().await;
    let right = || options(of_stream(None));
    let with = |change: &dyn Fn(&mut Settings)| {
        let mut settings = settings();
        change(&mut settings);
        Some(Options { settings: Some(settings), ..right() })
    };
    let wrong = [
        (None, MALFORMED, "which group is meant"),
        (Some(Options { settings: None, ..right() }), MALFORMED, "settings"),
        (Some(options(None)), MALFORMED, "stream name"),
        (Some(Options { group_name: String::new(), ..right() }), MALFORMED, "group's name"),
        (Some(Options { group_name: "g".repeat(1100), ..right() }), MALFORMED, "longer than 1024"),
        (Some(Options { group_name: "g\n".to_owned(), ..right() }), MALFORMED, "control"),
        (Some(options(of_stream(Some(RevisionOption::Revision(1 << 63))))), MALFORMED, "revision"),
        (Some(options(at(u64::MAX - 1))), MALFORMED, "position"),
        (Some(options(filtered("("))), MALFORMED, "is wrong"),
        (Some(options(filtered(&"a".repeat(17_000)))), MALFORMED, "17000 bytes"),
        (with(&|it| it.named_consumer_strategy = 9), FAILED, "strategy 9 does not exist"),
        (with(&|it| it.consumer_strategy = "Any".to_owned()), FAILED, "strategy Any does not"),
        (with(&|it| it.consumer_strategy = "x".repeat(100_000)), FAILED, "does not exist"),
        (with(&|it| it.read_batch_size = 50), FAILED, "Buffer size"),
        (with(&|it| it.min_checkpoint_count = 11), FAILED, "checkpoint count"),
    ];
    for (options, (code, exception), says) in wrong {
        let what = format!("{options:.300?}");
        let answer = caller.ask(&format!("{GROUPS}Create"), &wire::CreateReq { options }).await;
        assert_eq!(kind(&refused(answer, code, says, &what)), exception, "{what}");
        assert_eq!(world.written(), 0, "{what} was written");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_names_no_group_is_told_so() {
    let world = World::start();
    let caller = world.caller().await;
    let missing = [
        ("Update", "which group is meant"),
        ("Delete", "what is to be deleted"),
        ("GetInfo", "what is asked about"),
        ("ReplayParked", "whose parked events"),
        ("TruncateParked", "whose parked events"),
        ("List", "neither all groups"),
        ("Read", "begins with its options"),
    ];
    for (method, says) in missing {
        let answer = caller.ask(&format!("{GROUPS}{method}"), &Empty {}).await;
        refused(answer, Code::InvalidArgument, says, method);
    }
    // A group that there is not.
    let all = |group: &str| {
        use wire::get_info_req::options::StreamOption::All;
        let options = wire::get_info_req::Options {
            group_name: group.to_owned(),
            stream_option: Some(All(Empty {})),
        };
        wire::GetInfoReq { options: Some(options) }
    };
    let unknown = caller.ask(&format!("{GROUPS}GetInfo"), &all("g")).await;
    let unknown = refused(unknown, Code::NotFound, "group g on stream $all", "no such group");
    assert_eq!(kind(&unknown), Some("persistent-subscription-does-not-exist"));
    let long = caller.ask(&format!("{GROUPS}GetInfo"), &all(&"g".repeat(1_000_000))).await;
    refused(long, Code::InvalidArgument, "longer than 1024", "a long name");
    let negative = wire::replay_parked_req::Options {
        group_name: "g".to_owned(),
        stream_option: Some(wire::replay_parked_req::options::StreamOption::All(Empty {})),
        stop_at_option: Some(wire::replay_parked_req::options::StopAtOption::StopAt(-1)),
    };
    let request = wire::ReplayParkedReq { options: Some(negative) };
    for method in ["ReplayParked", "TruncateParked"] {
        let answer = caller.ask(&format!("{GROUPS}{method}"), &request).await;
        refused(answer, Code::InvalidArgument, "cannot end before -1", method);
    }
}

fn join(form: Option<read_req::options::UuidOption>, buffer_size: i32) -> Content {
    use read_req::options::StreamOption::StreamIdentifier;
    Content::Options(read_req::Options {
        group_name: "g".to_owned(),
        stream_option: named("s").map(StreamIdentifier),
        buffer_size,
        uuid_option: form,
    })
}

fn string() -> Option<read_req::options::UuidOption> {
    let content = Some(read_req::options::uuid_option::Content::String(Empty {}));
    Some(read_req::options::UuidOption { content })
}

fn nack(ids: Vec<WireUuid>, action: i32) -> Content {
    Content::Nack(read_req::Nack { id: Bytes::new(), ids, action, reason: "r".repeat(100_000) })
}

/// What a consumer hears that sends these messages once it was let in.
async fn heard(caller: &Caller, contents: Vec<Content>) -> Status {
    let (sender, requests) = mpsc::channel(10);
    let message = |content| encoded(wire::ReadReq { content: Some(content) });
    sender.send(message(join(string(), i32::MAX))).await.expect("room");
    let requests = handed_on(requests);
    let mut answers = caller.open(&format!("{GROUPS}Read"), requests).await.expect("the group");
    answers.message().await.expect("a confirmation").expect("a confirmation");
    for content in contents {
        sender.send(message(content)).await.expect("room");
    }
    let end = async {
        loop {
            match answers.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it ended as if it were well"),
                Err(status) => return status,
            }
        }
    };
    timeout(LIMIT, end).await.expect("it ends")
}

#[tokio::test(flavor = "multi_thread")]
async fn consumers_that_answer_what_cannot_be_are_told_so_and_the_group_goes_on() {
    let world = World::start();
    let caller = world.caller().await;
    let made = wire::CreateReq { options: Some(options(of_stream(None))) };
    caller.ask(&format!("{GROUPS}Create"), &made).await.expect("a group");
    let begin = |content| vec![encoded(wire::ReadReq { content: Some(content) })];
    let path = format!("{GROUPS}Read");
    let formless = caller.call(&path, begin(join(None, 1))).await;
    refused(formless, Code::InvalidArgument, "form of UUIDs", "no form");
    let early = caller.call(&path, begin(nack(vec![], 1))).await;
    refused(early, Code::InvalidArgument, "begins with its options", "an answer to nothing");

    let wrong = || id("7").into_iter().collect::<Vec<_>>();
    let ack = Content::Ack(read_req::Ack { id: Bytes::new(), ids: wrong() });
    for (content, says) in [
        (ack, "no UUID"),
        (nack(wrong(), nack::Action::Park.into()), "no UUID"),
        (nack(vec![WireUuid { value: None }], 1), "UUID is missing"),
        (nack(vec![], 77), "77 is no action"),
        (join(string(), 1), "only events are answered"),
    ] {
        let what = format!("{content:.300?}");
        let status = heard(&caller, vec![content]).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{what}: {status}");
        assert!(status.message().contains(says), "{what}: {status}");
    }
    // Events that it never had are answered by nobody, which is no error.
    let unknown = nack(id("f7e55044-10b1-426f-9247-bb680e5fe0c8").into_iter().collect(), 1);
    let status = heard(&caller, vec![unknown, nack(vec![], 77)]).await;
    assert!(status.message().contains("no action"), "{status}");

    let client = world.client();
    let mut consumer = client
        .subscribe_to_persistent_subscription("s", "g", &Default::default())
        .await
        .expect("the group goes on");
    caller.append("s", &[3]).await.expect("room");
    let event = timeout(LIMIT, consumer.next()).await.expect("in time").expect("an event");
    consumer.ack(event).await.expect("a line to the server");
}
