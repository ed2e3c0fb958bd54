//! The engine's configuration: the fence. The one user may work in the database `annals` and read `system`; files,
//! addresses, other engines and whole-server commands are not granted, and settings that name files are constant.
//!
//! Grants do not stop `INTO OUTFILE`, `FROM INFILE` and several statements in one text: `server::fence` does.

use std::ffi::CString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The database that the endpoint serves.
pub(crate) const DATABASE: &str = "annals";

/// Rows in the largest insert that is stored as one block, and so wholly or not at all.
pub(crate) const INSERT_ROWS_MAX: u64 = 1_100_000;

/// The folders below the data folder that the child owns.
pub(crate) struct Layout {
    pub(crate) engine: PathBuf,
    pub(crate) home: PathBuf,
    pub(crate) configuration: PathBuf,
    pub(crate) lock: PathBuf,
}

impl Layout {
    /// The folder that all the others lie in.
    pub(crate) fn folder(&self) -> &Path {
        self.lock.parent().unwrap_or(&self.lock)
    }

    /// Makes the folders, readable by the owner only, below `data`.
    pub(crate) fn create(data: &Path) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        let private =
            |folder: &Path| fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        private(data)?;
        let data = fs::canonicalize(data)?;
        let layout = Self {
            engine: data.join("engine"),
            home: data.join("home"),
            configuration: data.join("configuration"),
            lock: data.join("lock"),
        };
        private(&layout.engine)?;
        private(&layout.home)?;
        private(&layout.configuration)?;
        for empty in ["user_files", "format_schemas", "disks", "tmp"] {
            private(&layout.configuration.join(empty))?;
        }
        Ok(layout)
    }
}

/// Table engines that reach nothing outside the data folder. The grants alone let some others through.
pub(crate) const TABLE_ENGINES: [&str; 11] = [
    "MergeTree",
    "ReplacingMergeTree",
    "AggregatingMergeTree",
    "SummingMergeTree",
    "CollapsingMergeTree",
    "VersionedCollapsingMergeTree",
    "Memory",
    "Null",
    "Buffer",
    "View",
    "MaterializedView",
];

/// Settings nobody may change: those that name a file, an address or another parser, and those whose value is an
/// expression, where the function `file` could hide from the fence.
const CONSTANT_SETTINGS: [(&str, &str); 13] = [
    ("dialect", "clickhouse"),
    ("implicit_select", "0"),
    ("allow_introspection_functions", "0"),
    ("allow_experimental_ai_functions", "0"),
    ("format_schema", ""),
    ("format_template_row", ""),
    ("format_template_resultset", ""),
    ("format_avro_schema_registry_url", ""),
    ("input_format_values_interpret_expressions", "0"),
    ("input_format_values_deduce_templates_of_expressions", "0"),
    ("additional_result_filter", ""),
    ("additional_table_filters", "{}"),
    ("parallel_replicas_custom_key", ""),
];

/// Writes both configuration files and gives the arguments that every connection is opened with.
pub(crate) fn write(layout: &Layout, memory_bytes_max: u64) -> io::Result<Vec<CString>> {
    let server = layout.configuration.join("config.xml");
    let users = layout.configuration.join("users.xml");
    fs::write(&users, users_text(memory_bytes_max))?;
    fs::write(&server, server_text(layout, &users, memory_bytes_max))?;
    let arguments = [
        "chdb".to_owned(),
        format!("--path={}", layout.engine.display()),
        format!("--config-file={}", server.display()),
    ];
    arguments.into_iter().map(|argument| CString::new(argument).map_err(io::Error::other)).collect()
}

fn server_text(layout: &Layout, users: &Path, memory_bytes_max: u64) -> String {
    let folder = |name: &str| escape(&format!("{}/", layout.configuration.join(name).display()));
    format!(
        "<clickhouse>
    <users_config>{users}</users_config>
    <timezone>UTC</timezone>
    <max_server_memory_usage>{memory_bytes_max}</max_server_memory_usage>
    <mark_cache_size>67108864</mark_cache_size>
    <index_mark_cache_size>16777216</index_mark_cache_size>
    <uncompressed_cache_size>0</uncompressed_cache_size>
    <user_files_path>{user_files}</user_files_path>
    <format_schema_path>{format_schemas}</format_schema_path>
    <custom_local_disks_base_directory>{disks}</custom_local_disks_base_directory>
    <tmp_path>{temporary}</tmp_path>
    <merge_tree>
        <fsync_after_insert>1</fsync_after_insert>
        <fsync_part_directory>1</fsync_part_directory>
    </merge_tree>
</clickhouse>
",
        users = escape(&users.display().to_string()),
        user_files = folder("user_files"),
        format_schemas = folder("format_schemas"),
        disks = folder("disks"),
        temporary = folder("tmp"),
    )
}

fn users_text(memory_bytes_max: u64) -> String {
    let query_bytes_max = memory_bytes_max / 4 * 3;
    let lines = |lines: Vec<String>| lines.join("\n    ");
    let set = CONSTANT_SETTINGS.iter().filter(|(_, value)| !value.is_empty());
    let values = lines(set.map(|(name, value)| format!("<{name}>{value}</{name}>")).collect());
    let constants = CONSTANT_SETTINGS.iter();
    let constants =
        lines(constants.map(|(name, _)| format!("<{name}><const/></{name}>")).collect());
    let grant = |engine: &&str| format!("<query>GRANT TABLE ENGINE ON {engine}</query>");
    let engines = lines(TABLE_ENGINES.iter().map(grant).collect());
    format!(
        "<clickhouse>
<profiles><default>
    {values}
    <async_insert>0</async_insert>
    <max_memory_usage>{query_bytes_max}</max_memory_usage>
    <max_insert_block_size>{INSERT_ROWS_MAX}</max_insert_block_size>
    <min_insert_block_size_rows>{INSERT_ROWS_MAX}</min_insert_block_size_rows>
    <constraints>
        <max_memory_usage><min>1000000</min><max>{query_bytes_max}</max></max_memory_usage>
        {constants}
    </constraints>
</default></profiles>
<quotas><default/></quotas>
<users><default>
    <no_password/>
    <networks><ip>::/0</ip></networks>
    <profile>default</profile>
    <quota>default</quota>
    <grants>
        <query>GRANT SELECT, INSERT, ALTER, OPTIMIZE, TRUNCATE, SHOW, CHECK ON {DATABASE}.*</query>
        <query>GRANT CREATE DATABASE, CREATE TABLE, CREATE VIEW ON {DATABASE}.*</query>
        <query>GRANT DROP TABLE, DROP VIEW ON {DATABASE}.*</query>
        <query>GRANT SELECT ON system.*</query>
        <query>GRANT SHOW ON *.*</query>
        <query>GRANT CREATE TEMPORARY TABLE ON *.*</query>
        <query>GRANT KILL QUERY ON *.*</query>
        {engines}
    </grants>
</default></users>
</clickhouse>
"
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
