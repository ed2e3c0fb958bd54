//! Frames: what a segment consists of behind its header. A batch is one or more event frames and a
//! commit frame; it counts only with its commit. The first 24 bytes of each frame say where it
//! belongs and check it; what follows is the same wherever the event is stored, and is what the
//! hash chain covers.

use std::ops::Range;

use annals_core::{EventId, NewEvent, SchemaFingerprint, Timestamp};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::tree::Hash;
use super::{bytes_at, put_number, take_number, u16_at, u32_at, u64_at};
use crate::log::address::Address;
use crate::log::error::Flaw;

const MAGIC: u16 = 0xa7e5;
const FORMAT: u8 = 1;
const EVENT: u8 = 1;
const COMMIT: u8 = 2;
/// Kept for "event removed, its hash kept".
const _REMOVED: u8 = 3;
/// The fields that say where a frame belongs.
pub(crate) const PREFIX_BYTES: usize = 24;
/// The fields of an event of fixed size, with the prefix.
const EVENT_FIXED_BYTES: usize = 64;
/// The size of a commit frame.
pub(crate) const COMMIT_BYTES: usize = 80;
/// The most bytes that the numbers of variable size of an event take: revision, and three lengths.
const NUMBERS_BYTES_MAX: usize = 10 + 2 + 2 + 5;

/// What every frame of a segment carries, or is checked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameIdentity {
    /// The segment's number.
    pub(crate) segment: u32,
    /// The low 16 bits of its epoch.
    pub(crate) epoch: u16,
    /// What its checksums begin with.
    pub(crate) salt: u32,
}

/// The coordinates that the store gives to an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Coordinates {
    /// The low 32 bits of the number of its batch.
    pub(crate) batch: u32,
    /// Its place in the log.
    pub(crate) position: u64,
    /// Its number in its stream.
    pub(crate) revision: u64,
    /// When it was accepted.
    pub(crate) time: Timestamp,
}

/// A checked frame. Ranges count from its first byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// An event.
    Event(EventFrame),
    /// The end of a batch.
    Commit(CommitFrame),
}

/// A checked event frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EventFrame {
    pub(crate) coordinates: Coordinates,
    pub(crate) id: EventId,
    pub(crate) schema: SchemaFingerprint,
    pub(crate) event_type: Range<usize>,
    pub(crate) stream: Range<usize>,
    pub(crate) metadata: Range<usize>,
    pub(crate) data: Range<usize>,
}

/// A checked commit frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CommitFrame {
    /// The low 32 bits of the number of the batch.
    pub(crate) batch: u32,
    /// The position of its first event.
    pub(crate) first_position: u64,
    /// How many events it has.
    pub(crate) count: u32,
    /// The bytes of its event frames.
    pub(crate) batch_bytes: u32,
    /// Everything before this place was synced when the batch was written.
    pub(crate) durable_upto: Address,
    /// The hash chain with this batch.
    pub(crate) chain: [u8; 32],
}

/// What stands at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// A frame of that many bytes, it seems.
    Frame(usize),
    /// At least that many bytes must be there to tell.
    More(usize),
    /// Nothing was written here: zeros.
    Blank,
}

/// How long the frame at the start of `bytes` is. `room` is the number of bytes up to where frames
/// may reach.
pub(crate) fn extent(bytes: &[u8], room: usize) -> Result<Extent, Flaw> {
    let seen = bytes.len().min(PREFIX_BYTES);
    if bytes[..seen].iter().all(|byte| *byte == 0) {
        let blank = seen == PREFIX_BYTES || seen == room;
        return Ok(if blank { Extent::Blank } else { Extent::More(PREFIX_BYTES.min(room)) });
    }
    if room < PREFIX_BYTES {
        return Err(Flaw::Missing);
    }
    if seen < PREFIX_BYTES {
        return Ok(Extent::More(PREFIX_BYTES));
    }
    if u16_at(bytes, 0) != MAGIC {
        return Err(Flaw::Magic);
    }
    let length = u32_at(bytes, 8) as usize;
    if length < PREFIX_BYTES || length > room {
        return Err(Flaw::Length);
    }
    Ok(if length > bytes.len() { Extent::More(length) } else { Extent::Frame(length) })
}

