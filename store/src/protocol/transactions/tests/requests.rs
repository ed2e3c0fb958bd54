//! What a request says, and what is wrong with it.

use std::time::Duration;

use annals_core::Content;
use futures::channel::mpsc;
use prost_types::value::Kind;

use super::*;

#[tokio::test]
async fn records_stand_in_the_log_as_they_were_sent() {
    for world in worlds() {
        let of = [("a", 1), ("b", 2), ("b", 3), ("a", 4), ("c", 5), ("a", 6)];
        let answer = world.append(records(&of), &[("a", -1)]).await.expect("new");
        assert_eq!(answer, came(&[("a", 2), ("b", 1), ("c", 0)], 5));
        let log = ["0@a 1", "0@b 2", "1@b 3", "1@a 4", "0@c 5", "2@a 6"];
        assert_eq!(told(&world.log().await), log);
    }
}

#[tokio::test]
async fn a_record_is_kept_with_its_properties_and_schema() {
    for world in worlds() {
        let text =
            |text: &str| prost_types::Value { kind: Some(Kind::StringValue(text.to_owned())) };
        let schema_id = "f7e55044-10b1-426f-9247-bb680e5fe0c8";
        let kept = [
            (SchemaFormat::Json, "Json", Content::Json, None),
            (SchemaFormat::Protobuf, "Protobuf", Content::Bytes, Some(schema_id)),
            (SchemaFormat::Avro, "Avro", Content::Bytes, None),
            (SchemaFormat::Bytes, "Bytes", Content::Bytes, None),
        ];
        let of = kept.iter().zip(1..).map(|((format, _, _, id), number)| AppendRecord {
            properties: [("$correlationId".to_owned(), text("x"))].into(),
            schema: Some(SchemaInfo {
                format: Some((*format).into()),
                name: Some(format!("note.{}", format.as_str_name())),
                id: id.map(str::to_owned),
            }),
            ..record("a", number)
        });
        world.append(of.collect(), &[]).await.expect("new");
        for (event, (format, name, content, id)) in world.log().await.iter().zip(kept) {
            assert_eq!(event.event_type.as_str(), format!("note.{}", format.as_str_name()));
            let (found, custom) = Metadata::foreign_of(&event.metadata).expect("a client's");
            assert_eq!(found, content);
            let mut expected = serde_json::json!({
                "$correlationId": "x",
                "$schema.name": event.event_type.as_str(),
                "$schema.format": name,
            });
            if let Some(id) = id {
                expected["$schema.id"] = id.into();
            }
            let custom: serde_json::Value = serde_json::from_slice(custom).expect("JSON");
            assert_eq!(custom, expected);
        }
    }
}

#[tokio::test]
async fn a_record_without_an_id_is_given_one() {
    let world = in_memory();
    let nameless = || vec![AppendRecord { record_id: None, ..record("a", 1) }];
    world.append(nameless(), &[]).await.expect("new");
    world.append(nameless(), &[]).await.expect("new again");
    let log = world.log().await;
    assert_eq!(log.len(), 2);
    assert_ne!(log[0].id, log[1].id);
}

#[track_caller]
fn refused(answer: Result<Came, Status>, says: &str) {
    let status = answer.expect_err("it is wrong");
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(status.message().contains(says), "{says}: {status}");
}

fn schema(change: fn(&mut SchemaInfo)) -> AppendRecord {
    let mut record = record("a", 1);
    record.schema.iter_mut().for_each(change);
    record
}

