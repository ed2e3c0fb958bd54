//! What grants do not stop, refused before the engine sees it: files named in a statement, several statements in
//! one text, statements about the whole server, disks defined in a table.
//!
//! The engine's own parser says how many statements there are and of what class; the words are looked for in the
//! tokens, and where the two could disagree (a forbidden word hidden in what only one of them takes for a comment or a
//! text) the statement is refused.

use crate::configuration::TABLE_ENGINES;
use crate::foreign::{Analysis, Class};

use super::failure::{Failure, Reason};
use super::statement::{Kind, Statement, Token};

/// Functions that read files, run programs or evaluate texts, and that no grant stops.
const FUNCTIONS: [&str; 5] = ["eval", "executable", "filesystem", "fuzzQuery", "catboostEvaluate"];

/// Refuses a statement, or lets it pass. `text` is its text without an insert's data.
pub(crate) fn check(
    text: &[u8],
    statement: &Statement,
    analysis: Analysis,
    read_only: bool,
) -> Result<(), Failure> {
    let denied = |what: &str| Err(Failure::new(Reason::AccessDenied, what));
    if statement.has(text, "OUTFILE") || statement.has(text, "INFILE") {
        return denied(
            "INTO OUTFILE and FROM INFILE are not allowed here: files belong to the client",
        );
    }
    if analysis.statements > 1 {
        let what = "Syntax error: several statements in one text; send one";
        return Err(Failure::new(Reason::SyntaxError, what));
    }
    check_names(text, statement)?;
    if analysis.class != Class::ReadOnly {
        check_writing(text, statement)?;
    }
    let keyword = statement.keyword(text);
    match analysis.class {
        Class::MutatingGlobal => {
            return denied("objects outside the database cannot be changed here");
        }
        Class::Control if !session_statement(text, statement, &keyword) => {
            return denied("statements about the server are not allowed here");
        }
        Class::Mutating if read_only => {
            let what = "Cannot execute query in readonly mode: use POST";
            return Err(Failure::new(Reason::ReadOnly, what));
        }
        Class::ReadOnly | Class::Mutating | Class::Control | Class::Unknown => {}
    }
    if keyword == "SET" && (statement.has(text, "readonly") || statement.has(text, "ROLE")) {
        let what = "neither readonly nor a role can be set by a statement";
        return Err(Failure::new(Reason::ReadOnly, what));
    }
    Ok(())
}

/// Whether a statement that the engine counts as control is about nothing but its own session or queries.
fn session_statement(text: &[u8], statement: &Statement, keyword: &str) -> bool {
    let temporary = statement.tokens().get(1).is_some_and(|token| token.is(text, "TEMPORARY"));
    match keyword {
        "SET" | "USE" | "KILL" => true,
        "CREATE" | "DROP" => temporary,
        _ => false,
    }
}

/// The function `file` reads any file and needs no parenthesis behind it (`APPLY file`, `arrayMap(file, …)`), so its
/// name is refused wherever it is a name. A quoted name with an escape could be any of these.
fn check_names(text: &[u8], statement: &Statement) -> Result<(), Failure> {
    let denied = |what: &dyn std::fmt::Display| Err(Failure::new(Reason::AccessDenied, what));
    if statement.tokens().iter().any(|token| token.names(text, "file")) {
        return denied(&"the name file is not allowed here: it is a function that reads files");
    }
    if let Some(function) = FUNCTIONS.iter().find(|function| statement.calls(text, function)) {
        return denied(&format_args!("the function {function} is not allowed here"));
    }
    let escaped = |token: &Token| token.identifier(text).is_some_and(|name| name.contains(&b'\\'));
    if statement.tokens().iter().any(escaped) {
        return denied(&"escapes in quoted names are not allowed here");
    }
    Ok(())
}

/// What only a statement that is not a plain read could do. A forbidden word in quotes or comments is harmless only
/// where the statement could not use it.
fn check_writing(text: &[u8], statement: &Statement) -> Result<(), Failure> {
    let denied = |what: &dyn std::fmt::Display| Err(Failure::new(Reason::AccessDenied, what));
    if mentions(text, b"infile") || mentions(text, b"outfile") {
        return denied(
            &"a statement that writes may not mention infile or outfile, not even in a text",
        );
    }
    if statement.calls(text, "disk") || (mentions(text, b"disk") && has_comment(text)) {
        return denied(&"disks cannot be defined here");
    }
    if statement.keyword(text) != "INSERT"
        && let Some(engine) = foreign_engine(text, statement)
    {
        let engine = String::from_utf8_lossy(engine);
        return denied(&format_args!(
            "the engine {engine} is not allowed here; these are: {}",
            TABLE_ENGINES.join(", ")
        ));
    }
    if matches!(statement, Statement::Other { .. }) && has_data(text, statement) {
        let what =
            "data after this kind of insert is not supported: send INSERT INTO table FORMAT name";
        return Err(Failure::new(Reason::NotImplemented, what));
    }
    Ok(())
}

