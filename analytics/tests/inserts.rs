//! Inserts: every row arrives, byte for byte, or none of its batch does, and a batch that is sent again adds nothing.

mod support;

use std::time::Duration;

use bytes::Bytes;
use clickhouse::{Compression, Row};
use serde::{Deserialize, Serialize};
use support::{Analytics, code_of};

#[derive(Clone, Debug, PartialEq, Row, Serialize, Deserialize)]
struct Item {
    id: u64,
    text: String,
}

fn item(id: u64) -> Item {
    // Empty lines, quotes, semicolons, zeroes: what an insert in the statement's text would be cut at.
    Item { id, text: format!("{id}\n\n'\"`;\0\\ é {}", "\n".repeat((id % 3) as usize)) }
}

const TABLE: &str = "CREATE TABLE items (id UInt64, text String) ENGINE = MergeTree ORDER BY id \
                     SETTINGS non_replicated_deduplication_window = 10000";

async fn insert(client: &clickhouse::Client, ids: std::ops::Range<u64>) {
    let mut insert = client.insert::<Item>("items").await.expect("the table is there");
    for id in ids {
        insert.write(&item(id)).await.expect("the row fits");
    }
    insert.end().await.expect("the rows are stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_with_empty_lines_and_any_bytes_arrive_whole() {
    let analytics = Analytics::start().await;
    analytics.execute(TABLE).await;
    let plain = analytics.client();
    let lz4 = analytics.client().with_compression(Compression::Lz4);
    // 0x0A0A = 2570: the row where the engine's other insert path stops without an error.
    insert(&plain, 0..5_000).await;
    insert(&lz4, 5_000..10_000).await;
    insert(&plain.clone().with_validation(false), 10_000..15_000).await;
    let rows =
        plain.query("SELECT id, text FROM items ORDER BY id").fetch_all::<Item>().await.unwrap();
    assert!(rows == (0..15_000).map(item).collect::<Vec<_>>(), "{} rows", rows.len());
    analytics.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_rows_are_one_block() {
    let analytics = Analytics::start().await;
    analytics.execute(TABLE).await;
    let client = analytics.client().with_validation(false);
    let mut insert = client.insert::<Item>("items").await.unwrap();
    for id in 0..1_000_000 {
        insert.write(&Item { id, text: String::new() }).await.unwrap();
    }
    insert.end().await.unwrap();
    assert_eq!(analytics.number("SELECT count() FROM items").await, 1_000_000);
    let parts = "SELECT count() FROM system.parts WHERE table = 'items' AND level = 0";
    assert_eq!(analytics.number(parts).await, 1);
    analytics.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_insert_that_is_broken_off_stores_nothing() {
    let analytics = Analytics::start().await;
    analytics.execute(TABLE).await;
    let client = analytics.client();
    let mut insert = client.insert::<Item>("items").await.unwrap();
    for id in 0..200_000 {
        insert.write(&item(id)).await.unwrap();
    }
    drop(insert);
    // A body that ends in the middle of a row, with the length announced, is an error of its own.
    let cut = b"\x01\0\0\0\0\0\0\0\x05ab";
    let query = [("query", "INSERT INTO items FORMAT RowBinary")];
    let (status, text) = analytics.post(&query, cut.as_slice()).await;
    assert_ne!(status, 200, "{text}");
    let (status, text) = analytics
        .post(&[("query", "INSERT INTO items FORMAT JSONEachRow")], "{\"id\": 1}\n{\"id\": 2, \"te")
        .await;
    assert_ne!(status, 200, "{text}");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(analytics.number("SELECT count() FROM items").await, 0);
    insert_once_more(&analytics).await;
    analytics.stop().await;
}

async fn insert_once_more(analytics: &Analytics) {
    insert(&analytics.client(), 0..10).await;
    assert_eq!(analytics.number("SELECT count() FROM items").await, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_compressed_frame_stores_nothing() {
    let analytics = Analytics::start().await;
    analytics.execute(TABLE).await;
    let frame = vec![7_u8; 60];
    let query = [("query", "INSERT INTO items FORMAT RowBinary"), ("decompress", "1")];
    let (status, text) = analytics.post(&query, frame).await;
    assert!(status == 400 && text.contains("Code: 271"), "{status} {text}");
    assert_eq!(analytics.number("SELECT count() FROM items").await, 0);
    analytics.stop().await;
}

/// Three batches alike under one token are one batch, in the table and in what a materialized view makes of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_sent_again_adds_nothing_also_after_a_crash() {
    let analytics = Analytics::start().await;
    analytics.execute(TABLE).await;
    analytics
        .execute(
            "CREATE TABLE totals (half UInt64, rows UInt64) ENGINE = SummingMergeTree ORDER BY half \
             SETTINGS non_replicated_deduplication_window = 10000",
        )
        .await;
    analytics
        .execute(
            "CREATE MATERIALIZED VIEW totals_fill TO totals AS \
             SELECT id % 2 AS half, toUInt64(1) AS rows FROM items",
        )
        .await;
    let send = |token: &'static str, ids: std::ops::Range<u64>| {
        let client = analytics
            .client()
            .with_setting("insert_deduplication_token", token)
            .with_setting("deduplicate_blocks_in_dependent_materialized_views", "1")
            .with_setting("async_insert", "0");
        async move { insert(&client, ids).await }
    };
    for _ in 0..3 {
        send("items_g1:0-999", 0..1_000).await;
    }
    assert_counts(&analytics, 1_000).await;
    analytics.kill().await;
    send("items_g1:0-999", 0..1_000).await;
    assert_counts(&analytics, 1_000).await;
    // The token is what counts: the same rows under another one are new.
    send("items_g1:1000-1999", 0..1_000).await;
    assert_counts(&analytics, 2_000).await;
    let folder = analytics.stop().await;
    let supervisor =
        annals_analytics::Supervisor::start(support::options(folder.path())).await.unwrap();
    let analytics = Analytics { supervisor, folder };
    insert(
        &analytics.client().with_setting("insert_deduplication_token", "items_g1:0-999"),
        0..1_000,
    )
    .await;
    assert_counts(&analytics, 2_000).await;
    analytics.stop().await;
}

async fn assert_counts(analytics: &Analytics, rows: u64) {
    assert_eq!(analytics.number("SELECT count() FROM items").await, rows);
    assert_eq!(analytics.number("SELECT sum(rows) FROM totals").await, rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn formatted_rows_keep_every_digit() {
    let analytics = Analytics::start().await;
    analytics
        .execute(
            "CREATE TABLE facts (at DateTime64(6, 'UTC'), price Decimal(38, 18), side LowCardinality(String), \
             note Nullable(String)) ENGINE = MergeTree ORDER BY at",
        )
        .await;
    let rows = concat!(
        r#"{"at":"2026-11-21 10:11:12.123456","price":"12345678901234567890.123456789012345678","side":"buy","note":null}"#,
        "\n\n",
        r#"{"at":"2026-11-21 10:11:13.000001","price":"-0.000000000000000001","side":"sell","note":"a\n\nb"}"#,
        "\n"
    );
    let client = analytics.client();
    for client in [client.clone(), client.with_compression(Compression::Lz4)] {
        let sql = "INSERT INTO facts (at, price, side, note) FORMAT JSONEachRow";
        let mut insert = client.insert_formatted_with(sql);
        insert.send(Bytes::from_static(rows.as_bytes())).await.unwrap();
        insert.end().await.unwrap();
    }
    let sql =
        "SELECT at, toString(price) AS price, side, note FROM facts ORDER BY at LIMIT 1 BY at";
    let (_, text) = analytics.post(&[("default_format", "JSONEachRow")], sql).await;
    assert_eq!(
        text,
        "{\"at\":\"2026-11-21 10:11:12.123456\",\"price\":\"12345678901234567890.123456789012345678\",\"side\":\"buy\",\"note\":null}\n\
         {\"at\":\"2026-11-21 10:11:13.000001\",\"price\":\"-0.000000000000000001\",\"side\":\"sell\",\"note\":\"a\\n\\nb\"}\n"
    );
    assert_eq!(analytics.number("SELECT count() FROM facts").await, 4);
    analytics.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn data_may_follow_the_statement_in_the_body() {
    let analytics = Analytics::start().await;
    analytics.execute(TABLE).await;
    analytics.execute("INSERT INTO items VALUES (1, 'a\n\nb'), (2, ';')").await;
    let (status, text) =
        analytics.post(&[], "INSERT INTO items (id, text) FORMAT CSV\n3,\"c\n\nd\"\n4,e\n").await;
    assert_eq!(status, 200, "{text}");
    analytics.execute("INSERT INTO items SELECT id + 10, text FROM items").await;
    let (_, text) = analytics
        .post(&[], "SELECT id, text FROM items ORDER BY id FORMAT JSONCompactEachRow")
        .await;
    assert_eq!(
        text,
        "[1, \"a\\n\\nb\"]\n[2, \";\"]\n[3, \"c\\n\\nd\"]\n[4, \"e\"]\n\
         [11, \"a\\n\\nb\"]\n[12, \";\"]\n[13, \"c\\n\\nd\"]\n[14, \"e\"]\n"
    );
    analytics.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_does_not_fit_the_table_is_refused() {
    #[derive(Row, Serialize)]
    struct Other {
        id: String,
        text: String,
    }
    let analytics = Analytics::start().await;
    analytics.execute(TABLE).await;
    let client = analytics.client();
    let mut insert = client.insert::<Other>("items").await.unwrap();
    let written = insert.write(&Other { id: "a".into(), text: "b".into() }).await;
    let error = written.expect_err("a text is no number");
    assert!(matches!(error, clickhouse::error::Error::SchemaMismatch(_)), "{error}");
    drop(insert);
    let absent = client.insert::<Item>("nowhere").await.map(|_| ()).unwrap_err();
    assert_eq!(code_of(&absent), 60);
    let mut unchecked = client.insert_formatted_with("INSERT INTO nowhere FORMAT JSONEachRow");
    let error = match unchecked.send(Bytes::from_static(b"{}")).await {
        Ok(()) => unchecked.end().await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(code_of(&error), 60);
    assert_eq!(analytics.number("SELECT count() FROM items").await, 0);
    analytics.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_may_be_encoded_by_http() {
    use std::io::Write as _;
    let analytics = Analytics::start().await;
    // Without a deduplication window: the same rows are meant to be stored three times.
    analytics
        .execute("CREATE TABLE items (id UInt64, text String) ENGINE = MergeTree ORDER BY id")
        .await;
    let rows = "7\ttext\n".repeat(1_000);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(rows.as_bytes()).unwrap();
    let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
    lz4.write_all(rows.as_bytes()).unwrap();
    let zstd = zstd::stream::encode_all(rows.as_bytes(), 1).unwrap();
    for (encoding, body) in
        [("gzip", gzip.finish().unwrap()), ("lz4", lz4.finish().unwrap()), ("zstd", zstd)]
    {
        let query = [("query", "INSERT INTO items FORMAT TabSeparated")];
        let cut = body[..body.len() - 9].to_vec();
        let request = |body| {
            analytics
                .request(reqwest::Method::POST, &query)
                .header("Content-Encoding", encoding)
                .body(body)
        };
        let (status, text) = support::answer(request(cut)).await;
        assert_ne!(status, 200, "{encoding}: {text}");
        let (status, text) = support::answer(request(body)).await;
        assert_eq!(status, 200, "{encoding}: {text}");
    }
    assert_eq!(analytics.number("SELECT count() FROM items").await, 3_000);
    analytics.stop().await;
}
