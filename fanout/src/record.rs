//! How an event stands on a topic, and how it is read back: exactly the event that the store holds, field for field.
//!
//! Value: the Confluent frame (a zero byte, the registry's schema id as four bytes, big endian) and the payload as it
//! stands in the store; the payload alone where the event has no schema. Key: the stream. Headers: CloudEvents 1.0 in
//! the binary mode of its Kafka binding, and Annals' own coordinates, all as text but for the metadata:
//!
//! | header | holds |
//! |---|---|
//! | `content-type` | `application/avro`, or `application/octet-stream` where the event has no schema |
//! | `ce_specversion`, `ce_id`, `ce_type`, `ce_subject` | `1.0`, the event's id, its type, its stream |
//! | `ce_source` | `urn:annals:STORE:EPOCH`, the identity of the store |
//! | `ce_time` | when the store accepted it, RFC 3339 with microseconds |
//! | `annals-position`, `annals-revision` | decimal numbers |
//! | `annals-previous` | the position of the event before it on this topic; absent on the first |
//! | `annals-schema` | the fingerprint of the writer schema, 16 hex digits; absent where there is none |
//! | `annals-metadata` | the metadata's bytes; absent where it is empty |
//! | `annals-time` | microseconds since 1970, only where `ce_time` cannot hold the year |
//!
//! A *through record* has the key `$through`, no value, and of the headers `ce_specversion`, `ce_source`,
//! `annals-position` and `annals-previous`: every event of this context up to that position stands before it. It lets
//! a reader of one context answer for positions that belong to another. Consumers of CloudEvents skip it, for it has
//! no value and no `ce_id`.
//!
//! `annals-previous` makes gaps visible: a record whose previous event the reader has not seen is never taken.

use annals_core::clock::Timestamp;
use annals_core::codec::SchemaFingerprint;
use annals_core::event::{EventId, EventType, Position, RecordedEvent, Revision, StreamName};
use annals_core::store::StoreIdentity;
use bytes::Bytes;
use hashbrown::HashMap;
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};
use uuid::Uuid;

use crate::instant;

/// The media type of the value.
pub const CONTENT_TYPE: &str = "content-type";
/// The version of CloudEvents.
pub const CE_SPECVERSION: &str = "ce_specversion";
/// The event's id.
pub const CE_ID: &str = "ce_id";
/// The store's identity.
pub const CE_SOURCE: &str = "ce_source";
/// The event's type.
pub const CE_TYPE: &str = "ce_type";
/// When the store accepted the event.
pub const CE_TIME: &str = "ce_time";
/// The event's stream.
pub const CE_SUBJECT: &str = "ce_subject";
/// The event's position in the whole log, or how far a through record reaches.
pub const POSITION: &str = "annals-position";
/// The position of the event before it on this topic.
pub const PREVIOUS: &str = "annals-previous";
/// The event's number in its stream.
pub const REVISION: &str = "annals-revision";
/// The fingerprint of the writer schema.
pub const SCHEMA: &str = "annals-schema";
/// The metadata's bytes.
pub const METADATA: &str = "annals-metadata";
/// The time in microseconds, where `ce_time` cannot hold it.
pub const TIME: &str = "annals-time";
/// The key of a through record.
pub const THROUGH_KEY: &str = "$through";

/// The bytes of the Confluent frame: a zero byte and the schema id.
const FRAME_BYTES: usize = 5;
/// Names kept by a reader before it starts anew.
const NAMES_MAX: usize = 65_536;

/// The store's identity as `ce_source` holds it.
pub(crate) fn source(identity: StoreIdentity) -> String {
    format!("urn:annals:{}:{}", identity.id, identity.epoch)
}

/// The value of an event: framed with the registry's id of its schema, where it has one.
pub(crate) fn put_value(value: &mut Vec<u8>, schema_id: Option<u32>, data: &[u8]) {
    value.clear();
    if let Some(id) = schema_id {
        value.push(0);
        value.extend_from_slice(&id.to_be_bytes());
    }
    value.extend_from_slice(data);
}

