//! Messages of events, written straight from the events as the log gives them: they are nearly everything that the
//! server sends, and structures or bytes made only to be copied into a message would cost more than the rest of a read.
//! The numbers are those of `proto/annals/v1/annals.proto`; a test decodes what is written with the generated code.

use std::sync::Arc;

use annals_core::{Position, RecordedEvent};
use bytes::{Buf, BufMut};
use prost::encoding::{
    DecodeContext, WireType, encode_key, encode_varint, encoded_len_varint, skip_field,
};
use prost::{DecodeError, Message};
use uuid::fmt::Hyphenated;

/// `events` of `ReadResponse` and of `EventBatch`.
const EVENTS: u32 = 1;
/// `through` of `ReadResponse`.
const THROUGH: u32 = 2;

/// Some events of a batch as a message, which is written as it is sent. It stands for `ReadResponse` and `EventBatch`,
/// which the server only writes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::api) struct EventMessage {
    batch: Arc<Vec<RecordedEvent>>,
    /// The first event's place in the batch.
    first: usize,
    texts: Vec<Texts>,
    /// How many bytes the events take.
    length: usize,
    /// Only of a `ReadResponse`.
    through: Option<Position>,
}

/// What of an event's message is not in the event.
#[derive(Clone, Debug, PartialEq)]
struct Texts {
    /// How many bytes its fields take.
    length: usize,
    metadata: Vec<u8>,
    payload: Payload,
}

/// The forms of an event's payload that are sent.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Payload {
    /// The bytes as stored.
    Stored,
    /// The form for people.
    Json(String),
    /// Both.
    Both(String),
}

impl EventMessage {
    /// A message of the events of `batch` from `first` on, of which there are none yet.
    pub(super) fn begin(batch: &Arc<Vec<RecordedEvent>>, first: usize) -> EventMessage {
        EventMessage { batch: Arc::clone(batch), first, ..EventMessage::default() }
    }

    /// Adds the next event of the batch.
    pub(super) fn add(&mut self, payload: Payload) {
        let event = &self.batch[self.end()];
        let metadata = if event.metadata.is_empty() {
            Vec::new()
        } else {
            serde_json::to_vec(&event.metadata()).expect("metadata has a JSON form")
        };
        let mut length = Length(0);
        put_event(&mut length, event, &metadata, &payload);
        let Length(length) = length;
        self.length += 1 + encoded_len_varint(length as u64) + length;
        self.texts.push(Texts { length, metadata, payload });
    }

    /// The place behind the last event in the batch.
    pub(super) fn end(&self) -> usize {
        self.first + self.texts.len()
    }

    /// How many bytes it has.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// The position of the last event; none where there is no event.
    pub(super) fn last(&self) -> Option<Position> {
        let last = self.texts.len().checked_sub(1)?;
        Some(self.batch[self.first + last].position)
    }

    /// A `ReadResponse`, which tells how far the read is.
    pub(super) fn with_through(self, through: Option<Position>) -> EventMessage {
        EventMessage { through, ..self }
    }
}

impl Message for EventMessage {
    fn encode_raw(&self, out: &mut impl BufMut) {
        // One event at a time: a small copy within the cache, instead of many small writes to a buffer that grows.
        let mut bytes = Vec::new();
        for (event, texts) in self.batch[self.first..].iter().zip(&self.texts) {
            bytes.clear();
            encode_key(EVENTS, WireType::LengthDelimited, &mut bytes);
            encode_varint(texts.length as u64, &mut bytes);
            put_event(&mut bytes, event, &texts.metadata, &texts.payload);
            out.put_slice(&bytes);
        }
        if let Some(through) = self.through {
            encode_key(THROUGH, WireType::Varint, out);
            encode_varint(through.0, out);
        }
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
        let through = self.through.map_or(0, |through| 1 + encoded_len_varint(through.0));
        self.length + through
    }

    fn clear(&mut self) {
        *self = EventMessage::default();
    }
}

/// Where the fields of a message go.
trait Fields {
    /// A field of bytes or text; none where it is empty.
    fn bytes(&mut self, field: u32, bytes: &[u8]);
    /// A field of a number; none where it is 0.
    fn number(&mut self, field: u32, number: u64);
    /// A field of 64 bits; none where it is 0.
    fn fixed(&mut self, field: u32, number: u64);
}

impl Fields for Vec<u8> {
    fn bytes(&mut self, field: u32, bytes: &[u8]) {
        if !bytes.is_empty() {
            encode_key(field, WireType::LengthDelimited, self);
            encode_varint(bytes.len() as u64, self);
            self.extend_from_slice(bytes);
        }
    }

