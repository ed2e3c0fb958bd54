//! Turns waiting appends into the bytes of the next batch: checks each against the state that the
//! ones before it leave, gives it coordinates, and adds it to the open batch and the index. Runs on
//! the writer's thread, or beside it while a sync is under way; never on two threads at once.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;

use annals_core::disk::DiskFile;
use annals_core::memory::check_append;
use annals_core::{
    AppendError, Appended, EventId, EventType, Position, Revision, StreamName, StreamWrite,
    Timestamp,
};
use bytes::Bytes;

use super::address::Address;
use super::error::ScanError;
use super::format::frame::{self, CommitFrame, Coordinates, Extent, Frame, FrameIdentity};
use super::format::header::SegmentHeader;
use super::format::{COMMIT_BYTES, Chain, HEADER_BYTES};
use super::index::Landmark;
use super::queue::{Reply, Request, answer};
use super::recovery::Recovered;
use super::shared::Shared;
use super::tail::WrittenBatch;

/// A batch takes no further append once it has that many bytes.
const BATCH_BYTES: usize = 4 << 20;

/// How far an encoding went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filled {
    /// Nothing waits any more.
    Drained,
    /// The open batch must be taken first.
    Full,
    /// The segment is full, and there is no new one yet.
    NeedsSegment,
}

/// A segment that begins with a batch.
pub(crate) struct NewSegment {
    pub(crate) header: SegmentHeader,
    pub(crate) file: Arc<dyn DiskFile>,
}

/// What the writer takes: a batch to write, and answers to give once it is durable.
pub(crate) struct Group {
    pub(crate) new_segment: Option<NewSegment>,
    pub(crate) batch: Option<Arc<WrittenBatch>>,
    pub(crate) chain: [u8; 32],
    pub(crate) answers: Vec<(Reply, Result<Appended, AppendError>)>,
}

struct OpenBatch {
    start: Address,
    bytes: Vec<u8>,
    first_position: u64,
    count: u32,
    chain: Chain,
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
    chain: [u8; 32],
    last_type: Option<EventType>,
    waiting: VecDeque<Request>,
    answers: Vec<(Reply, Result<Appended, AppendError>)>,
    new_segment: Option<NewSegment>,
    open: Option<OpenBatch>,
    /// The batch that the writer took last, which may not be on disk yet.
    taken: Option<Arc<WrittenBatch>>,
}

impl Encoder {
    pub(crate) fn new(shared: Arc<Shared>, recovered: &Recovered) -> Encoder {
        Encoder {
            shared,
            frames: recovered.frames,
            at: recovered.end,
            room_end: recovered.room_end,
            position: recovered.events,
            batch: recovered.batches,
            time: recovered.time,
            chain: recovered.chain,
            last_type: None,
            waiting: VecDeque::new(),
            answers: Vec::new(),
            new_segment: None,
            open: None,
            taken: None,
        }
    }

    /// Encodes what waits, as far as it goes.
    pub(crate) fn fill(&mut self) -> Filled {
        self.shared.queue.take(&mut self.waiting);
        let (mut appends, mut bytes) = (0, 0);
        let filled = loop {
            let Some(next) = self.waiting.front() else { break Filled::Drained };
            let wanted = next.bytes + COMMIT_BYTES;
            if self.open.as_ref().is_some_and(|open| open.bytes.len() >= BATCH_BYTES) {
                break Filled::Full;
            }
            if ((self.room_end - self.at.offset) as usize) < wanted {
                if self.open.is_some() {
                    break Filled::Full;
                }
                if !self.begin_segment() {
                    break Filled::NeedsSegment;
                }
            }
            let request = self.waiting.pop_front().expect("there is a next one");
            appends += 1;
            bytes += request.bytes;
            let result = self.encode(&request);
            self.answers.push((request.reply, result));
        };
        self.shared.queue.release(appends, bytes);
        filled
    }

