//! Rows between Rust and PostgreSQL, by the fields of their serialised form: written as JSON or `COPY` text, read as
//! JSON in which numeric columns are text, so that a decimal keeps every digit.

use annals_core::RowKey;
use serde_json::Value;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row};
use std::borrow::Borrow;
use std::fmt::Write as _;

use crate::fold::{Changes, ReadModelSpec};
use crate::generation::{TABLES_SCHEMA, table, table_name};

/// From this many rows on, `COPY` is faster than JSON.
const COPY_ROWS_MIN: usize = 500;
/// `COPY` text is sent in pieces of about this size, in bytes.
const COPY_PIECE_BYTES: usize = 1 << 18;

/// A column of a physical table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type, as PostgreSQL writes it.
    pub sql_type: String,
}

/// One generation's physical table and the statements that exchange rows with it.
#[derive(Clone, Debug)]
pub struct RowTable {
    /// The table, with its schema.
    pub table: String,
    key: String,
    columns: Vec<Column>,
    select: String,
    conflict: String,
}

/// Quotes an identifier.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The columns of a table or view, in order; empty where there is no such relation.
///
/// # Errors
/// The database's.
pub async fn columns(
    connection: &mut PgConnection,
    schema: &str,
    relation: &str,
) -> Result<Vec<Column>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT a.attname::text AS name, format_type(a.atttypid, a.atttypmod) AS sql_type \
         FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid \
         JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = $1 AND c.relname = $2 AND a.attnum > 0 AND NOT a.attisdropped \
         ORDER BY a.attnum",
    )
    .bind(schema)
    .bind(relation)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| Ok(Column { name: row.try_get("name")?, sql_type: row.try_get("sql_type")? }))
        .collect()
}

/// The column as an item of a select list: numeric as text, everything else as it is.
pub fn select_item(column: &Column) -> String {
    let name = quoted(&column.name);
    if column.sql_type.starts_with("numeric") { format!("{name}::text AS {name}") } else { name }
}

