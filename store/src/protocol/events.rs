//! Events as the protocol's messages have them, written straight from what the log gives: they are nearly everything that is
//! sent. The message stands for `RecordedEvent` of the services that read; the numbers are those of `streams.proto`, and a
//! test decodes what is written.

use std::ops::Range;
use std::sync::Arc;

use annals_core::{Content, Metadata, RecordedEvent};
use bytes::{Buf, BufMut, Bytes};
use prost::encoding::{
    DecodeContext, WireType, encode_key, encode_varint, encoded_len_varint, skip_field,
};
use prost::{DecodeError, Message};
use uuid::fmt::Hyphenated;

use super::names::{UuidForm, shown_revision};

/// What a client is told of JSON.
pub const JSON: &str = "application/json";
/// What a client is told of any other bytes.
pub const OCTETS: &str = "application/octet-stream";

/// One event of a batch, in the form that a client asked for. Only servers write it; a message that is read is empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EventMessage(Option<Written>);

#[derive(Clone, Debug, PartialEq)]
struct Written {
    batch: Arc<Vec<RecordedEvent>>,
    place: usize,
    form: UuidForm,
    content: Content,
    custom: Custom,
    /// How many bytes the fields take without custom metadata and data.
    head: usize,
    /// How many bytes all fields take.
    length: usize,
}

/// The bytes of the custom metadata.
#[derive(Clone, Debug, PartialEq)]
enum Custom {
    /// A client's, as they stand in the event's metadata.
    Stored(Range<usize>),
    /// Made for an event of Annals' own.
    Made(Bytes),
}

impl EventMessage {
    /// The event at a place of a batch.
    pub fn of(batch: &Arc<Vec<RecordedEvent>>, place: usize, form: UuidForm) -> EventMessage {
        let event = &batch[place];
        let (content, custom) = match Metadata::foreign_of(&event.metadata) {
            Some((content, custom)) => {
                // The bytes are a part of the event's metadata.
                let start =
                    (custom.as_ptr() as usize).saturating_sub(event.metadata.as_ptr() as usize);
                let start = if custom.is_empty() { 0 } else { start };
                (content, Custom::Stored(start..start + custom.len()))
            }
            None => (Content::Bytes, Custom::Made(custom_of(event))),
        };
        let (batch, head, length) = (Arc::clone(batch), 0, 0);
        let mut written = Written { batch, place, form, content, custom, head, length };
        let mut length = Length(0);
        written.put_head(&mut length);
        written.head = length.0;
        length.bytes(CUSTOM_METADATA, written.custom());
        length.bytes(DATA, &written.event().data);
        written.length = length.0;
        EventMessage(Some(written))
    }

    /// One event.
    pub fn one(event: RecordedEvent, form: UuidForm) -> EventMessage {
        EventMessage::of(&Arc::new(vec![event]), 0, form)
    }
}

/// What a client is shown as the custom metadata of an event that no client wrote.
fn custom_of(event: &RecordedEvent) -> Bytes {
    let metadata = event.metadata();
    let foreign = Metadata { custom: metadata.custom.clone(), ..Metadata::default() };
    // Another writer's bytes alone are kept as they are.
    if !metadata.custom.is_empty() && metadata == foreign {
        return metadata.custom;
    }
    metadata.to_foreign_json(event.schema)
}

const ID: u32 = 1;
const STREAM_IDENTIFIER: u32 = 2;
const STREAM_REVISION: u32 = 3;
const PREPARE_POSITION: u32 = 4;
const COMMIT_POSITION: u32 = 5;
const METADATA: u32 = 6;
const CUSTOM_METADATA: u32 = 7;
const DATA: u32 = 8;

impl Written {
    fn event(&self) -> &RecordedEvent {
        &self.batch[self.place]
    }

    fn custom(&self) -> &[u8] {
        match &self.custom {
            Custom::Stored(range) => &self.event().metadata[range.clone()],
            Custom::Made(bytes) => bytes,
        }
    }