/// Checks and reads the frame that `bytes` is.
pub(crate) fn decode(bytes: &[u8], identity: FrameIdentity, believe: bool) -> Result<Frame, Flaw> {
    if !believe && u32_at(bytes, 12) != checksum(bytes, identity) {
        return Err(Flaw::Checksum);
    }
    if u16_at(bytes, 6) != identity.epoch || u32_at(bytes, 16) != identity.segment {
        return Err(Flaw::Misplaced);
    }
    if bytes[2] != FORMAT {
        return Err(Flaw::Format(u16::from(bytes[2])));
    }
    if u16_at(bytes, 4) != 0 {
        return Err(Flaw::Fields); // A flag of a later version.
    }
    match bytes[3] {
        EVENT => decode_event(bytes).map(Frame::Event).ok_or(Flaw::Fields),
        COMMIT if bytes.len() == COMMIT_BYTES => Ok(Frame::Commit(decode_commit(bytes))),
        COMMIT => Err(Flaw::Length),
        kind => Err(Flaw::Kind(kind)),
    }
}

fn decode_event(bytes: &[u8]) -> Option<EventFrame> {
    let mut rest = bytes.get(EVENT_FIXED_BYTES..)?;
    let revision = take_number(&mut rest)?;
    let type_bytes = usize::try_from(take_number(&mut rest)?).ok()?;
    let stream_bytes = usize::try_from(take_number(&mut rest)?).ok()?;
    let metadata_bytes = usize::try_from(take_number(&mut rest)?).ok()?;
    let start = bytes.len() - rest.len();
    let stream = start.checked_add(type_bytes)?;
    let metadata = stream.checked_add(stream_bytes)?;
    let data = metadata.checked_add(metadata_bytes)?;
    if data > bytes.len() {
        return None;
    }
    Some(EventFrame {
        coordinates: Coordinates {
            batch: u32_at(bytes, 20),
            position: u64_at(bytes, 24),
            revision,
            time: Timestamp(i64::from_le_bytes(bytes_at(bytes, 32))),
        },
        schema: SchemaFingerprint(u64_at(bytes, 40)),
        id: EventId(Uuid::from_bytes(bytes_at(bytes, 48))),
        event_type: start..stream,
        stream: stream..metadata,
        metadata: metadata..data,
        data: data..bytes.len(),
    })
}

fn decode_commit(bytes: &[u8]) -> CommitFrame {
    CommitFrame {
        batch: u32_at(bytes, 20),
        first_position: u64_at(bytes, 24),
        count: u32_at(bytes, 32),
        batch_bytes: u32_at(bytes, 36),
        durable_upto: Address { segment: u32_at(bytes, 40), offset: u32_at(bytes, 44) },
        chain: bytes_at(bytes, 48),
    }
}

/// The most bytes that the event's frame takes.
pub(crate) fn event_bytes_max(stream: &str, event: &NewEvent) -> usize {
    let contents = event.metadata.len() + event.data.len();
    let names = stream.len() + event.event_type.as_str().len();
    EVENT_FIXED_BYTES + NUMBERS_BYTES_MAX + names + contents
}

/// Appends what follows the revision in an event's frame to `out`; answers where that begins, where the event type and the
/// metadata begin in it, and where it ends.
pub(crate) fn put_contents(out: &mut Vec<u8>, stream: &str, event: &NewEvent) -> [u32; 4] {
    let at = |out: &Vec<u8>| u32::try_from(out.len()).expect("an append is smaller");
    let begin = at(out);
    put_number(out, event.event_type.as_str().len() as u64);
    put_number(out, stream.len() as u64);
    put_number(out, event.metadata.len() as u64);
    let event_type = at(out);
    out.extend_from_slice(event.event_type.as_str().as_bytes());
    out.extend_from_slice(stream.as_bytes());
    let metadata = at(out);
    out.extend_from_slice(&event.metadata);
    out.extend_from_slice(&event.data);
    [begin, event_type, metadata, at(out)]
}

