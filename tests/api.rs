//! The server's interfaces against the built binary: every family of error on REST and gRPC, reading one's own writes,
//! pages, the log, subscriptions, the document, health, metrics, the API key and the end of the server.

mod harness;

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use annals::api::proto;
use annals::api::proto::commands_client::CommandsClient;
use annals::api::proto::events_client::EventsClient;
use annals::api::proto::queries_client::QueriesClient;
use harness::server::Server;
use harness::{annals, run, scratch};
use serde_json::{Value, json};
use tonic::transport::Channel;
use tonic::{Code, Status};

/// A server that the tests of this file share; the last one to leave it stops it.
struct Shared {
    server: Option<Server>,
    _folder: tempfile::TempDir,
}

impl Shared {
    fn get() -> Arc<Shared> {
        static SHARED: Mutex<Weak<Shared>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(running) = shared.upgrade() {
            return running;
        }
        let folder = scratch();
        let server = Server::start(&folder.path().join("data"), &[]);
        let running = Arc::new(Shared { server: Some(server), _folder: folder });
        *shared = Arc::downgrade(&running);
        running
    }

    fn server(&self) -> &Server {
        self.server.as_ref().expect("it runs until it is dropped")
    }

    /// A new account with this much cash; the position of its last event.
    fn account(&self, account: &str, cash: &str) -> u64 {
        let (status, opened) =
            self.server().command("trading", "open-account", &json!({"account": account}));
        assert_eq!(status, 201, "{opened}");
        let deposit = json!({"account": account, "amount": cash});
        let (status, answer) = self.server().command("trading", "deposit", &deposit);
        assert_eq!(status, 201, "{answer}");
        answer["position"].as_u64().expect("a position")
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop().exits_with(0);
        }
    }
}

async fn channel(server: &Server) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{}", server.address));
    endpoint.expect("an address").connect().await.expect("the server listens")
}

/// A request to REST; its status, the header asked for, and its JSON.
async fn rest(server: &Server, request: Request<'_>) -> (u16, Option<String>, Value) {
    let client = reqwest::Client::new();
    let url = format!("http://{}{}", server.address, request.path);
    let mut asked = match request.body {
        Some(body) => client.post(url).body(body.to_owned()),
        None => client.get(url),
    };
    for (name, value) in request.headers {
        asked = asked.header(*name, *value);
    }
    let answer = asked.send().await.expect("the server answers");
    let header = answer.headers().get(request.header).map(|value| value.to_str().expect("text"));
    let (status, header) = (answer.status().as_u16(), header.map(str::to_owned));
    let text = answer.text().await.expect("text");
    (status, header, serde_json::from_str(&text).unwrap_or(Value::Null))
}

#[derive(Clone, Copy)]
struct Request<'a> {
    path: &'a str,
    body: Option<&'a str>,
    headers: &'a [(&'a str, &'a str)],
    /// The header of the answer to tell.
    header: &'a str,
}

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

fn get(path: &str) -> Request<'_> {
    Request { path, body: None, headers: &[], header: "content-type" }
}

fn post<'a>(path: &'a str, body: &'a str) -> Request<'a> {
    Request { body: Some(body), headers: JSON, ..get(path) }
}

