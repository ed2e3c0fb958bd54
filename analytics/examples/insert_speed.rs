//! How fast rows go in, and what they cost: the same rows of twelve columns as text (JSON, tab-separated) and as RowBinary,
//! through the official client and the supervised child. Prints a table; run it with `--release`.

use std::fmt::Write as _;
use std::time::Instant;

use annals_analytics::{Options, Supervisor};
use bytes::Bytes;
use clickhouse::{Client, Compression, Row};
use serde::Serialize;

const ROWS: u64 = 1_000_000;
const BATCH: u64 = 100_000;

#[derive(Row, Serialize)]
struct Trade {
    position: u64,
    revision: u64,
    stream: &'static str,
    at: i64,
    symbol: &'static str,
    side: &'static str,
    price: i64,
    size: i64,
    value: i128,
    order: u32,
    maker: bool,
    note: Option<&'static str>,
}

/// The same as a projection would serialise it for JSON: decimals and times as text.
#[derive(Serialize)]
struct TextTrade {
    position: u64,
    revision: u64,
    stream: &'static str,
    at: String,
    symbol: &'static str,
    side: &'static str,
    price: String,
    size: String,
    value: String,
    order: u32,
    maker: bool,
    note: Option<&'static str>,
}

fn trade(position: u64) -> Trade {
    let number = i64::try_from(position).unwrap_or(0);
    Trade {
        position,
        revision: position,
        stream: "market-XBTUSD",
        at: 1_700_000_000_000_000 + number * 137,
        symbol: "XBTUSD",
        side: if number % 3 == 0 { "sell" } else { "buy" },
        price: 4_000_000_000_000 + number % 100_000 * 50_000_000,
        size: 10_000_000_000 + number % 977 * 100_000_000,
        value: i128::from(number) * 1_234_567,
        order: u32::try_from(position % 1_000).unwrap_or(0),
        maker: number % 2 == 0,
        note: None,
    }
}

fn text(position: u64) -> TextTrade {
    let trade = trade(position);
    let decimal = |value: i128| format!("{}.{:08}", value / 100_000_000, value % 100_000_000);
    let seconds = trade.at / 1_000_000;
    TextTrade {
        position,
        revision: trade.revision,
        stream: trade.stream,
        at: format!("{seconds}.{:06}", trade.at % 1_000_000),
        symbol: trade.symbol,
        side: trade.side,
        price: decimal(i128::from(trade.price)),
        size: decimal(i128::from(trade.size)),
        value: decimal(trade.value),
        order: trade.order,
        maker: trade.maker,
        note: None,
    }
}

/// CPU seconds (user and system) of a process.
fn cpu(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<u32>().ok());
    f64::from(ticks(11).unwrap_or(0) + ticks(12).unwrap_or(0)) / 100.0
}

/// Rows as text: a JSON object, a JSON array or tab-separated fields.
async fn text_rows(
    client: &Client,
    from: u64,
    format: &str,
) -> Result<(), clickhouse::error::Error> {
    let mut insert = client.insert_formatted_with(format!("INSERT INTO trades FORMAT {format}"));
    let mut buffer = Vec::with_capacity(300 << 10);
    for position in from..from + BATCH {
        let row = text(position);
        match format {
            "JSONEachRow" => serde_json::to_writer(&mut buffer, &row).expect("a row is JSON"),
            "JSONCompactEachRow" => {
                let TextTrade {
                    position,
                    revision,
                    stream,
                    at,
                    symbol,
                    side,
                    price,
                    size,
                    value,
                    order,
                    maker,
                    note,
                } = row;
                let fields = (
                    position, revision, stream, at, symbol, side, price, size, value, order, maker,
                    note,
                );
                serde_json::to_writer(&mut buffer, &fields).expect("a row is JSON");
            }
            _ => tabbed(&mut buffer, &row),
        }
        buffer.push(b'\n');
        if buffer.len() > 256 << 10 {
            let next = Vec::with_capacity(300 << 10);
            insert.send(Bytes::from(std::mem::replace(&mut buffer, next))).await?;
        }
    }
    insert.send(Bytes::from(buffer)).await?;
    insert.end().await
}

