//! What a caller asks of a read model, checked against its columns: conditions, order, page. A name
//! or value that does not fit is refused by name, with what would be right. REST's query text and
//! gRPC's messages both become this.

use super::columns::{Column, Kind};
use crate::api::problem::Problem;

/// A read model as requests are checked against it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// Its name, which is also its view's.
    pub name: &'static str,
    /// The column that identifies its rows.
    pub key: &'static str,
    /// Its columns, in order.
    pub columns: Vec<Column>,
    /// The projections whose rows it shows: its own, or those under a SQL view.
    pub sources: Vec<String>,
}

impl Model {
    /// The column of that name.
    ///
    /// # Errors
    /// A problem that lists the columns.
    pub fn column(&self, name: &str) -> Result<&Column, Problem> {
        self.columns.iter().find(|column| column.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.columns.iter().map(|column| &*column.name).collect();
            let list = names.join(", ");
            Problem::malformed(
                "unknown-column",
                format!("{} has no column {name:?}; its columns are {list}", self.name),
            )
            .with("column", name)
            .with("columns", names)
        })
    }

    /// The column that identifies the rows.
    pub(super) fn key_column(&self) -> Result<&Column, Problem> {
        self.column(self.key)
    }
}

/// How a column is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// Equal.
    Equal,
    /// Not equal, or nothing there.
    NotEqual,
    /// Greater.
    Greater,
    /// Greater or equal.
    GreaterOrEqual,
    /// Less.
    Less,
    /// Less or equal.
    LessOrEqual,
    /// The text begins with the value.
    Prefix,
    /// SQL's `LIKE`.
    Like,
    /// `true`: there is no value; `false`: there is one.
    Null,
}

/// Every operator with its name in a request.
pub const OPERATORS: [(&str, Operator); 9] = [
    ("eq", Operator::Equal),
    ("ne", Operator::NotEqual),
    ("gt", Operator::Greater),
    ("gte", Operator::GreaterOrEqual),
    ("lt", Operator::Less),
    ("lte", Operator::LessOrEqual),
    ("prefix", Operator::Prefix),
    ("like", Operator::Like),
    ("null", Operator::Null),
];

/// One condition on rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The column.
    pub column: Column,
    /// How it is compared.
    pub operator: Operator,
    /// With what, in canonical form.
    pub value: String,
}

/// One column of the order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sort {
    /// The column.
    pub column: Column,
    /// From great to small.
    pub descending: bool,
}

/// A page of rows, as asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// All must hold.
    pub conditions: Vec<Condition>,
    /// The order; ends with the key column, so that it is total.
    pub sort: Vec<Sort>,
    /// How many rows at most.
    pub limit: u32,
    /// The cursor of the page before, unread.
    pub cursor: Option<String>,
    /// From when, and how long to wait for it.
    pub wait: Wait,
}

/// Not before which position to answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wait {
    /// The position.
    pub not_before: Option<u64>,
    /// How long to wait for it, in milliseconds; the server's bound where nothing is said.
    pub timeout_ms: Option<u64>,
}

impl Condition {
    /// Checks a condition.
    ///
    /// # Errors
    /// A problem that names what does not fit.
    pub fn new(
        model: &Model,
        column: &str,
        operator: Operator,
        value: &str,
    ) -> Result<Condition, Problem> {
        let column = model.column(column)?.clone();
        let kind = match operator {
            Operator::Null => Kind::Truth,
            Operator::Prefix | Operator::Like if column.kind != Kind::Text => {
                let detail = format!(
                    "column {:?} of {} is no text, and `prefix` and `like` compare text",
                    column.name, model.name
                );
                return Err(Problem::malformed("wrong-operator", detail));
            }
            Operator::Equal
            | Operator::NotEqual
            | Operator::Greater
            | Operator::GreaterOrEqual
            | Operator::Less
            | Operator::LessOrEqual
            | Operator::Prefix
            | Operator::Like => column.kind,
        };
        // A `\` at the end escapes nothing, which PostgreSQL takes as an error.
        let dangling = value.len() - value.trim_end_matches('\\').len();
        let value = kind
            .canonical(value)
            .filter(|_| operator != Operator::Like || dangling.is_multiple_of(2))
            .ok_or_else(|| {
                let detail = format!(
                    "column {:?} of {} is compared with {value:?}; right would be {}",
                    column.name,
                    model.name,
                    kind.right()
                );
                Problem::malformed("wrong-value", detail).with("column", column.name.clone())
            })?;
        Ok(Condition { column, operator, value })
    }
}

