//! What a read model's columns are, and how a value of each kind is read from a request and shown.
//! Names and types come from PostgreSQL's own catalogue, once; no name from a request ever becomes
//! part of a statement.

use annals_core::Timestamp;
use serde_json::{Value, json};
use sqlx::{PgPool, Row};
use uuid::Uuid;

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What its values are.
    pub kind: Kind,
}

/// What a column's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// A whole number of up to 64 bits.
    Integer,
    /// A decimal of any length; a string in JSON, so that no digit is lost.
    Decimal,
    /// True or false.
    Truth,
    /// An instant; RFC 3339 in JSON.
    Time,
    /// A UUID.
    Uuid,
    /// Anything else: shown, but neither filtered nor sorted by.
    Other,
}

impl Kind {
    /// From `information_schema.columns.data_type`.
    fn of(data_type: &str) -> Kind {
        match data_type {
            "text" | "character varying" | "character" => Kind::Text,
            "smallint" | "integer" | "bigint" => Kind::Integer,
            "numeric" => Kind::Decimal,
            "boolean" => Kind::Truth,
            "timestamp with time zone" => Kind::Time,
            "uuid" => Kind::Uuid,
            _ => Kind::Other,
        }
    }

    /// The SQL type that a parameter of this kind is cast to.
    pub(super) fn sql_type(self) -> &'static str {
        match self {
            Kind::Text | Kind::Other => "text",
            Kind::Integer => "bigint",
            Kind::Decimal => "numeric",
            Kind::Truth => "boolean",
            Kind::Time => "timestamptz",
            Kind::Uuid => "uuid",
        }
    }

    /// What a right value is, for people.
    pub fn right(self) -> &'static str {
        match self {
            Kind::Text => "text without a NUL character",
            Kind::Integer => "a whole number, such as 42",
            Kind::Decimal => "a decimal number, such as 13.50",
            Kind::Truth => "true or false",
            Kind::Time => "a time in RFC 3339, such as 2018-01-01T00:00:02.61Z",
            Kind::Uuid => "a UUID",
            Kind::Other => "nothing: this column cannot be filtered by",
        }
    }

    /// The JSON Schema of a value.
    pub fn json_schema(self) -> Value {
        match self {
            Kind::Text => json!({"type": ["string", "null"]}),
            Kind::Integer => json!({"type": ["integer", "null"], "format": "int64"}),
            Kind::Decimal => json!({
                "type": ["string", "null"],
                "format": "decimal",
                "pattern": "^-?[0-9]+([.][0-9]+)?$",
            }),
            Kind::Truth => json!({"type": ["boolean", "null"]}),
            Kind::Time => json!({"type": ["string", "null"], "format": "date-time"}),
            Kind::Uuid => json!({"type": ["string", "null"], "format": "uuid"}),
            Kind::Other => json!({}),
        }
    }

    /// The value in the form in which it is bound, or nothing where it is none of this kind.
    pub(super) fn canonical(self, value: &str) -> Option<String> {
        match self {
            Kind::Text => (!value.contains('\0')).then(|| value.to_owned()),
            Kind::Integer => value.parse::<i64>().ok().map(|number| number.to_string()),
            Kind::Decimal => is_decimal(value).then(|| value.to_owned()),
            Kind::Truth => value.parse::<bool>().ok().map(|truth| truth.to_string()),
            Kind::Time => Timestamp::parse(value).ok().map(|time| time.to_string()),
            Kind::Uuid => Uuid::parse_str(value).ok().map(|uuid| uuid.to_string()),
            Kind::Other => None,
        }
    }

    /// SQL that shows the column: exact, and the same in every session.
    pub(super) fn shown(self, column: &str) -> String {
        match self {
            Kind::Decimal => format!("{column}::text"),
            Kind::Time => format!(
                "rtrim(rtrim(to_char({column} AT TIME ZONE 'UTC', \
                 'YYYY-MM-DD\"T\"HH24:MI:SS.US'), '0'), '.') || 'Z'"
            ),
            Kind::Text | Kind::Integer | Kind::Truth | Kind::Uuid | Kind::Other => {
                column.to_owned()
            }
        }
    }
}

fn is_decimal(value: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = value.strip_prefix('-').unwrap_or(value);
    value.len() <= 100
        && match unsigned.split_once('.') {
            Some((whole, fraction)) => digits(whole) && digits(fraction),
            None => digits(unsigned),
        }
}

/// The columns of a view in `public`, in order; empty where there is no such view (yet).
pub(super) async fn load(pool: &PgPool, view: &str) -> Result<Vec<Column>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT column_name::text, data_type::text FROM information_schema.columns \
         WHERE table_schema = 'public' AND table_name = $1 ORDER BY ordinal_position",
    )
    .bind(view)
    .fetch_all(pool)
    .await?;
    rows.iter()
        .map(|row| {
            let data_type: String = row.try_get(1)?;
            Ok(Column { name: row.try_get(0)?, kind: Kind::of(&data_type) })
        })
        .collect()
}

/// The views in `public` that a view reads: for a view over read models, their names.
pub(super) async fn sources(pool: &PgPool, view: &str) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT DISTINCT table_name::text FROM information_schema.view_table_usage \
         WHERE view_schema = 'public' AND view_name = $1 AND table_schema = 'public' ORDER BY 1",
    )
    .bind(view)
    .fetch_all(pool)
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_right_values_are_taken() {
        let check = |kind: Kind, right: &[&str], wrong: &[&str]| {
            for value in right {
                assert!(kind.canonical(value).is_some(), "{kind:?} {value:?}");
            }
            for value in wrong {
                assert_eq!(kind.canonical(value), None, "{kind:?} {value:?}");
            }
        };
        check(Kind::Text, &["", "a'b", "%"], &["a\0b"]);
        check(Kind::Integer, &["0", "-9223372036854775808"], &["", "1.0", "9223372036854775808"]);
        check(
            Kind::Decimal,
            &["0", "-1.50", "123456789012345678901234567890.1"],
            &["", ".5", "1.", "1e5", "NaN", "+1", "1.2.3", "--1"],
        );
        check(Kind::Truth, &["true", "false"], &["1", "yes", "TRUE"]);
        check(Kind::Time, &["2018-01-01T00:00:02.61Z", "2018-01-01T01:00:00+01:00"], &["2018"]);
        check(Kind::Uuid, &["67e55044-10b1-426f-9247-bb680e5fe0c8"], &["67e55044"]);
        check(Kind::Other, &[], &["", "x"]);
    }
}
