//! Bytes that are no messages, frames that are cut off or say what is not so, and other media types: on every method that is
//! listed.

use std::fs;

use annals_store::protocol::wire::v1::Empty;
use annals_store::protocol::wire::v1::server_features::SupportedMethods;
use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use prost::encoding::bytes as raw;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::{Code, Status};

use crate::calls::{Caller, GROUPS, LIMIT, STREAMS, World, append_options, encoded, kind};
use crate::harness::repository;

/// Every method of the definitions, as its path.
fn defined() -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![repository().join("proto")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("the definitions").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(path).expect("text");
            let word = |line: &str, before: &str| {
                let rest = line.trim().strip_prefix(before)?;
                rest.split(['(', ' ', '{', ';']).next().map(str::to_owned)
            };
            let (mut package, mut service) = (String::new(), String::new());
            for line in text.lines() {
                package = word(line, "package ").unwrap_or(package);
                service = word(line, "service ").unwrap_or(service);
                if let Some(method) = word(line, "rpc ") {
                    found.push(format!("/{package}.{service}/{method}"));
                }
            }
        }
    }
    found
}

/// Every method that the server lists, but the one that ends it.
async fn listed(caller: &Caller) -> Vec<String> {
    let path = "/event_store.client.server_features.ServerFeatures/GetSupportedMethods";
    let answer = caller.ask(path, &Empty {}).await.expect("it is served").expect("an answer");
    let methods = SupportedMethods::decode(answer).expect("a right message").methods;
    let defined = defined();
    let path = |service: &str, method: &str| {
        let name = format!("/{service}/{method}");
        let path = defined.iter().find(|path| path.to_lowercase() == name);
        path.cloned().unwrap_or_else(|| panic!("{name} is listed and not defined"))
    };
    let paths = methods.iter().map(|method| path(&method.service_name, &method.method_name));
    let paths: Vec<_> = paths.filter(|path| !path.ends_with("/Shutdown")).collect();
    assert!(paths.len() >= 18, "{paths:?}");
    paths
}