    /// The fields without custom metadata and data.
    fn put_head(&self, out: &mut impl Fields) {
        let event = self.event();
        match self.form {
            UuidForm::String => {
                let mut text = [0; Hyphenated::LENGTH];
                let text = event.id.0.hyphenated().encode_lower(&mut text);
                out.message(ID, 2 + text.len());
                out.bytes(2, text.as_bytes());
            }
            UuidForm::Structured => {
                let (high, low) = event.id.0.as_u64_pair();
                let mut halves = Length(0);
                halves.number(1, high);
                halves.number(2, low);
                out.message(ID, 1 + encoded_len_varint(halves.0 as u64) + halves.0);
                out.message(1, halves.0);
                out.number(1, high);
                out.number(2, low);
            }
        }
        let stream = event.stream.as_str().as_bytes();
        out.message(STREAM_IDENTIFIER, 1 + encoded_len_varint(stream.len() as u64) + stream.len());
        out.bytes(3, stream);
        out.number(STREAM_REVISION, shown_revision(event));
        out.number(PREPARE_POSITION, event.position.0);
        out.number(COMMIT_POSITION, event.position.0);
        let content = match self.content {
            Content::Json => JSON,
            Content::Bytes => OCTETS,
        };
        let mut digits = [0; 20];
        let created = decimal(event.time.0.saturating_mul(10), &mut digits);
        out.entry("type", event.event_type.as_str().as_bytes());
        out.entry("created", created);
        out.entry("content-type", content.as_bytes());
    }
}

/// A number as decimal text. Times before 1970 are shown as its beginning.
fn decimal(number: i64, digits: &mut [u8; 20]) -> &[u8] {
    let mut rest = u64::try_from(number).unwrap_or(0);
    let mut at = digits.len();
    loop {
        at -= 1;
        let [digit, ..] = (rest % 10).to_le_bytes();
        digits[at] = b'0' + digit;
        rest /= 10;
        if rest == 0 {
            return &digits[at..];
        }
    }
}

impl Message for EventMessage {
    fn encode_raw(&self, out: &mut impl BufMut) {
        let Some(written) = &self.0 else { return };
        // A small copy within the cache, instead of many small writes to a buffer that grows.
        let mut head = Vec::with_capacity(written.head + 16);
        written.put_head(&mut head);
        let (custom, data) = (written.custom(), &written.event().data[..]);
        for (field, bytes) in [(CUSTOM_METADATA, custom), (DATA, data)] {
            if !bytes.is_empty() {
                encode_key(field, WireType::LengthDelimited, &mut head);
                encode_varint(bytes.len() as u64, &mut head);
                out.put_slice(&head);
                out.put_slice(bytes);
                head.clear();
            }
        }
        out.put_slice(&head);
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
        self.0.as_ref().map_or(0, |written| written.length)
    }

    fn clear(&mut self) {
        *self = EventMessage::default();
    }
}

/// Where the fields of a message go. The numbers of all are below 16, so that each has a key of one byte.
trait Fields {
    /// The key and length of a message, whose fields follow.
    fn message(&mut self, field: u32, length: usize);
    /// A field of bytes or text; none where it is empty.
    fn bytes(&mut self, field: u32, bytes: &[u8]);
    /// A field of a number; none where it is 0.
    fn number(&mut self, field: u32, number: u64);

    /// An entry of the metadata.
    fn entry(&mut self, key: &str, value: &[u8]) {
        let mut length = Length(0);
        length.bytes(1, key.as_bytes());
        length.bytes(2, value);
        self.message(METADATA, length.0);
        self.bytes(1, key.as_bytes());
        self.bytes(2, value);
    }
}

impl Fields for Vec<u8> {
    fn message(&mut self, field: u32, length: usize) {
        encode_key(field, WireType::LengthDelimited, self);
        encode_varint(length as u64, self);
    }

    fn bytes(&mut self, field: u32, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.message(field, bytes.len());
            self.extend_from_slice(bytes);
        }
    }

    fn number(&mut self, field: u32, number: u64) {
        if number != 0 {
            encode_key(field, WireType::Varint, self);
            encode_varint(number, self);
        }
    }
}

/// How many bytes the fields take.
struct Length(usize);

impl Fields for Length {
    fn message(&mut self, _: u32, length: usize) {
        self.0 += 1 + encoded_len_varint(length as u64);
    }

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
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use annals_core::{
        EventId, EventType, Position, Revision, SchemaFingerprint, StreamName, Timestamp,
    };
    use uuid::Uuid;

    use super::super::names::{DELETED, STREAM_DELETED, wire_uuid};
    use super::super::wire::v1::{StreamIdentifier, Uuid as WireUuid};
    use super::*;

