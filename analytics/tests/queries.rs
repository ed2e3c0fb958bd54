//! Queries: streamed answers are whole, errors are errors wherever they happen, limits hold.

mod support;

use clickhouse::Row;
use futures::future::join_all;
use serde::Deserialize;
use support::{Analytics, code_of};

#[derive(Debug, PartialEq, Row, Deserialize)]
struct Wide {
    number: u64,
    text: String,
    maybe: Option<i64>,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_answer_has_one_header_and_every_row() {
    let analytics = Analytics::start().await;
    let sql = "SELECT number, toString(number) AS text, if(number % 3 = 0, NULL, toInt64(number)) AS maybe \
               FROM numbers(300000)";
    let mut cursor = analytics.client().query(sql).fetch::<Wide>().unwrap();
    let mut rows = 0;
    while let Some(row) = cursor.next().await.unwrap() {
        let maybe = (rows % 3 != 0).then_some(i64::try_from(rows).unwrap());
        assert_eq!(row, Wide { number: rows, text: rows.to_string(), maybe });
        rows += 1;
    }
    assert_eq!(rows, 300_000);
    let none = analytics
        .client()
        .query("SELECT number, '' AS text, toNullable(toInt64(1)) AS maybe FROM numbers(0)");
    assert_eq!(none.fetch_all::<Wide>().await.unwrap(), []);
    let (_, text) =
        analytics.post(&[], "SELECT number FROM numbers(200000) FORMAT CSVWithNames").await;
    assert_eq!((text.lines().count(), text.matches("number").count()), (200_001, 1));
    let (_, text) =
        analytics.post(&[], "SELECT number FROM numbers(200000) FORMAT JSONEachRow").await;
    assert_eq!(text.lines().count(), 200_000);
    let totals =
        "SELECT number % 2 AS k, count() FROM numbers(10) GROUP BY k WITH TOTALS ORDER BY k";
    let (_, text) = analytics.post(&[], totals).await;
    assert_eq!(text, "0\t5\n1\t5\n\n0\t10\n");
    analytics.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_in_the_middle_of_an_answer_is_seen() {
    let analytics = Analytics::start().await;
    let sql = "SELECT number + throwIf(number = 500000) AS number FROM numbers(1000000) SETTINGS max_threads = 1";
    let mut cursor = analytics.client().query(sql).fetch::<u64>().unwrap();
    let mut rows = 0_u64;
    let error = loop {
        match cursor.next().await {
            Ok(Some(_)) => rows += 1,
            Ok(None) => panic!("no error after {rows} rows"),
            Err(error) => break error,
        }
    };
    assert_eq!(code_of(&error), 395);
    assert!(rows > 60_000, "{rows} rows came before it");
    analytics.stop().await;
}

/// Older engines mixed the parameters of concurrent connections up.
#[tokio::test(flavor = "multi_thread")]
async fn concurrent_parameters_never_mix() {
    let analytics = Analytics::start().await;
    let callers = (0..8_u64).map(|caller| {
        let client = analytics.client();
        tokio::spawn(async move {
            for call in 0..300_u64 {
                let text = format!("caller {caller} call {call} \t\n'\\");
                let query = client
                    .query("SELECT {number:UInt64} AS number, {text:String} AS text, toNullable({maybe:Int64}) AS maybe")
                    .param("number", caller * 1_000 + call)
                    .param("text", &text)
                    .param("maybe", -7_i64);
                let row = query.fetch_one::<Wide>().await.unwrap();
                assert_eq!(row, Wide { number: caller * 1_000 + call, text, maybe: Some(-7) });
            }
        })
    });
    for caller in join_all(callers).await {
        caller.unwrap();
    }
    analytics.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_statement_is_answered() {
    let analytics = Analytics::start().await;
    for (sql, part) in [
        ("CREATE TABLE t (a UInt64, b String DEFAULT 'x') ENGINE = MergeTree ORDER BY a", ""),
        ("INSERT INTO t (a) SELECT number FROM numbers(10)", ""),
        ("DESCRIBE TABLE t", "b\tString\tDEFAULT\t\\'x\\'"),
        ("SHOW TABLES", "t\n"),
        ("SHOW CREATE TABLE t", "MergeTree"),
        ("EXISTS TABLE t", "1\n"),
        ("EXPLAIN SELECT a FROM t", "ReadFromMergeTree"),
        ("ALTER TABLE t ADD COLUMN c Decimal(10, 2) DEFAULT 1.5", ""),
        ("SELECT sum(a), any(c) FROM t;", "45\t1.5\n"),
        ("WITH 2 AS two SELECT two -- said\n;", "2\n"),
        ("(SELECT 1) UNION ALL (SELECT 1)", "1\n1\n"),
        ("OPTIMIZE TABLE t FINAL", ""),
        ("CREATE VIEW v AS SELECT a FROM t WHERE a > 5", ""),
        ("CREATE OR REPLACE VIEW v AS SELECT a FROM t WHERE a > 6", ""),
        ("SELECT count() FROM v", "3\n"),
        ("DELETE FROM t WHERE a = 0", ""),
        ("SELECT count() FROM t", "9\n"),
        ("CHECK TABLE t", "1"),
        ("TRUNCATE TABLE t", ""),
        ("CREATE TABLE u AS t", ""),
        ("EXCHANGE TABLES t AND u", ""),
        ("RENAME TABLE u TO w", ""),
        ("DROP VIEW v", ""),
        ("DROP TABLE w", ""),
        ("SELECT timezone(), currentDatabase()", "UTC\tannals\n"),
        ("SELECT value FROM system.settings WHERE name = 'async_insert'", "0\n"),
        ("SELECT 1 AS a FORMAT JSONCompact", "\"data\""),
    ] {
        let (status, text) = analytics.post(&[], sql).await;
        assert_eq!(status, 200, "{sql}: {text}");
        assert!(text.contains(part), "{sql}: {text}");
    }
    for (sql, status, code) in [
        ("SELEC 1", 400, 62),
        ("SELECT nothing", 404, 47),
        ("SELECT * FROM nowhere", 404, 60),
        ("", 400, 62),
    ] {
        let (answered, text) = analytics.post(&[], sql).await;
        assert!(
            answered == status && text.contains(&format!("Code: {code}.")),
            "{sql}: {answered} {text}"
        );
    }
    analytics.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_wants_too_much_memory_fails_alone() {
    let analytics = Analytics::start().await;
    let sql = "SELECT length(groupArray(toString(number))) AS n FROM numbers(1000000000)";
    let client = analytics.client();
    let error = client.query(sql).fetch_one::<u64>().await.unwrap_err();
    assert_eq!(code_of(&error), 241);
    for setting in ["0", "99000000000"] {
        let more = client.query("SELECT toUInt64(1)").with_setting("max_memory_usage", setting);
        assert_eq!(code_of(&more.fetch_one::<u64>().await.unwrap_err()), 452);
    }
    assert_eq!(analytics.number("SELECT toUInt64(7)").await, 7);
    analytics.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_last_one_request() {
    let analytics = Analytics::start().await;
    let threads = "SELECT toUInt64(getSetting('max_threads'))";
    let client = analytics.client();
    let one =
        client.query(threads).with_setting("max_threads", "1").fetch_one::<u64>().await.unwrap();
    let three =
        client.query(threads).with_setting("max_threads", "3").fetch_one::<u64>().await.unwrap();
    assert_eq!((one, three), (1, 3));
    let unknown = client.query(threads).with_setting("max_treads", "1").fetch_one::<u64>().await;
    assert_eq!(code_of(&unknown.unwrap_err()), 115);
    let slow = client.query(
        "SELECT toUInt64(sum(sleepEachRow(0.1))) FROM numbers(100) SETTINGS max_block_size = 1",
    );
    let slow = slow.with_setting("max_execution_time", "1").fetch_one::<u64>().await;
    assert_eq!(code_of(&slow.unwrap_err()), 159);
    let elsewhere = client.clone().with_database("nowhere").query("SELECT 1").execute().await;
    assert_eq!(code_of(&elsewhere.unwrap_err()), 81);
    analytics.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_keeps_its_state_and_is_used_by_one_at_a_time() {
    let analytics = Analytics::start().await;
    let session = |extra: &'static [(&'static str, &'static str)], sql: &'static str| {
        let mut query = vec![("session_id", "s1")];
        query.extend_from_slice(extra);
        let analytics = &analytics;
        async move { analytics.post(&query, sql).await }
    };
    assert_eq!(session(&[("session_check", "1")], "SELECT 1").await.0, 400);
    assert_eq!(session(&[], "SET max_threads = 5").await.0, 200);
    assert_eq!(session(&[], "CREATE TEMPORARY TABLE mine (a UInt8)").await, (200, String::new()));
    assert_eq!(session(&[], "INSERT INTO mine VALUES (9)").await.0, 200);
    assert_eq!(session(&[], "SELECT a, getSetting('max_threads') FROM mine").await.1, "9\t5\n");
    let other = session(&[("max_threads", "2")], "SELECT getSetting('max_threads')").await;
    assert_eq!(other.1, "2\n", "a request's own setting");
    assert_eq!(session(&[], "SELECT getSetting('max_threads')").await.1, "5\n");
    let slow = session(&[], "SELECT sleep(1.5)");
    let meanwhile = async {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        session(&[], "SELECT 1").await
    };
    let (slow, locked) = tokio::join!(slow, meanwhile);
    assert_eq!(slow.0, 200);
    assert!(locked.0 == 400 && locked.1.contains("Code: 373"), "{locked:?}");
    let (_, outside) = analytics.post(&[], "SELECT a FROM mine").await;
    assert!(outside.contains("Code: 60"), "{outside}");
    analytics.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_key_opens_the_door() {
    let analytics = Analytics::start().await;
    let url = analytics.supervisor.url();
    let http = reqwest::Client::new();
    for path in ["/ping", "/"] {
        let answer = support::answer(http.get(format!("{url}{path}"))).await;
        assert_eq!(answer, (200, "Ok.\n".to_owned()));
    }
    for (user, key) in
        [("annals", "wrong"), ("annals", ""), ("default", analytics.supervisor.key())]
    {
        let request =
            http.post(url).header("X-ClickHouse-User", user).header("X-ClickHouse-Key", key);
        let (status, text) = support::answer(request.body("SELECT 1")).await;
        assert!(status == 403 && text.contains("Code: 516"), "{user}: {status} {text}");
    }
    let basic = http.post(url).basic_auth("annals", Some(analytics.supervisor.key()));
    assert_eq!(support::answer(basic.body("SELECT 1")).await, (200, "1\n".to_owned()));
    assert_eq!(support::answer(http.post(url).body("SELECT 1")).await.0, 403);
    assert_eq!(support::answer(http.get(format!("{url}/play"))).await.0, 404);
    assert_eq!(support::answer(http.put(url).body("SELECT 1")).await.0, 405);
    analytics.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_say_what_the_official_clients_read() {
    let analytics = Analytics::start().await;
    analytics.execute("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a").await;
    let query =
        [("query", "INSERT INTO t FORMAT TSV"), ("query_id", "mine"), ("wait_end_of_query", "1")];
    let response =
        analytics.request(reqwest::Method::POST, &query).body("1\n2\n").send().await.unwrap();
    let header = |name: &str| response.headers().get(name).unwrap().to_str().unwrap().to_owned();
    assert_eq!(header("X-ClickHouse-Query-Id"), "mine");
    assert_eq!(header("X-ClickHouse-Timezone"), "UTC");
    assert!(
        header("X-ClickHouse-Summary").contains("\"written_rows\":\"2\""),
        "{}",
        header("X-ClickHouse-Summary")
    );
    assert_eq!(header("X-ClickHouse-Exception-Tag").len(), 16);
    let response =
        analytics.request(reqwest::Method::POST, &[]).body("SELECT x").send().await.unwrap();
    assert_eq!(response.headers().get("X-ClickHouse-Exception-Code").unwrap(), "47");
    analytics.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn get_reads_only() {
    let analytics = Analytics::start().await;
    analytics.execute("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a").await;
    assert_eq!(analytics.get(&[("query", "SELECT count() FROM t")]).await, (200, "0\n".to_owned()));
    for sql in [
        "INSERT INTO t SELECT 1",
        "INSERT INTO t VALUES (1)",
        "DROP TABLE t",
        "CREATE TABLE u (a UInt8) ENGINE = Memory",
        "SET readonly = 0",
        "SELECT 1 SETTINGS readonly = 0",
    ] {
        for session in [&[("query", sql)][..], &[("query", sql), ("session_id", "s")]] {
            if sql.starts_with("SELECT") && session.len() > 1 {
                continue; // A session's own readonly is 0 already; the statement still only reads.
            }
            let (status, text) = analytics.get(session).await;
            assert!(status == 500 && text.contains("Code: 164"), "{sql}: {status} {text}");
        }
    }
    assert_eq!(analytics.number("SELECT count() FROM t").await, 0);
    analytics.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_leaves_frees_its_turn() {
    let analytics = Analytics::start().await;
    let endless = "SELECT number, randomPrintableASCII(100) FROM system.numbers";
    for _ in 0..60 {
        let mut response =
            analytics.request(reqwest::Method::POST, &[]).body(endless).send().await.unwrap();
        assert!(response.chunk().await.unwrap().is_some());
    }
    // Sixty endless queries, more than there are turns: each was cancelled when its reader left.
    let processes = "SELECT count() FROM system.processes WHERE query LIKE '%randomPrintableASCII%' AND query NOT LIKE '%processes%'";
    for _ in 0..100 {
        if analytics.number(processes).await == 0 {
            analytics.stop().await;
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("{} queries without a reader are still at work", analytics.number(processes).await);
}