/// Appends an event's frame to `out`; `contents` is what follows the revision.
pub(crate) fn encode_event(
    out: &mut Vec<u8>,
    identity: FrameIdentity,
    coordinates: &Coordinates,
    (id, schema): (EventId, SchemaFingerprint),
    contents: &[u8],
) {
    let start = out.len();
    put_prefix(out, EVENT, identity, coordinates.batch);
    out.extend_from_slice(&coordinates.position.to_le_bytes());
    out.extend_from_slice(&coordinates.time.0.to_le_bytes());
    out.extend_from_slice(&schema.0.to_le_bytes());
    out.extend_from_slice(id.0.as_bytes());
    put_number(out, coordinates.revision);
    out.extend_from_slice(contents);
    close(&mut out[start..], identity);
}

/// Appends a commit frame to `out`.
pub(crate) fn encode_commit(out: &mut Vec<u8>, identity: FrameIdentity, commit: &CommitFrame) {
    let start = out.len();
    put_prefix(out, COMMIT, identity, commit.batch);
    out.extend_from_slice(&commit.first_position.to_le_bytes());
    out.extend_from_slice(&commit.count.to_le_bytes());
    out.extend_from_slice(&commit.batch_bytes.to_le_bytes());
    out.extend_from_slice(&commit.durable_upto.segment.to_le_bytes());
    out.extend_from_slice(&commit.durable_upto.offset.to_le_bytes());
    out.extend_from_slice(&commit.chain);
    close(&mut out[start..], identity);
}

fn put_prefix(out: &mut Vec<u8>, kind: u8, identity: FrameIdentity, batch: u32) {
    let mut prefix = [0; PREFIX_BYTES];
    prefix[..2].copy_from_slice(&MAGIC.to_le_bytes());
    prefix[2] = FORMAT;
    prefix[3] = kind;
    // 4: flags, none yet.
    prefix[6..8].copy_from_slice(&identity.epoch.to_le_bytes());
    prefix[16..20].copy_from_slice(&identity.segment.to_le_bytes());
    prefix[20..24].copy_from_slice(&batch.to_le_bytes());
    out.extend_from_slice(&prefix);
}

/// Fills in length and checksum.
fn close(frame: &mut [u8], identity: FrameIdentity) {
    let length = u32::try_from(frame.len()).expect("a frame fits into a segment");
    frame[8..12].copy_from_slice(&length.to_le_bytes());
    let checksum = checksum(frame, identity);
    frame[12..16].copy_from_slice(&checksum.to_le_bytes());
}

fn checksum(frame: &[u8], identity: FrameIdentity) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(identity.salt, &frame[..12]), &frame[16..])
}

/// The hash chain: after each batch, SHA-256 over the hash before it and the leaf hashes of its
/// events.
#[derive(Clone, Debug)]
pub(crate) struct Chain(Sha256);

impl Chain {
    /// Begins a batch behind `previous`.
    pub(crate) fn behind(previous: &[u8; 32]) -> Chain {
        let mut hash = Sha256::new();
        hash.update(previous);
        Chain(hash)
    }

    /// Adds an event, given the hash of its frame.
    pub(crate) fn add(&mut self, leaf: &Hash) {
        self.0.update(leaf);
    }

    /// Adds events, given the hashes of their frames.
    pub(crate) fn add_all(&mut self, leaves: &[Hash]) {
        self.0.update(leaves.as_flattened());
    }