    fn number(&mut self, field: u32, number: u64) {
        if number != 0 {
            encode_key(field, WireType::Varint, self);
            encode_varint(number, self);
        }
    }

    fn fixed(&mut self, field: u32, number: u64) {
        if number != 0 {
            encode_key(field, WireType::SixtyFourBit, self);
            self.extend_from_slice(&number.to_le_bytes());
        }
    }
}

/// How many bytes the fields take; the numbers of all are below 16, so that each has a key of one byte.
struct Length(usize);

impl Fields for Length {
    fn bytes(&mut self, _: u32, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.0 += 1 + encoded_len_varint(bytes.len() as u64) + bytes.len();
        }
    }

    fn number(&mut self, _: u32, number: u64) {
        if number != 0 {
            self.0 += 1 + encoded_len_varint(number);
        }
    }

    fn fixed(&mut self, _: u32, number: u64) {
        if number != 0 {
            self.0 += 1 + size_of::<u64>();
        }
    }
}

/// The fields of a `RecordedEvent`.
fn put_event(out: &mut impl Fields, event: &RecordedEvent, metadata: &[u8], payload: &Payload) {
    let (data, json) = match payload {
        Payload::Stored => (&event.data[..], ""),
        Payload::Json(json) => (&[][..], json.as_str()),
        Payload::Both(json) => (&event.data[..], json.as_str()),
    };
    let mut id = [0; Hyphenated::LENGTH];
    out.bytes(1, event.id.0.hyphenated().encode_lower(&mut id).as_bytes());
    out.bytes(2, event.stream.as_str().as_bytes());
    out.number(3, event.revision.0);
    out.number(4, event.position.0);
    out.bytes(5, event.event_type.as_str().as_bytes());
    out.number(6, event.time.0.cast_unsigned());
    out.fixed(7, event.schema.0);
    out.bytes(8, metadata);
    out.bytes(9, data);
    out.bytes(10, json.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use annals_client::proto::{EventBatch, ReadResponse, RecordedEvent as Read};
    use annals_core::{
        EventId, EventType, Metadata, Revision, SchemaFingerprint, StreamName, Timestamp,
    };
    use bytes::Bytes;
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

    /// Checks all but the payload, and answers its two forms.
    fn payload(event: &Read, position: u64) -> [&[u8]; 2] {
        assert_eq!(event.id(), "67e55044-10b1-426f-9247-bb680e5fe0c8");
        assert_eq!((event.stream(), event.event_type()), ("note-1", "note.Taken"));
        assert_eq!((event.revision, event.position, event.schema), (position, position, position));
        assert_eq!(event.time_micros, -7);
        let metadata = if position == 0 { "" } else { r#"{"actor":"ann"}"# };
        assert_eq!(event.metadata_json(), metadata.as_bytes());
        [event.data(), event.json()]
    }

    #[test]
    fn what_is_written_is_what_the_generated_code_reads() {
        let batch = Arc::new([0, 300, 9, 10].map(event).to_vec());
        let message = |first: usize, payloads: &[Payload]| {
            let mut message = EventMessage::begin(&batch, first);
            for payload in payloads {
                message.add(payload.clone());
            }
            message
        };
        let read = |message: EventMessage| {
            let bytes = message.encode_to_vec();
            assert_eq!(bytes.len(), message.encoded_len());
            ReadResponse::decode(bytes.as_slice()).expect("a right message")
        };
        let (stored, text) = (Payload::Stored, || "{\"text\":1}".to_owned());
        let two = message(0, &[stored.clone(), stored.clone()]);
        assert_eq!((two.last(), two.end()), (Some(Position(300)), 2));
        let response = read(two.with_through(Some(Position(512))));
        let [one, other] = response.events.as_slice() else { panic!("{response:?}") };
        assert_eq!(payload(one, 0), [&b"avro"[..], b""]);
        assert_eq!(payload(other, 300), [&b"avro"[..], b""]);
        assert_eq!(response.through, Some(512));
        let none = message(2, &[]).with_through(Some(Position(0)));
        assert_eq!(none.last(), None);
        assert_eq!(read(none), ReadResponse { events: vec![], through: Some(0) });

        let batch = message(1, &[Payload::Both(text()), stored, Payload::Json(text())]);
        let batch = EventBatch::decode(batch.encode_to_vec().as_slice()).expect("a right message");
        let [both, stored, json] = batch.events.as_slice() else { panic!("{batch:?}") };
        assert_eq!(payload(both, 300), [&b"avro"[..], text().as_bytes()]);
        assert_eq!(payload(stored, 9), [&b"avro"[..], b""]);
        assert_eq!(payload(json, 10), [&b""[..], text().as_bytes()]);
    }
}
