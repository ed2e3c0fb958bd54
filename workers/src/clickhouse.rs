//! The connection to ClickHouse: statements, inserts with a deduplication token, and dumps. The address decides whether
//! it is a real server or the embedded engine; nothing here knows which.

use annals_core::Family;
use bytes::Bytes;
use clickhouse::Client;
use futures::StreamExt;
use futures::stream::BoxStream;

use crate::generation::generation_of;

/// Where ClickHouse is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClickHouseOptions {
    /// Its HTTP address, `http://127.0.0.1:8123`.
    pub url: String,
    /// The user, where one is needed.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<String>,
    /// The database of all our tables; created when missing.
    pub database: String,
}

impl ClickHouseOptions {
    /// The database `annals` at this address, without a user.
    pub fn at(url: impl Into<String>) -> ClickHouseOptions {
        ClickHouseOptions {
            url: url.into(),
            user: None,
            password: None,
            database: "annals".to_owned(),
        }
    }
}

/// Why ClickHouse did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClickHouseError {
    /// It answered with an error of its own.
    #[error("ClickHouse answered with code {code}: {message}")]
    Refused {
        /// ClickHouse's error code; 0 where the answer names none.
        code: u32,
        /// What it said.
        message: String,
    },
    /// It did not answer, or the connection broke.
    #[error("ClickHouse does not answer")]
    Unavailable(#[source] clickhouse::error::Error),
}

impl ClickHouseError {
    /// The family of this error.
    pub fn family(&self) -> Family {
        if self.is_permanent() { Family::Malformed } else { Family::Unavailable }
    }

    /// Whether the same request would be refused again: the data or the SQL is wrong. The codes are those of
    /// ClickHouse's `ErrorCodes.cpp` for values that do not parse, do not fit or have no column.
    pub fn is_permanent(&self) -> bool {
        match self {
            ClickHouseError::Refused { code, .. } => {
                [6, 16, 26, 27, 38, 41, 43, 47, 53, 62, 69, 70, 72, 117, 349, 407, 441, 497]
                    .contains(code)
            }
            ClickHouseError::Unavailable(_) => false,
        }
    }
}

impl From<clickhouse::error::Error> for ClickHouseError {
    fn from(error: clickhouse::error::Error) -> ClickHouseError {
        if let clickhouse::error::Error::BadResponse(message) = &error {
            // The protocol's own form: `Code: 62. DB::Exception: …`.
            let digits = message.strip_prefix("Code: ").and_then(|rest| rest.split('.').next());
            let code = digits.and_then(|digits| digits.parse().ok()).unwrap_or(0);
            return ClickHouseError::Refused { code, message: message.clone() };
        }
        ClickHouseError::Unavailable(error)
    }
}

/// A ClickHouse database; clones share the connections.
#[derive(Clone)]
pub struct ClickHouse {
    client: Client,
    options: ClickHouseOptions,
}

impl ClickHouse {
    /// Takes note of the address; connects when first used.
    pub fn new(options: ClickHouseOptions) -> ClickHouse {
        let local = options.url.contains("://127.0.0.1") || options.url.contains("://localhost");
        let compression =
            if local { clickhouse::Compression::None } else { clickhouse::Compression::Lz4 };
        let mut client = Client::default()
            .with_url(&options.url)
            .with_compression(compression)
            .with_database(&options.database);
        if let Some(user) = &options.user {
            client = client.with_user(user);
        }
        if let Some(password) = &options.password {
            client = client.with_password(password);
        }
        ClickHouse { client, options }
    }

    /// The database.
    pub fn database(&self) -> &str {
        &self.options.database
    }

    /// The client, for queries of one's own.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Creates the database where it is missing.
    ///
    /// # Errors
    /// [`ClickHouseError`].
    pub async fn create_database(&self) -> Result<(), ClickHouseError> {
        let sql = format!("CREATE DATABASE IF NOT EXISTS {}", self.options.database);
        // The database cannot be the session's before it exists.
        let client = self.client.clone().with_database("system");
        Ok(client.query_raw(&sql).execute().await?)
    }

    /// Runs one statement.
    ///
    /// # Errors
    /// [`ClickHouseError`].
    pub async fn execute(&self, sql: &str) -> Result<(), ClickHouseError> {
        Ok(self.client.query_raw(sql).execute().await?)
    }

    /// Inserts lines of JSON into a table as one block. The same token again inserts nothing, also into the tables
    /// behind materialized views.
    ///
    /// # Errors
    /// [`ClickHouseError`]; unless it is permanent, the lines may or may not be there.
    pub async fn insert(
        &self,
        table: &str,
        token: &str,
        lines: Bytes,
    ) -> Result<(), ClickHouseError> {
        let mut insert = self
            .client
            .insert_formatted_with(format!("INSERT INTO {table} FORMAT JSONEachRow"))
            .with_setting("insert_deduplication_token", token)
            .with_setting("insert_deduplicate", "1")
            .with_setting("async_insert", "0")
            .with_setting("deduplicate_blocks_in_dependent_materialized_views", "1")
            .with_setting("date_time_input_format", "best_effort")
            .with_setting("input_format_skip_unknown_fields", "0")
            .with_setting("max_insert_block_size", "10000000");
        insert.send(lines).await?;
        Ok(insert.end().await?)
    }

    /// Runs a query and answers its rows in `format`, in pieces.
    ///
    /// # Errors
    /// [`ClickHouseError`], at once or in the stream.
    pub fn dump(
        &self,
        sql: &str,
        format: &str,
    ) -> Result<BoxStream<'static, Result<Bytes, ClickHouseError>>, ClickHouseError> {
        let cursor = self.client.query_raw(sql).fetch_bytes(format)?;
        Ok(futures::stream::unfold(Some(cursor), |cursor| async move {
            let mut cursor = cursor?;
            match cursor.next().await {
                Ok(Some(piece)) => Some((Ok(piece), Some(cursor))),
                Ok(None) => None,
                Err(error) => Some((Err(error.into()), None)),
            }
        })
        .boxed())
    }

    /// The lines that a query answers, each as one text in `TabSeparated` form.
    ///
    /// # Errors
    /// [`ClickHouseError`].
    pub async fn lines(&self, sql: &str) -> Result<Vec<String>, ClickHouseError> {
        let mut pieces = self.dump(sql, "TabSeparated")?;
        let mut text = Vec::new();
        while let Some(piece) = pieces.next().await {
            text.extend_from_slice(&piece?);
        }
        Ok(String::from_utf8_lossy(&text).lines().map(ToOwned::to_owned).collect())
    }

    /// The names of the tables and views of the database.
    ///
    /// # Errors
    /// [`ClickHouseError`].
    pub async fn relations(&self) -> Result<Vec<String>, ClickHouseError> {
        let database = &self.options.database;
        self.lines(&format!(
            "SELECT name FROM system.tables WHERE database = '{database}' ORDER BY name"
        ))
        .await
    }

    /// The generations of facts whose main table exists.
    ///
    /// # Errors
    /// [`ClickHouseError`].
    pub async fn generations(&self, facts: &str) -> Result<Vec<u32>, ClickHouseError> {
        let relations = self.relations().await?;
        Ok(relations.iter().filter_map(|name| generation_of(facts, name)).collect())
    }
}
