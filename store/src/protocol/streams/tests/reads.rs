//! Reads of a stream and of the whole log.

use delete_req::options::ExpectedStreamRevision as OfDelete;

use super::*;
use crate::protocol::wire::v1::streams::read_req::options::filter_options::{
    Expression, Filter as ByWhat, Window,
};
use crate::protocol::wire::v1::streams::read_req::options::{
    ControlOption, FilterOption, FilterOptions,
};

fn with_ends(options: ReadOptions) -> ReadOptions {
    ReadOptions { control_option: Some(ControlOption { compatibility: 1 }), ..options }
}

fn from(revision: u64) -> RevisionOption {
    RevisionOption::Revision(revision)
}

const FIRST: RevisionOption = RevisionOption::Start(Empty {});
const LAST: RevisionOption = RevisionOption::End(Empty {});

pub(super) fn filtered(options: ReadOptions, filter: ByWhat, window: u32) -> ReadOptions {
    let filter = FilterOptions {
        filter: Some(filter),
        window: Some(Window::Max(window)),
        checkpoint_interval_multiplier: 1,
    };
    ReadOptions { filter_option: Some(FilterOption::Filter(filter)), ..options }
}

pub(super) fn expression(regex: &str, prefixes: &[&str]) -> Expression {
    let prefix = prefixes.iter().map(|&prefix| prefix.to_owned()).collect();
    Expression { regex: regex.to_owned(), prefix }
}

#[tokio::test]
async fn a_stream_is_read_from_anywhere_in_both_directions() {
    for client in clients() {
        client.append("a", NONE, &[10, 11, 12, 13]).await;
        let read = async |options| client.read(options).await;
        let all = ["0@a 10", "1@a 11", "2@a 12", "3@a 13"];
        let mut reversed = all;
        reversed.reverse();
        assert_eq!(read(of_stream("a", FIRST)).await, all);
        assert_eq!(read(of_stream("a", from(2))).await, all[2..]);
        assert_eq!(read(count(of_stream("a", from(1)), 2)).await, all[1..3]);
        assert_eq!(read(backwards(of_stream("a", LAST))).await, reversed);
        assert_eq!(read(backwards(of_stream("a", from(u64::MAX)))).await, reversed);
        assert_eq!(read(backwards(of_stream("a", from(99)))).await, reversed);
        assert_eq!(read(backwards(of_stream("a", from(1)))).await, reversed[2..]);
        assert_eq!(read(backwards(of_stream("a", FIRST))).await, all[..1]);
        assert_eq!(read(count(backwards(of_stream("a", LAST)), 1)).await, reversed[..1]);
        for nothing in
            [of_stream("a", LAST), of_stream("a", from(9)), count(of_stream("a", FIRST), 0)]
        {
            assert!(read(nothing).await.is_empty());
        }
        assert_eq!(read(of_stream("b", FIRST)).await, ["no b"]);
    }
}

