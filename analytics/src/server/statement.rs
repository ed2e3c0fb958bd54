//! What the endpoint must know of a statement before it hands it to the engine: whether it is an insert with data
//! and where its data begins, the format it asks for, and its words. It parses nothing else; the engine does.
//!
//! The tokens follow ClickHouse's own lexer (nested comments, `--`, `//`, `#` comments, doubled and escaped quotes). What
//! both could read differently (here-documents, typographic quotes) is refused.

/// A statement's text cannot be split into tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LexicalError {
    #[error("a quote or comment that is opened at byte {at} is never closed")]
    Unclosed { at: usize },
    #[error("a here-document at byte {at}: write the text between quotes")]
    HereDocument { at: usize },
    #[error("a typographic quote at byte {at}: use ' or \" or `")]
    TypographicQuote { at: usize },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A keyword, a bare identifier or a number.
    Word,
    /// A text literal or a quoted identifier.
    Quoted,
    Symbol(u8),
}

/// One significant token: bytes `start..end` of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Token {
    /// Whether it is this keyword, in whatever case.
    pub(crate) fn is(&self, text: &[u8], keyword: &str) -> bool {
        self.kind == Kind::Word
            && text[self.start..self.end].eq_ignore_ascii_case(keyword.as_bytes())
    }

    /// Whether it is this name, bare or as a quoted identifier.
    pub(crate) fn names(&self, text: &[u8], name: &str) -> bool {
        self.is(text, name)
            || self
                .identifier(text)
                .is_some_and(|inner| inner.eq_ignore_ascii_case(name.as_bytes()))
    }

    /// What stands between the quotes of a quoted identifier, escapes as they are written.
    pub(crate) fn identifier<'a>(&self, text: &'a [u8]) -> Option<&'a [u8]> {
        match (self.kind, text.get(self.start)) {
            (Kind::Quoted, Some(b'`' | b'"')) => text.get(self.start + 1..self.end - 1),
            _ => None,
        }
    }
}

/// The tokens of a text, lazily: an insert's data is never read as SQL.
pub(crate) struct Tokens<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Tokens<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    fn after_quote(&self, start: usize, quote: u8) -> Result<usize, LexicalError> {
        let mut at = start + 1;
        while let Some(&byte) = self.text.get(at) {
            if byte == b'\\' {
                at += 2;
            } else if byte != quote {
                at += 1;
            } else if self.text.get(at + 1) == Some(&quote) {
                at += 2;
            } else {
                return Ok(at + 1);
            }
        }
        Err(LexicalError::Unclosed { at: start })
    }

    fn after_comment(&self, start: usize) -> Result<usize, LexicalError> {
        let (mut at, mut depth) = (start + 2, 1_usize);
        while let Some(pair) = self.text.get(at..at + 2) {
            match pair {
                b"/*" => depth += 1,
                b"*/" => depth -= 1,
                _ => {
                    at += 1;
                    continue;
                }
            }
            at += 2;
            if depth == 0 {
                return Ok(at);
            }
        }
        Err(LexicalError::Unclosed { at: start })
    }

    fn after_line(&self, start: usize) -> usize {
        let rest = &self.text[start..];
        rest.iter().position(|byte| *byte == b'\n').map_or(self.text.len(), |line| start + line)
    }

    fn token(&mut self, kind: Kind, start: usize, end: usize) -> Token {
        self.at = end;
        Token { kind, start, end }
    }

    fn fail(&mut self, error: LexicalError) -> Result<Token, LexicalError> {
        self.at = self.text.len();
        Err(error)
    }
}

fn word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$'
}

impl Iterator for Tokens<'_> {
    type Item = Result<Token, LexicalError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let start = self.at;
            let rest = self.text.get(start..)?;
            let (&first, second) = (rest.first()?, rest.get(1).copied());
            match (first, second) {
                (byte, _) if byte.is_ascii_whitespace() || byte == 0x0b || byte == 0 => {
                    self.at += 1;
                }
                (b'-', Some(b'-')) | (b'/', Some(b'/')) | (b'#', Some(b' ' | b'!')) => {
                    self.at = self.after_line(start);
                }
                (b'/', Some(b'*')) => match self.after_comment(start) {
                    Ok(end) => self.at = end,
                    Err(error) => return Some(self.fail(error)),
                },
                (quote @ (b'\'' | b'"' | b'`'), _) => {
                    return Some(match self.after_quote(start, quote) {
                        Ok(end) => Ok(self.token(Kind::Quoted, start, end)),
                        Err(error) => self.fail(error),
                    });
                }
                (b'$', _) => return Some(self.fail(LexicalError::HereDocument { at: start })),
                (0xE2, Some(0x80)) if matches!(rest.get(2), Some(0x98..=0x9F)) => {
                    return Some(self.fail(LexicalError::TypographicQuote { at: start }));
                }
                (byte, _) if word_byte(byte) => {
                    let length = rest.iter().take_while(|byte| word_byte(**byte)).count();
                    return Some(Ok(self.token(Kind::Word, start, start + length)));
                }
                (byte, _) => return Some(Ok(self.token(Kind::Symbol(byte), start, start + 1))),
            }
        }
    }
}