fn tabbed(buffer: &mut Vec<u8>, row: &TextTrade) {
    use std::io::Write as _;
    write!(
        buffer,
        "{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}",
        row.position,
        row.revision,
        row.stream,
        row.at,
        row.symbol,
        row.side,
        row.price,
        row.size,
        row.value,
        row.order,
        row.maker,
        row.note.unwrap_or("\\N"),
    )
    .expect("a vector takes any text");
}

async fn binary(client: &Client, from: u64) -> Result<(), clickhouse::error::Error> {
    let mut insert = client.insert::<Trade>("trades").await?;
    for position in from..from + BATCH {
        insert.write(&trade(position)).await?;
    }
    insert.end().await
}

const FORMATS: [&str; 7] = [
    "JSONEachRow",
    "JSONCompactEachRow",
    "TabSeparated",
    "RowBinary",
    "RowBinaryWithNamesAndTypes",
    "TabSeparated lz4",
    "RowBinary lz4",
];

const COLUMNS: &str = "position UInt64, revision UInt64, stream LowCardinality(String), at DateTime64(6, 'UTC'), \
    symbol LowCardinality(String), side LowCardinality(String), price Decimal(18, 8), size Decimal(18, 8), \
    value Decimal(38, 8), `order` UInt32, maker Bool, note Nullable(String)";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let program = std::env::current_exe()?;
    let program = program.parent().and_then(|folder| folder.parent()).ok_or("no folder")?;
    let options = Options::new(program.join("annals-analytics-child"), folder.path().to_owned());
    let analytics = Supervisor::start(options).await?;
    let client = Client::default()
        .with_url(analytics.url())
        .with_user(analytics.user())
        .with_password(analytics.key())
        .with_database(analytics.database())
        .with_compression(Compression::None);
    let pid = analytics.pid().ok_or("no child")?;
    let mut report = format!("{ROWS} rows of 12 columns, batches of {BATCH}\n");
    for name in FORMATS {
        for views in [false, true] {
            client.query("DROP TABLE IF EXISTS candles_fill").execute().await?;
            client.query("DROP TABLE IF EXISTS trades").execute().await?;
            let sql = format!(
                "CREATE TABLE trades ({COLUMNS}) ENGINE = MergeTree ORDER BY (symbol, at, position) \
                 SETTINGS non_replicated_deduplication_window = 10000"
            );
            client.query(&sql).execute().await?;
            if views {
                let sql = "CREATE MATERIALIZED VIEW candles_fill ENGINE = AggregatingMergeTree ORDER BY (symbol, minute) AS \
                           SELECT symbol, toStartOfMinute(at) AS minute, argMinState(price, position) AS open, \
                           maxState(price) AS high, minState(price) AS low, argMaxState(price, position) AS close, \
                           sumState(size) AS volume, countState() AS trades FROM trades GROUP BY symbol, minute";
                client.query(sql).execute().await?;
            }
            let client = client
                .clone()
                .with_compression(if name.ends_with("lz4") {
                    Compression::Lz4
                } else {
                    Compression::None
                })
                .with_validation(name.ends_with("Types"))
                .with_setting("async_insert", "0")
                .with_setting("deduplicate_blocks_in_dependent_materialized_views", "1");
            let (start, own, theirs) = (Instant::now(), cpu(std::process::id()), cpu(pid));
            for from in (0..ROWS).step_by(usize::try_from(BATCH)?) {
                let client = client
                    .clone()
                    .with_setting("insert_deduplication_token", format!("{name}:{from}"));
                if name.starts_with("RowBinary") {
                    binary(&client, from).await?;
                } else {
                    let format = name.split(' ').next().unwrap_or(name);
                    text_rows(&client, from, format).await?;
                }
            }
            let seconds = start.elapsed().as_secs_f64();
            let client_cpu = cpu(std::process::id()) - own;
            let server_cpu = cpu(pid) - theirs;
            let stored = client.query("SELECT count() FROM trades").fetch_one::<u64>().await?;
            assert_eq!(stored, ROWS);
            #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
            let rate = ROWS as f64 / seconds;
            let view = if views { "with a view" } else { "no view" };
            writeln!(
                report,
                "{name:27} {view:12} {rate:9.0} rows/s {seconds:6.2} s; CPU s: client {client_cpu:.2}, server {server_cpu:.2}"
            )?;
        }
    }
    eprint!("{report}");
    analytics.stop().await;
    Ok(())
}