/// The headers of an event.
pub(crate) fn event_headers(
    event: &RecordedEvent,
    source: &str,
    previous: Option<Position>,
) -> OwnedHeaders {
    let framed = event.schema != SchemaFingerprint::NONE;
    let media = if framed { "application/avro" } else { "application/octet-stream" };
    let mut id = [0_u8; uuid::fmt::Hyphenated::LENGTH];
    let id: &str = event.id.0.hyphenated().encode_lower(&mut id);
    let mut headers = OwnedHeaders::new_with_capacity(14)
        .insert(text(CONTENT_TYPE, media))
        .insert(text(CE_SPECVERSION, "1.0"))
        .insert(text(CE_ID, id))
        .insert(text(CE_SOURCE, source))
        .insert(text(CE_TYPE, event.event_type.as_str()))
        .insert(text(CE_SUBJECT, event.stream.as_str()));
    headers = match instant::text(event.time) {
        Some(time) => headers.insert(bytes(CE_TIME, &time)),
        None => headers.insert(text(TIME, &event.time.0.to_string())),
    };
    headers = number(headers, POSITION, event.position.0);
    headers = number(headers, REVISION, event.revision.0);
    if let Some(previous) = previous {
        headers = number(headers, PREVIOUS, previous.0);
    }
    if framed {
        let mut digits = [0_u8; 16];
        for (place, digit) in digits.iter_mut().rev().enumerate() {
            *digit = b"0123456789abcdef"[(event.schema.0 >> (4 * place) & 15) as usize];
        }
        headers = headers.insert(bytes(SCHEMA, &digits));
    }
    if !event.metadata.is_empty() {
        headers = headers.insert(bytes(METADATA, &event.metadata));
    }
    headers
}

/// The headers of a through record.
pub(crate) fn through_headers(
    through: Position,
    source: &str,
    previous: Option<Position>,
) -> OwnedHeaders {
    let headers = OwnedHeaders::new_with_capacity(4)
        .insert(text(CE_SPECVERSION, "1.0"))
        .insert(text(CE_SOURCE, source));
    let headers = number(headers, POSITION, through.0);
    match previous {
        Some(previous) => number(headers, PREVIOUS, previous.0),
        None => headers,
    }
}

fn text<'a>(key: &'a str, value: &'a str) -> Header<'a, &'a [u8]> {
    bytes(key, value.as_bytes())
}

fn bytes<'a>(key: &'a str, value: &'a [u8]) -> Header<'a, &'a [u8]> {
    Header { key, value: Some(value) }
}

fn number(headers: OwnedHeaders, key: &str, mut number: u64) -> OwnedHeaders {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return headers.insert(bytes(key, &digits[at..]));
        }
    }
}

/// What one record of a topic says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// An event.
    Event(RecordedEvent),
    /// Every event of the context up to here stands before this record.
    Through,
}

/// Where one record of a topic stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The event's position, or how far a through record reaches.
    pub(crate) position: Position,
    /// The position of the event before it on the topic.
    pub(crate) previous: Option<Position>,
    /// Whether it is an event.
    pub(crate) event: bool,
}

impl Place {
    /// The position of the last event up to and including this record.
    pub(crate) fn last_event(self) -> Option<Position> {
        if self.event { Some(self.position) } else { self.previous }
    }
}

