//! One statement, from its text to its answer, on a blocking thread: the engine's calls block.
//!
//! Data of an insert goes through the streaming insert only, and is cancelled, not finished, when the client goes
//! away. A SELECT is streamed where its format allows, and cancelled when nobody reads on.

use std::io::{BufRead, Read as _};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::foreign::{Class, Connection, Statistics};

use super::body::{self, BodyReader};
use super::connections::Connections;
use super::failure::{Failure, Reason};
use super::fence;
use super::request::Asked;
use super::row_binary::{Joiner, Joining, joining};
use super::statement::Statement;

/// The longest statement; the data of an insert does not count.
const STATEMENT_BYTES_MAX: usize = 1 << 20;
/// Chunks of an answer that wait for the client; more than that stops the engine from going on.
const QUEUE_CHUNKS: usize = 2;

/// An answer that has begun: everything that stands before its body.
pub(crate) struct Begun {
    pub(crate) format: String,
    /// Only where the statement is over already.
    pub(crate) statistics: Option<Statistics>,
    pub(crate) first: Bytes,
    /// The rest, where it is streamed.
    pub(crate) rest: Option<mpsc::Receiver<Bytes>>,
}

/// Where an answer goes, and how it says that it failed half-way.
pub(crate) struct Reply {
    pub(crate) sender: oneshot::Sender<Result<Begun, Failure>>,
    pub(crate) tag: String,
}

/// Runs a request to its end. Blocks.
pub(crate) fn run(connections: &Connections, asked: &Asked, body: BodyReader, reply: Reply) {
    let mut reply = Some(reply);
    if let Err(failure) = answer(connections, asked, body, &mut reply)
        && let Some(reply) = reply
    {
        tracing::debug!(code = failure.code, "statement failed");
        // The client may be gone; then nobody wants to know.
        reply.sender.send(Err(failure)).ok();
    }
}

fn answer(
    connections: &Connections,
    asked: &Asked,
    body: BodyReader,
    reply: &mut Option<Reply>,
) -> Result<(), Failure> {
    let mut data = body::decoded(body, &asked.encoding)?;
    let (text, whole) = statement_text(asked, &mut data)?;
    let statement = Statement::parse(&text)?;
    let mut settings = asked.settings.clone();
    if asked.read_only && asked.session.is_none() {
        settings.push(("readonly".to_owned(), "2".to_owned()));
    }
    let mut lease = connections.lease(&asked.database, &settings, asked.session.as_ref())?;
    let done = execute(lease.connection()?, asked, &text, whole, &statement, data, reply);
    let keyword = statement.keyword(&text);
    let stateless = !["SET", "USE", "CREATE", "DROP"].contains(&keyword.as_str());
    lease.give_back(done.is_ok() && stateless);
    done
}

/// The statement's text: the one in the address or form, and, unless that one's data follows, the body. The flag says
/// whether the text is whole; if not, it can only be an insert with more data in the body.
fn statement_text(
    asked: &Asked,
    body: &mut Box<dyn BufRead + Send>,
) -> Result<(Vec<u8>, bool), Failure> {
    let mut text = asked.query.clone().unwrap_or_default().into_bytes();
    if !text.is_empty() && matches!(Statement::parse(&text)?, Statement::Insert { .. }) {
        return Ok((text, true));
    }
    if !text.is_empty() {
        text.push(b'\n');
    }
    let limit = u64::try_from(STATEMENT_BYTES_MAX).unwrap_or(u64::MAX);
    let read = body.take(limit).read_to_end(&mut text).map_err(|error| body::failure(&error))?;
    Ok((text, read < STATEMENT_BYTES_MAX))
}

fn execute(
    connection: &mut Connection,
    asked: &Asked,
    text: &[u8],
    whole: bool,
    statement: &Statement,
    data: Box<dyn BufRead + Send>,
    reply: &mut Option<Reply>,
) -> Result<(), Failure> {
    match statement {
        Statement::Insert { head, format, data: start, .. } => {
            let format = format.as_deref().or(asked.default_format.as_deref()).unwrap_or("Values");
            let head = &text[..*head];
            let checked = [head, b" FORMAT ", format.as_bytes()].concat();
            check(connection, &checked, statement, asked.read_only)?;
            let data = (&text[*start..]).chain(data);
            insert(connection, head, format, asked, data, reply)
        }
        Statement::Other { .. } if !whole => {
            let text = format_args!("the statement is longer than {STATEMENT_BYTES_MAX} bytes");
            Err(Failure::new(Reason::QueryIsTooLarge, text))
        }
        Statement::Other { end, format, .. } => {
            let text = &text[..*end];
            if text.is_empty() {
                return Err(Failure::new(Reason::SyntaxError, "Syntax error: Empty query"));
            }
            let class = check(connection, text, statement, asked.read_only)?;
            let format = format.as_deref().or(asked.default_format.as_deref());
            let format = format.unwrap_or("TabSeparated");
            match joining(format).filter(|_| streamable(text, statement, class, asked)) {
                Some(joining) => stream(connection, text, format, joining, asked, reply),
                None => materialise(connection, text, format, asked, reply),
            }
        }
    }
}

