//! The messages that events come in. They are nearly everything that a client receives, so an event's texts and bytes are
//! slices of the message that they came in: none is copied. The numbers are those of `annals.proto`; a test of the
//! server reads with this what its own code writes.

use bytes::{Buf, BufMut, Bytes};
use bytestring::ByteString;
use prost::encoding::{
    DecodeContext, WireType, bytes as raw, decode_key, fixed64, int64, skip_field, string, uint64,
};
use prost::{DecodeError, Message};

/// An event as it was recorded. Whoever keeps one keeps the message that it came in, some 64 KiB: copy what is kept long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordedEvent {
    /// A UUID.
    pub id: ByteString,
    /// The stream that it stands in.
    pub stream: ByteString,
    /// Its number in the stream.
    pub revision: u64,
    /// Its place in the whole log.
    pub position: u64,
    /// `context.Name`.
    pub r#type: ByteString,
    /// When it was recorded: microseconds since 1970-01-01 UTC.
    pub time_micros: i64,
    /// The CRC-64-AVRO fingerprint of the writer schema; 0 for bytes that are not Avro.
    pub schema: u64,
    /// Correlation, causation, actor, tenant, trace and tags: a JSON object. Empty: none of them.
    pub metadata_json: Bytes,
    /// The payload as stored.
    pub data: Bytes,
    /// The payload as JSON.
    pub json: Bytes,
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
        while bytes.has_remaining() {
            let (field, wire_type) = decode_key(&mut bytes)?;
            let (from, context) = (&mut bytes, context.clone());
            match field {
                1 => event.id = text(wire_type, from, context)?,
                2 => event.stream = text(wire_type, from, context)?,
                3 => uint64::merge(wire_type, &mut event.revision, from, context)?,
                4 => uint64::merge(wire_type, &mut event.position, from, context)?,
                5 => event.r#type = text(wire_type, from, context)?,
                6 => int64::merge(wire_type, &mut event.time_micros, from, context)?,
                7 => fixed64::merge(wire_type, &mut event.schema, from, context)?,
                8 => raw::merge(wire_type, &mut event.metadata_json, from, context)?,
                9 => raw::merge(wire_type, &mut event.data, from, context)?,
                10 => raw::merge(wire_type, &mut event.json, from, context)?,
                _ => skip_field(wire_type, field, from, context)?,
            }
        }
        Ok(event)
    }
}

/// A field of text.
fn text(
    wire_type: WireType,
    from: &mut Bytes,
    context: DecodeContext,
) -> Result<ByteString, DecodeError> {
    let mut bytes = Bytes::new();
    raw::merge(wire_type, &mut bytes, from, context.clone())?;
    ByteString::try_from(bytes).or_else(|_| {
        // Nobody but prost can make the error for what is not UTF-8, such as this text of one byte.
        let mut text = String::new();
        string::merge(wire_type, &mut text, &mut &[1, 0xff][..], context)?;
        Ok(text.into())
    })
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
    fn what_is_not_known_is_passed_over_and_what_is_known_is_a_slice() {
        let mut event = field(2, b"note-1");
        event.extend(field(99, b"of a later version"));
        uint64::encode(4, &7, &mut event);
        event.extend(field(9, b"payload"));
        let mut message = field(EVENTS, &event);
        uint64::encode(THROUGH, &300, &mut message);
        let message = Bytes::from(message);
        let read = ReadResponse::decode(message.clone()).expect("a right message");
        let [event] = read.events.as_slice() else { panic!("{read:?}") };
        assert_eq!((&*event.stream, event.position, read.through), ("note-1", 7, Some(300)));
        assert_eq!(event.data, "payload");
        let range = message.as_ptr_range();
        assert!(range.contains(&event.data.as_ptr()) && range.contains(&event.stream.as_ptr()));
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
    }
}