/// The order, made total by the key.
///
/// # Errors
/// A problem for an unknown column, or one that has no order.
pub fn order<'a>(
    model: &Model,
    asked: impl Iterator<Item = (&'a str, bool)>,
) -> Result<Vec<Sort>, Problem> {
    let mut sort: Vec<Sort> = Vec::new();
    for (name, descending) in asked {
        let column = model.column(name)?.clone();
        if column.kind == Kind::Other {
            let detail = format!("column {name:?} of {} has no order", model.name);
            return Err(Problem::malformed("wrong-sort", detail));
        }
        if sort.iter().any(|earlier| earlier.column.name == name) {
            let detail = format!("column {name:?} stands twice in the order");
            return Err(Problem::malformed("wrong-sort", detail));
        }
        sort.push(Sort { column, descending });
    }
    if !sort.iter().any(|sort| sort.column.name == model.key) {
        sort.push(Sort { column: model.key_column()?.clone(), descending: false });
    }
    Ok(sort)
}

/// The bounds of a page.
#[derive(Clone, Copy, Debug)]
pub struct PageBounds {
    /// Where nothing is asked.
    pub rows: u32,
    /// At most.
    pub rows_max: u32,
}

impl PageBounds {
    /// How many rows a page holds.
    ///
    /// # Errors
    /// A problem where more than the most, or nothing, is asked for.
    pub fn limit(self, asked: Option<u64>) -> Result<u32, Problem> {
        let Some(asked) = asked else { return Ok(self.rows) };
        u32::try_from(asked).ok().filter(|limit| (1..=self.rows_max).contains(limit)).ok_or_else(
            || {
                let most = self.rows_max;
                let detail = format!("limit is {asked}; right would be a number from 1 to {most}");
                Problem::malformed("wrong-limit", detail)
            },
        )
    }
}

impl PageRequest {
    /// Reads REST's query: `column=value`, `column[gte]=value`, `sort=-column,column`, `limit`,
    /// `cursor`, `not_before_position`, `timeout_ms`.
    ///
    /// # Errors
    /// A problem that names the first parameter that does not fit.
    pub fn from_query(
        model: &Model,
        bounds: PageBounds,
        query: &str,
    ) -> Result<PageRequest, Problem> {
        let mut conditions = Vec::new();
        let (mut sort, mut cursor, mut limit) = (None, None, None);
        let mut wait = Wait::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "sort" => sort = Some(value.into_owned()),
                "cursor" => cursor = Some(value.into_owned()).filter(|cursor| !cursor.is_empty()),
                "limit" => limit = Some(number(&name, &value)?),
                "not_before_position" => wait.not_before = Some(number(&name, &value)?),
                "timeout_ms" => wait.timeout_ms = Some(number(&name, &value)?),
                _ => conditions.push(condition(model, &name, &value)?),
            }
        }
        let asked = sort.as_deref().unwrap_or("");
        let asked = asked
            .split(',')
            .filter(|part| !part.is_empty())
            .map(|part| part.strip_prefix('-').map_or((part, false), |name| (name, true)));
        let sort = order(model, asked)?;
        Ok(PageRequest { conditions, sort, limit: bounds.limit(limit)?, cursor, wait })
    }
}

/// Reads a number of a query.
///
/// # Errors
/// A problem that names the parameter.
pub fn number(name: &str, value: &str) -> Result<u64, Problem> {
    value.parse().map_err(|_| {
        let detail = format!("{name} is {value:?}; right would be a whole number from 0");
        Problem::malformed("wrong-value", detail).with("parameter", name)
    })
}

fn condition(model: &Model, name: &str, value: &str) -> Result<Condition, Problem> {
    let (column, operator) = match name.split_once('[') {
        None => (name, "eq"),
        Some((column, operator)) => (column, operator.strip_suffix(']').unwrap_or(operator)),
    };
    let known = OPERATORS.iter().find(|(known, _)| *known == operator);
    let Some((_, operator)) = known else {
        let names: Vec<&str> = OPERATORS.iter().map(|(name, _)| *name).collect();
        let list = names.join(", ");
        let detail = format!("{name:?} asks for the operator {operator:?}; there are {list}");
        return Err(Problem::malformed("unknown-operator", detail).with("operators", names));
    };
    Condition::new(model, column, *operator, value)
}