/// The same bytes for the same seed, of any kind.
fn garbage(seed: u64, length: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

/// An error whose text and code tell a client what to do.
#[track_caller]
fn is_typed(status: &Status, what: &str) {
    let of_group = status.code() == Code::Internal && kind(status).is_some();
    let untyped = [Code::Unknown, Code::Internal, Code::DataLoss, Code::Unavailable, Code::Aborted];
    assert!(of_group || !untyped.contains(&status.code()), "{what}: {status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_refused_by_every_method() {
    let world = World::start();
    let caller = world.caller().await;
    let mut refused = 0;
    for path in listed(&caller).await {
        let mut messages: Vec<_> = [1, 2, 5, 17, 300, 5_000, 70_000]
            .into_iter()
            .flat_map(|length| (0..6).map(move |seed| garbage(seed + length as u64, length)))
            .collect();
        // A field that is cut off, a varint without an end, a group that is never closed, fields of the wrong kinds.
        messages.extend(
            [
                &b"\x0a\x7f"[..],
                b"\x0a\xff\xff\xff\xff\x0f",
                &[0xff; 11],
                b"\x0b",
                b"\x09\x01",
                b"\x08",
            ]
            .map(Bytes::from_static),
        );
        for message in messages {
            let what = format!("{path} with {:?}", message.slice(..message.len().min(20)));
            if let Err(status) = caller.call(&path, vec![message]).await {
                is_typed(&status, &what);
                refused += 1;
            }
        }
        // Behind a message that is right.
        if path.ends_with("/Append") {
            let messages = vec![encoded(append_options("a-1")), Bytes::from_static(b"\xff")];
            let status = caller.call(&path, messages).await.expect_err("it is garbage");
            assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        }
    }
    assert!(refused > 500, "{refused} were refused");
    assert_eq!(world.written(), 0, "garbage was written");
    caller.append("a-1", &[3]).await.expect("others are served");
}

async fn connection(world: &World) -> SendRequest<Full<Bytes>> {
    let socket = TcpStream::connect(&world.server.address).await.expect("the server listens");
    let shaken = handshake(TokioExecutor::new(), TokioIo::new(socket)).await;
    let (sender, connection) = shaken.expect("HTTP/2");
    tokio::spawn(connection);
    sender
}

/// What a method answers to a body: the status of HTTP, and that of gRPC where there is one.
async fn post(
    sender: &mut SendRequest<Full<Bytes>>,
    path: &str,
    media_type: Option<&str>,
    body: Bytes,
) -> (u16, Option<Status>) {
    let request = Request::post(format!("http://localhost{path}"));
    let request = media_type
        .into_iter()
        .fold(request, |request, media_type| request.header(header::CONTENT_TYPE, media_type));
    let request = request.body(Full::new(body)).expect("a request");
    let answered = async {
        let response = sender.send_request(request).await.expect("an answer");
        let (parts, body) = response.into_parts();
        let trailers = body.collect().await.ok().and_then(|body| body.trailers().cloned());
        let told = trailers.as_ref().and_then(Status::from_header_map);
        (parts.status.as_u16(), told.or_else(|| Status::from_header_map(&parts.headers)))
    };
    timeout(LIMIT, answered).await.unwrap_or_else(|_| panic!("{path} has no end"))
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_are_cut_off_or_lie_are_refused_by_every_method() {
    let world = World::start();
    let caller = world.caller().await;
    let mut sender = connection(&world).await;
    let frame = |flag: u8, length: u32, body: &[u8]| {
        Bytes::from([&[flag][..], &length.to_be_bytes(), body].concat())
    };
    let options = encoded(append_options("a-1"));
    let frames = [
        Bytes::from_static(b"\x00\x00\x00"),
        frame(0, 100, b"0123456789"),
        frame(0, u32::MAX, b"0123456789"),
        frame(0, 50 << 20, b""),
        frame(1, 3, b"abc"),
        frame(7, 3, b"abc"),
        frame(0, 1 << 20, &options),
    ];
    for path in listed(&caller).await {
        for frame in &frames {
            let what = format!("{path} with {frame:?}");
            let (status, told) =
                post(&mut sender, &path, Some("application/grpc"), frame.clone()).await;
            assert_eq!(status, 200, "{what}");
            let told = told.unwrap_or_else(|| panic!("{what} was answered without a status"));
            assert!(![Code::Ok, Code::Unknown].contains(&told.code()), "{what}: {told}");
        }
    }
    assert_eq!(world.written(), 0);
    caller.append("a-1", &[3]).await.expect("others are served");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_none_refuses_its_append() {
    let world = World::start();
    let caller = world.caller().await;
    let field = |number: u32, content: &[u8]| {
        let mut out = Vec::new();
        raw::encode(number, &content.to_vec(), &mut out);
        out
    };
    // An `AppendRequest` of a right event and of these bytes.
    let request = |event: &[u8]| {
        let right = field(4, &field(2, b"note.Taken"));
        Bytes::from(field(1, &[field(1, b"note-1"), right, field(4, event)].concat()))
    };
    let append = "/annals.v1.Events/Append";
    for broken in [&b"?"[..], b"\x0a\x7f", b"\x12\x01\xff", b"\x10\x01", &[0xff; 11]] {
        let status = caller.call(append, vec![request(broken)]).await.expect_err("it is no event");
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        let code = status.metadata().get("annals-code").expect("its code");
        assert_eq!(code, "malformed-event");
    }
    assert_eq!(world.written(), 0);
    let right = request(&field(2, b"note.Taken"));
    caller.call(append, vec![right]).await.expect("two right events");
    assert_eq!(world.written(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_media_types_are_refused_by_every_method() {
    let world = World::start();
    let caller = world.caller().await;
    let mut sender = connection(&world).await;
    let types = ["application/json", "text/plain", "application/grpc-web", "application/grpcx", ""];
    for path in listed(&caller).await {
        for media_type in types.map(Some).into_iter().chain([None]) {
            let (status, told) =
                post(&mut sender, &path, media_type, Bytes::from_static(b"{}")).await;
            let is_refused = (400..500).contains(&status)
                || told
                    .as_ref()
                    .is_some_and(|told| ![Code::Ok, Code::Unknown].contains(&told.code()));
            assert!(is_refused, "{path} as {media_type:?}: {status}, {told:?}");
        }
    }
    let (_, told) =
        post(&mut sender, &format!("{STREAMS}Fly"), Some("application/grpc"), Bytes::new()).await;
    assert_eq!(told.expect("a status").code(), Code::Unimplemented);
    let (_, told) =
        post(&mut sender, &format!("{GROUPS}Fly"), Some("application/grpc"), Bytes::new()).await;
    assert_eq!(told.expect("a status").code(), Code::Unimplemented);
    assert_eq!(world.written(), 0);
}