/// Why a record is not one of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    /// The record belongs to another store or another epoch of it; the text is its `ce_source`.
    #[error("it comes from {0}")]
    Foreign(String),
    /// A header is missing.
    #[error("header {0} is missing")]
    Missing(&'static str),
    /// A header or the value does not have its form.
    #[error("{0} does not have its form")]
    Form(&'static str),
}

/// Reads records back; keeps the names it has seen, because few differ.
pub(crate) struct Decoder {
    source: String,
    streams: HashMap<Vec<u8>, StreamName>,
    types: HashMap<Vec<u8>, EventType>,
    metadata: Bytes,
}

/// The headers of one record, by name.
#[derive(Default)]
struct Fields<'a> {
    source: Option<&'a [u8]>,
    id: Option<&'a [u8]>,
    event_type: Option<&'a [u8]>,
    subject: Option<&'a [u8]>,
    time: Option<&'a [u8]>,
    micros: Option<&'a [u8]>,
    position: Option<&'a [u8]>,
    previous: Option<&'a [u8]>,
    revision: Option<&'a [u8]>,
    schema: Option<&'a [u8]>,
    metadata: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    fn of(headers: &'a impl Headers) -> Fields<'a> {
        let mut fields = Fields::default();
        for header in headers.iter() {
            let field = match header.key {
                CE_SOURCE => &mut fields.source,
                CE_ID => &mut fields.id,
                CE_TYPE => &mut fields.event_type,
                CE_SUBJECT => &mut fields.subject,
                CE_TIME => &mut fields.time,
                TIME => &mut fields.micros,
                POSITION => &mut fields.position,
                PREVIOUS => &mut fields.previous,
                REVISION => &mut fields.revision,
                SCHEMA => &mut fields.schema,
                METADATA => &mut fields.metadata,
                _ => continue,
            };
            *field = header.value;
        }
        fields
    }

    fn place(&self, source: &str) -> Result<Place, Unreadable> {
        let found = self.source.ok_or(Unreadable::Missing(CE_SOURCE))?;
        if found != source.as_bytes() {
            return Err(Unreadable::Foreign(String::from_utf8_lossy(found).into_owned()));
        }
        let position = Position(parsed(self.position, POSITION)?);
        let previous = match self.previous {
            Some(_) => Some(Position(parsed(self.previous, PREVIOUS)?)),
            None => None,
        };
        Ok(Place { position, previous, event: self.id.is_some() })
    }

    fn time(&self) -> Result<Timestamp, Unreadable> {
        match self.time {
            Some(time) => instant::parse(time).ok_or(Unreadable::Form(CE_TIME)),
            None => parsed(self.micros, TIME).map(Timestamp),
        }
    }
}

fn parsed<T: std::str::FromStr>(value: Option<&[u8]>, name: &'static str) -> Result<T, Unreadable> {
    let value = value.ok_or(Unreadable::Missing(name))?;
    let text = std::str::from_utf8(value).map_err(|_| Unreadable::Form(name))?;
    text.parse().map_err(|_| Unreadable::Form(name))
}

impl Decoder {
    /// A reader of the records of one store.
    pub(crate) fn new(source: String) -> Decoder {
        Decoder { source, streams: HashMap::new(), types: HashMap::new(), metadata: Bytes::new() }
    }

    /// The `ce_source` that every record must have.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// Where a record stands, without building its event.
    pub(crate) fn place(&self, message: &BorrowedMessage<'_>) -> Result<Place, Unreadable> {
        let headers = message.headers().ok_or(Unreadable::Missing(CE_SOURCE))?;
        Fields::of(headers).place(&self.source)
    }

    /// Reads a record that a broker sent.
    pub(crate) fn read(
        &mut self,
        message: &BorrowedMessage<'_>,
    ) -> Result<(Place, Entry), Unreadable> {
        let headers = message.headers().ok_or(Unreadable::Missing(CE_SOURCE))?;
        self.entry(message.key(), message.payload(), headers)
    }

    fn entry(
        &mut self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &impl Headers,
    ) -> Result<(Place, Entry), Unreadable> {
        let fields = Fields::of(headers);
        let place = fields.place(&self.source)?;
        let Some(id) = fields.id else { return Ok((place, Entry::Through)) };
        let id = Uuid::try_parse_ascii(id).map_err(|_| Unreadable::Form(CE_ID))?;
        let stream = key.or(fields.subject).ok_or(Unreadable::Missing(CE_SUBJECT))?;
        let event_type = fields.event_type.ok_or(Unreadable::Missing(CE_TYPE))?;
        let value = value.unwrap_or_default();
        let (schema, data) = match fields.schema {
            None => (SchemaFingerprint::NONE, value),
            Some(digits) => {
                let digits = std::str::from_utf8(digits).map_err(|_| Unreadable::Form(SCHEMA))?;
                let fingerprint =
                    u64::from_str_radix(digits, 16).map_err(|_| Unreadable::Form(SCHEMA))?;
                if value.len() < FRAME_BYTES || value[0] != 0 {
                    return Err(Unreadable::Form("the Confluent frame of the value"));
                }
                (SchemaFingerprint(fingerprint), &value[FRAME_BYTES..])
            }
        };
        let metadata = self.metadata(fields.metadata.unwrap_or_default());
        let event = RecordedEvent {
            id: EventId(id),
            stream: named(&mut self.streams, stream, CE_SUBJECT, StreamName::new)?,
            revision: Revision(parsed(fields.revision, REVISION)?),
            position: place.position,
            event_type: named(&mut self.types, event_type, CE_TYPE, EventType::new)?,
            time: fields.time()?,
            schema,
            metadata,
            data: Bytes::copy_from_slice(data),
        };
        Ok((place, Entry::Event(event)))
    }

    /// The events of one command have the same metadata: one copy serves them all.
    fn metadata(&mut self, metadata: &[u8]) -> Bytes {
        if self.metadata != metadata {
            self.metadata = Bytes::copy_from_slice(metadata);
        }
        self.metadata.clone()
    }
}

fn named<N: Clone, E>(
    seen: &mut HashMap<Vec<u8>, N>,
    name: &[u8],
    header: &'static str,
    new: impl Fn(String) -> Result<N, E>,
) -> Result<N, Unreadable> {
    if let Some(known) = seen.get(name) {
        return Ok(known.clone());
    }
    let text = String::from_utf8(name.to_vec()).map_err(|_| Unreadable::Form(header))?;
    let made = new(text).map_err(|_| Unreadable::Form(header))?;
    if seen.len() == NAMES_MAX {
        seen.clear();
    }
    seen.insert(name.to_vec(), made.clone());
    Ok(made)
}

#[cfg(test)]
mod tests {
    use annals_core::random::{Random as _, SeededRandom};

    use super::*;

    const STORE: StoreIdentity = StoreIdentity { id: Uuid::from_u128(7), epoch: 3 };

    fn event() -> RecordedEvent {
        RecordedEvent {
            id: EventId(Uuid::from_u128(0x1234)),
            stream: StreamName::new("account-A001").expect("a valid name"),
            revision: Revision(9),
            position: Position(41),
            event_type: EventType::new("trading.OrderPlaced").expect("a valid name"),
            time: Timestamp(1_514_764_802_610_123),
            schema: SchemaFingerprint(0xabc),
            metadata: Bytes::from_static(b"\x03\x02me"),
            data: Bytes::from_static(b"payload"),
        }
    }

    fn shown(headers: &OwnedHeaders) -> Vec<(String, String)> {
        let shown = |h: Header<'_, &[u8]>| {
            let value = String::from_utf8_lossy(h.value.unwrap_or(b"(none)")).into_owned();
            (h.key.to_owned(), value)
        };
        headers.iter().map(shown).collect()
    }

    fn read_back(event: &RecordedEvent, schema_id: u32) -> Result<(Place, Entry), Unreadable> {
        let id = (event.schema != SchemaFingerprint::NONE).then_some(schema_id);
        let mut value = Vec::new();
        put_value(&mut value, id, &event.data);
        let headers = event_headers(event, &source(STORE), Some(Position(40)));
        let key = event.stream.as_str().as_bytes();
        Decoder::new(source(STORE)).entry(Some(key), Some(&value), &headers)
    }

    #[test]
    fn the_headers_are_cloud_events_in_binary_mode() {
        let headers = event_headers(&event(), &source(STORE), Some(Position(40)));
        let expected = [
            ("content-type", "application/avro"),
            ("ce_specversion", "1.0"),
            ("ce_id", "00000000-0000-0000-0000-000000001234"),
            ("ce_source", "urn:annals:00000000-0000-0000-0000-000000000007:3"),
            ("ce_type", "trading.OrderPlaced"),
            ("ce_subject", "account-A001"),
            ("ce_time", "2018-01-01T00:00:02.610123Z"),
            ("annals-position", "41"),
            ("annals-revision", "9"),
            ("annals-previous", "40"),
            ("annals-schema", "0000000000000abc"),
            ("annals-metadata", "\u{3}\u{2}me"),
        ];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(shown(&headers), expected);
    }

    #[test]
    fn the_value_is_the_confluent_frame_and_the_payload() {
        let mut value = b"old".to_vec();
        put_value(&mut value, Some(0x0102_0304), b"payload");
        assert_eq!(value, b"\0\x01\x02\x03\x04payload");
        put_value(&mut value, None, b"foreign");
        assert_eq!(value, b"foreign");
    }

    #[test]
    fn an_event_is_read_back_as_it_was() {
        let random = SeededRandom::new(11);
        let bytes = |limit| {
            let drawn: Vec<u8> =
                (0..random.below(limit)).map(|_| random.next_u64().to_le_bytes()[0]).collect();
            Bytes::from(drawn)
        };
        for round in 0..2_000_u64 {
            let time = random.next_u64() >> (8 + round % 50);
            let event = RecordedEvent {
                id: EventId(Uuid::from_u64_pair(random.next_u64(), random.next_u64())),
                stream: StreamName::new(format!("Ströme-{round}")).expect("a valid name"),
                revision: Revision(random.next_u64()),
                position: Position(random.next_u64()),
                time: Timestamp(i64::try_from(time).expect("eight bits are gone")),
                schema: SchemaFingerprint(random.next_u64() * (round % 2)),
                metadata: bytes(80),
                data: bytes(300),
                ..event()
            };
            let (place, entry) = read_back(&event, 17).expect("one of ours");
            let previous = Some(Position(40));
            assert_eq!(place, Place { position: event.position, previous, event: true });
            assert_eq!(entry, Entry::Event(event));
        }
    }

    #[test]
    fn a_through_record_tells_how_far_the_context_is() {
        let headers = through_headers(Position(50), &source(STORE), Some(Position(41)));
        let key = THROUGH_KEY.as_bytes();
        let read = Decoder::new(source(STORE)).entry(Some(key), None, &headers);
        let place = Place { position: Position(50), previous: Some(Position(41)), event: false };
        assert_eq!(read, Ok((place, Entry::Through)));
        assert_eq!(place.last_event(), Some(Position(41)));
    }

    #[test]
    fn a_record_of_another_store_or_epoch_is_refused() {
        let headers = event_headers(&event(), &source(STORE), None);
        let later = source(StoreIdentity { epoch: 4, ..STORE });
        let read =
            Decoder::new(later).entry(Some(b"account-A001"), Some(b"\0\0\0\0\x01"), &headers);
        assert_eq!(read, Err(Unreadable::Foreign(source(STORE))));
    }

    #[test]
    fn a_record_without_its_frame_or_position_is_refused() {
        let headers = event_headers(&event(), &source(STORE), None);
        let read = Decoder::new(source(STORE)).entry(Some(b"account-A001"), Some(b"x"), &headers);
        assert_eq!(read, Err(Unreadable::Form("the Confluent frame of the value")));
        let headers = OwnedHeaders::new().insert(text(CE_SOURCE, "urn:annals:x:1"));
        let read = Decoder::new("urn:annals:x:1".to_owned()).entry(None, None, &headers);
        assert_eq!(read, Err(Unreadable::Missing(POSITION)));
        let read = Decoder::new(source(STORE)).entry(None, None, &OwnedHeaders::new());
        assert_eq!(read, Err(Unreadable::Missing(CE_SOURCE)));
    }
}
