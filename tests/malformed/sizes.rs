//! Messages, events and appends that are too large.

use annals_store::protocol::wire::v1::streams::ReadReq;
use bytes::Bytes;
use tonic::Code;

use crate::calls::{
    GROUPS, PATIENCE, STREAMS, World, append_event, append_options, encoded, event, kind, refused,
};

const MIB: usize = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_told_with_its_bound_and_writes_nothing() {
    let world = World::start();
    let caller = world.caller().await;
    let large = caller.append("a-1", &[16 * MIB]).await.expect_err("an event is smaller");
    assert_eq!(large.code(), Code::InvalidArgument, "{large}");
    assert_eq!(kind(&large), Some("maximum-append-event-size-exceeded"));
    let trailer = |name| large.metadata().get(name).and_then(|value| value.to_str().ok());
    assert_eq!(trailer("maximum-append-event-size"), Some("16769024"));
    assert_eq!(trailer("proposed-append-event-size"), Some("16777236"));

    let many = caller.append("a-1", &[4 * MIB; 8]).await.expect_err("an append is smaller");
    assert_eq!(kind(&many), Some("maximum-append-size-exceeded"), "{many}");
    assert!(many.message().starts_with("Maximum Append Size of 33488896"), "{many}");
    assert_eq!(world.written(), 0);

    // The largest that may be.
    caller.append("a-1", &[16_769_024 - 20]).await.expect("it is small enough");
    assert_eq!(world.written(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_small_events_do_not_pass_the_bound_of_an_append() {
    let world = World::start();
    let caller = world.caller().await;
    let before = world.forget_peak();
    let begin = [encoded(append_options("a-1"))];
    let one = encoded(append_event(event(0)));
    let events = std::iter::repeat_n(one, 600_000);
    let messages: Vec<Bytes> = begin.into_iter().chain(events).collect();
    let (many, waited) =
        world.others_wait(caller.call(&format!("{STREAMS}Append"), messages)).await;
    let many = refused(many, Code::InvalidArgument, "Maximum Append Size", "600,000 events");
    assert_eq!(kind(&many), Some("maximum-append-size-exceeded"));
    assert!(waited < PATIENCE, "{waited:?}");
    let grown = world.grown_since(before);
    assert!(grown < 300 << 20, "{} MiB more", grown >> 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_beyond_what_is_taken_is_refused_unread() {
    let world = World::start();
    let caller = world.caller().await;
    let padded = |size: usize| {
        // A field that no message has.
        let mut bytes = vec![0xfa, 0x7f];
        prost::encoding::encode_varint(size as u64, &mut bytes);
        bytes.resize(bytes.len() + size, 0);
        Bytes::from(bytes)
    };
    let before = world.forget_peak();
    for method in ["Append", "BatchAppend", "Read", "Delete", "Tombstone"] {
        let answer = caller.call(&format!("{STREAMS}{method}"), vec![padded(70 * MIB)]).await;
        refused(answer, Code::OutOfRange, "too large", method);
    }
    let path = format!("{GROUPS}Create");
    refused(
        caller.call(&path, vec![padded(5 * MIB)]).await,
        Code::OutOfRange,
        "too large",
        "Create",
    );
    // Of what brings no events, less is taken.
    let read = caller.call(&format!("{STREAMS}Read"), vec![padded(2 * MIB)]).await;
    refused(read, Code::InvalidArgument, "it may have 1048576", "Read");
    let grown = world.grown_since(before);
    assert!(grown < 64 << 20, "{} MiB more", grown >> 20);
    let none = caller.ask(&format!("{STREAMS}Read"), &ReadReq { options: None }).await;
    refused(none, Code::InvalidArgument, "options", "others are served");
}

/// Two bytes each, which are hundreds once they are read.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_grows_as_it_is_read_is_refused() {
    let world = World::start();
    let caller = world.caller().await;
    let before = world.forget_peak();
    let empty_events = Bytes::from(b"\x1a\x00".repeat(10 * MIB));
    let answer = caller.call(&format!("{STREAMS}BatchAppend"), vec![empty_events]).await;
    refused(answer, Code::InvalidArgument, "more events than", "ten million empty events");
    let grown = world.grown_since(before);
    assert!(grown < 128 << 20, "{} MiB more", grown >> 20);
}