#[tokio::test]
async fn a_client_that_asks_is_told_where_a_stream_begins_and_ends() {
    for client in clients() {
        client.append("a", NONE, &[10, 11, 12]).await;
        let read = async |from| client.read(with_ends(of_stream("a", from))).await;
        assert_eq!(read(from(1)).await, ["1@a 11", "2@a 12", "last 2"]);
        assert_eq!(read(from(9)).await, ["first 3", "last 2"]);
        assert_eq!(read(from(3)).await, ["last 2"]);
        assert_eq!(
            client.read(with_ends(backwards(of_stream("a", LAST)))).await.last().expect("it"),
            "last 2"
        );
        assert_eq!(client.read(with_ends(of_stream("b", FIRST))).await, ["no b"]);
        let numbers: Vec<u128> = (13..60).collect();
        client.append("a", ANY, &numbers).await;
        let metadata = typed(1, "$metadata", r#"{"$tb":40}"#);
        client.try_append("$$a", ANY, vec![metadata]).await.expect("an answer");
        assert_eq!(read(FIRST).await[..2], ["first 40", "40@a 50"]);
        assert_eq!(read(from(20)).await[..2], ["40@a 50", "41@a 51"]);
    }
}

#[tokio::test]
async fn a_metastream_begins_with_the_metadata_that_holds() {
    for client in clients() {
        let metadata = |number| typed(number, "$metadata", &format!(r#"{{"mine":{number}}}"#));
        client.try_append("$$a", NONE, vec![metadata(1), metadata(2)]).await.expect("an answer");
        let last = r#"1@$$a {"mine":2}"#;
        let first = r#"0@$$a {"mine":1}"#;
        assert_eq!(client.read(count(of_stream("$$a", FIRST), 1)).await, [last]);
        assert_eq!(client.read(with_ends(of_stream("$$a", FIRST))).await, [last, "last 1"]);
        assert_eq!(client.read(of_stream("$$a", from(0))).await, [first, last]);
        assert_eq!(client.read(backwards(of_stream("$$a", LAST))).await, [last, first]);
        assert_eq!(client.read(of_stream("$$b", FIRST)).await, ["no $$b"]);
    }
}

#[tokio::test]
async fn hidden_events_keep_their_numbers() {
    for client in clients() {
        client.append("a", NONE, &[10, 11, 12]).await;
        let metadata = typed(1, "$metadata", r#"{"$maxCount":2}"#);
        client.try_append("$$a", ANY, vec![metadata]).await.expect("an answer");
        assert_eq!(client.events("a").await, ["1@a 11", "2@a 12"]);
        let metadata = typed(2, "$metadata", r#"{"$tb":3}"#);
        client.try_append("$$a", ANY, vec![metadata]).await.expect("an answer");
        let all_hidden = client.read(with_ends(of_stream("a", FIRST))).await;
        assert_eq!(all_hidden, ["first 3", "last 2"]);
    }
}

#[tokio::test]
async fn the_log_is_read_with_its_start_forwards_and_without_it_backwards() {
    for client in clients() {
        client.append("a", NONE, &[10, 11]).await;
        client.append("b", NONE, &[12, 13]).await;
        let all = ["0@a 10", "1@a 11", "0@b 12", "1@b 13"];
        let mut reversed = all;
        reversed.reverse();
        let read = async |options| client.read(options).await;
        assert_eq!(read(of_log(START)).await, all);
        assert_eq!(read(of_log(at(1))).await, all[1..]);
        assert_eq!(read(count(of_log(at(1)), 2)).await, all[1..3]);
        assert_eq!(read(backwards(of_log(END))).await, reversed);
        assert_eq!(read(backwards(of_log(at(2)))).await, reversed[2..]);
        assert_eq!(read(backwards(of_log(at(u64::MAX)))).await, reversed);
        for nothing in [of_log(END), of_log(at(u64::MAX)), of_log(at(9)), backwards(of_log(START))]
        {
            assert!(read(nothing).await.is_empty());
        }
    }
}

#[tokio::test]
async fn a_filtered_read_counts_what_matches() {
    for client in clients() {
        for number in 0..8 {
            let stream = if number % 2 == 0 { "odd-1" } else { "even-1" };
            let kind = if number % 4 == 0 { "$of.System" } else { "note.Taken" };
            let event = typed(number, kind, "");
            client.try_append(stream, ANY, vec![event]).await.expect("an answer");
        }
        let read = async |filter, most| {
            let read = client.read(count(filtered(of_log(START), filter, 32), most)).await;
            let texts: Vec<_> = read.iter().map(|it| it.trim().to_owned()).collect();
            texts.join(" ")
        };
        let odd = "0@odd-1 1@odd-1 2@odd-1 3@odd-1";
        let by_stream = |regex, prefixes| ByWhat::StreamIdentifier(expression(regex, prefixes));
        let by_type = |regex, prefixes| ByWhat::EventType(expression(regex, prefixes));
        assert_eq!(read(by_stream("", &["odd", "none"]), 9).await, odd);
        assert_eq!(read(by_stream("^(?!even)", &["even"]), 9).await, odd);
        assert_eq!(read(by_stream("d{2}", &[]), 3).await, odd[..23]);
        assert_eq!(read(by_type(r"^[^\$].*", &[]), 2).await, "0@even-1 1@odd-1");
        assert_eq!(read(by_type("", &["$of"]), 9).await, "0@odd-1 2@odd-1");
        let wrong = filtered(of_log(START), by_stream("(", &[]), 32);
        let status = client.try_read(wrong).await.err().expect("it is no expression");
        assert_eq!(status.code(), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn a_link_is_answered_with_what_it_stands_for() {
    for client in clients() {
        client.append("a", NONE, &[10, 11]).await;
        let links = [
            typed(1, "$>", "1@a"),
            typed(2, "$>", "7@a"),
            typed(3, "$>", "no link"),
            typed(4, "note.Taken", "0@a"),
        ];
        client.try_append("links", NONE, links.into()).await.expect("an answer");
        let resolved = || ReadOptions { resolve_links: true, ..of_stream("links", FIRST) };
        let read = client.read(resolved()).await;
        let gone = ["nothing by 1@links 7@a", "nothing by 2@links no link", "3@links 0@a"];
        assert_eq!(read[0], "1@a 11 by 0@links 1@a");
        assert_eq!(read[1..], gone);
        assert_eq!(client.events("links").await[0], "0@links 1@a");
        client.delete("a", OfDelete::Any(Empty {})).await.expect("it is there");
        assert_eq!(client.read(resolved()).await[0], "nothing by 0@links 1@a");
    }
}

#[tokio::test]
async fn what_is_wrong_in_a_read_is_told() {
    let client = in_memory();
    client.append("a", NONE, &[1]).await;
    let by_type = || ByWhat::EventType(expression("", &["x"]));
    let zero = |options| {
        let mut options = filtered(live(options), by_type(), 1);
        if let Some(FilterOption::Filter(filter)) = &mut options.filter_option {
            filter.checkpoint_interval_multiplier = 0;
        }
        options
    };
    let wrong = [
        ReadOptions::default(),
        ReadOptions { uuid_option: None, ..of_log(START) },
        ReadOptions { count_option: None, ..of_log(START) },
        ReadOptions { read_direction: 7, ..of_log(START) },
        of_stream("", FIRST),
        of_stream("a", from(u64::MAX - 1)),
        of_stream("a", from(1 << 63)),
        of_log(at(1 << 63)),
        backwards(live(of_log(START))),
        filtered(of_stream("a", FIRST), by_type(), 32),
        filtered(live(of_log(START)), by_type(), 0),
        zero(of_log(START)),
    ];
    for options in wrong {
        let text = format!("{options:?}");
        let Err(status) = client.try_read(options).await else { panic!("{text}") };
        assert_eq!(status.code(), Code::InvalidArgument, "{text}");
        assert!(!status.message().is_empty());
    }
    assert!(client.service.read(Request::new(ReadReq { options: None })).await.is_err());
}

#[tokio::test]
async fn only_so_many_read_at_once() {
    let client = in_memory();
    client.append("a", NONE, &[1]).await;
    let mut open = Vec::new();
    for _ in 0..8 {
        open.push(client.try_read(live(of_log(START))).await.expect("there is room"));
    }
    let status = client.try_read(of_log(START)).await.err().expect("there is none");
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "Server Is Too Busy"));
    open.pop();
    assert_eq!(client.read(of_log(START)).await, ["0@a 1"]);
}

#[tokio::test]
async fn native_events_are_shown() {
    let client = in_memory();
    let event = annals_core::NewEvent {
        id: annals_core::EventId(Uuid::from_u128(1)),
        event_type: annals_core::EventType::new("trading.OrderPlaced").expect("a type"),
        schema: annals_core::SchemaFingerprint(7),
        metadata: Bytes::new(),
        data: Bytes::from_static(b"avro"),
    };
    let write = annals_core::StreamWrite {
        stream: annals_core::StreamName::new("order-1").expect("a name"),
        expected: annals_core::ExpectedRevision::Any,
        events: vec![event],
    };
    client.protocol.parts.store.append(annals_core::Append::to(write)).await.expect("it is new");
    assert_eq!(client.events("order-1").await, ["0@order-1 avro"]);
}