    /// Closes the open batch and hands it out with the answers that depend on it. Everything before
    /// it must be durable.
    pub(crate) fn take(&mut self) -> Group {
        let mut batch = None;
        if let Some(mut open) = self.open.take() {
            self.chain = open.chain.finish();
            let commit = CommitFrame {
                batch: low(self.batch),
                first_position: open.first_position,
                count: open.count,
                batch_bytes: u32::try_from(open.bytes.len()).expect("a batch fits"),
                durable_upto: open.start,
                chain: self.chain,
            };
            frame::encode_commit(&mut open.bytes, self.frames, &commit);
            // The bytes stay in memory for subscriptions.
            open.bytes.shrink_to_fit();
            let written = WrittenBatch::new(
                self.frames,
                open.start,
                Bytes::from(open.bytes),
                open.first_position,
                u64::from(open.count),
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
            chain: self.chain,
            answers: std::mem::take(&mut self.answers),
        }
    }

    /// Whether appends are left that the last `fill` could not encode.
    pub(crate) fn has_left(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Refuses what waits.
    pub(crate) fn refuse_waiting(&mut self, error: &AppendError) {
        let bytes = self.waiting.iter().map(|request| request.bytes).sum();
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
            chain: self.chain,
        };
        self.frames = header.frames();
        let offset = u32::try_from(HEADER_BYTES).expect("4096");
        self.at = Address { segment: header.segment, offset };
        self.room_end = u32::try_from(header.segment_bytes).expect("a segment is small");
        self.new_segment = Some(NewSegment { header, file });
        true
    }

    fn encode(&mut self, request: &Request) -> Result<Appended, AppendError> {
        if let Some(answer) = self.check(request)? {
            return Ok(answer);
        }
        self.time = self.time.max(self.shared.clock.now());
        let mut answer = Appended { position: None, revisions: Vec::new() };
        let index = Arc::clone(&self.shared.index);
        let mut index = index.write();
        for write in &request.append.writes {
            let mut head = index.head(&write.stream).map(|(revision, _)| revision);
            let mut added = Vec::with_capacity(write.events.len());
            for event in &write.events {
                let revision = head.map_or(Revision(0), |head| Revision(head.0 + 1));
                let landmark = self.encode_event(write, event, revision);
                if self.last_type.as_ref() != Some(&event.event_type) {
                    index.add_type(&event.event_type);
                    self.last_type = Some(event.event_type.clone());
                }
                added.push((event.id, landmark));
                answer.position = Some(Position(landmark.position));
                head = Some(revision);
            }
            if !added.is_empty() {
                index.add(&write.stream, added);
            }
            answer.revisions.push(head);
        }
        Ok(answer)
    }

    fn encode_event(
        &mut self,
        write: &StreamWrite,
        event: &annals_core::NewEvent,
        revision: Revision,
    ) -> Landmark {
        let (start, position, time) = (self.at, self.position, self.time);
        let coordinates =
            Coordinates { batch: low(self.batch), position, revision: revision.0, time };
        let chain = &self.chain;
        let open = self.open.get_or_insert_with(|| OpenBatch {
            start,
            bytes: Vec::with_capacity(1024),
            first_position: position,
            count: 0,
            chain: Chain::behind(chain),
        });
        let before = open.bytes.len();
        frame::encode_event(
            &mut open.bytes,
            self.frames,
            &coordinates,
            write.stream.as_str(),
            event,
        );
        open.chain.add(&open.bytes[before..]);
        open.count += 1;
        let length = open.bytes.len() - before;
        self.at.offset += u32::try_from(length).expect("a frame fits into a segment");
        self.position += 1;
        Landmark { address: start, position, time }
    }

    fn check(&self, request: &Request) -> Result<Option<Appended>, AppendError> {
        let index = self.shared.index.read();
        let sabotage = self.shared.options.sabotage();
        let failed = Cell::new(None);
        let known = |id: EventId| {
            if sabotage.forget_ids {
                return None;
            }
            for address in index.candidates(id) {
                match self.event_at(address, id) {
                    Ok(Some(found)) => return Some(found),
                    Ok(None) => {}
                    Err(error) => failed.set(Some(error)),
                }
            }
            None
        };
        let checked = check_append(&request.append, |stream| index.head(stream), known);
        if let Some(error) = failed.into_inner() {
            let text = format!("whether it is a repetition could not be read: {error}");
            return Err(AppendError::Unknown(text));
        }
        match checked {
            Err(AppendError::Conflict { .. }) if sabotage.ignore_expected => Ok(None),
            checked => checked,
        }
    }

    /// Where the event with that id stands, if it is the one at that address.
    fn event_at(
        &self,
        address: Address,
        id: EventId,
    ) -> Result<Option<(StreamName, Revision, Position)>, ScanError> {
        let in_memory = self.in_memory(address);
        let (bytes, event) = match in_memory {
            Some(found) => found,
            None => self.shared.segments.frame_at(address)?,
        };
        if event.id != id {
            return Ok(None);
        }
        let stream = std::str::from_utf8(&bytes[event.stream]).ok();
        let stream = stream.and_then(|name| StreamName::new(name).ok());
        let coordinates = event.coordinates;
        Ok(stream.map(|s| (s, Revision(coordinates.revision), Position(coordinates.position))))
    }

    fn in_memory(&self, address: Address) -> Option<(Vec<u8>, frame::EventFrame)> {
        let open = self.open.as_ref().filter(|open| {
            open.start.segment == address.segment && open.start <= address && address < self.at
        });
        let (bytes, identity) = match (open, &self.taken) {
            (Some(open), _) => {
                (&open.bytes[(address.offset - open.start.offset) as usize..], self.frames)
            }
            (None, Some(taken)) => (taken.bytes_from(address)?, taken.identity),
            (None, None) => return None,
        };
        let Ok(Extent::Frame(length)) = frame::extent(bytes, bytes.len()) else { return None };
        let Ok(Frame::Event(event)) = frame::decode(&bytes[..length], identity, true) else {
            return None;
        };
        Some((bytes[..length].to_vec(), event))
    }
}

/// The low 32 bits.
fn low(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).expect("32 bits are left")
}
