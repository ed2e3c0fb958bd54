//! An event of an append, read where it came. Nearly all that is received are events, and texts made of their bytes only to
//! be compared with the names of the event before would cost more than to check them: so `build.rs` leaves `events` of
//! `StreamWrite` unread. The numbers are those of `proto/annals/v1/annals.proto`; a test reads with this what the generated
//! code writes.

use std::ops::Range;

use prost::encoding::{
    DecodeContext, WireType, decode_key, decode_varint, fixed64, skip_field, wire_type,
};

use crate::api::problem::Problem;

/// A `NewEvent` in the bytes that it came in.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct NewEvent<'a> {
    pub(super) id: &'a str,
    pub(super) event_type: &'a str,
    pub(super) schema: u64,
    pub(super) tags: Vec<&'a str>,
    pub(super) metadata_json: &'a [u8],
    /// Where the payload stands.
    pub(super) data: Range<usize>,
}

impl NewEvent<'_> {
    /// Reads the event that `bytes` are.
    ///
    /// # Errors
    /// The problem of bytes that are none.
    pub(super) fn read(bytes: &[u8]) -> Result<NewEvent<'_>, Problem> {
        let mut event = NewEvent::default();
        let mut rest = bytes;
        while !rest.is_empty() {
            let (field, kind) = decode_key(&mut rest).map_err(wrong)?;
            match field {
                1 => event.id = text(kind, &mut rest)?,
                2 => event.event_type = text(kind, &mut rest)?,
                3 => {
                    fixed64::merge(kind, &mut event.schema, &mut rest, DecodeContext::default())
                        .map_err(wrong)?;
                }
                4 => event.tags.push(text(kind, &mut rest)?),
                5 => event.metadata_json = piece(kind, &mut rest)?,
                6 => {
                    let length = piece(kind, &mut rest)?.len();
                    let end = bytes.len() - rest.len();
                    event.data = end - length..end;
                }
                _ => skip_field(kind, field, &mut rest, DecodeContext::default()).map_err(wrong)?,
            }
        }
        Ok(event)
    }
}

/// The text of a field, of which `rest` is what follows its key.
fn text<'a>(kind: WireType, rest: &mut &'a [u8]) -> Result<&'a str, Problem> {
    std::str::from_utf8(piece(kind, rest)?).map_err(wrong)
}

/// The bytes of a field.
fn piece<'a>(kind: WireType, rest: &mut &'a [u8]) -> Result<&'a [u8], Problem> {
    wire_type::check_wire_type(WireType::LengthDelimited, kind).map_err(wrong)?;
    let length = usize::try_from(decode_varint(rest).map_err(wrong)?).map_err(wrong)?;
    let cut = || wrong(format!("{length} bytes were to follow, there are {}", rest.len()));
    let (piece, behind) = rest.split_at_checked(length).ok_or_else(cut)?;
    *rest = behind;
    Ok(piece)
}

#[allow(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn wrong(why: impl ToString) -> Problem {
    let detail = format!("an event of the append cannot be decoded: {}", why.to_string());
    Problem::malformed("malformed-event", detail)
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use prost::encoding::{bytes, encode_key, uint64};

    use super::super::proto;
    use super::*;

    fn field(number: u32, content: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        bytes::encode(number, &content.to_vec(), &mut out);
        out
    }

    #[test]
    fn what_the_generated_code_writes_is_read() {
        let event = proto::NewEvent {
            id: "67e55044-10b1-426f-9247-bb680e5fe0c8".to_owned(),
            r#type: "note.Taken".to_owned(),
            schema: u64::MAX - 7,
            tags: vec!["course:1".to_owned(), String::new(), "größe:ü".to_owned()],
            metadata_json: br#"{"actor":"ann"}"#.as_slice().into(),
            data: vec![7; 300].into(),
        };
        let mut bytes = field(99, b"of a later version");
        bytes.extend(event.encode_to_vec());
        uint64::encode(98, &7, &mut bytes);
        let read = NewEvent::read(&bytes).expect("an event");
        assert_eq!(
            (read.id, read.event_type, read.schema),
            (&*event.id, &*event.r#type, event.schema)
        );
        assert_eq!(read.tags, event.tags);
        assert_eq!(read.metadata_json, event.metadata_json);
        assert_eq!(bytes[read.data], event.data);
        assert_eq!(NewEvent::read(&[]).expect("it is empty"), NewEvent::default());
    }

    #[test]
    fn of_a_field_that_comes_again_the_last_counts() {
        let bytes = [field(6, b"first"), field(2, b"a.B"), field(6, b"last"), field(2, b"a.C")];
        let bytes = bytes.concat();
        let read = NewEvent::read(&bytes).expect("an event");
        assert_eq!((read.event_type, &bytes[read.data]), ("a.C", &b"last"[..]));
    }

    #[test]
    fn what_is_broken_is_told() {
        let refused = |bytes: &[u8], says: &str| {
            let problem = NewEvent::read(bytes).expect_err("it is broken");
            assert_eq!(problem.code, "malformed-event");
            assert!(problem.detail.contains(says), "{}", problem.detail);
        };
        refused(&field(1, &[0xff]), "utf-8");
        refused(&field(4, &[0xc3]), "utf-8");
        for number in [1, 2, 4, 5, 6, 99] {
            let whole = field(number, b"note.Taken");
            for length in 1..whole.len() {
                refused(&whole[..length], "decoded");
            }
            // A length that no memory holds.
            let mut long = Vec::new();
            encode_key(number, WireType::LengthDelimited, &mut long);
            long.extend([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
            refused(&long, "decoded");
        }
        for number in 1..=6 {
            let mut kind = Vec::new();
            uint64::encode(number, &7, &mut kind);
            refused(&kind, "wire type");
        }
        refused(&[0], "tag");
    }
}
