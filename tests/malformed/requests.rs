//! Requests to streams that say too little, too much, or what cannot be: each is named, and nothing is written.

use annals_store::protocol::wire::v1::streams::append_req;
use annals_store::protocol::wire::v1::streams::read_req::options::all_options::AllOption;
use annals_store::protocol::wire::v1::streams::read_req::options::filter_options::{
    Expression, Filter, Window,
};
use annals_store::protocol::wire::v1::streams::read_req::options::stream_options::RevisionOption;
use annals_store::protocol::wire::v1::streams::read_req::options::{
    AllOptions, CountOption, FilterOption, FilterOptions, Position, StreamOption, StreamOptions,
    SubscriptionOptions, UuidOption, uuid_option,
};
use annals_store::protocol::wire::v1::streams::{
    AppendReq, DeleteReq, ReadReq, delete_req, read_req,
};
use annals_store::protocol::wire::v1::{Empty, StreamIdentifier, Uuid as WireUuid};
use tonic::Code;

use crate::calls::{
    STREAMS, World, append_event, append_options, encoded, event, id, kind, named, refused,
};

fn read(stream_option: Option<StreamOption>) -> read_req::Options {
    let string = uuid_option::Content::String(Empty {});
    read_req::Options {
        stream_option,
        count_option: Some(CountOption::Count(10)),
        uuid_option: Some(UuidOption { content: Some(string) }),
        ..read_req::Options::default()
    }
}

fn of_stream(revision_option: Option<RevisionOption>) -> Option<StreamOption> {
    let stream_identifier = named("a-1");
    Some(StreamOption::Stream(StreamOptions { stream_identifier, revision_option }))
}

fn of_log(all_option: Option<AllOption>) -> Option<StreamOption> {
    Some(StreamOption::All(AllOptions { all_option }))
}

fn at(number: u64) -> Option<AllOption> {
    Some(AllOption::Position(Position { commit_position: number, prepare_position: number }))
}

const START: Option<RevisionOption> = Some(RevisionOption::Start(Empty {}));
const ALL: Option<AllOption> = Some(AllOption::Start(Empty {}));

fn subscription(options: read_req::Options) -> read_req::Options {
    let count_option = Some(CountOption::Subscription(SubscriptionOptions {}));
    read_req::Options { count_option, ..options }
}

fn filtered(filter: Option<Filter>, window: Option<Window>, multiplier: u32) -> read_req::Options {
    let filter = FilterOptions { filter, window, checkpoint_interval_multiplier: multiplier };
    let filter_option = Some(FilterOption::Filter(filter));
    subscription(read_req::Options { filter_option, ..read(of_log(ALL)) })
}

fn expression(regex: &str, prefix: Vec<String>) -> Option<Filter> {
    Some(Filter::StreamIdentifier(Expression { regex: regex.to_owned(), prefix }))
}

