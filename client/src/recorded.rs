//! The messages that events come in. They are nearly everything that a client receives, so an event's texts and bytes stay
//! where they came: an event knows its part of the message, and where in it they stand. The numbers are those of
//! `annals.proto`; a test of the server reads with this what its own code writes.

use std::fmt;

use bytes::{Buf, BufMut, Bytes};
use prost::encoding::{
    DecodeContext, WireType, bytes as raw, decode_key, decode_varint, fixed64, int64, skip_field,
    string, uint64,
};
use prost::{DecodeError, Message};

/// An event as it was recorded. Whoever keeps one keeps the message that it came in, some 64 KiB: copy what is kept long.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RecordedEvent {
    /// Its number in the stream.
    pub revision: u64,
    /// Its place in the whole log.
    pub position: u64,
    /// When it was recorded: microseconds since 1970-01-01 UTC.
    pub time_micros: i64,
    /// The CRC-64-AVRO fingerprint of the writer schema; 0 for bytes that are not Avro.
    pub schema: u64,
    id: Span,
    stream: Span,
    event_type: Span,
    metadata_json: Span,
    data: Span,
    json: Span,
    /// Its part of the message, which all of these are in.
    bytes: Bytes,
}

/// Where something stands in an event's part of the message; nowhere, where it is empty.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Span {
    begin: u32,
    end: u32,
}

impl RecordedEvent {
    /// A UUID.
    pub fn id(&self) -> &str {
        self.text(self.id)
    }

    /// The stream that it stands in.
    pub fn stream(&self) -> &str {
        self.text(self.stream)
    }

    /// `context.Name`.
    pub fn event_type(&self) -> &str {
        self.text(self.event_type)
    }

    /// Correlation, causation, actor, tenant, trace and tags: a JSON object. Empty: none of them.
    pub fn metadata_json(&self) -> &[u8] {
        self.slice(self.metadata_json)
    }

    /// The payload as stored.
    pub fn data(&self) -> &[u8] {
        self.slice(self.data)
    }

    /// The payload as JSON.
    pub fn json(&self) -> &[u8] {
        self.slice(self.json)
    }

    fn slice(&self, span: Span) -> &[u8] {
        &self.bytes[span.begin as usize..span.end as usize]
    }

    fn text(&self, span: Span) -> &str {
        std::str::from_utf8(self.slice(span)).expect("it was checked as it came")
    }
}

impl fmt::Debug for RecordedEvent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("RecordedEvent")
            .field("id", &self.id())
            .field("stream", &self.stream())
            .field("revision", &self.revision)
            .field("position", &self.position)
            .field("event_type", &self.event_type())
            .field("time_micros", &self.time_micros)
            .field("schema", &self.schema)
            .field("metadata_json", &Bytes::copy_from_slice(self.metadata_json()))
            .field("data", &Bytes::copy_from_slice(self.data()))
            .field("json", &Bytes::copy_from_slice(self.json()))
            .finish_non_exhaustive()
    }
}

/// A part of what a read finds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadResponse {
    /// The events.
    pub events: Vec<RecordedEvent>,
    /// Everything asked for up to this position has been sent.
    pub through: Option<u64>,
}

/// Events of a subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventBatch {
    /// The events.
    pub events: Vec<RecordedEvent>,
}

const EVENTS: u32 = 1;
const THROUGH: u32 = 2;

/// A message of which clients only read what they are sent.
macro_rules! received {
    ($message:ty) => {
        fn encode_raw(&self, _: &mut impl BufMut) {}

        fn encoded_len(&self) -> usize {
            0
        }

        fn clear(&mut self) {
            *self = <$message>::default();
        }
    };
}

impl Message for ReadResponse {
    received!(ReadResponse);

    fn merge_field(
        &mut self,
        field: u32,
        wire_type: WireType,
        bytes: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        match field {
            EVENTS => self.events.push(RecordedEvent::next(wire_type, bytes, &context)?),
            THROUGH => {
                let through = self.through.get_or_insert_default();
                uint64::merge(wire_type, through, bytes, context)?;
            }
            _ => skip_field(wire_type, field, bytes, context)?,
        }
        Ok(())
    }
}

impl Message for EventBatch {
    received!(EventBatch);

    fn merge_field(
        &mut self,
        field: u32,
        wire_type: WireType,
        bytes: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        match field {
            EVENTS => self.events.push(RecordedEvent::next(wire_type, bytes, &context)?),
            _ => skip_field(wire_type, field, bytes, context)?,
        }
        Ok(())
    }
}