fn code(status: &Status) -> String {
    let code = status.metadata().get("annals-code").expect("a machine code");
    code.to_str().expect("ASCII").to_owned()
}

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

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_caller_reads_their_own_writes() {
    let shared = Shared::get();
    for round in 0..20 {
        let account = format!("own-{round}");
        let position = shared.account(&account, "12.34");
        let path = format!("/v1/trading_accounts/{account}?not_before_position={position}");
        let request = Request { header: "x-annals-position", ..get(&path) };
        let (status, reached, row) = rest(shared.server(), request).await;
        assert_eq!((status, &row["cash"]), (200, &json!("12.34000000")), "{row}");
        assert!(reached.and_then(|text| text.parse::<u64>().ok()) >= Some(position));
        // The SQL view waits for the read models under it.
        let path = format!("/v1/trading_equity/{account}?not_before_position={position}");
        let (status, _, row) = rest(shared.server(), get(&path)).await;
        assert_eq!((status, &row["equity"]), (200, &json!("12.34000000")), "{row}");
    }
    let path = "/v1/trading_accounts?not_before_position=999999999&timeout_ms=50";
    let request = Request { header: "retry-after", ..get(path) };
    let (status, retry_after, problem) = rest(shared.server(), request).await;
    assert_eq!((status, retry_after.as_deref()), (503, Some("1")), "{problem}");
    assert_eq!((&problem["code"], &problem["asked"]), (&json!("not-yet"), &json!(999_999_999)));

    // Over one warm connection the question follows so closely that rows not waited for would be old ones.
    let warm = channel(shared.server()).await;
    let mut commands = CommandsClient::new(warm.clone());
    let mut grpc = QueriesClient::new(warm);
    for deposits in 1..=50 {
        let request = proto::ExecuteRequest {
            context: "trading".to_owned(),
            name: "deposit".to_owned(),
            json: r#"{"account":"own-0","amount":"1"}"#.into(),
            command_id: String::new(),
        };
        let answer = commands.execute(request).await.expect("carried out").into_inner();
        let request = proto::GetRequest {
            read_model: "trading_accounts".to_owned(),
            key: "own-0".to_owned(),
            not_before_position: answer.position,
            timeout_ms: None,
        };
        let found = grpc.get(request).await.expect("a row").into_inner();
        assert!(found.position >= answer.position);
        let row: Value = serde_json::from_slice(&found.json).expect("JSON");
        assert_eq!(row["cash"], format!("{}.34000000", 12 + deposits));
    }
    let request = proto::GetRequest {
        read_model: "trading_accounts".to_owned(),
        key: "own-0".to_owned(),
        not_before_position: Some(999_999_999),
        timeout_ms: Some(50),
    };
    let status = grpc.get(request).await.expect_err("it is not there yet");
    assert_eq!((status.code(), code(&status)), (Code::Unavailable, "not-yet".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn pages_hold_every_row_once_in_order() {
    let shared = Shared::get();
    let mut position = 0;
    for number in 0..7 {
        let cash = if number % 2 == 0 { "5" } else { "7.5" };
        position = shared.account(&format!("page-{number}"), cash);
    }
    let base = format!(
        "/v1/trading_accounts?account[prefix]=page-&sort=-cash,-account&limit=3\
         &not_before_position={position}"
    );
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = shared.server().get(&format!("{base}&cursor={cursor}"));
        let items = page["items"].as_array().expect("items");
        assert!(items.len() <= 3);
        found.extend(items.iter().map(|row| row["account"].as_str().expect("text").to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => break,
        }
    }
    let expected = ["page-5", "page-3", "page-1", "page-6", "page-4", "page-2", "page-0"];
    assert_eq!(found, expected);

    let page = shared.server().get(&base);
    let cursor = page["next_cursor"].as_str().expect("another page").to_owned();
    let mut changed = cursor.clone().into_bytes();
    changed[20] = if changed[20] == b'A' { b'B' } else { b'A' };
    let changed = String::from_utf8(changed).expect("ASCII");
    let elsewhere = format!("/v1/trading_accounts?limit=3&cursor={cursor}");
    for path in [format!("{base}&cursor={changed}"), elsewhere, format!("{base}&cursor=%00")] {
        let (status, _, problem) = rest(shared.server(), get(&path)).await;
        assert_eq!((status, &problem["code"]), (400, &json!("wrong-cursor")), "{path}");
    }

    let mut grpc = QueriesClient::new(channel(shared.server()).await);
    let filter = |column: &str, operator: proto::Operator, value: &str| proto::Filter {
        column: column.to_owned(),
        operator: operator.into(),
        value: value.to_owned(),
    };
    let mut request = proto::ListRequest {
        read_model: "trading_accounts".to_owned(),
        filters: vec![
            filter("account", proto::Operator::Prefix, "page-"),
            filter("cash", proto::Operator::Gte, "7.5"),
        ],
        limit: 2,
        ..proto::ListRequest::default()
    };
    let first = grpc.list(request.clone()).await.expect("a page").into_inner();
    request.cursor = first.next_cursor.clone();
    let second = grpc.list(request.clone()).await.expect("a page").into_inner();
    assert_eq!((first.rows_json.len(), second.rows_json.len()), (2, 1));
    assert_eq!(second.next_cursor, "");
    request.cursor = changed;
    let status = grpc.list(request).await.expect_err("a changed cursor");
    assert_eq!((status.code(), code(&status)), (Code::InvalidArgument, "wrong-cursor".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_wrong_question_is_told_by_name() {
    let shared = Shared::get();
    shared.account("question-1", "1");
    let cases = [
        ("/v1/nothing", 404, "unknown-read-model", "trading_accounts"),
        ("/v1/pg_user", 404, "unknown-read-model", "trading_accounts"),
        ("/v1/trading_accounts/nobody", 404, "unknown-row", "nobody"),
        ("/v1/trading_accounts?colour=red", 400, "unknown-column", "reserved"),
        ("/v1/trading_accounts?cash=much", 400, "wrong-value", "decimal"),
        ("/v1/trading_accounts?cash[near]=1", 400, "unknown-operator", "gte"),
        ("/v1/trading_accounts?sort=1;drop", 400, "unknown-column", "1;drop"),
        ("/v1/trading_accounts?limit=100000", 400, "wrong-limit", "1000"),
        ("/v1/trading_accounts/question-1?colour=red", 400, "unknown-parameter", "colour"),
        ("/v1/streams/account-nobody", 404, "unknown-stream", "account-nobody"),
        ("/v1/streams/account-question-1?from_revision=x", 400, "wrong-value", "from_revision"),
        ("/v1/events?from_position=0&from_position=1", 400, "doubled-parameter", "from_position"),
        ("/v1/projections/nothing/work", 404, "unknown-projection", "trading_accounts"),
        ("/v1/debug/state", 400, "wrong-subject", "stream=NAME"),
        ("/v1/debug/state?stream=account-nobody", 404, "unknown-stream", "account-nobody"),
        ("/v1/debug/diff?stream=account-question-1", 400, "wrong-moment", "from_revision"),
        ("/v2/nothing", 404, "unknown-route", "/docs"),
    ];
    for (path, http, machine, says) in cases {
        let (status, media_type, problem) = rest(shared.server(), get(path)).await;
        assert_eq!((status, &problem["code"]), (http, &json!(machine)), "{path}: {problem}");
        assert_eq!(media_type.as_deref(), Some("application/problem+json"), "{path}");
        assert!(problem["detail"].as_str().expect("text").contains(says), "{path}: {problem}");
    }
    let (status, _, problem) = rest(shared.server(), post("/v1/trading_accounts", "{}")).await;
    assert_eq!((status, &problem["code"]), (405, &json!("wrong-method")));
    let path = "/v1/commands/trading/deposit";
    let (status, _, problem) =
        rest(shared.server(), Request { headers: &[], ..post(path, "{}") }).await;
    assert_eq!((status, &problem["code"]), (415, &json!("unsupported-media-type")));
    let large = format!("{{\"account\":\"{}\"}}", "a".repeat(5 << 20));
    let (status, _, problem) = rest(shared.server(), post(path, &large)).await;
    assert_eq!((status, &problem["code"]), (413, &json!("body-too-large")));
    let foreign = Request { headers: &[("host", "example.com")], ..get("/v1/projections") };
    let (status, _, problem) = rest(shared.server(), foreign).await;
    assert_eq!((status, &problem["code"]), (403, &json!("foreign-host")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_log_is_read_in_pages_and_through_time() {
    let shared = Shared::get();
    let position = shared.account("log-1", "1");
    let (_, deposited) =
        shared.server().command("trading", "deposit", &json!({"account": "log-1", "amount": "2"}));
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let (status, _, traced) = rest(
        shared.server(),
        Request {
            headers: &[JSON[0], ("traceparent", trace)],
            ..post("/v1/commands/trading/open-account", r#"{"account":"log-2"}"#)
        },
    )
    .await;
    assert_eq!(status, 201, "{traced}");
    let page = shared.server().get("/v1/streams/account-log-2");
    assert_eq!(page["events"][0]["metadata"]["traceparent"], trace);

    let page = shared.server().get("/v1/streams/account-log-1?limit=2");
    assert_eq!(page["events"][0]["type"], "trading.AccountOpened");
    assert_eq!(page["events"][1]["data"]["amount"], "1");
    assert_eq!(page["next_from_revision"], 2);
    let page = shared.server().get("/v1/streams/account-log-1?from_revision=2");
    assert_eq!(
        (&page["events"][0]["revision"], &page["next_from_revision"]),
        (&json!(2), &Value::Null)
    );
    let page = shared.server().get("/v1/streams/account-log-1?backwards=true&limit=1");
    assert_eq!(
        (&page["events"][0]["revision"], &page["next_from_revision"]),
        (&json!(2), &json!(1))
    );
    let path = format!("/v1/events?from_position={position}&type_prefix=trading.Cash&limit=1");
    assert_eq!(shared.server().get(&path)["events"][0]["position"], position);

    let server = shared.server();
    let before =
        server.get(&format!("/v1/debug/state?stream=account-log-1&at_position={position}"));
    assert_eq!(before["state"]["cash"], "1.00000000", "{before}");
    let row = "read_model=trading_accounts&key=log-1";
    let difference = server.get(&format!("/v1/debug/diff?{row}&from_position={position}"));
    assert_eq!(difference["to"]["state"]["cash"], "3.00000000", "{difference}");
    let history = server.get(&format!("/v1/debug/history?{row}&youngest=true&limit=1"));
    assert_eq!(history["changes"][0]["position"], deposited["position"], "{history}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_subscription_goes_on_live_without_a_seam() {
    use proto::subscribe_response::Content;

    let shared = Shared::get();
    let position = shared.account("live-1", "1");
    let mut grpc = EventsClient::new(channel(shared.server()).await);
    let request = proto::SubscribeRequest {
        stream: String::new(),
        start: Some(proto::subscribe_request::Start::AfterPosition(position - 1)),
        filter: Some(proto::EventFilter {
            stream_prefixes: vec!["account-live-".to_owned()],
            type_prefixes: vec!["trading.Cash".to_owned()],
            ..proto::EventFilter::default()
        }),
        payload: proto::Payload::Both.into(),
    };
    let mut stream = grpc.subscribe(request).await.expect("a subscription").into_inner();
    let (mut amounts, mut caught_up, mut checkpoint) = (Vec::new(), false, 0);
    while amounts.len() < 4 {
        let next = tokio::time::timeout(Duration::from_secs(20), stream.message());
        let message = next.await.expect("it comes").expect("no error").expect("no end");
        match message.content.expect("content") {
            Content::Batch(batch) => {
                for event in batch.events {
                    assert!(event.position >= position && !event.data.is_empty());
                    assert_ne!(event.schema, 0);
                    let json: Value = serde_json::from_slice(&event.json).expect("JSON");
                    amounts.push(json["amount"].as_str().expect("text").to_owned());
                }
            }
            Content::Checkpoint(reached) => {
                assert!(reached.position >= checkpoint);
                checkpoint = reached.position;
            }
            Content::CaughtUp(_) => {
                if !std::mem::replace(&mut caught_up, true) {
                    assert_eq!(amounts, ["1"], "history comes before what is live");
                    for amount in ["2", "3", "4"] {
                        let deposit = json!({"account": "live-1", "amount": amount});
                        let (status, _) = shared.server().command("trading", "deposit", &deposit);
                        assert_eq!(status, 201);
                    }
                }
            }
        }
    }
    assert_eq!(amounts, ["1", "2", "3", "4"]);

    let request = proto::ReadRequest {
        stream: "account-live-1".to_owned(),
        backwards: true,
        limit: 2,
        payload: proto::Payload::Json.into(),
        ..proto::ReadRequest::default()
    };
    let mut read = grpc.read(request).await.expect("a read").into_inner();
    let mut revisions = Vec::new();
    while let Some(message) = read.message().await.expect("no error") {
        revisions.extend(message.events.into_iter().map(|event| event.revision));
    }
    assert_eq!(revisions, [4, 3]);
}

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
async fn work_on_a_projection_ends_with_its_report() {
    let shared = Shared::get();
    shared.account("work-1", "1");
    let path = |verb: &str| format!("/v1/projections/trading_accounts/{verb}");
    for verb in ["rebuild", "verify"] {
        let (status, _, work) = rest(shared.server(), post(&path(verb), "")).await;
        assert_eq!((status, &work["state"]), (200, &json!("done")), "{work}");
        let told = shared.server().get(&path("work"));
        assert_eq!((&told["kind"], &told["report"]), (&json!(verb), &work["report"]));
    }
    assert_eq!(shared.server().get(&path("work"))["report"]["mismatches"], 0);
    let row = shared.server().get("/v1/trading_accounts/work-1");
    assert_eq!(row["cash"], "1.00000000");
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