fn of_name(name: &[u8]) -> read_req::Options {
    let stream_identifier = Some(StreamIdentifier { stream_name: name.to_vec().into() });
    let options = StreamOptions { stream_identifier, revision_option: START };
    read(Some(StreamOption::Stream(options)))
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_that_cannot_be_are_named() {
    let world = World::start();
    let caller = world.caller().await;
    let window = Some(Window::Max(32));
    let right = || expression("a", vec![]);
    let many = || (0..1001).map(|number| number.to_string()).collect();
    let wrong = [
        (read(None), "neither a stream nor all"),
        (read_req::Options { count_option: None, ..read(of_log(ALL)) }, "neither a count"),
        (read_req::Options { uuid_option: None, ..read(of_log(ALL)) }, "uuid_option"),
        (
            read_req::Options {
                uuid_option: Some(UuidOption { content: None }),
                ..read(of_log(ALL))
            },
            "uuid_option",
        ),
        (read_req::Options { read_direction: 7, ..read(of_log(ALL)) }, "read_direction"),
        (subscription(read_req::Options { read_direction: 1, ..read(of_log(ALL)) }), "forwards"),
        (read(of_stream(None)), "where to begin in the stream"),
        (read(of_log(None)), "where to begin in the log"),
        (read(of_stream(Some(RevisionOption::Revision(1 << 63)))), "2^63-1"),
        (read(of_log(at(u64::MAX - 1))), "2^63-1"),
        (subscription(read(of_log(at(1 << 63)))), "2^63-1"),
        (of_name(b""), "empty"),
        (of_name(b"$$"), "metadata of no stream"),
        (of_name(b"\xff\xfe"), "UTF-8"),
        (of_name(b"a\nb"), "control character"),
        (of_name(&[b'a'; 1025]), "longer than 1024"),
        (filtered(None, window, 1), "stream_identifier or by event_type"),
        (filtered(right(), None, 1), "window"),
        (filtered(right(), Some(Window::Max(0)), 1), "window"),
        (filtered(right(), window, 0), "checkpointIntervalMultiplier"),
        (filtered(expression("(", vec![]), window, 1), "is wrong"),
        (filtered(expression(&"a".repeat(17_000), vec![]), window, 1), "17000 bytes"),
        (filtered(expression(r"((\w{1000}){1000}){1000}", vec![]), window, 1), "is wrong"),
        (filtered(expression("", many()), window, 1), "1001 prefixes"),
        (
            read_req::Options {
                filter_option: filtered(right(), window, 1).filter_option,
                ..read(of_stream(START))
            },
            "not with one stream",
        ),
    ];
    let path = format!("{STREAMS}Read");
    refused(caller.ask(&path, &Empty {}).await, Code::InvalidArgument, "options", "no options");
    for (options, says) in wrong {
        let what = format!("{options:.400?}");
        let answer = caller.ask(&path, &ReadReq { options: Some(options) }).await;
        refused(answer, Code::InvalidArgument, says, &what);
    }
    // What is right beside them is served.
    let right = ReadReq { options: Some(filtered(right(), window, 1)) };
    assert!(caller.ask(&path, &right).await.expect("it is right").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_that_cannot_be_are_named_and_write_nothing() {
    use append_req::options::ExpectedStreamRevision::Revision;
    let world = World::start();
    let caller = world.caller().await;
    let begin = || append_options("a-1");
    let options = |expected, stream: &str| {
        let stream_identifier = named(stream);
        let options = append_req::Options { stream_identifier, expected_stream_revision: expected };
        AppendReq { content: Some(append_req::Content::Options(options)) }
    };
    let with = |change: &dyn Fn(&mut append_req::ProposedMessage)| {
        let mut event = event(3);
        change(&mut event);
        append_event(event)
    };
    let with_type =
        |name: &str| with(&|event| drop(event.metadata.insert("type".to_owned(), name.to_owned())));
    let nothing = || AppendReq { content: None };
    let wrong = [
        (vec![], "the first message"),
        (vec![with(&|_| {})], "the first message"),
        (vec![nothing()], "the first message"),
        (vec![options(None, "a-1")], "what is expected"),
        (vec![options(Some(Revision(1 << 63)), "a-1")], "revision"),
        (vec![options(Some(Revision(u64::MAX)), "a-1")], "revision"),
        (vec![options(Some(Revision(0)), "")], "stream name"),
        (vec![options(Some(Revision(0)), "$$")], "metadata of no stream"),
        (vec![begin(), begin()], "an event is missing"),
        (vec![begin(), with(&|_| {}), nothing()], "an event is missing"),
        (vec![begin(), with(&|event| event.id = None)], "UUID is missing"),
        (
            vec![begin(), with(&|event| event.id = Some(WireUuid { value: None }))],
            "UUID is missing",
        ),
        (vec![begin(), with(&|event| event.id = id(""))], "no UUID"),
        (vec![begin(), with(&|event| event.id = id("0123"))], "no UUID"),
        (vec![begin(), with(&|event| event.id = id(&"f".repeat(100_000)))], "no UUID"),
        (vec![begin(), with(&|event| event.metadata.clear())], "'type' is missing"),
        (
            vec![begin(), with(&|event| drop(event.metadata.remove("content-type")))],
            "'content-type' is missing",
        ),
        (vec![begin(), with_type("")], "event type"),
        (vec![begin(), with_type(&"t".repeat(1025))], "event type"),
        (vec![begin(), with_type("$streamDeleted")], "by the server alone"),
        (vec![begin(), with_type("$annals.tombstone")], "by the server alone"),
    ];
    for (messages, says) in wrong {
        let what = format!("{messages:.400?}");
        let messages = messages.into_iter().map(encoded).collect();
        let answer = caller.call(&format!("{STREAMS}Append"), messages).await;
        let status = refused(answer, Code::InvalidArgument, says, &what);
        let is_property = says.contains("is missing") && says.starts_with('\'');
        assert_eq!(kind(&status), is_property.then_some("missing-required-metadata-property"));
        assert_eq!(world.written(), 0, "{what} was written");
    }
    caller.append("a-1", &[3]).await.expect("it is right");
    assert_eq!(world.written(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn deletions_that_cannot_be_are_named_and_write_nothing() {
    use delete_req::options::ExpectedStreamRevision::{Any, Revision};
    let world = World::start();
    let caller = world.caller().await;
    caller.append("a-1", &[3]).await.expect("it is right");
    let options = |stream: &str, expected| {
        let stream_identifier = named(stream);
        Some(delete_req::Options { stream_identifier, expected_stream_revision: expected })
    };
    let any = || Some(Any(Empty {}));
    let wrong = [
        (None, Code::InvalidArgument, "stream name", None),
        (options("a-1", None), Code::InvalidArgument, "what is expected", None),
        (options("", any()), Code::InvalidArgument, "stream name", None),
        (options("$$a-1", any()), Code::InvalidArgument, "no metadata of its own", None),
        (options("a-1", Some(Revision(1 << 63))), Code::InvalidArgument, "revision", None),
        (
            options("a-1", Some(Revision(7))),
            Code::FailedPrecondition,
            "Expected version: 7, Actual version: 0",
            Some("wrong-expected-version"),
        ),
    ];
    for method in ["Delete", "Tombstone"] {
        for (options, code, says, exception) in wrong.clone() {
            let what = format!("{method} {options:?}");
            let answer = caller.ask(&format!("{STREAMS}{method}"), &DeleteReq { options }).await;
            assert_eq!(kind(&refused(answer, code, says, &what)), exception);
        }
    }
    assert_eq!(world.written(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_fields_are_passed_over() {
    let world = World::start();
    let caller = world.caller().await;
    let mut request = encoded(append_options("a-1")).to_vec();
    request.extend([0xfa, 0x7f, 3, 1, 2, 3]);
    let messages = vec![request.into(), encoded(append_event(event(3)))];
    caller.call(&format!("{STREAMS}Append"), messages).await.expect("it is right");
    assert_eq!(world.written(), 1);
}
