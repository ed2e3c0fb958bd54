//! The fence: whoever has the key works in the database, and reaches no file, no address and no server command.
//! Each payload must be refused, and leave no file behind.

mod support;

use support::Analytics;

/// `{out}` stands for a path in a folder that anyone may write to.
const REFUSED: &[&str] = &[
    // Reading files.
    "SELECT file('/etc/passwd')",
    "SELECT `file`('/etc/passwd')",
    "SELECT \"\\x66ile\"('/etc/passwd')",
    "SELECT * APPLY(file) FROM (SELECT '/etc/passwd' AS a)",
    "SELECT * APPLY file FROM (SELECT '/etc/passwd' AS a)",
    "SELECT arrayMap(file, ['/etc/passwd'])",
    "SELECT * FROM eval('SELECT file(''/etc/passwd'')')",
    "SELECT * FROM format(Values, 'a String', '(file(''/etc/passwd''))')",
    "INSERT INTO texts VALUES (file('/etc/passwd'))",
    "INSERT INTO texts SELECT file('/etc/passwd')",
    "SELECT * FROM `/etc/passwd`",
    "SELECT * FROM default.`/etc/passwd`",
    "SELECT * FROM annals.`/etc/passwd`",
    "SELECT * FROM file('/etc/passwd', 'LineAsString')",
    "DESCRIBE TABLE file('/etc/passwd', 'LineAsString')",
    "EXPLAIN SELECT * FROM file('/etc/passwd', 'LineAsString')",
    "SELECT * FROM view(SELECT * FROM file('/etc/passwd', 'LineAsString'))",
    "SELECT * FROM viewExplain('EXPLAIN', '', (SELECT * FROM file('/etc/passwd', 'LineAsString')))",
    "SELECT * FROM loop(file('/etc/passwd', 'LineAsString'))",
    "SELECT * FROM filesystem('/etc')",
    "SELECT * FROM sqlite('/etc/passwd', 't')",
    "SELECT * FROM icebergLocal('/etc')",
    "SELECT * FROM deltaLakeLocal('/etc')",
    "SELECT catboostEvaluate('/etc/passwd', 1)",
    "CREATE VIEW v AS SELECT * FROM file('/etc/passwd', 'LineAsString')",
    "CREATE TABLE f AS file('/etc/passwd', 'LineAsString')",
    "CREATE TABLE f (a String) ENGINE = File(CSV, '/etc/passwd')",
    "ATTACH TABLE f (a String) ENGINE = File(CSV, '/etc/passwd')",
    "ATTACH TABLE f FROM '/etc' (a Int8) ENGINE = MergeTree ORDER BY a",
    "CREATE DICTIONARY d (a UInt64, b String) PRIMARY KEY a SOURCE(FILE(path '/etc/passwd' format 'TSV')) LAYOUT(FLAT()) LIFETIME(0)",
    "CREATE DATABASE fs ENGINE = Filesystem('/')",
    "INSERT INTO texts FROM INFILE '/etc/passwd' FORMAT LineAsString",
    "INSERT INTO texts FROM/**/INFILE '/etc/passwd' COMPRESSION 'none' FORMAT LineAsString",
    "INSERT INTO texts (a) FROM INFILE '/etc/passwd'",
    "EXPLAIN INSERT INTO texts FROM INFILE '/etc/passwd' FORMAT LineAsString",
    "SELECT 1 AS x FORMAT Template SETTINGS format_template_row = '/etc/passwd'",
    "SELECT 1 AS x FORMAT Template SETTINGS format_template_resultset = '/etc/passwd'",
    "SELECT 1 AS x FORMAT Protobuf SETTINGS format_schema = '/etc/passwd:M'",
    "SELECT 1 SETTINGS additional_result_filter = 'file(''/etc/passwd'') != '''''",
    "RESTORE TABLE texts FROM File('/etc/passwd')",
    "COPY texts FROM '/etc/passwd'",
    // Writing files.
    "SELECT 1 INTO OUTFILE '{out}'",
    "SELECT 1 into/**/outfile '{out}' FORMAT CSV",
    "SELECT 1 INTO OUTFILE '{out}' AND STDOUT",
    "SELECT 1 INTO\n--\nOUTFILE '{out}' APPEND",
    "(SELECT 1) UNION ALL (SELECT 2) INTO OUTFILE '{out}' TRUNCATE COMPRESSION 'gzip'",
    "SELECT 1 /* /* */ ' */ INTO OUTFILE '{out}' -- '",
    "SELECT 'a' INTO OUTFILE $${out}$$",
    "EXPLAIN SELECT 1 INTO OUTFILE '{out}'",
    "SHOW TABLES INTO OUTFILE '{out}'",
    "DESCRIBE texts INTO OUTFILE '{out}'",
    "INSERT INTO FUNCTION file('{out}', 'CSV', 'a Int8') SELECT 1",
    "INSERT INTO FUNCTION file('{out}', 'CSV', 'a Int8') VALUES (1)",
    "CREATE TABLE f (a String) ENGINE = File('CSV', '{out}')",
    "CREATE TEMPORARY TABLE f (a String) ENGINE = File(CSV, '{out}')",
    "CREATE TABLE f (a String) ENGINE = EmbeddedRocksDB(0, '{out}') PRIMARY KEY a",
    "CREATE TABLE f (a String) ENGINE = Log",
    "CREATE TABLE f (a Int8) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type = 'local', path = '{out}/')",
    "CREATE TABLE f (a Int8) ENGINE = MergeTree ORDER BY a SETTINGS disk/**/=/**/disk/**/(type = 'local', path = '{out}/')",
    "ALTER TABLE texts MODIFY SETTING disk = disk(type = 'local', path = '{out}/')",
    "BACKUP TABLE texts TO File('{out}')",
    "COPY texts TO '{out}'",
    "ALTER TABLE texts EXPORT PARTITION ID 'all' TO TABLE FUNCTION file('{out}')",
    // Reaching out.
    "SELECT * FROM url('{url}', 'LineAsString')",
    "DESCRIBE url('{url}', 'LineAsString')",
    "SELECT * FROM s3('{url}/bucket/key.csv', 'CSV', 'a String')",
    "SELECT * FROM hdfs('hdfs://127.0.0.1/a', 'CSV')",
    "SELECT * FROM remote('127.0.0.1:9000', system.one)",
    "SELECT * FROM mysql('127.0.0.1:3306', 'a', 'b', 'c', 'd')",
    "SELECT * FROM postgresql('127.0.0.1:5432', 'a', 'b', 'c', 'd')",
    "SELECT * FROM mongodb('127.0.0.1:27017', 'a', 'b', 'c', 'd', 'x Int8')",
    "SELECT * FROM redis('127.0.0.1:6379', 'k', 'k String, v String')",
    "CREATE TABLE f (a String) ENGINE = URL('{url}', 'CSV')",
    "CREATE TABLE f (a String) ENGINE = Kafka('127.0.0.1:1', 'a', 'b', 'CSV')",
    "CREATE TABLE f (a String) ENGINE = Distributed('default', 'system', 'one')",
    "CREATE TABLE f (a Int8) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type = web, endpoint = '{url}/')",
    "CREATE MATERIALIZED VIEW m REFRESH EVERY 1 HOUR ENGINE = MergeTree ORDER BY tuple() AS SELECT * FROM url('{url}', 'LineAsString')",
    "INSERT INTO FUNCTION url('{url}', 'CSV', 'a Int8') VALUES (1)",
    "CREATE DATABASE my ENGINE = MySQL('127.0.0.1:1', 'a', 'b', 'c')",
    "SELECT * FROM format(AvroConfluent, 'a Int8', 'x') SETTINGS format_avro_schema_registry_url = '{url}'",
    // Running programs.
    "SELECT * FROM executable('x.sh', 'TSV', 'a String')",
    "CREATE TABLE f (a String) ENGINE = Executable('x.sh', 'TSV')",
    "CREATE DICTIONARY d (a UInt64, b String) PRIMARY KEY a SOURCE(EXECUTABLE(command 'id' format 'TSV')) LAYOUT(FLAT()) LIFETIME(0)",
    // The server, its users and its limits.
    "SYSTEM SHUTDOWN",
    "system/**/kill",
    "SYSTEM RELOAD CONFIG",
    "SYSTEM STOP MERGES",
    "DROP DATABASE annals",
    "DROP DATABASE system",
    "CREATE DATABASE other",
    "TRUNCATE DATABASE annals",
    "RENAME DATABASE annals TO other",
    "DETACH TABLE texts",
    "CREATE FUNCTION f AS x -> x",
    "CREATE NAMED COLLECTION n AS a = 'b'",
    "CREATE USER u",
    "CREATE ROLE r",
    "GRANT ALL ON *.* TO default",
    "SET ROLE ALL",
    "EXECUTE AS default SELECT 1",
    "CREATE WORKLOAD all",
    "INSERT INTO system.one VALUES (1)",
    "SET readonly = 0",
    "SET max_memory_usage = 0",
    "SET max_memory_usage = 99999999999",
    "SELECT 1 SETTINGS max_memory_usage = 0",
    "SET dialect = 'kusto'",
    "SELECT 1 SETTINGS dialect = 'prql'",
    "SELECT addressToLine(toUInt64(1))",
    "SELECT aiGenerate('x')",
    "SELECT 1 SETTINGS allow_experimental_ai_functions = 1",
    // Several statements.
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP TABLE texts",
    "CREATE TABLE z (a Int8) ENGINE = Memory; SYSTEM SHUTDOWN",
    "CREATE TABLE z (a Int8) ENGINE = Memory; no statement",
    "SELECT 1 PARALLEL WITH SELECT 2",
    "INSERT INTO texts SELECT a FROM input('a String') FORMAT CSV\nx",
    "SELECT \u{2018}a\u{2019} INTO OUTFILE '{out}'",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_payload_is_refused_and_leaves_no_file() {
    let analytics = Analytics::start().await;
    analytics.execute("CREATE TABLE texts (a String) ENGINE = MergeTree ORDER BY a").await;
    let outside = tempfile::tempdir().unwrap();
    let out = outside.path().join("out").display().to_string();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut passed = Vec::new();
    for payload in REFUSED {
        let sql = payload.replace("{out}", &out).replace("{url}", &url);
        for session in [None, Some(("session_id", "fence"))] {
            let query: Vec<_> = session.into_iter().collect();
            let (status, text) = analytics.post(&query, sql.clone()).await;
            if status == 200 || !text.contains("Code: ") || text.contains("root:") {
                passed.push(format!("{payload} => {status} {text}"));
            }
            if std::fs::read_dir(outside.path()).unwrap().next().is_some() {
                passed.push(format!("{payload} left a file"));
                std::fs::remove_dir_all(outside.path()).unwrap();
                std::fs::create_dir(outside.path()).unwrap();
            }
        }
    }
    assert_eq!(passed, Vec::<String>::new());
    let reached =
        tokio::time::timeout(std::time::Duration::from_millis(200), listener.accept()).await;
    assert!(reached.is_err(), "nothing of it reached another service");
    // The child is the same one, unharmed, and nothing was stored.
    assert_eq!(analytics.number("SELECT count() FROM texts").await, 0);
    let tables = "SELECT count() FROM system.tables WHERE database NOT IN ('system', 'INFORMATION_SCHEMA', 'information_schema')";
    assert_eq!(analytics.number(tables).await, 1);
    analytics.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_in_the_address_are_fenced_as_well() {
    let analytics = Analytics::start().await;
    for (name, value) in [
        ("readonly", "0"),
        ("max_memory_usage", "0"),
        ("dialect", "kusto"),
        ("implicit_select", "1"),
        ("format_template_row", "/etc/passwd"),
        ("format_schema", "/etc/passwd:M"),
        ("input_format_values_interpret_expressions", "1"),
        ("additional_table_filters", "{'system.one': 'file(\\'/etc/passwd\\') = 1'}"),
        ("allow_introspection_functions", "1"),
        ("max_threads = 1, readonly", "0"),
    ] {
        let (status, text) = analytics.post(&[(name, value)], "SELECT 1").await;
        assert!(status != 200 && text.contains("Code: "), "{name}: {status} {text}");
    }
    analytics.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ordinary_statements_with_such_words_pass() {
    let analytics = Analytics::start().await;
    analytics.execute("CREATE TABLE texts (a String) ENGINE = MergeTree ORDER BY a").await;
    for sql in [
        "SELECT 'file(x) INTO OUTFILE y FROM INFILE z; SYSTEM SHUTDOWN' -- infile",
        "SELECT a AS files FROM texts WHERE a = 'disk(1)' /* outfile */",
        "SELECT name, engine FROM system.tables WHERE database = 'annals'",
        "INSERT INTO texts VALUES ('INTO OUTFILE; file(x)')",
        "SELECT 1; -- SELECT 2",
        "CREATE TABLE IF NOT EXISTS more (a String) ENGINE = MergeTree ORDER BY a SETTINGS storage_policy = 'default'",
        "CREATE DATABASE IF NOT EXISTS annals",
    ] {
        let (status, text) = analytics.post(&[], sql).await;
        assert_eq!(status, 200, "{sql}: {text}");
    }
    analytics.stop().await;
}
