//! Read models and projections: own writes, pages, wrong questions, work.

use annals_client::proto;
use annals_client::proto::commands_client::CommandsClient;
use annals_client::proto::queries_client::QueriesClient;
use serde_json::{Value, json};
use tonic::Code;

use crate::client::{Request, Shared, channel, code, get, post, rest};

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

    // Over one warm connection the question follows so closely that rows not waited for would be
    // old ones.
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