/// The first engine named that is not one of ours.
fn foreign_engine<'a>(text: &'a [u8], statement: &Statement) -> Option<&'a [u8]> {
    let tokens = statement.tokens();
    let engines = tokens.iter().enumerate().filter(|(_, token)| token.is(text, "ENGINE"));
    engines
        .filter_map(|(index, _)| {
            let sign = tokens.get(index + 1).is_some_and(|next| next.kind == Kind::Symbol(b'='));
            tokens.get(index + 1 + usize::from(sign))
        })
        .map(|name| &text[name.start..name.end])
        .find(|name| {
            *name != b"Atomic" && !TABLE_ENGINES.iter().any(|engine| engine.as_bytes() == *name)
        })
}

/// An insert that is not split from its data, such as `INSERT … SELECT … FROM input(…) FORMAT …`.
fn has_data(text: &[u8], statement: &Statement) -> bool {
    statement.has(text, "INSERT")
        && (statement.calls(text, "input")
            || ((statement.has(text, "FORMAT") || statement.has(text, "VALUES"))
                && !statement.has(text, "SELECT")))
}

fn mentions(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word))
}

fn has_comment(text: &[u8]) -> bool {
    ["--", "/*", "//", "#"].iter().any(|sign| mentions(text, sign.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_as(class: Class, text: &str) -> Result<(), u32> {
        let statement = Statement::parse(text.as_bytes()).unwrap();
        let analysis = Analysis { statements: 1, class };
        check(text.as_bytes(), &statement, analysis, false).map_err(|failure| failure.code)
    }

    #[test]
    fn files_are_refused_in_any_writing() {
        for text in [
            "SELECT 1 INTO OUTFILE 'x'",
            "select 1 into/**/outfile 'x'",
            "(SELECT 1 INTO\n-- c\nOUTFILE 'x') UNION ALL SELECT 2",
            "INSERT INTO t FROM INFILE 'x' FORMAT CSV",
        ] {
            assert_eq!(check_as(Class::ReadOnly, text), Err(497), "{text}");
        }
        assert_eq!(check_as(Class::ReadOnly, "SELECT 'INTO OUTFILE x' -- infile"), Ok(()));
        assert_eq!(
            check_as(Class::Mutating, "INSERT INTO t /* from infile 'x' */ SELECT 1"),
            Err(497)
        );
    }

    #[test]
    fn disks_and_server_statements_are_refused() {
        let table = "CREATE TABLE t (a Int8) ENGINE = MergeTree ORDER BY a SETTINGS disk";
        assert_eq!(check_as(Class::Mutating, &format!("{table} = disk(type = local)")), Err(497));
        assert_eq!(
            check_as(Class::Mutating, &format!("{table}/**/= disk/**/(type = local)")),
            Err(497)
        );
        assert_eq!(check_as(Class::Mutating, &format!("{table} = 'default'")), Ok(()));
        assert_eq!(check_as(Class::Control, "SYSTEM SHUTDOWN"), Err(497));
        assert_eq!(check_as(Class::Control, "KILL QUERY WHERE 1"), Ok(()));
        assert_eq!(check_as(Class::Control, "CREATE TEMPORARY TABLE t (a Int8)"), Ok(()));
        assert_eq!(check_as(Class::Control, "INSERT INTO FUNCTION null() SELECT 1"), Err(497));
        assert_eq!(check_as(Class::MutatingGlobal, "CREATE FUNCTION f AS x -> x"), Err(497));
    }

    #[test]
    fn the_function_file_is_refused_in_any_writing() {
        for text in [
            "SELECT file('x')",
            "SELECT `file`('x')",
            "SELECT \"\\x66ile\"('x')",
            "SELECT * APPLY file FROM (SELECT 'x')",
            "SELECT arrayMap(file, ['x'])",
            "SELECT * FROM eval('SELECT 1')",
            "SELECT * FROM executable('x', 'TSV', 'a Int8')",
        ] {
            assert_eq!(check_as(Class::ReadOnly, text), Err(497), "{text}");
        }
        assert_eq!(check_as(Class::ReadOnly, "SELECT 'file', files, format(a, b)"), Ok(()));
    }

    #[test]
    fn engines_that_reach_out_are_refused() {
        let with = |engine: &str| {
            check_as(Class::Mutating, &format!("CREATE TABLE t (a Int8) ENGINE{engine} ORDER BY a"))
        };
        for engine in
            [" = EmbeddedRocksDB(0, 'x')", "=Executable('x')", " File", " = `File`", "/**/=Log"]
        {
            assert_eq!(with(engine), Err(497), "{engine}");
        }
        for engine in [" = MergeTree", " ReplacingMergeTree(a)", "= Memory"] {
            assert_eq!(with(engine), Ok(()), "{engine}");
        }
    }

    #[test]
    fn several_statements_are_refused() {
        let text = b"SELECT 1; SELECT 2";
        let statement = Statement::parse(text).unwrap();
        let analysis = Analysis { statements: 2, class: Class::ReadOnly };
        assert_eq!(check(text, &statement, analysis, false).unwrap_err().code, 62);
    }

    #[test]
    fn an_insert_with_unsplit_data_is_refused() {
        let text = "INSERT INTO t SELECT a FROM input('a Int8') FORMAT CSV";
        assert_eq!(check_as(Class::Mutating, text), Err(48));
    }
}