#[tokio::test]
async fn what_is_wrong_with_a_record_is_told() {
    let world = in_memory();
    let nothing = prost_types::Value { kind: None };
    let wrong = [
        (AppendRecord { record_id: Some("7".to_owned()), ..record("a", 1) }, "record_id \"7\""),
        (AppendRecord { record_id: Some(String::new()), ..record("a", 1) }, "record_id"),
        (AppendRecord { schema: None, ..record("a", 1) }, "schema"),
        (schema(|schema| schema.name = None), "schema.name"),
        (schema(|schema| schema.name = Some(String::new())), "schema.name"),
        (schema(|schema| schema.name = Some("a\n".to_owned())), "event type"),
        (schema(|schema| schema.name = Some("$streamDeleted".to_owned())), "$streamDeleted"),
        (schema(|schema| schema.name = Some("$annals.tombstone".to_owned())), "$annals.tombstone"),
        (schema(|schema| schema.format = None), "schema.format"),
        (schema(|schema| schema.format = Some(0)), "schema.format"),
        (schema(|schema| schema.format = Some(9)), "schema.format"),
        (schema(|schema| schema.id = Some("7".to_owned())), "schema.id \"7\""),
        (
            AppendRecord { properties: [("p".to_owned(), nothing)].into(), ..record("a", 1) },
            "\"p\"",
        ),
        (AppendRecord { stream: None, ..record("a", 1) }, "stream name"),
        (record("$$", 1), "$$"),
        (record("a\n", 1), "stream name"),
    ];
    for (wrong, says) in wrong {
        refused(world.append(vec![record("b", 1), wrong], &[]).await, says);
    }
    refused(world.append(records(&[("a", 1), ("a", 1)]), &[]).await, "occurs twice");
    assert!(world.log().await.is_empty());
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_told() {
    let world = in_memory();
    refused(world.append(vec![], &[("a", -1)]).await, "no record");
    for state in [-3, -7, i64::MAX] {
        refused(world.append(records(&[("a", 1)]), &[("a", state)]).await, "no state");
    }
    let twice = [("Order-Å", -1), ("order-å", -2)];
    refused(world.append(records(&[("a", 1)]), &twice).await, "checked twice");
    refused(world.append(records(&[("a", 1)]), &[("", -1)]).await, "stream name");
    refused(world.append(records(&[("a", 1), ("b", 2), ("A", 3)]), &[]).await, "case");
    refused(world.append(records(&[("a", 1)]), &[("A", -1)]).await, "case");
    let nothing = ConsistencyCheck { r#type: None };
    let stateless = ConsistencyCheck {
        r#type: Some(Type::StreamState(StreamStateCheck {
            stream: Some("a".to_owned()),
            expected_state: None,
        })),
    };
    for wrong in [nothing, stateless] {
        let request = AppendRecordsRequest { records: vec![record("a", 1)], checks: vec![wrong] };
        let status = append_records(&world.protocol, &Caller::Anybody, request)
            .await
            .expect_err("it is wrong");
        assert_eq!(status.code(), Code::InvalidArgument);
    }
    let names: Vec<_> = (0..20_000).map(|number| format!("s-{number}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), -2)).collect();
    refused(world.append(vec![record("a", 1)], &many).await, "16384 streams");

    refused(world.session(vec![]).await, "no record");
    let nothing = vec![request("b", None, &[1]), request("a", None, &[])];
    refused(world.session(nothing).await, "no record for stream 'a'");
    refused(world.session(vec![request("", None, &[1])]).await, "stream name");
    for revision in [-3, -5, -6, i64::MIN, i64::MAX] {
        refused(world.session(vec![request("a", revision, &[1])]).await, "no revision");
    }
    let mut stray = request("a", None, &[1]);
    stray.records[0].stream = Some("b".to_owned());
    refused(world.session(vec![stray]).await, "'b'");
    assert!(world.log().await.is_empty());
}

#[tokio::test]
async fn a_stream_occurs_once_in_a_session() {
    for again in ["a", "A"] {
        let world = in_memory();
        let requests =
            vec![request("a", None, &[1]), request("b", None, &[2]), request(again, None, &[3])];
        let status = world.session(requests).await.expect_err("it occurs twice");
        assert_eq!(status.code(), Code::Aborted);
        let (reason, detail): (_, details::StreamAlreadyInAppendSessionErrorDetails) =
            carried(&status);
        assert_eq!(reason, "STREAM_ALREADY_IN_APPEND_SESSION");
        assert_eq!(detail.stream.as_deref(), Some(again));
        assert!(world.log().await.is_empty());
    }
}

#[tokio::test]
async fn what_is_too_large_is_told_with_its_size() {
    let world = in_memory();
    let large =
        |number, bytes| AppendRecord { data: Some(vec![0; bytes].into()), ..record("a", number) };
    // An event counts its data, its metadata, and its type twice; 1000 bytes are the most.
    let custom = br#"{"$schema.name":"note.Taken","$schema.format":"Json"}"#.len();
    let room = 1000 - custom - 2 * "note.Taken".len();
    world.append(vec![large(1, room)], &[]).await.expect("it is not too large");
    let status = world.append(vec![large(2, room + 1)], &[]).await.expect_err("it is");
    assert_eq!(status.code(), Code::InvalidArgument);
    let (reason, detail): (_, details::AppendRecordSizeExceededErrorDetails) = carried(&status);
    assert_eq!(reason, "APPEND_RECORD_SIZE_EXCEEDED");
    assert_eq!((detail.size, detail.max_size), (Some(1001), Some(1000)));
    assert_eq!(detail.stream.as_deref(), Some("a"));
    assert_eq!(detail.record_id, Some(Uuid::from_u128(2).to_string()));

    let three = || (3..6).map(|number| large(number, room)).collect::<Vec<_>>();
    let status = world.append([three(), vec![record("b", 6)]].concat(), &[]).await;
    let status = status.expect_err("it is too large");
    assert_eq!(status.code(), Code::Aborted);
    let (reason, detail): (_, details::AppendTransactionSizeExceededErrorDetails) =
        carried(&status);
    assert_eq!(reason, "APPEND_TRANSACTION_SIZE_EXCEEDED");
    let last = i32::try_from(3000 + 1 + custom + 2 * "note.Taken".len()).expect("it is small");
    assert_eq!((detail.size, detail.max_size), (Some(last), Some(3000)));
    assert_eq!(world.log().await.len(), 1);
    world.append(three(), &[]).await.expect("3000 bytes are not too large");
}

#[tokio::test]
async fn a_session_ends_without_a_trace_where_the_server_stops_or_the_client_breaks_off() {
    let world = in_memory();
    let (requests, incoming) = mpsc::unbounded();
    let protocol = Arc::clone(&world.protocol);
    let session =
        tokio::spawn(async move { append_session(&protocol, &Caller::Anybody, incoming).await });
    requests.unbounded_send(Ok(request("a", None, &[1]))).expect("it is open");
    tokio::time::sleep(Duration::from_millis(20)).await;
    world.protocol.parts.stopping.cancel();
    let status = session.await.expect("it ends").expect_err("the server stops");
    assert_eq!(status.code(), Code::Unavailable);

    let world = in_memory();
    let broken = vec![Ok(request("a", None, &[1])), Err(Status::cancelled("it went away"))];
    let status =
        append_session(&world.protocol, &Caller::Anybody, futures::stream::iter(broken)).await;
    assert_eq!(status.expect_err("it broke off").code(), Code::Cancelled);
    assert!(world.log().await.is_empty());
}

#[tokio::test]
async fn sessions_are_bounded() {
    let world = in_memory();
    let held: Vec<_> = (0..8).map(|_| world.protocol.open().expect("there is room")).collect();
    let status = world.session(vec![request("a", None, &[1])]).await.expect_err("there is none");
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "Server Is Too Busy"));
    drop(held);
    world.session(vec![request("a", None, &[1])]).await.expect("there is room");
}

#[test]
fn messages_have_the_numbers_of_the_protocol() {
    let record = AppendRecord {
        record_id: Some("i".to_owned()),
        schema: Some(SchemaInfo {
            format: Some(SchemaFormat::Protobuf.into()),
            name: Some("n".to_owned()),
            id: Some("s".to_owned()),
        }),
        data: Some("d".into()),
        stream: Some("b".to_owned()),
        ..AppendRecord::default()
    };
    let request = AppendRequest {
        stream: Some("a".to_owned()),
        records: vec![record],
        expected_revision: Some(-4),
    };
    let of_record = b"\x0a\x01i\x1a\x08\x08\x02\x12\x01n\x1a\x01s\x22\x01d\x2a\x01b";
    let bytes = [&b"\x0a\x01a\x12\x13"[..], of_record, b"\x18\x07"].concat();
    assert_eq!(request.encode_to_vec(), bytes);
    let checks = vec![check("a", -6)];
    let request = AppendRecordsRequest { records: request.records, checks };
    let bytes = [&b"\x0a\x13"[..], of_record, b"\x12\x07\x0a\x05\x0a\x01a\x10\x0b"].concat();
    assert_eq!(request.encode_to_vec(), bytes);
}
