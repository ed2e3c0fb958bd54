//! From a checked request to a statement. Identifiers come from PostgreSQL's catalogue alone; every
//! value is a bound parameter, sent as text and cast to the column's type. One statement reads rows
//! and position from one snapshot.

use super::columns::{Column, Kind};
use super::request::{Condition, Model, Operator, PageRequest, Sort};
#[cfg(test)]
use crate::api::problem::Problem;

/// A statement. Its first parameter is the list of projections, the others are `values`, from `$2`
/// on. Its columns are the position, and of each row the JSON text and the sort values; one row of
/// nothing but the position where no row matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    /// The SQL.
    pub(super) sql: String,
    /// The parameters from `$2` on.
    pub(super) values: Vec<String>,
}

impl Statement {
    /// The parameter that stands for `value`.
    fn bind(&mut self, value: &str, kind: Kind) -> String {
        self.values.push(value.to_owned());
        format!("(${}::text)::{}", self.values.len() + 1, kind.sql_type())
    }
}

/// A page, and one row more, which tells whether another page follows. `after` holds the sort
/// values of the last row of the page before.
pub(super) fn page(
    model: &Model,
    request: &PageRequest,
    after: Option<&[Option<String>]>,
) -> Statement {
    let mut statement = Statement { sql: String::new(), values: Vec::new() };
    let mut wheres: Vec<String> = request
        .conditions
        .iter()
        .map(|condition| condition_sql(condition, &mut statement))
        .collect();
    if let Some(after) = after {
        wheres.push(after_sql(model.key, &request.sort, after, &mut statement));
    }
    let order: Vec<String> = request
        .sort
        .iter()
        .map(|sort| {
            let direction = if sort.descending { "DESC" } else { "ASC" };
            format!("{} {direction}", quoted(&sort.column.name))
        })
        .collect();
    let sort_values: Vec<String> = request
        .sort
        .iter()
        .map(|sort| format!("({})::text", sort.column.kind.shown(&quoted(&sort.column.name))))
        .collect();
    let (order, sort_values) = (order.join(", "), sort_values.join(", "));
    let limit = request.limit + 1;
    let filter = if wheres.is_empty() { String::new() } else { wheres.join(" AND ") };
    let filter = if filter.is_empty() { filter } else { format!(" WHERE {filter}") };
    statement.sql = format!(
        "SELECT head.position, page.item, page.sort_values FROM ({head}) AS head LEFT JOIN (\
         SELECT {item} AS item, ARRAY[{sort_values}] AS sort_values, \
         row_number() OVER (ORDER BY {order}) AS place \
         FROM {table}{filter} ORDER BY {order} LIMIT {limit}) AS page ON true ORDER BY page.place",
        head = HEAD,
        item = item(model),
        table = quoted(model.name),
    );
    statement
}

/// One row by its key, which must be in canonical form.
pub(super) fn row(model: &Model, key: &Column, value: &str) -> Statement {
    let mut statement = Statement { sql: String::new(), values: Vec::new() };
    let parameter = statement.bind(value, key.kind);
    statement.sql = format!(
        "SELECT head.position, found.item, NULL::text[] AS sort_values FROM ({HEAD}) AS head \
         LEFT JOIN (SELECT {item} AS item FROM {table} WHERE {key} = {parameter}) AS found ON true",
        item = item(model),
        table = quoted(model.name),
        key = quoted(&key.name),
    );
    statement
}

/// The position that all projections have reached; nothing where one has not begun.
const HEAD: &str = "SELECT CASE WHEN count(position) = cardinality($1::text[]) \
                    THEN min(position) END AS position \
                    FROM annals_projections WHERE name = ANY($1::text[])";

/// The row as JSON text, with its columns in order.
fn item(model: &Model) -> String {
    let columns: Vec<String> = model
        .columns
        .iter()
        .map(|column| {
            let name = quoted(&column.name);
            format!("{} AS {name}", column.kind.shown(&name))
        })
        .collect();
    format!("(SELECT row_to_json(shown)::text FROM (SELECT {}) AS shown)", columns.join(", "))
}

fn condition_sql(condition: &Condition, statement: &mut Statement) -> String {
    let column = quoted(&condition.column.name);
    let kind = condition.column.kind;
    let compared = |operator: &str, statement: &mut Statement| {
        format!("{column} {operator} {}", statement.bind(&condition.value, kind))
    };
    match condition.operator {
        Operator::Equal => compared("=", statement),
        Operator::NotEqual => compared("IS DISTINCT FROM", statement),
        Operator::Greater => compared(">", statement),
        Operator::GreaterOrEqual => compared(">=", statement),
        Operator::Less => compared("<", statement),
        Operator::LessOrEqual => compared("<=", statement),
        Operator::Like => compared("LIKE", statement),
        Operator::Prefix => {
            format!("starts_with({column}, {})", statement.bind(&condition.value, kind))
        }
        Operator::Null if condition.value == "true" => format!("{column} IS NULL"),
        Operator::Null => format!("{column} IS NOT NULL"),
    }
}