/// A statement as the endpoint sees it.
#[derive(Debug)]
pub(crate) enum Statement {
    /// An insert whose data follows: `text[..head]` is the statement for the streaming insert.
    Insert {
        head: usize,
        /// The format of the data; the default one when the statement names none.
        format: Option<String>,
        data: usize,
        tokens: Vec<Token>,
    },
    /// Anything else, without the semicolons at its end.
    Other { end: usize, format: Option<String>, tokens: Vec<Token> },
}

impl Statement {
    pub(crate) fn parse(text: &[u8]) -> Result<Self, LexicalError> {
        let mut tokens = Tokens::new(text);
        let Some(first) = tokens.next().transpose()? else {
            return Ok(Self::Other { end: 0, format: None, tokens: Vec::new() });
        };
        if first.is(text, "INSERT") {
            parse_insert(text, first, tokens)
        } else {
            let mut all = vec![first];
            for token in tokens {
                all.push(token?);
            }
            Ok(other(text, all))
        }
    }

    /// The statement's first keyword, in capitals; empty when there is none.
    pub(crate) fn keyword(&self, text: &[u8]) -> String {
        self.tokens().first().map_or_else(String::new, |token| {
            String::from_utf8_lossy(&text[token.start..token.end]).to_ascii_uppercase()
        })
    }

    /// Whether this keyword occurs in it outside quotes and comments.
    pub(crate) fn has(&self, text: &[u8], keyword: &str) -> bool {
        self.tokens().iter().any(|token| token.is(text, keyword))
    }

    /// Whether this function is called in it: the name, bare or quoted, then a parenthesis.
    pub(crate) fn calls(&self, text: &[u8], function: &str) -> bool {
        self.tokens()
            .windows(2)
            .any(|pair| pair[0].names(text, function) && pair[1].kind == Kind::Symbol(b'('))
    }

    pub(crate) fn tokens(&self) -> &[Token] {
        let (Self::Insert { tokens, .. } | Self::Other { tokens, .. }) = self;
        tokens
    }
}

fn parse_insert(text: &[u8], first: Token, rest: Tokens<'_>) -> Result<Statement, LexicalError> {
    let mut tokens = vec![first];
    let mut depth = 0_usize;
    let mut named = false;
    let mut rest = rest.peekable();
    while let Some(token) = rest.next().transpose()? {
        let top = depth == 0;
        let opening = tokens.last().is_some_and(|last| last.kind == Kind::Symbol(b'('));
        tokens.push(token);
        match token.kind {
            Kind::Symbol(b'(' | b'[' | b'{') => depth += 1,
            Kind::Symbol(b')' | b']' | b'}') => depth = depth.saturating_sub(1),
            Kind::Quoted => named |= top,
            Kind::Word if !top => {
                if opening && ["SELECT", "WITH"].iter().any(|word| token.is(text, word)) {
                    return whole(text, tokens, rest);
                }
            }
            Kind::Word if !named => {
                named = !["INTO", "TABLE", "FUNCTION"].iter().any(|word| token.is(text, word));
            }
            Kind::Word if after_dot(&tokens) => {}
            Kind::Word if token.is(text, "VALUES") => {
                tokens.pop();
                let format = Some("Values".to_owned());
                return Ok(Statement::Insert {
                    head: token.start,
                    format,
                    data: token.end,
                    tokens,
                });
            }
            Kind::Word if token.is(text, "FORMAT") => {
                let Some(name) = rest.next().transpose()? else { break };
                tokens.pop();
                let format = String::from_utf8_lossy(&text[name.start..name.end]).into_owned();
                let data = start_of_data(text, name.end);
                return Ok(Statement::Insert {
                    head: token.start,
                    format: Some(format),
                    data,
                    tokens,
                });
            }
            Kind::Word if ["SELECT", "WITH", "FROM"].iter().any(|word| token.is(text, word)) => {
                return whole(text, tokens, rest);
            }
            Kind::Word | Kind::Symbol(_) => {}
        }
    }
    let end = tokens.last().map_or(0, |token| token.end);
    Ok(Statement::Insert { head: end, format: None, data: text.len(), tokens })
}

fn after_dot(tokens: &[Token]) -> bool {
    tokens.len() >= 2 && tokens[tokens.len() - 2].kind == Kind::Symbol(b'.')
}

/// Data begins after the blanks behind the format's name and at most one line end.
fn start_of_data(text: &[u8], mut at: usize) -> usize {
    while matches!(text.get(at), Some(b' ' | b'\t' | b'\r' | 0x0c)) {
        at += 1;
    }
    at + usize::from(text.get(at) == Some(&b'\n'))
}