    /// `RecordedEvent` of the definitions, as a client reads it.
    #[derive(Clone, PartialEq, Message)]
    struct Decoded {
        #[prost(message, optional, tag = "1")]
        id: Option<WireUuid>,
        #[prost(message, optional, tag = "2")]
        stream_identifier: Option<StreamIdentifier>,
        #[prost(uint64, tag = "3")]
        stream_revision: u64,
        #[prost(uint64, tag = "4")]
        prepare_position: u64,
        #[prost(uint64, tag = "5")]
        commit_position: u64,
        #[prost(btree_map = "string, string", tag = "6")]
        metadata: BTreeMap<String, String>,
        #[prost(bytes = "bytes", tag = "7")]
        custom_metadata: Bytes,
        #[prost(bytes = "bytes", tag = "8")]
        data: Bytes,
    }

    fn event(metadata: Bytes, data: &'static [u8]) -> RecordedEvent {
        RecordedEvent {
            id: EventId(Uuid::from_u128(0xf7e5_5044_10b1_426f_9247_bb68_0e5f_e0c8)),
            stream: StreamName::new("note-1").expect("a name"),
            revision: Revision(0),
            position: Position(300),
            event_type: EventType::new("note.Taken").expect("a type"),
            time: Timestamp(1_700_000_000_123_456),
            schema: SchemaFingerprint(255),
            metadata,
            data: Bytes::from_static(data),
        }
    }

    fn read(event: RecordedEvent, form: UuidForm) -> Decoded {
        let message = EventMessage::one(event, form);
        let bytes = message.encode_to_vec();
        assert_eq!(bytes.len(), message.encoded_len());
        Decoded::decode(bytes.as_slice()).expect("a right message")
    }

    #[test]
    fn what_a_client_wrote_is_read_as_it_was() {
        for (content, told) in [(Content::Json, JSON), (Content::Bytes, OCTETS)] {
            for custom in [&b""[..], b"{\"$correlationId\":\"x\"}"] {
                for data in [&b""[..], b"{}"] {
                    for form in [UuidForm::Structured, UuidForm::String] {
                        let custom = Bytes::from_static(custom);
                        let metadata = Metadata {
                            content: Some(content),
                            custom: custom.clone(),
                            ..Metadata::default()
                        };
                        let event = event(metadata.encode(), data);
                        let id = event.id.0;
                        let decoded = read(event, form);
                        let expected = Decoded {
                            id: Some(wire_uuid(id, form)),
                            stream_identifier: Some(StreamIdentifier {
                                stream_name: Bytes::from_static(b"note-1"),
                            }),
                            stream_revision: 0,
                            prepare_position: 300,
                            commit_position: 300,
                            metadata: [
                                ("type", "note.Taken"),
                                ("created", "17000000001234560"),
                                ("content-type", told),
                            ]
                            .map(|(key, value)| (key.to_owned(), value.to_owned()))
                            .into(),
                            custom_metadata: custom,
                            data: Bytes::from_static(data),
                        };
                        assert_eq!(decoded, expected);
                    }
                }
            }
        }
    }

    #[test]
    fn what_annals_wrote_shows_its_metadata_as_json() {
        let metadata = Metadata { actor: Some("ann".to_owned()), ..Metadata::default() };
        let decoded = read(event(metadata.encode(), b"avro"), UuidForm::String);
        let json = Metadata::from_foreign_json(&decoded.custom_metadata);
        assert_eq!(json, Some((metadata, SchemaFingerprint(255))));
        assert_eq!(decoded.metadata["content-type"], OCTETS);

        let foreign = Bytes::from_static(b"{\"of\":\"another\"}");
        let decoded = read(event(foreign.clone(), b""), UuidForm::String);
        assert_eq!(decoded.custom_metadata, foreign);
    }

    #[test]
    fn the_end_of_a_stream_has_the_last_revision() {
        let event_type = EventType::new(STREAM_DELETED).expect("a type");
        let decoded =
            read(RecordedEvent { event_type, ..event(Bytes::new(), b"") }, UuidForm::String);
        assert_eq!(decoded.stream_revision, DELETED);
    }

    #[test]
    fn a_time_is_decimal_text() {
        for (number, text) in
            [(0, "0"), (9, "9"), (10, "10"), (i64::MAX, "9223372036854775807"), (-7, "0")]
        {
            assert_eq!(decimal(number, &mut [0; 20]), text.as_bytes());
        }
    }
}
