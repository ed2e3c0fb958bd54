//! Messages of events, written straight from the events as the log gives them: they are nearly everything that the
//! server sends, and structures made only to be encoded would cost more than the rest of a read. The numbers are those
//! of `proto/annals/v1/annals.proto`; a test decodes what is written with the generated code.

use annals_core::{Position, RecordedEvent};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::encoding::{DecodeContext, WireType, encode_key, encode_varint, skip_field};
use prost::{DecodeError, Message};
use uuid::fmt::Hyphenated;

/// A message that is encoded already. It stands for `ReadResponse` and `EventBatch`, which the server only writes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::api) struct Encoded(Bytes);

impl Message for Encoded {
    fn encode_raw(&self, out: &mut impl BufMut) {
        out.put_slice(&self.0);
    }

    fn merge_field(
        &mut self,
        field: u32,
        wire_type: WireType,
        bytes: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        skip_field(wire_type, field, bytes, context)
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}

/// `events` of `ReadResponse` and of `EventBatch`.
const EVENTS: u32 = 1;
/// `through` of `ReadResponse`.
const THROUGH: u32 = 2;

/// Events on their way into a message.
#[derive(Default)]
pub(super) struct EventMessage {
    bytes: BytesMut,
    /// The position of the last one.
    last: Option<Position>,
    /// The event that is being written; its length goes before it.
    event: Vec<u8>,
}

impl EventMessage {
    /// Adds an event with the forms of its payload that are asked for.
    pub(super) fn add(&mut self, event: &RecordedEvent, data: &[u8], json: &[u8]) {
        let out = &mut self.event;
        out.clear();
        let mut id = [0; Hyphenated::LENGTH];
        put_bytes(out, 1, event.id.0.hyphenated().encode_lower(&mut id).as_bytes());
        put_bytes(out, 2, event.stream.as_str().as_bytes());
        put_number(out, 3, event.revision.0);
        put_number(out, 4, event.position.0);
        put_bytes(out, 5, event.event_type.as_str().as_bytes());
        put_number(out, 6, event.time.0.cast_unsigned());
        if event.schema.0 != 0 {
            encode_key(7, WireType::SixtyFourBit, out);
            out.put_u64_le(event.schema.0);
        }
        if event.metadata.is_empty() {
            put_bytes(out, 8, b"{}");
        } else {
            let metadata = serde_json::to_vec(&event.metadata());
            put_bytes(out, 8, &metadata.expect("metadata has a JSON form"));
        }
        put_bytes(out, 9, data);
        put_bytes(out, 10, json);
        put_bytes(&mut self.bytes, EVENTS, &self.event);
        self.last = Some(event.position);
    }

    /// How many bytes it has.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The position of the last event; none where there is no event.
    pub(super) fn last(&self) -> Option<Position> {
        self.last
    }

    /// An `EventBatch`.
    pub(super) fn into_batch(self) -> Encoded {
        Encoded(self.bytes.freeze())
    }

    /// A `ReadResponse`, which tells how far the read is.
    pub(super) fn into_response(mut self, through: Option<Position>) -> Encoded {
        if let Some(through) = through {
            encode_key(THROUGH, WireType::Varint, &mut self.bytes);
            encode_varint(through.0, &mut self.bytes);
        }
        Encoded(self.bytes.freeze())
    }
}

/// A field of bytes or text; none where it is empty.
fn put_bytes(out: &mut impl BufMut, field: u32, bytes: &[u8]) {
    if !bytes.is_empty() {
        encode_key(field, WireType::LengthDelimited, out);
        encode_varint(bytes.len() as u64, out);
        out.put_slice(bytes);
    }
}

/// A field of a number; none where it is 0.
fn put_number(out: &mut impl BufMut, field: u32, number: u64) {
    if number != 0 {
        encode_key(field, WireType::Varint, out);
        encode_varint(number, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use annals_client::proto::{EventBatch, ReadResponse, RecordedEvent as Decoded};
    use annals_core::{
        EventId, EventType, Metadata, Revision, SchemaFingerprint, StreamName, Timestamp,
    };
    use uuid::Uuid;

    fn event(position: u64) -> RecordedEvent {
        let metadata = Metadata { actor: Some("ann".to_owned()), ..Metadata::default() };
        RecordedEvent {
            id: EventId(Uuid::from_u128(0x67e5_5044_10b1_426f_9247_bb68_0e5f_e0c8)),
            stream: StreamName::new("note-1").expect("a valid name"),
            revision: Revision(position),
            position: Position(position),
            event_type: EventType::new("note.Taken").expect("a valid name"),
            time: Timestamp(-7),
            schema: SchemaFingerprint(position),
            metadata: if position == 0 { Bytes::new() } else { metadata.encode() },
            data: Bytes::from_static(b"avro"),
        }
    }

    #[test]
    fn what_is_written_is_what_the_generated_code_reads() {
        let message = |positions: &[u64]| {
            let mut message = EventMessage::default();
            for position in positions {
                message.add(&event(*position), b"avro", b"");
            }
            message
        };
        let expected = |position: u64| Decoded {
            id: "67e55044-10b1-426f-9247-bb680e5fe0c8".to_owned(),
            stream: "note-1".to_owned(),
            revision: position,
            position,
            r#type: "note.Taken".to_owned(),
            time_micros: -7,
            schema: position,
            metadata_json: if position == 0 { "{}".into() } else { r#"{"actor":"ann"}"#.into() },
            data: "avro".into(),
            json: Bytes::new(),
        };
        let bytes = message(&[0, 300]).into_response(Some(Position(512))).encode_to_vec();
        let read = ReadResponse::decode(bytes.as_slice()).expect("a right message");
        let events = vec![expected(0), expected(300)];
        assert_eq!(read, ReadResponse { events, through: Some(512) });
        let bytes = message(&[]).into_response(Some(Position(0))).encode_to_vec();
        let read = ReadResponse::decode(bytes.as_slice()).expect("a right message");
        assert_eq!(read, ReadResponse { events: vec![], through: Some(0) });

        let mut batch = message(&[9]);
        batch.add(&event(10), b"", b"{\"text\":1}");
        assert_eq!(batch.last(), Some(Position(10)));
        let bytes = batch.into_batch().encode_to_vec();
        let read = EventBatch::decode(bytes.as_slice()).expect("a right message");
        let json = Decoded { data: Bytes::new(), json: "{\"text\":1}".into(), ..expected(10) };
        assert_eq!(read, EventBatch { events: vec![expected(9), json] });
    }
}
