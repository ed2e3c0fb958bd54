//! Turns waiting appends into the bytes of the next batch: checks each against the state that the
//! ones before it leave, gives it coordinates, and adds it to the open batch and the index. Runs on
//! the writer's thread, or beside it while a sync is under way; never on two threads at once.

use std::collections::VecDeque;
use std::sync::Arc;

use annals_core::append::{AppendView, Checked, check_append};
use annals_core::disk::DiskFile;
use annals_core::{
    AppendError, Appended, Condition, EventId, Metadata, Position, Revision, StreamName, Timestamp,
};
use bytes::Bytes;
use hashbrown::HashSet;

use super::absent::AbsentStreams;
use super::address::Address;
use super::error::ScanError;
use super::format::COMMIT_BYTES;
use super::format::frame::{self, Coordinates, Extent, Frame, FrameIdentity};
use super::format::header::SegmentHeader;
use super::index::{Entry, FIRST_OFFSET, Part, RecentIds, SharedPart};
use super::prepared::Contents;
use super::queue::{Reply, Request, answer};
use super::recovery::Recovered;
use super::shared::Shared;
use super::tail::WrittenBatch;

/// A batch takes no further append once it has that many bytes.
const BATCH_BYTES: usize = 4 << 20;
/// A batch of so many bytes is worth a sync: the writer takes it as it is, and leaves the rest to the encoder.
const WORTH_BYTES: usize = 256 << 10;

/// How many ids are fetched ahead.
const FETCHED_IDS: usize = 4096;

/// How far an encoding went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filled {
    /// Nothing waits any more.
    Drained,
    /// The open batch has as many bytes as it was to have.
    Enough,
    /// The open batch must be taken first.
    Full,
    /// The segment is full, and there is no new one yet.
    NeedsSegment,
}

/// A segment that begins with a batch.
pub(crate) struct NewSegment {
    /// But for the hash chain, which only the writer knows.
    pub(crate) header: SegmentHeader,
    pub(crate) file: Arc<dyn DiskFile>,
}

/// What the writer takes: a batch to write, and answers to give once it is durable.
pub(crate) struct Group {
    pub(crate) new_segment: Option<NewSegment>,
    pub(crate) batch: Option<Arc<WrittenBatch>>,
    pub(crate) answers: Vec<(Reply, Result<Appended, AppendError>)>,
}

struct OpenBatch {
    start: Address,
    bytes: Vec<u8>,
    first_position: u64,
    count: u64,
}

/// The state that the next append is checked against.
pub(crate) struct Encoder {
    shared: Arc<Shared>,
    frames: FrameIdentity,
    /// Where the next frame goes, and where frames may reach.
    at: Address,
    room_end: u32,
    position: u64,
    batch: u64,
    time: Timestamp,
    /// The index of the active segment.
    part: Option<SharedPart>,
    recent: RecentIds,
    absent: AbsentStreams,
    /// The ids of the append that is being encoded that may have been met before.
    met: HashSet<EventId>,
    waiting: VecDeque<Request>,
    /// The bytes of what waits.
    bytes_ahead: usize,
    answers: Vec<(Reply, Result<Appended, AppendError>)>,
    new_segment: Option<NewSegment>,
    open: Option<OpenBatch>,
    /// The batch that the writer took last, which may not be on disk yet.
    taken: Option<Arc<WrittenBatch>>,
}

impl Encoder {
    pub(crate) fn new(shared: Arc<Shared>, recovered: &Recovered, recent: RecentIds) -> Encoder {
        let part = match shared.index.parts().last() {
            Some(Part::Memory(part)) => Some(Arc::clone(part)),
            Some(Part::File(_)) | None => None,
        };
        Encoder {
            shared,
            frames: recovered.frames,
            at: recovered.end,
            room_end: recovered.room_end,
            position: recovered.events,
            batch: recovered.batches,
            time: recovered.time,
            part,
            recent,
            absent: AbsentStreams::default(),
            met: HashSet::new(),
            waiting: VecDeque::new(),
            bytes_ahead: 0,
            answers: Vec::new(),
            new_segment: None,
            open: None,
            taken: None,
        }
    }

    /// Encodes what waits until the open batch is worth a sync.
    pub(crate) fn fill(&mut self) -> Filled {
        self.fill_to(WORTH_BYTES)
    }

    /// Encodes a stretch of what waits, whatever the open batch holds already.
    pub(crate) fn fill_further(&mut self) -> Filled {
        let held = self.open.as_ref().map_or(0, |open| open.bytes.len());
        self.fill_to(held + WORTH_BYTES)
    }