fn whole(
    text: &[u8],
    mut tokens: Vec<Token>,
    rest: impl Iterator<Item = Result<Token, LexicalError>>,
) -> Result<Statement, LexicalError> {
    for token in rest {
        tokens.push(token?);
    }
    Ok(other(text, tokens))
}

fn other(text: &[u8], mut tokens: Vec<Token>) -> Statement {
    while tokens.last().is_some_and(|token| token.kind == Kind::Symbol(b';')) {
        tokens.pop();
    }
    let mut depth = 0_usize;
    let mut format = None;
    for (index, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Symbol(b'(' | b'[' | b'{') => depth += 1,
            Kind::Symbol(b')' | b']' | b'}') => depth = depth.saturating_sub(1),
            Kind::Word if depth == 0 && token.is(text, "FORMAT") => {
                let name = tokens.get(index + 1).filter(|name| name.kind == Kind::Word);
                let last = tokens.get(index + 2).is_none_or(|next| next.is(text, "SETTINGS"));
                if let Some(name) = name.filter(|_| last) {
                    format =
                        Some(String::from_utf8_lossy(&text[name.start..name.end]).into_owned());
                }
            }
            Kind::Word | Kind::Quoted | Kind::Symbol(_) => {}
        }
    }
    Statement::Other { end: tokens.last().map_or(0, |token| token.end), format, tokens }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&str> {
        Tokens::new(text.as_bytes())
            .map(|token| token.unwrap())
            .map(|token| &text[token.start..token.end])
            .collect()
    }

    #[test]
    fn quotes_and_comments_hide_what_is_in_them() {
        assert_eq!(
            words("SELECT 'a;''b\\'c' -- x\n,`d``e`"),
            ["SELECT", "'a;''b\\'c'", ",", "`d``e`"]
        );
        assert_eq!(words("a /* b /* c */ d */ e // f\ng # h\n#!i\nj"), ["a", "e", "g", "j"]);
        assert_eq!(words("a-b #c"), ["a", "-", "b", "#", "c"]);
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for (text, error) in [
            ("SELECT 'a", LexicalError::Unclosed { at: 7 }),
            ("SELECT 1 /* /* */", LexicalError::Unclosed { at: 9 }),
            ("SELECT $a$x$a$", LexicalError::HereDocument { at: 7 }),
            ("SELECT \u{2018}a\u{2019}", LexicalError::TypographicQuote { at: 7 }),
        ] {
            assert_eq!(Statement::parse(text.as_bytes()).unwrap_err(), error, "{text}");
        }
    }

    fn insert(text: &str) -> (&str, Option<String>, &str) {
        match Statement::parse(text.as_bytes()).unwrap() {
            Statement::Insert { head, format, data, .. } => (&text[..head], format, &text[data..]),
            other @ Statement::Other { .. } => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn an_insert_is_cut_before_its_data() {
        let format = |name: &str| Some(name.to_owned());
        assert_eq!(
            insert("INSERT INTO t FORMAT JSONEachRow\n{\"a\": \"'\"}"),
            ("INSERT INTO t ", format("JSONEachRow"), "{\"a\": \"'\"}")
        );
        assert_eq!(
            insert("insert into a.`b` (c, `format`) values (1, ';')"),
            ("insert into a.`b` (c, `format`) ", format("Values"), " (1, ';')")
        );
        assert_eq!(
            insert("INSERT INTO format SETTINGS async_insert = 0 FORMAT RowBinary \n\nx"),
            ("INSERT INTO format SETTINGS async_insert = 0 ", format("RowBinary"), "\nx")
        );
        assert_eq!(insert("INSERT INTO values.values"), ("INSERT INTO values.values", None, ""));
        assert_eq!(insert("INSERT INTO t (a)"), ("INSERT INTO t (a)", None, ""));
    }

    #[test]
    fn an_insert_from_a_query_is_no_insert_with_data() {
        for text in [
            "INSERT INTO t SELECT 1",
            "INSERT INTO t (a) WITH 1 AS x SELECT x",
            "INSERT INTO t (SELECT 1)",
            "INSERT INTO t FROM INFILE 'x' FORMAT CSV",
        ] {
            let statement = Statement::parse(text.as_bytes()).unwrap();
            assert!(matches!(statement, Statement::Other { .. }), "{text}");
        }
    }

    #[test]
    fn the_format_is_the_last_clause_only() {
        let format = |text: &str| match Statement::parse(text.as_bytes()).unwrap() {
            Statement::Other { end, format, .. } => (text[..end].to_owned(), format),
            Statement::Insert { .. } => panic!("{text}"),
        };
        let json = Some("JSON".to_owned());
        assert_eq!(
            format("SELECT 1 FORMAT JSON ; -- x"),
            ("SELECT 1 FORMAT JSON".into(), json.clone())
        );
        assert_eq!(format("SELECT 1 FORMAT JSON SETTINGS a=1").1, json);
        assert_eq!(format("SELECT format FROM (SELECT 1 format)").1, None);
        assert_eq!(format("SELECT 'FORMAT JSON'").1, None);
    }
}
