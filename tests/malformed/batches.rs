//! Batches of appends that are begun and never ended, that nobody began, and whose answers nobody reads.

use annals_store::protocol::wire::v1::Uuid as WireUuid;
use annals_store::protocol::wire::v1::streams::BatchAppendResp;
use annals_store::protocol::wire::v1::streams::batch_append_resp::Result as Answer;
use bytes::{Bytes, BytesMut};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};

use crate::calls::{LIMIT, PATIENCE, STREAMS, World, encoded, handed_on, id, new_id, piece};

fn path() -> String {
    format!("{STREAMS}BatchAppend")
}

/// The next answer of a call: whether the append was written; nothing once the call has ended well.
async fn next(answers: &mut Streaming<Bytes>) -> Result<Option<(Option<WireUuid>, bool)>, Status> {
    let answer = timeout(LIMIT, answers.message()).await.expect("an answer in time")?;
    Ok(answer.map(|answer| {
        let answer = BatchAppendResp::decode(answer).expect("a right message");
        let is_written = matches!(answer.result, Some(Answer::Success(_)));
        (answer.correlation_id, is_written)
    }))
}

#[tokio::test(flavor = "multi_thread")]
async fn pieces_that_nobody_began_and_appends_without_an_end_write_nothing() {
    let world = World::start();
    let caller = world.caller().await;
    let last = new_id();
    let mut pieces = vec![
        piece(None, Some("a-1"), &[3], true),
        piece(Some(WireUuid { value: None }), Some("a-1"), &[3], true),
        piece(id("7"), Some("a-1"), &[3], true),
        piece(new_id(), None, &[3], true),
        piece(new_id(), Some("a-1"), &[3], false),
        piece(last.clone(), Some("b-1"), &[3], true),
    ];
    for _ in 0..5_000 {
        pieces.push(piece(new_id(), None, &[3], false));
    }
    let requests = futures::stream::iter(pieces.into_iter().map(encoded));
    let mut answers = caller.open(&path(), requests).await.expect("it is served");
    assert_eq!(next(&mut answers).await.expect("an answer"), Some((last, true)));
    assert_eq!(next(&mut answers).await.expect("a good end"), None);
    assert_eq!(world.written(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_that_are_never_ended_are_bounded_in_number_and_memory() {
    let world = World::start();
    let caller = world.caller().await;
    let before = world.forget_peak();
    // A small event in a large message: what is not the event's is not to be kept.
    let padding = BytesMut::zeroed(256 << 10).freeze();
    let unfinished = move |place: usize| {
        let mut bytes = encoded(piece(new_id(), Some("a-1"), &[3], false)).to_vec();
        if place < 1000 {
            bytes.extend([0xfa, 0x7f]);
            prost::encoding::encode_varint(padding.len() as u64, &mut bytes);
            bytes.extend(&padding);
        }
        Bytes::from(bytes)
    };
    let (sender, requests) = mpsc::channel(1);
    let mut answers = caller.open(&path(), handed_on(requests)).await.expect("it is served");
    let sending = async {
        for place in 0..5_000 {
            if sender.send(unfinished(place)).await.is_err() {
                break;
            }
        }
    };
    let (((), end), waited) =
        world.others_wait(async { tokio::join!(sending, next(&mut answers)) }).await;
    let end = end.expect_err("they are too many");
    assert_eq!(end.code(), Code::ResourceExhausted, "{end}");
    assert!(end.message().contains("1024 appends"), "{end}");
    assert!(waited < PATIENCE, "{waited:?}");
    let grown = world.grown_since(before);
    assert!(grown < 96 << 20, "{} MiB more", grown >> 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_reads_no_answers_is_slowed_and_has_them_all_in_the_end() {
    const APPENDS: usize = 30_000;
    let world = World::start();
    let caller = world.caller().await;
    let (sender, requests) = mpsc::channel(1);
    let mut answers = caller.open(&path(), handed_on(requests)).await.expect("it is served");
    let before = world.forget_peak();
    let (told, mut sent) = tokio::sync::watch::channel(0);
    let sending = tokio::spawn(async move {
        for number in 0..APPENDS {
            let append = encoded(piece(new_id(), Some("a-1"), &[1000], true));
            sender.send(append).await.expect("the call goes on");
            told.send_replace(number + 1);
        }
    });
    // Until nothing more is taken: the client would send on.
    let stalled = async {
        loop {
            let count = *sent.borrow_and_update();
            let still = std::time::Duration::from_secs(3);
            if !matches!(timeout(still, sent.changed()).await, Ok(Ok(()))) {
                return count;
            }
        }
    };
    let (taken, waited) = world.others_wait(stalled).await;
    assert!(taken < APPENDS, "all {taken} were taken");
    assert!(waited < PATIENCE, "{waited:?}");
    let grown = world.grown_since(before);
    assert!(grown < 128 << 20, "{} MiB more", grown >> 20);
    for number in 0..APPENDS {
        let answer = next(&mut answers).await.expect("it goes on").expect("an answer");
        assert!(answer.1, "append {number} was not written");
    }
    sending.await.expect("it sends");
    assert_eq!(next(&mut answers).await.expect("a good end"), None);
}