/// Asks the engine's parser what the statement is, and the fence whether it may pass.
fn check(
    connection: &mut Connection,
    text: &[u8],
    statement: &Statement,
    read_only: bool,
) -> Result<Class, Failure> {
    let analysis = connection.classify(text)?;
    fence::check(text, statement, analysis, read_only)?;
    if analysis.statements == 0 {
        // It does not parse. The streaming call takes one SELECT only, so it can do nothing but say why.
        let place = connection.stream(text, "Null", &[]).err();
        return Err(place.map_or_else(
            || Failure::new(Reason::SyntaxError, "Syntax error: the statement does not parse"),
            Failure::from,
        ));
    }
    Ok(analysis.class)
}

/// Whether the answer may be sent in chunks: a plain SELECT without what a format prints once at the end.
fn streamable(text: &[u8], statement: &Statement, class: Class, asked: &Asked) -> bool {
    let once = ["extremes", "output_format_json_array_of_rows"];
    class == Class::ReadOnly
        && ["SELECT", "WITH", "FROM", "("].contains(&statement.keyword(text).as_str())
        && !statement.has(text, "TOTALS")
        && !once.iter().any(|name| {
            statement.has(text, name) || asked.settings.iter().any(|(setting, _)| setting == name)
        })
}

fn insert(
    connection: &mut Connection,
    head: &[u8],
    format: &str,
    asked: &Asked,
    mut data: impl BufRead,
    reply: &mut Option<Reply>,
) -> Result<(), Failure> {
    let mut insert = connection.insert(head, format, &asked.parameters)?;
    loop {
        // An error leaves `insert` unfinished, and dropping it cancels: nothing is stored.
        let piece = data.fill_buf().map_err(|error| body::failure(&error))?;
        if piece.is_empty() {
            break;
        }
        insert.append(piece)?;
        let bytes = piece.len();
        data.consume(bytes);
    }
    let statistics = insert.finish()?;
    begin(reply, format, Some(statistics), Bytes::new(), None);
    Ok(())
}

fn materialise(
    connection: &mut Connection,
    text: &[u8],
    format: &str,
    asked: &Asked,
    reply: &mut Option<Reply>,
) -> Result<(), Failure> {
    let answer = connection.query(text, format, &asked.parameters)?;
    begin(reply, format, Some(answer.statistics), answer.bytes, None);
    Ok(())
}

fn stream(
    connection: &mut Connection,
    text: &[u8],
    format: &str,
    joining: Joining,
    asked: &Asked,
    reply: &mut Option<Reply>,
) -> Result<(), Failure> {
    let mut chunks = connection.stream(text, format, &asked.parameters)?;
    let mut joiner = Joiner::new(joining);
    // The first chunk is awaited before anything is sent, so that most errors still get a status of their own.
    let first = match chunks.next_chunk()? {
        Some(answer) => joiner.join(answer.bytes)?,
        None => Bytes::new(),
    };
    let (sender, rest) = mpsc::channel(QUEUE_CHUNKS);
    let Some(tag) = begin(reply, format, None, first, Some(rest)) else { return Ok(()) };
    loop {
        let next = chunks
            .next_chunk()
            .and_then(|answer| answer.map(|answer| joiner.join(answer.bytes)).transpose());
        let (bytes, last) = match next {
            Ok(None) => return Ok(()),
            Ok(Some(bytes)) => (bytes, None),
            Err(error) => {
                let failure = Failure::from(error);
                (Bytes::from(failure.last_chunk(&tag)), Some(failure))
            }
        };
        // A client that is gone drops its end; dropping `chunks` then cancels the query.
        let gone = sender.blocking_send(bytes).is_err();
        if let Some(failure) = last {
            return Err(failure);
        }
        if gone {
            return Err(Failure::new(Reason::NetworkError, "the client is gone"));
        }
    }
}

/// Begins the answer, and gives the tag for an end that fails. `None` when the client is gone.
fn begin(
    reply: &mut Option<Reply>,
    format: &str,
    statistics: Option<Statistics>,
    first: Bytes,
    rest: Option<mpsc::Receiver<Bytes>>,
) -> Option<String> {
    let Reply { sender, tag } = reply.take()?;
    let begun = Begun { format: format.to_owned(), statistics, first, rest };
    sender.send(Ok(begun)).ok().map(|()| tag)
}