    /// The hash with this batch.
    pub(crate) fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// Every commit frame within `bytes`, wherever it stands, and the offset where it ends.
pub(crate) fn commits(
    bytes: &[u8],
    identity: FrameIdentity,
) -> impl Iterator<Item = (usize, CommitFrame)> {
    let magic = MAGIC.to_le_bytes();
    bytes.windows(COMMIT_BYTES).enumerate().filter_map(move |(offset, window)| {
        let likely = window[..2] == magic
            && window[3] == COMMIT
            && u32_at(window, 8) as usize == COMMIT_BYTES;
        match likely.then(|| decode(window, identity, false)) {
            Some(Ok(Frame::Commit(commit))) => Some((offset + COMMIT_BYTES, commit)),
            Some(Ok(Frame::Event(_)) | Err(_)) | None => None,
        }
    })
}

/// Finds a batch in `bytes`, which begin at `from` of the segment, that was written when everything
/// up to a place behind `from` was durable: then what stands at `from` is damage, not a torn tail.
pub(crate) fn later_commit(bytes: &[u8], from: Address, identity: FrameIdentity) -> bool {
    commits(bytes, identity).any(|(_, commit)| commit.durable_upto > from)
}

#[cfg(not(schedules))]
#[cfg(test)]
mod tests {
    use super::*;
    use annals_core::EventType;
    use bytes::Bytes;
    use proptest::prelude::*;

    const IDENTITY: FrameIdentity = FrameIdentity { segment: 3, epoch: 1, salt: 0x1234_5678 };

    fn event(data: Vec<u8>, metadata: Vec<u8>) -> NewEvent {
        NewEvent {
            id: EventId(Uuid::from_u128(42)),
            event_type: EventType::new("trading.OrderPlaced").unwrap(),
            schema: SchemaFingerprint(7),
            metadata: Bytes::from(metadata),
            data: Bytes::from(data),
        }
    }

    fn encode(out: &mut Vec<u8>, coordinates: &Coordinates, stream: &str, event: &NewEvent) {
        let mut contents = Vec::new();
        put_contents(&mut contents, stream, event);
        encode_event(out, IDENTITY, coordinates, (event.id, event.schema), &contents);
    }

    proptest! {
        #[test]
        fn an_event_survives_its_frame_and_no_flipped_bit_does(
            data in proptest::collection::vec(any::<u8>(), 0..300),
            metadata in proptest::collection::vec(any::<u8>(), 0..200),
            revision in any::<u64>(), position in any::<u64>(), time in any::<i64>(),
            bit in any::<proptest::sample::Index>(),
        ) {
            let event = event(data, metadata);
            let coordinates = Coordinates { batch: 9, position, revision, time: Timestamp(time) };
            let mut bytes = Vec::new();
            encode(&mut bytes, &coordinates, "account-A001", &event);
            prop_assert!(bytes.len() <= event_bytes_max("account-A001", &event));
            prop_assert_eq!(extent(&bytes, 10_000), Ok(Extent::Frame(bytes.len())));
            let Ok(Frame::Event(frame)) = decode(&bytes, IDENTITY, false) else {
                panic!("the frame is an event");
            };
            prop_assert_eq!(frame.coordinates, coordinates);
            prop_assert_eq!(frame.id, event.id);
            prop_assert_eq!(frame.schema, event.schema);
            prop_assert_eq!(&bytes[frame.event_type], b"trading.OrderPlaced");
            prop_assert_eq!(&bytes[frame.stream], b"account-A001");
            prop_assert_eq!(&bytes[frame.metadata], &event.metadata[..]);
            prop_assert_eq!(&bytes[frame.data], &event.data[..]);
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(decode(&bytes, IDENTITY, false).is_err());
        }
    }

    #[test]
    fn a_frame_of_200_bytes_with_names_takes_no_more_than_300() {
        let event = event(vec![1; 200], Vec::new());
        let at = Coordinates { batch: 1, position: 1, revision: 300, time: Timestamp(1) };
        let mut bytes = Vec::new();
        encode(&mut bytes, &at, "account-A001", &event);
        assert!(bytes.len() <= 300, "{}", bytes.len());
    }

    #[test]
    fn a_frame_of_another_segment_epoch_or_salt_is_refused() {
        let at = Coordinates { batch: 1, position: 1, revision: 0, time: Timestamp(1) };
        let mut bytes = Vec::new();
        encode(&mut bytes, &at, "s", &event(vec![1], vec![]));
        for other in [
            FrameIdentity { segment: 4, ..IDENTITY },
            FrameIdentity { epoch: 2, ..IDENTITY },
            FrameIdentity { salt: 1, ..IDENTITY },
        ] {
            assert!(decode(&bytes, other, false).is_err(), "{other:?}");
        }
    }
}
