//! Commands: every family of error, and the idempotency key.

use annals_client::proto;
use annals_client::proto::commands_client::CommandsClient;
use serde_json::{Value, json};
use tonic::Code;

use crate::client::{JSON, Request, Shared, channel, code, post, rest};

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn every_wrong_command_is_told_alike_on_rest_and_grpc() {
    let shared = Shared::get();
    shared.account("wrong-1", "100.50");
    let mut grpc = CommandsClient::new(channel(shared.server()).await);
    let cases = [
        ("travel", "fly", "{}", 400, Code::InvalidArgument, "unknown-command", "trading/deposit"),
        ("trading", "fly", "{}", 400, Code::InvalidArgument, "unknown-command", "fly"),
        (
            "trading",
            "deposit",
            "{\n\"a\": }",
            400,
            Code::InvalidArgument,
            "malformed-json",
            "line 2",
        ),
        ("trading", "deposit", "[]", 400, Code::InvalidArgument, "malformed-json", "object"),
        (
            "trading",
            "deposit",
            r#"{"account":"wrong-1"}"#,
            400,
            Code::InvalidArgument,
            "malformed-command",
            "amount",
        ),
        (
            "trading",
            "deposit",
            r#"{"account":"wrong-1","amount":"1","amont":"2"}"#,
            400,
            Code::InvalidArgument,
            "malformed-command",
            "amont",
        ),
        (
            "trading",
            "deposit",
            r#"{"account":"wrong-1","amount":"-1"}"#,
            400,
            Code::InvalidArgument,
            "malformed-command",
            "-1",
        ),
        (
            "trading",
            "withdraw",
            r#"{"account":"wrong-1","amount":"100.51"}"#,
            422,
            Code::FailedPrecondition,
            "refused",
            "100.5",
        ),
        (
            "trading",
            "withdraw",
            r#"{"account":"nobody","amount":"1"}"#,
            422,
            Code::FailedPrecondition,
            "refused",
            "nobody",
        ),
    ];
    for (context, name, body, http, grpc_code, machine, says) in cases {
        let path = format!("/v1/commands/{context}/{name}");
        let (status, media_type, problem) = rest(shared.server(), post(&path, body)).await;
        let at = format!("{context} {name} {body}: {problem}");
        assert_eq!(status, http, "{at}");
        assert_eq!(media_type.as_deref(), Some("application/problem+json"), "{at}");
        assert_eq!((&problem["status"], &problem["code"]), (&json!(http), &json!(machine)), "{at}");
        assert!(problem["detail"].as_str().expect("a detail").contains(says), "{at}");
        let family =
            problem["type"].as_str().and_then(|kind| kind.strip_prefix("urn:annals:problem:"));
        assert!(family.is_some(), "{at}");

        let request = proto::ExecuteRequest {
            context: context.to_owned(),
            name: name.to_owned(),
            json: body.as_bytes().to_vec().into(),
            command_id: String::new(),
        };
        let status = grpc.execute(request).await.expect_err("refused on gRPC too");
        assert_eq!((status.code(), code(&status)), (grpc_code, machine.to_owned()), "{at}");
        let whole = status.metadata().get_bin("annals-problem-bin").expect("the whole problem");
        let whole: Value =
            serde_json::from_slice(&whole.to_bytes().expect("base64")).expect("JSON");
        assert_eq!(whole, problem, "{at}");
    }
    let stream = shared.server().get("/v1/streams/account-wrong-1");
    assert_eq!(stream["events"].as_array().expect("events").len(), 2, "nothing was changed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_same_key_gives_the_first_answer() {
    let shared = Shared::get();
    shared.account("twice-1", "10");
    let path = "/v1/commands/trading/deposit";
    let body = r#"{"account":"twice-1","amount":"5"}"#;
    let keyed = |key: &'static str| Request {
        headers: Box::leak(Box::new([JSON[0], ("idempotency-key", key)])),
        ..post(path, body)
    };
    let (status, _, first) = rest(shared.server(), keyed("deposit 7")).await;
    assert_eq!(status, 201, "{first}");
    let (status, _, again) = rest(shared.server(), keyed("deposit 7")).await;
    assert_eq!((status, again), (201, first.clone()));

    let request = proto::ExecuteRequest {
        context: "trading".to_owned(),
        name: "deposit".to_owned(),
        json: body.as_bytes().to_vec().into(),
        command_id: "deposit 7".to_owned(),
    };
    let mut grpc = CommandsClient::new(channel(shared.server()).await);
    let answer = grpc.execute(request).await.expect("the first answer").into_inner();
    assert_eq!(answer.position, first["position"].as_u64());

    let (_, _, other) = rest(shared.server(), keyed("deposit 8")).await;
    assert!(other["position"].as_u64() > first["position"].as_u64());
    let long = Box::leak("k".repeat(256).into_boxed_str());
    let (status, _, problem) = rest(shared.server(), keyed(long)).await;
    assert_eq!((status, &problem["code"]), (400, &json!("wrong-idempotency-key")));
    let row = shared
        .server()
        .get(&format!("/v1/trading_accounts/twice-1?not_before_position={}", other["position"]));
    assert_eq!(row["cash"], "20.00000000");
}