impl RecordedEvent {
    /// Reads the event that comes next.
    fn next(
        wire_type: WireType,
        message: &mut impl Buf,
        context: &DecodeContext,
    ) -> Result<RecordedEvent, DecodeError> {
        let mut bytes = Bytes::new();
        raw::merge(wire_type, &mut bytes, message, context.clone())?;
        let mut event = RecordedEvent::default();
        let mut rest = &bytes[..];
        while rest.has_remaining() {
            let (field, wire_type) = decode_key(&mut rest)?;
            let context = context.clone();
            match field {
                1 => event.id = text(wire_type, &bytes, &mut rest, context)?,
                2 => event.stream = text(wire_type, &bytes, &mut rest, context)?,
                3 => uint64::merge(wire_type, &mut event.revision, &mut rest, context)?,
                4 => uint64::merge(wire_type, &mut event.position, &mut rest, context)?,
                5 => event.event_type = text(wire_type, &bytes, &mut rest, context)?,
                6 => int64::merge(wire_type, &mut event.time_micros, &mut rest, context)?,
                7 => fixed64::merge(wire_type, &mut event.schema, &mut rest, context)?,
                8 => event.metadata_json = span(wire_type, &bytes, &mut rest, context)?,
                9 => event.data = span(wire_type, &bytes, &mut rest, context)?,
                10 => event.json = span(wire_type, &bytes, &mut rest, context)?,
                _ => skip_field(wire_type, field, &mut rest, context)?,
            }
        }
        event.bytes = bytes;
        Ok(event)
    }
}

/// Where a field of text stands, of which `rest` is what follows its key.
fn text(
    wire_type: WireType,
    event: &[u8],
    rest: &mut &[u8],
    context: DecodeContext,
) -> Result<Span, DecodeError> {
    let mut field = *rest;
    let span = span(wire_type, event, rest, context.clone())?;
    if std::str::from_utf8(&event[span.begin as usize..span.end as usize]).is_err() {
        // Nobody but prost can make the error.
        string::merge(wire_type, &mut String::new(), &mut field, context)?;
    }
    Ok(span)
}

/// Where a field of bytes stands.
fn span(
    wire_type: WireType,
    event: &[u8],
    rest: &mut &[u8],
    context: DecodeContext,
) -> Result<Span, DecodeError> {
    let mut field = *rest;
    if wire_type == WireType::LengthDelimited
        && let Some(span) = next_span(event, rest)
    {
        return Ok(span);
    }
    // The same with its error.
    raw::merge(wire_type, &mut Vec::new(), &mut field, context)?;
    Ok(Span::default())
}

/// Where the bytes stand whose length comes next; nothing where they are not all there.
fn next_span(event: &[u8], rest: &mut &[u8]) -> Option<Span> {
    let length = usize::try_from(decode_varint(rest).ok()?).ok()?;
    let begin = event.len() - rest.len();
    *rest = rest.get(length..)?;
    Some(Span { begin: u32::try_from(begin).ok()?, end: u32::try_from(begin + length).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::encoding::{encode_key, uint64};

    fn field(number: u32, content: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        raw::encode(number, &content.to_vec(), &mut out);
        out
    }

    #[test]
    fn what_is_not_known_is_passed_over_and_what_is_known_stays_where_it_came() {
        let mut event = field(2, b"note-1");
        event.extend(field(99, b"of a later version"));
        uint64::encode(4, &7, &mut event);
        event.extend(field(9, b"payload"));
        let mut message = field(EVENTS, &event);
        uint64::encode(THROUGH, &300, &mut message);
        let message = Bytes::from(message);
        let read = ReadResponse::decode(message.clone()).expect("a right message");
        let [event] = read.events.as_slice() else { panic!("{read:?}") };
        assert_eq!((event.stream(), event.position, read.through), ("note-1", 7, Some(300)));
        assert_eq!((event.id(), event.data()), ("", &b"payload"[..]));
        let range = message.as_ptr_range();
        assert!(range.contains(&event.data().as_ptr()) && range.contains(&event.stream().as_ptr()));
    }

    #[test]
    fn what_is_broken_is_an_error() {
        let text = field(EVENTS, &field(2, &[0xff]));
        let error = ReadResponse::decode(text.as_slice()).expect_err("it is no text");
        assert!(error.to_string().contains("UTF-8"), "{error}");
        let mut cut = field(EVENTS, &field(2, b"note-1"));
        cut.pop();
        ReadResponse::decode(cut.as_slice()).expect_err("a byte is missing");
        let mut inner = field(2, b"note-1");
        inner.pop();
        EventBatch::decode(field(EVENTS, &inner).as_slice()).expect_err("a byte is missing inside");
        let mut kind = Vec::new();
        encode_key(EVENTS, WireType::Varint, &mut kind);
        kind.push(1);
        EventBatch::decode(kind.as_slice()).expect_err("an event is no number");
        for name in [2, 9] {
            let mut kind = Vec::new();
            uint64::encode(name, &7, &mut kind);
            EventBatch::decode(field(EVENTS, &kind).as_slice()).expect_err("nor is what it holds");
        }
    }
}