    fn fill_to(&mut self, wanted: usize) -> Filled {
        let held = self.waiting.len();
        self.shared.queue.take(&mut self.waiting);
        self.fetch_ids(held);
        self.bytes_ahead = self.waiting.iter().map(|request| request.append.bytes).sum();
        let (mut appends, mut bytes) = (0, 0);
        let filled = loop {
            let Some(next) = self.waiting.front() else { break Filled::Drained };
            let room = next.append.bytes + COMMIT_BYTES;
            let held = self.open.as_ref().map_or(0, |open| open.bytes.len());
            if held >= BATCH_BYTES {
                break Filled::Full;
            }
            if held >= wanted {
                break Filled::Enough;
            }
            if ((self.room_end - self.at.offset) as usize) < room {
                if self.open.is_some() {
                    break Filled::Full;
                }
                if !self.begin_segment() {
                    break Filled::NeedsSegment;
                }
            }
            let request = self.waiting.pop_front().expect("there is a next one");
            appends += 1;
            bytes += request.append.bytes;
            let result = self.encode(&request);
            self.answers.push((request.reply, result));
        };
        self.shared.queue.release(appends, bytes);
        filled
    }

    /// Hands out the open batch with the answers that depend on it. Everything before it must be durable.
    pub(crate) fn take(&mut self) -> Group {
        let mut batch = None;
        if let Some(mut open) = self.open.take() {
            // The bytes stay in memory for subscriptions.
            if open.bytes.len() < open.bytes.capacity() / 4 * 3 {
                open.bytes.shrink_to_fit();
            }
            let written = WrittenBatch::new(
                self.frames,
                (open.start, low(self.batch)),
                Bytes::from(open.bytes),
                open.first_position,
                open.count,
            );
            self.batch += 1;
            self.at = written.end();
            let written = Arc::new(written);
            self.taken = Some(Arc::clone(&written));
            batch = Some(written);
        }
        Group {
            new_segment: self.new_segment.take_if(|_| batch.is_some()),
            batch,
            answers: std::mem::take(&mut self.answers),
        }
    }

    /// Whether appends are left that the last `fill` could not encode.
    pub(crate) fn has_left(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Refuses what waits.
    pub(crate) fn refuse_waiting(&mut self, error: &AppendError) {
        let bytes = self.waiting.iter().map(|request| request.append.bytes).sum();
        self.shared.queue.release(self.waiting.len(), bytes);
        for request in self.waiting.drain(..) {
            answer(request.reply, Err(error.clone()));
        }
    }

    fn begin_segment(&mut self) -> bool {
        let Some(file) = self.shared.preparer.take() else { return false };
        let header = SegmentHeader {
            store: self.shared.identity.id,
            epoch: self.shared.identity.epoch,
            segment: self.at.segment + 1,
            segment_bytes: self.shared.options.segment_bytes,
            first_position: self.position,
            first_batch: self.batch,
            time: self.time.0,
            salt: low(self.shared.random.next_u64()),
            previous_end: self.at.offset,
            chain: [0; 32],
        };
        self.frames = header.frames();
        self.part = Some(self.shared.index.begin(header.segment, header.first_position));
        self.at = Address { segment: header.segment, offset: FIRST_OFFSET };
        self.room_end = u32::try_from(header.segment_bytes).expect("a segment is small");
        self.new_segment = Some(NewSegment { header, file });
        true
    }

    fn encode(&mut self, request: &Request) -> Result<Appended, AppendError> {
        self.look_at_ids(request);
        let revisions = match self.check(request)? {
            Checked::Repeated(answer) => return Ok(answer),
            Checked::New(heads) => heads,
        };
        self.time = self.time.max(self.shared.clock.now());
        let mut answer = Appended { position: None, revisions };
        let part = Arc::clone(self.part.as_ref().expect("what is encoded has a segment"));
        let mut part = part.write();
        let mut number = 0;
        for (write, head) in request.append.head.writes.iter().zip(&mut answer.revisions) {
            let Some(last) = write.ids.len().checked_sub(1) else { continue };
            if head.is_none() {
                self.absent.begins(&write.stream);
            }
            let first = head.map_or(0, |head| head.0 + 1);
            let entries =
                (first..).zip(number..).zip(&write.ids).map(|((revision, number), id)| {
                    let contents = request.append.event(number);
                    Entry {
                        offset: self.encode_event(*id, &contents, Revision(revision)),
                        id: *id,
                        id_hash: request.append.id_hashes[number],
                        event_type: contents.event_type(),
                        tags: Metadata::tags_of(contents.metadata),
                    }
                });
            part.add(&write.stream, Revision(first), entries);
            number += write.ids.len();
            *head = Some(Revision(first + last as u64));
            answer.position = Some(Position(self.position - 1));
        }
        self.recent.stored(number);
        Ok(answer)
    }

    /// Has what is known of the ids fetched, of the appends behind the first `held`; no more than a cache takes.
    fn fetch_ids(&self, held: usize) {
        let ids = self.waiting.range(held..).flat_map(|request| &request.append.id_hashes);
        self.recent.fetch(ids.take(FETCHED_IDS).copied());
    }

    /// Asks which of the ids may have been met before, in this append too.
    fn look_at_ids(&mut self, request: &Request) {
        self.met.clear();
        let ids = request.append.head.writes.iter().flat_map(|write| &write.ids);
        for (id, hash) in ids.zip(&request.append.id_hashes) {
            if self.recent.meet(*hash) {
                self.met.insert(*id);
            }
        }
    }

    /// Adds the frame to the open batch; answers where it begins in the segment.
    fn encode_event(&mut self, id: EventId, contents: &Contents<'_>, revision: Revision) -> u32 {
        let (start, position, time) = (self.at, self.position, self.time);
        let coordinates =
            Coordinates { batch: low(self.batch), position, revision: revision.0, time };
        let room = self.bytes_ahead.min(BATCH_BYTES);
        let open = self.open.get_or_insert_with(|| OpenBatch {
            start,
            bytes: Vec::with_capacity(room),
            first_position: position,
            count: 0,
        });
        let before = open.bytes.len();
        frame::encode_event(
            &mut open.bytes,
            self.frames,
            &coordinates,
            (id, contents.schema),
            contents.bytes,
        );
        open.count += 1;
        let length = open.bytes.len() - before;
        self.at.offset += u32::try_from(length).expect("a frame fits into a segment");
        self.position += 1;
        start.offset
    }

    fn check(&self, request: &Request) -> Result<Checked, AppendError> {
        match check_append(&request.append.head, self) {
            Err(AppendError::Conflict { .. }) if self.shared.options.sabotage().ignore_expected => {
                let heads = request.append.head.writes.iter().map(|write| self.head(&write.stream));
                heads.collect::<Result<_, _>>().map(Checked::New)
            }
            checked => checked,
        }
    }

    /// The event frame at an address, from memory where it may not be on disk yet.
    fn frame(&self, address: Address) -> Result<(Vec<u8>, frame::EventFrame), ScanError> {
        match self.in_memory(address) {
            Some(found) => Ok(found),
            None => self.shared.segments.frame_at(address),
        }
    }

    fn in_memory(&self, address: Address) -> Option<(Vec<u8>, frame::EventFrame)> {
        let open = self.open.as_ref().filter(|open| {
            open.start.segment == address.segment && open.start <= address && address < self.at
        });
        let (bytes, identity) = match (open, &self.taken) {
            (Some(open), _) => {
                (&open.bytes[(address.offset - open.start.offset) as usize..], self.frames)
            }
            (None, Some(taken)) => (taken.frames_from(address)?, taken.identity),
            (None, None) => return None,
        };
        let Ok(Extent::Frame(length)) = frame::extent(bytes, bytes.len()) else { return None };
        let Ok(Frame::Event(event)) = frame::decode(&bytes[..length], identity, true) else {
            return None;
        };
        Some((bytes[..length].to_vec(), event))
    }
}

/// The log as the next append finds it, with what is not durable yet.
impl AppendView for Encoder {
    fn head(&self, stream: &StreamName) -> Result<Option<Revision>, AppendError> {
        if self.absent.holds(stream) {
            return Ok(None);
        }
        let head = self.shared.index.head(stream).map_err(unread)?;
        if head.is_none() {
            self.absent.found(stream);
        }
        Ok(head)
    }

