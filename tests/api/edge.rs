//! The edge itself: what describes it, who is let in, what is too much, how it ends.

use std::sync::Arc;
use std::time::Duration;

use annals_client::proto;
use annals_client::proto::commands_client::CommandsClient;
use annals_client::proto::events_client::EventsClient;
use serde_json::json;
use tonic::Code;

use crate::client::{Request, Shared, channel, code, get, rest};
use crate::harness::server::Server;
use crate::harness::{annals, run, scratch};

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn reflection_lists_the_services() {
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

    let shared = Shared::get();
    let mut grpc = ServerReflectionClient::new(channel(shared.server()).await);
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let asked = futures::stream::iter([request]);
    let mut answers = grpc.server_reflection_info(asked).await.expect("reflection").into_inner();
    let answer = answers.message().await.expect("no error").expect("an answer");
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("{answer:?}");
    };
    let names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
    for service in ["annals.v1.Commands", "annals.v1.Queries", "annals.v1.Events"] {
        assert!(names.iter().any(|name| name == service), "{names:?}");
    }

    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::FileContainingSymbol("annals.v1.Events".to_owned())),
    };
    let asked = futures::stream::iter([request]);
    let mut answers = grpc.server_reflection_info(asked).await.expect("reflection").into_inner();
    let answer = answers.message().await.expect("no error").expect("an answer");
    let Some(MessageResponse::FileDescriptorResponse(files)) = answer.message_response else {
        panic!("{answer:?}");
    };
    // In a method's description the name comes first: its field, its length, its text.
    let described = files.file_descriptor_proto.concat();
    for method in ["Append", "AppendStream", "Read", "Subscribe"] {
        let length = u8::try_from(method.len()).expect("a short name");
        let name = [&[0x0a, length], method.as_bytes()].concat();
        assert!(described.windows(name.len()).any(|bytes| bytes == name), "{method}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_document_covers_commands_and_rows() {
    let shared = Shared::get();
    let document = shared.server().get("/openapi.json");
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().expect("paths");
    for command in shared.server().get("/v1/commands")["commands"].as_array().expect("commands") {
        let (context, name) = (&command["context"], &command["name"]);
        let (context, name) = (context.as_str().expect("text"), name.as_str().expect("text"));
        assert!(paths.contains_key(&format!("/v1/commands/{context}/{name}")), "{context}/{name}");
    }
    for model in ["trading_orders", "trading_positions", "trading_accounts", "trading_equity"] {
        assert!(paths.contains_key(&format!("/v1/{model}")), "{model}");
        let row = &document["components"]["schemas"][model]["properties"];
        assert!(row.as_object().is_some_and(|columns| columns.len() > 4), "{model}");
    }
    // What is documented and takes no parameter in its path answers as documented.
    for (path, item) in paths.iter().filter(|(path, item)| {
        !path.contains('{') && item["get"].is_object() && !path.starts_with("/v1/debug/")
    }) {
        let (status, _, _) = rest(shared.server(), get(path)).await;
        assert!(item["get"]["responses"][status.to_string()].is_object(), "{path}: {status}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn health_and_metrics_tell_how_it_stands() {
    let shared = Shared::get();
    shared.account("health-1", "1");
    for path in ["/health/live", "/health/ready"] {
        assert_eq!(rest(shared.server(), get(path)).await.0, 204, "{path}");
    }
    let request =
        Request { headers: &[("x-request-id", "mine-1")], header: "x-request-id", ..get("/docs") };
    assert_eq!(rest(shared.server(), request).await.1.as_deref(), Some("mine-1"));
    let (status, metrics) = shared.server().request("GET", "/metrics", &[], "");
    assert_eq!(status, 200);
    for name in ["annals_requests_total", "annals_request_seconds_bucket", "annals_command_seconds"]
    {
        assert!(metrics.contains(name), "{name}");
    }
    assert!(!metrics.contains("health-1"), "a caller's text became a label");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn with_a_key_only_its_holder_is_served() {
    const KEY: &str = "a-key-of-this-test-only";
    let folder = scratch();
    let data = folder.path().join("data");
    let mut serve = annals();
    serve.env("ANNALS_API_KEY", KEY).args(["serve", "--address", "127.0.0.1:0", "--data"]);
    let server = Server::start_command(serve.arg(&data));
    assert_eq!(rest(&server, get("/health/live")).await.0, 204);
    let bearer = format!("Bearer {KEY}");
    for path in ["/v1/trading_accounts", "/v1/events", "/v1/commands", "/metrics", "/openapi.json"]
    {
        for headers in [&[][..], &[("x-api-key", "wrong")], &[("authorization", "Bearer wrong")]] {
            let asked = Request { headers, header: "www-authenticate", ..get(path) };
            let (status, challenge, problem) = rest(&server, asked).await;
            assert_eq!((status, challenge.as_deref()), (401, Some("Bearer")), "{path}");
            assert_eq!(problem["type"], "urn:annals:problem:unauthenticated");
        }
        for header in [("x-api-key", KEY), ("authorization", bearer.as_str())] {
            let (status, _, _) = rest(&server, Request { headers: &[header], ..get(path) }).await;
            assert_eq!(status, 200, "{path}");
        }
    }
    let mut grpc = CommandsClient::new(channel(&server).await);
    let status = grpc.list(proto::ListCommandsRequest {}).await.expect_err("no key");
    assert_eq!(status.code(), Code::Unauthenticated);
    let mut request = tonic::Request::new(proto::ListCommandsRequest {});
    request.metadata_mut().insert("x-api-key", KEY.parse().expect("ASCII"));
    let commands = grpc.list(request).await.expect("the key is right").into_inner().commands;
    assert!(!commands.is_empty());
    drop(grpc);
    server.stop().exits_with(0);
}

#[test]
fn other_machines_are_not_served_without_a_key() {
    let folder = scratch();
    for address in ["0.0.0.0:0", "[::]:0"] {
        let mut serve = annals();
        serve.args(["serve", "--address", address, "--data"]).arg(folder.path().join("data"));
        run(&mut serve).exits_with(2).says(&[address, "api_key", "--insecure"]);
    }
    assert!(!folder.path().join("data").exists(), "nothing was begun");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_too_much_is_refused_at_once() {
    let folder = scratch();
    let mut serve = annals();
    serve
        .env("ANNALS_LIMITS_SUBSCRIPTIONS_MAX", "1")
        .env("ANNALS_LIMITS_REQUESTS_IN_FLIGHT_MAX", "1")
        .args(["serve", "--address", "127.0.0.1:0", "--data"])
        .arg(folder.path().join("data"));
    let server = Arc::new(Server::start_command(&mut serve));
    let mut grpc = EventsClient::new(channel(&server).await);
    let one = grpc.subscribe(proto::SubscribeRequest::default()).await.expect("there is room");
    let status = grpc.subscribe(proto::SubscribeRequest::default()).await.expect_err("full");
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(code(&status), "too-many-subscriptions");
    drop(one);

    let waiting = Arc::clone(&server);
    let waiting = tokio::spawn(async move {
        let path = "/v1/trading_accounts?not_before_position=999999999&timeout_ms=3000";
        rest(&waiting, get(path)).await.0
    });
    let mut refused = 0;
    while !waiting.is_finished() {
        let asked = Request { header: "retry-after", ..get("/v1/projections") };
        let (status, retry_after, problem) = rest(&server, asked).await;
        if status == 429 {
            assert_eq!(
                (retry_after.as_deref(), &problem["code"]),
                (Some("1"), &json!("too-many-requests"))
            );
            refused += 1;
        }
        assert_eq!(rest(&server, get("/health/live")).await.0, 204, "health is always answered");
    }
    assert!(refused > 0);
    assert_eq!(waiting.await.expect("no panic"), 503);
    drop(grpc);
    Arc::into_inner(server).expect("the last one").stop().exits_with(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_stopping_server_ends_subscriptions_and_itself() {
    let folder = scratch();
    let server = Server::start(&folder.path().join("data"), &[]);
    let mut grpc = EventsClient::new(channel(&server).await);
    let request = proto::SubscribeRequest::default();
    let mut stream = grpc.subscribe(request).await.expect("a subscription").into_inner();
    stream.message().await.expect("no error").expect("a message");
    let stopped = tokio::task::spawn_blocking(move || server.stop());
    let ended = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it ended without a word"),
                Err(status) => return status,
            }
        }
    });
    let status = ended.await.expect("in time");
    assert_eq!((status.code(), code(&status)), (Code::Unavailable, "stopping".to_owned()));
    stopped.await.expect("no panic").exits_with(0);
}
