//! The engine streams a SELECT as one complete document a chunk. Formats with a header repeat it in each; here is what
//! can be streamed, and how the repeated header is taken off.

use bytes::{Buf as _, Bytes};

use crate::foreign::EngineError;

/// How the chunks of a format become one document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Joining {
    /// Chunks are simply concatenated.
    Plain,
    /// A binary header (names, and types where true) is kept on the first chunk only.
    Header { types: bool },
}

/// How a format's chunks are joined; `None` when only the whole answer at once makes a valid document.
pub(crate) fn joining(format: &str) -> Option<Joining> {
    match format {
        "RowBinary"
        | "Native"
        | "TabSeparated"
        | "TSV"
        | "TabSeparatedRaw"
        | "TSVRaw"
        | "Raw"
        | "CSV"
        | "JSONEachRow"
        | "JSONLines"
        | "NDJSON"
        | "JSONStringsEachRow"
        | "JSONCompactEachRow"
        | "JSONCompactStringsEachRow"
        | "LineAsString"
        | "TSKV"
        | "MsgPack" => Some(Joining::Plain),
        "RowBinaryWithNames" => Some(Joining::Header { types: false }),
        "RowBinaryWithNamesAndTypes" => Some(Joining::Header { types: true }),
        _ => None,
    }
}

/// Joins the chunks of one answer.
pub(crate) struct Joiner {
    joining: Joining,
    header: Option<Bytes>,
}

impl Joiner {
    pub(crate) fn new(joining: Joining) -> Self {
        Self { joining, header: None }
    }

    /// The part of a chunk that belongs to the answer.
    pub(crate) fn join(&mut self, mut chunk: Bytes) -> Result<Bytes, EngineError> {
        let Joining::Header { types } = self.joining else { return Ok(chunk) };
        match &self.header {
            None => {
                let length = header_length(&chunk, types).ok_or_else(broken)?;
                self.header = Some(chunk.slice(..length));
                Ok(chunk)
            }
            Some(header) if chunk.starts_with(header) => {
                chunk.advance(header.len());
                Ok(chunk)
            }
            Some(_) => Err(broken()),
        }
    }
}

fn broken() -> EngineError {
    EngineError::new("Code: 49. DB::Exception: a chunk of the answer has no header or another one. (LOGICAL_ERROR)".to_owned())
}

/// Bytes of the header: the number of columns, then that many names, then that many types.
fn header_length(chunk: &[u8], types: bool) -> Option<usize> {
    let mut rest = chunk;
    let columns = take_number(&mut rest)?;
    for _ in 0..columns * (1 + u64::from(types)) {
        let length = usize::try_from(take_number(&mut rest)?).ok()?;
        rest = rest.get(length..)?;
    }
    Some(chunk.len() - rest.len())
}

/// A LEB128 number.
fn take_number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..63).step_by(7) {
        let (&byte, tail) = rest.split_first()?;
        *rest = tail;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_stays_on_the_first_chunk_only() {
        let header = b"\x02\x01a\x01b\x05UInt8\x06String";
        let chunk = |rows: &[u8]| Bytes::from([header.as_slice(), rows].concat());
        let mut joiner = Joiner::new(Joining::Header { types: true });
        assert_eq!(joiner.join(chunk(b"\x01\x01x")).unwrap(), chunk(b"\x01\x01x"));
        assert_eq!(joiner.join(chunk(b"\x02\x01y")).unwrap(), b"\x02\x01y".as_slice());
        assert!(joiner.join(Bytes::from_static(b"\x03\x01z")).is_err());
    }

    #[test]
    fn a_header_without_types_is_shorter() {
        let mut joiner = Joiner::new(Joining::Header { types: false });
        joiner.join(Bytes::from_static(b"\x01\x01a\x07")).unwrap();
        assert_eq!(joiner.join(Bytes::from_static(b"\x01\x01a\x08")).unwrap(), b"\x08".as_slice());
        assert_eq!(header_length(b"\x01\x05a", false), None);
    }
}