    fn event_at(
        &self,
        stream: &StreamName,
        revision: Revision,
    ) -> Result<Option<(EventId, Position)>, AppendError> {
        let index = &self.shared.index;
        if let Some((last, id, position)) = index.last_id(stream)
            && last == revision
        {
            return Ok(Some((id, position)));
        }
        let address = index.address_in(stream, revision).map_err(unread)?;
        let found = address.map(|address| {
            let (_, event) = self.frame(address)?;
            Ok((event.id, Position(event.coordinates.position)))
        });
        found.transpose().map_err(unread)
    }

    fn known(
        &self,
        stream: &StreamName,
        id: EventId,
    ) -> Result<Option<(Revision, Position)>, AppendError> {
        if !self.met.contains(&id) || self.shared.options.sabotage().forget_ids {
            return Ok(None);
        }
        let index = &self.shared.index;
        let hash = index.hashes().id(id, stream.as_str().as_bytes());
        let mut candidates = index.candidates(hash).map_err(unread)?;
        // The newest counts where an id was written in several places.
        candidates.sort_unstable();
        for position in candidates.into_iter().rev() {
            let address = index.address(position).map_err(unread)?;
            let (bytes, event) = self.frame(address).map_err(unread)?;
            // Another identity may have the same hash.
            if event.id == id && bytes[event.stream] == *stream.as_str().as_bytes() {
                let revision = Revision(event.coordinates.revision);
                return Ok(Some((revision, Position(position))));
            }
        }
        Ok(None)
    }

    fn may_be_known(&self, id: &EventId) -> bool {
        self.met.contains(id)
    }

    fn excluded(&self, condition: &Condition) -> Result<Option<Position>, AppendError> {
        let excluded = self.shared.index.excluded(condition).map_err(unread)?;
        Ok(excluded.map(Position))
    }
}

/// What an append was to be checked against could not be read. It changed nothing.
#[allow(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn unread(error: ScanError) -> AppendError {
    AppendError::Unknown(format!("what the append depends on could not be read: {error}"))
}

/// The low 32 bits.
fn low(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).expect("32 bits are left")
}