/// The key of a JSON row: text as it is, other JSON in its written form.
pub fn key_of(row: &Value, key: &str) -> String {
    match row.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

impl RowTable {
    /// The table of a generation; nothing where it does not exist.
    ///
    /// # Errors
    /// The database's.
    pub async fn open(
        connection: &mut PgConnection,
        spec: &ReadModelSpec,
        generation: u32,
    ) -> Result<Option<RowTable>, sqlx::Error> {
        let columns =
            columns(connection, TABLES_SCHEMA, &table_name(spec.name, generation)).await?;
        if columns.is_empty() {
            return Ok(None);
        }
        let items: Vec<_> = columns.iter().map(select_item).collect();
        let settings: Vec<_> = columns
            .iter()
            .filter(|column| column.name != spec.key)
            .map(|column| format!("{name} = excluded.{name}", name = quoted(&column.name)))
            .collect();
        let conflict = if settings.is_empty() {
            "DO NOTHING".to_owned()
        } else {
            format!("DO UPDATE SET {}", settings.join(", "))
        };
        Ok(Some(RowTable {
            table: table(spec.name, generation),
            key: spec.key.to_owned(),
            select: items.join(", "),
            conflict,
            columns,
        }))
    }

    /// Its columns.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn names(&self) -> String {
        let names: Vec<_> = self.columns.iter().map(|column| quoted(&column.name)).collect();
        names.join(", ")
    }

    fn key_type(&self) -> &str {
        let key = self.columns.iter().find(|column| column.name == self.key);
        key.map_or("text", |column| &column.sql_type)
    }

    /// The rows of these keys that exist, as JSON.
    ///
    /// # Errors
    /// The database's.
    pub async fn load(
        &self,
        connection: &mut PgConnection,
        keys: &[RowKey],
    ) -> Result<Vec<Value>, sqlx::Error> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let sql = format!(
            "SELECT row_to_json(r)::text AS row FROM (SELECT {} FROM {} \
             WHERE {} = ANY($1::text[]::{}[])) r",
            self.select,
            self.table,
            quoted(&self.key),
            self.key_type()
        );
        let rows = sqlx::query(AssertSqlSafe(sql)).bind(keys).fetch_all(connection).await?;
        rows.iter().map(json_of).collect()
    }

    /// Every row, as JSON, in no particular order.
    ///
    /// # Errors
    /// The database's.
    pub async fn load_all(&self, connection: &mut PgConnection) -> Result<Vec<Value>, sqlx::Error> {
        let (select, table) = (&self.select, &self.table);
        let sql =
            format!("SELECT row_to_json(r)::text AS row FROM (SELECT {select} FROM {table}) r");
        let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(connection).await?;
        rows.iter().map(json_of).collect()
    }

    /// Writes changed rows, each once; the caller holds the transaction.
    ///
    /// # Errors
    /// The database's.
    pub async fn write(
        &self,
        connection: &mut PgConnection,
        changes: &Changes,
    ) -> Result<(), sqlx::Error> {
        if !changes.deletes.is_empty() {
            let (table, key, key_type) = (&self.table, quoted(&self.key), self.key_type());
            let sql = format!("DELETE FROM {table} WHERE {key} = ANY($1::text[]::{key_type}[])");
            sqlx::query(AssertSqlSafe(sql))
                .bind(&changes.deletes)
                .execute(&mut *connection)
                .await?;
        }
        if changes.upserts.is_empty() {
            return Ok(());
        }
        if changes.upserts.len() < COPY_ROWS_MIN {
            return self.write_json(connection, &changes.upserts).await;
        }
        let stage = format!("annals_stage_{}", self.table.replace('.', "_"));
        let sql = format!(
            "SET LOCAL client_min_messages = warning; \
             CREATE TEMP TABLE IF NOT EXISTS {stage} (LIKE {})",
            self.table
        );
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *connection).await?;
        self.copy_into(connection, &stage, "", changes.upserts.iter()).await?;
        let names = self.names();
        let sql = format!(
            "INSERT INTO {} ({names}) SELECT {names} FROM {stage} ON CONFLICT ({}) {}",
            self.table,
            quoted(&self.key),
            self.conflict
        );
        sqlx::query(AssertSqlSafe(sql)).execute(&mut *connection).await?;
        let clean = format!("TRUNCATE {stage}");
        sqlx::query(AssertSqlSafe(clean)).execute(connection).await?;
        Ok(())
    }

    async fn write_json(
        &self,
        connection: &mut PgConnection,
        rows: &[Value],
    ) -> Result<(), sqlx::Error> {
        let names = self.names();
        let sql = format!(
            "INSERT INTO {table} ({names}) SELECT {names} \
             FROM json_populate_recordset(NULL::{table}, $1::text::json) ON CONFLICT ({}) {}",
            quoted(&self.key),
            self.conflict,
            table = self.table
        );
        let json = serde_json::to_string(rows).map_err(|e| sqlx::Error::Encode(Box::new(e)))?;
        sqlx::query(AssertSqlSafe(sql)).bind(json).execute(connection).await?;
        Ok(())
    }

    /// Loads rows into this table, which this transaction made.
    ///
    /// # Errors
    /// The database's.
    pub async fn copy(
        &self,
        connection: &mut PgConnection,
        rows: impl Iterator<Item = Value> + Send,
    ) -> Result<(), sqlx::Error> {
        // Frozen rows need no second visit, and nothing of them is written to the WAL.
        self.copy_into(connection, &self.table, " (FREEZE)", rows).await
    }

    async fn copy_into(
        &self,
        connection: &mut PgConnection,
        table: &str,
        how: &str,
        rows: impl Iterator<Item = impl Borrow<Value>> + Send,
    ) -> Result<(), sqlx::Error> {
        let sql = format!("COPY {table} ({}) FROM STDIN{how}", self.names());
        let mut copy = connection.copy_in_raw(&sql).await?;
        let mut piece = String::with_capacity(COPY_PIECE_BYTES + 4096);
        for row in rows {
            self.append_copy_line(&mut piece, row.borrow());
            if piece.len() >= COPY_PIECE_BYTES {
                copy.send(piece.as_bytes()).await?;
                piece.clear();
            }
        }
        copy.send(piece.as_bytes()).await?;
        copy.finish().await?;
        Ok(())
    }

    fn append_copy_line(&self, line: &mut String, row: &Value) {
        for (index, column) in self.columns.iter().enumerate() {
            if index > 0 {
                line.push('\t');
            }
            match row.get(&column.name) {
                None | Some(Value::Null) => line.push_str("\\N"),
                Some(Value::Bool(yes)) => line.push(if *yes { 't' } else { 'f' }),
                Some(Value::Number(number)) => {
                    write!(line, "{number}").expect("writing to text cannot fail");
                }
                Some(Value::String(text)) => append_escaped(line, text),
                Some(Value::Array(items)) if column.sql_type.ends_with("[]") => {
                    append_escaped(line, &array_literal(items));
                }
                Some(json @ (Value::Array(_) | Value::Object(_))) => {
                    append_escaped(line, &json.to_string());
                }
            }
        }
        line.push('\n');
    }
}

fn json_of(row: &sqlx::postgres::PgRow) -> Result<Value, sqlx::Error> {
    let text: &str = row.try_get("row")?;
    serde_json::from_str(text).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

fn append_escaped(line: &mut String, text: &str) {
    for next in text.chars() {
        match next {
            '\\' => line.push_str("\\\\"),
            '\t' => line.push_str("\\t"),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            other => line.push(other),
        }
    }
}

fn array_literal(items: &[Value]) -> String {
    let item = |value: &Value| match value {
        Value::Null => "NULL".to_owned(),
        Value::Array(inner) => array_literal(inner),
        Value::String(text) => {
            format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
        }
        other @ (Value::Bool(_) | Value::Number(_) | Value::Object(_)) => {
            format!("\"{}\"", other.to_string().replace('\\', "\\\\").replace('"', "\\\""))
        }
    };
    let items: Vec<_> = items.iter().map(item).collect();
    format!("{{{}}}", items.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn copy_text_escapes_what_would_end_a_field() {
        let column =
            |name: &str, sql_type: &str| Column { name: name.into(), sql_type: sql_type.into() };
        let table = RowTable {
            table: "t".to_owned(),
            key: "a".to_owned(),
            columns: vec![
                column("a", "text"),
                column("b", "numeric"),
                column("c", "jsonb"),
                column("d", "text[]"),
                column("e", "boolean"),
                column("f", "text"),
            ],
            select: String::new(),
            conflict: String::new(),
        };
        let row =
            json!({"a": "x\t\\\n", "b": "1.50", "c": {"k": [1]}, "d": ["q\"", null], "e": true});
        let mut line = String::new();
        table.append_copy_line(&mut line, &row);
        assert_eq!(line, "x\\t\\\\\\n\t1.50\t{\"k\":[1]}\t{\"q\\\\\"\",NULL}\tt\t\\N\n");
    }
}
