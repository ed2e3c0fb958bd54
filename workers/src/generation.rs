//! Generations: the names of the physical tables behind a read model or facts, and the statements that make them.
//! Readers never see these names; they use the view of the projection's own name.

/// The schema of the physical PostgreSQL tables.
pub const TABLES_SCHEMA: &str = "annals_tables";

/// The physical table of one generation, without its schema.
pub fn table_name(projection: &str, generation: u32) -> String {
    format!("{projection}_g{generation}")
}

/// The physical PostgreSQL table of one generation, with its schema.
pub fn table(projection: &str, generation: u32) -> String {
    format!("{TABLES_SCHEMA}.{}", table_name(projection, generation))
}

/// The generation in a physical table's name, where it is one of this projection.
pub fn generation_of(projection: &str, table: &str) -> Option<u32> {
    table.strip_prefix(projection)?.strip_prefix("_g")?.parse().ok()
}

/// Splits SQL at its `;`, leaving out comments and empty statements; quoted text is kept as it is.
pub fn statements(sql: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut current = String::new();
    let mut rest = sql;
    while let Some(next) = rest.chars().next() {
        let taken = match next {
            '\'' | '"' | '`' => quoted(rest, next),
            '$' => dollar_quoted(rest).unwrap_or(1),
            '-' if rest.starts_with("--") => {
                rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
                continue;
            }
            '/' if rest.starts_with("/*") => {
                rest = rest.find("*/").map_or("", |end| &rest[end + 2..]);
                continue;
            }
            ';' => {
                push_statement(&mut all, &mut current);
                rest = &rest[1..];
                continue;
            }
            _ => next.len_utf8(),
        };
        current.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    push_statement(&mut all, &mut current);
    all
}

fn push_statement(all: &mut Vec<String>, current: &mut String) {
    if !current.trim().is_empty() {
        all.push(current.trim().to_owned());
    }
    current.clear();
}

/// The length of the quoted text that `text` begins with; a doubled quote or one after `\` does not end it.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, next) in text.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if next == '\\' && quote == '\'' {
            escaped = true;
        } else if next == quote {
            return at + 1; // A doubled quote is simply two quoted texts in a row.
        }
    }
    text.len()
}

/// The length of the `$tag$ … $tag$` text that `text` begins with, where it is one.
fn dollar_quoted(text: &str) -> Option<usize> {
    let tag_end = text[1..].find('$')? + 2;
    let tag = &text[..tag_end];
    let plain = tag[1..tag_end - 1].chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let close = plain.then(|| text[tag_end..].find(tag)).flatten()?;
    Some(tag_end + close + tag_end)
}

/// What a `CREATE` statement of facts makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    /// A table.
    Table,
    /// A materialized view.
    MaterializedView,
    /// A plain view.
    View,
}

/// One `CREATE` statement of facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FactsObject {
    /// What it makes.
    pub kind: ObjectKind,
    /// Its name without `{g}`.
    pub name: String,
    /// Whether it belongs to one generation: its name ends with `{g}`.
    pub generational: bool,
    /// The statement, with `{g}` still in it.
    pub sql: String,
}

impl FactsObject {
    /// Its name in a generation.
    pub fn name_in(&self, generation: u32) -> String {
        if self.generational { table_name(&self.name, generation) } else { self.name.clone() }
    }

    /// The statement for a generation.
    pub fn sql_in(&self, generation: u32) -> String {
        self.sql.replace("{g}", &format!("_g{generation}"))
    }

    /// The statement for a generation, with another name for what it makes: how a verification gets its own copy of
    /// a view.
    pub fn sql_named(&self, generation: u32, name: &str) -> String {
        let sql = self.sql_in(generation);
        match sql.find(&self.name_in(generation)) {
            Some(at) => {
                let after = at + self.name_in(generation).len();
                format!("{}{name}{}", &sql[..at], &sql[after..])
            }
            None => sql,
        }
    }
}

/// The objects that the SQL of facts makes, in order. A plain view of the facts' own name is added where the SQL has
/// none.
///
/// # Errors
/// The first statement that is no `CREATE TABLE`, `CREATE VIEW` or `CREATE MATERIALIZED VIEW`.
pub fn facts_objects(name: &str, ddl: &str) -> Result<Vec<FactsObject>, String> {
    let mut objects = Vec::new();
    for sql in statements(ddl) {
        objects.push(facts_object(&sql).ok_or(sql)?);
    }
    if !objects.iter().any(|object| object.name == name && !object.generational) {
        objects.push(FactsObject {
            kind: ObjectKind::View,
            name: name.to_owned(),
            generational: false,
            sql: format!("CREATE OR REPLACE VIEW {name} AS SELECT * FROM {name}{{g}}"),
        });
    }
    Ok(objects)
}

fn facts_object(sql: &str) -> Option<FactsObject> {
    let mut words = sql.split_whitespace().peekable();
    let mut skip = |expected: &[&str]| {
        words.next_if(|word| expected.iter().any(|e| word.eq_ignore_ascii_case(e))).is_some()
    };
    if !skip(&["CREATE"]) {
        return None;
    }
    if skip(&["OR"]) && !skip(&["REPLACE"]) {
        return None;
    }
    let materialized = skip(&["MATERIALIZED"]);
    let kind = match (materialized, skip(&["VIEW"])) {
        (true, true) => ObjectKind::MaterializedView,
        (false, true) => ObjectKind::View,
        (false, false) if skip(&["TABLE"]) => ObjectKind::Table,
        (true | false, false) => return None,
    };
    if skip(&["IF"]) && !(skip(&["NOT"]) && skip(&["EXISTS"])) {
        return None;
    }
    let word = words.next()?;
    let name = word.split('(').next()?.rsplit('.').next()?.trim_matches(['`', '"']);
    let generational = name.ends_with("{g}");
    let name = name.trim_end_matches("{g}").to_owned();
    Some(FactsObject { kind, name, generational, sql: sql.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sql_is_split_outside_quotes_and_comments_only() {
        let sql =
            "CREATE TABLE a (b text DEFAULT ';it''s'); -- one; two\n/* x; */ SELECT $f$;$f$;;";
        assert_eq!(statements(sql), ["CREATE TABLE a (b text DEFAULT ';it''s')", "SELECT $f$;$f$"]);
    }

    #[test]
    fn facts_name_what_belongs_to_a_generation() {
        let sql = "CREATE TABLE IF NOT EXISTS trades{g}(position UInt64) ENGINE = MergeTree;
                   CREATE MATERIALIZED VIEW candles_feed{g} TO candles_rows{g} AS SELECT 1;
                   CREATE OR REPLACE VIEW candles AS SELECT * FROM candles_rows{g};";
        let objects = facts_objects("trades", sql).expect("they parse");
        let made: Vec<_> = objects.iter().map(|o| (o.kind, o.name_in(3))).collect();
        assert_eq!(
            made,
            [
                (ObjectKind::Table, "trades_g3".to_owned()),
                (ObjectKind::MaterializedView, "candles_feed_g3".to_owned()),
                (ObjectKind::View, "candles".to_owned()),
                (ObjectKind::View, "trades".to_owned()),
            ]
        );
        assert_eq!(
            objects[2].sql_named(4, "candles_check"),
            "CREATE OR REPLACE VIEW candles_check AS SELECT * FROM candles_rows_g4"
        );
        assert!(facts_objects("trades", "DROP TABLE trades").is_err());
    }

    #[test]
    fn a_generation_is_read_from_a_name() {
        assert_eq!(generation_of("a_b", "a_b_g12"), Some(12));
        assert_eq!(generation_of("a", "a_b_g12"), None);
    }
}