/// The rows behind one with these sort values. PostgreSQL sorts nothing behind all values
/// ascending, and before them descending; leaving it so lets an index serve both directions. The
/// key is never nothing, which spares its index the question.
fn after_sql(
    key: &str,
    sort: &[Sort],
    after: &[Option<String>],
    statement: &mut Statement,
) -> String {
    let mut alternatives = Vec::with_capacity(sort.len());
    let mut equal = String::new();
    for (sort, value) in sort.iter().zip(after) {
        let column = quoted(&sort.column.name);
        let parameter = value.as_ref().map(|value| statement.bind(value, sort.column.kind));
        let behind = match (&parameter, sort.descending) {
            (Some(value), false) if sort.column.name == key => Some(format!("{column} > {value}")),
            (Some(value), false) => Some(format!("({column} > {value} OR {column} IS NULL)")),
            (Some(value), true) => Some(format!("{column} < {value}")),
            (None, false) => None,
            (None, true) => Some(format!("{column} IS NOT NULL")),
        };
        if let Some(behind) = behind {
            alternatives.push(format!("({equal}{behind})"));
        }
        let same = match &parameter {
            Some(value) => format!("{column} = {value} AND "),
            None => format!("{column} IS NULL AND "),
        };
        equal.push_str(&same);
    }
    if alternatives.is_empty() {
        "false".to_owned()
    } else {
        format!("({})", alternatives.join(" OR "))
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::super::request::PageBounds;
    use super::super::{cursor, request};
    use super::*;

    fn orders() -> Model {
        let column = |name: &str, kind| Column { name: name.to_owned(), kind };
        Model {
            name: "trading_orders",
            key: "order_id",
            columns: vec![
                column("order_id", Kind::Text),
                column("price", Kind::Decimal),
                column("placed", Kind::Time),
                column("fills", Kind::Integer),
            ],
            sources: vec!["trading_orders".to_owned()],
        }
    }

    fn asked(query: &str) -> Result<PageRequest, Problem> {
        PageRequest::from_query(&orders(), PageBounds { rows: 100, rows_max: 1000 }, query)
    }

    fn shown(query: &str, after: Option<&[Option<String>]>) -> String {
        let statement = page(&orders(), &asked(query).expect("a right query"), after);
        format!("{}\n{:?}", statement.sql, statement.values)
    }

    #[test]
    fn a_query_becomes_a_statement_with_bound_values() {
        insta::assert_snapshot!(shown("", None));
        insta::assert_snapshot!(shown(
            "order_id=a'b%22&price[gte]=10.50&placed[lt]=2018-01-01T01:00:00%2B01:00\
                 &order_id%5Bprefix%5D=a%25&order_id[like]=a%25_&fills[null]=false&limit=2",
            None,
        ));
    }

    #[test]
    fn the_next_page_begins_behind_the_last_row() {
        let after = [Some("1.50".to_owned()), None, Some("o-7".to_owned())];
        insta::assert_snapshot!(shown("sort=-price,placed", Some(&after)));
    }

    #[test]
    fn a_single_row_is_found_by_its_key() {
        let model = orders();
        let statement = row(&model, model.key_column().expect("it exists"), "o-7");
        insta::assert_snapshot!(format!("{}\n{:?}", statement.sql, statement.values));
    }

    #[test]
    fn what_does_not_fit_is_told_by_name() {
        let wrong = [
            "colour=red",
            "price=cheap",
            "price[near]=1",
            "fills[prefix]=1",
            "order_id[like]=a%5C",
            "sort=-colour",
            "sort=price,price",
            "limit=0",
            "limit=1001",
            "limit=many",
            "not_before_position=-1",
        ];
        let told: Vec<String> = wrong
            .iter()
            .map(|query| {
                let problem = asked(query).expect_err("a wrong query");
                format!("{}: {}", problem.code, problem.detail)
            })
            .collect();
        insta::assert_snapshot!(told.join("\n"));
    }

    #[test]
    fn a_cursor_is_good_for_its_own_query_alone() {
        let model = orders();
        let request = asked("sort=price&fills[gt]=1").expect("a right query");
        let values = vec![Some("1.5".to_owned()), Some("o-7".to_owned())];
        let sealed = cursor::encode(&model, &request, &values);
        assert_eq!(cursor::decode(&model, &request, &sealed), Ok(values));
        for other in ["sort=-price&fills[gt]=1", "sort=price&fills[gt]=2", "sort=price", ""] {
            let other = asked(other).expect("a right query");
            assert!(cursor::decode(&model, &other, &sealed).is_err());
        }
        let longer = request::PageRequest { limit: 7, ..request.clone() };
        assert!(cursor::decode(&model, &longer, &sealed).is_ok());
        for place in 0..sealed.len() {
            let mut changed = sealed.clone().into_bytes();
            changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("ASCII");
            assert!(cursor::decode(&model, &request, &changed).is_err(), "{place}");
        }
    }
}
