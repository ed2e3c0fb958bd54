//! The newest batches, kept in memory within a bound and shared by all live subscriptions. Their
//! events are decoded once, by whoever needs them first.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use annals_core::RecordedEvent;
use bytes::Bytes;

use super::address::Address;
use super::format::COMMIT_BYTES;
use super::format::frame::{self, Extent, Frame, FrameIdentity};
use super::index::Index;
use super::names::Names;
use super::reader::{BATCH_EVENTS, build};
use super::sync::{Mutex, RwLock};

/// So many events make a stretch, and more are not put together.
const MANY_EVENTS: u64 = BATCH_EVENTS as u64;
/// How many stretches are kept.
const STRETCHES: usize = 4;

/// A batch as it was written.
pub(crate) struct WrittenBatch {
    pub(crate) identity: FrameIdentity,
    /// Where it stands.
    pub(crate) start: Address,
    /// The low 32 bits of its number.
    pub(crate) number: u32,
    /// Its event frames; the commit frame stands behind them.
    pub(crate) frames: Bytes,
    pub(crate) first_position: u64,
    pub(crate) count: u64,
    decoded: OnceLock<Arc<Vec<RecordedEvent>>>,
}

impl WrittenBatch {
    pub(crate) fn new(
        identity: FrameIdentity,
        (start, number): (Address, u32),
        frames: Bytes,
        first_position: u64,
        count: u64,
    ) -> WrittenBatch {
        let decoded = OnceLock::new();
        WrittenBatch { identity, start, number, frames, first_position, count, decoded }
    }

    /// The bytes that it takes in the log.
    pub(crate) fn length(&self) -> u32 {
        u32::try_from(self.frames.len() + COMMIT_BYTES).expect("a batch fits into a segment")
    }

    /// The position behind its last event.
    pub(crate) fn end_position(&self) -> u64 {
        self.first_position + self.count
    }

    /// Where the next batch begins, in the same segment.
    pub(crate) fn end(&self) -> Address {
        Address { offset: self.start.offset + self.length(), ..self.start }
    }

    /// The event frames from an address within it on.
    pub(crate) fn frames_from(&self, address: Address) -> Option<&[u8]> {
        let within = self.start <= address && address < self.end();
        within.then(|| &self.frames[(address.offset - self.start.offset) as usize..])
    }

    /// Each of its event frames.
    pub(crate) fn each_frame(&self) -> impl Iterator<Item = Range<usize>> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let rest = &self.frames[at..];
            // These bytes were made in this process and never left it.
            let Ok(Extent::Frame(length)) = frame::extent(rest, rest.len()) else { return None };
            at += length;
            Some(at - length..at)
        })
    }

    /// Its events.
    fn events(&self, names: &mut Names) -> &Arc<Vec<RecordedEvent>> {
        self.decoded.get_or_init(|| {
            let mut events = Vec::with_capacity(usize::try_from(self.count).unwrap_or(0));
            for range in self.each_frame() {
                let bytes = self.frames.slice(range);
                if let Ok(Frame::Event(frame)) = frame::decode(&bytes, self.identity, true) {
                    events.extend(build(&bytes, 0, &frame, names));
                }
            }
            assert_eq!(events.len() as u64, self.count, "a written batch is whole");
            Arc::new(events)
        })
    }

    fn memory(&self) -> usize {
        let decoded = usize::try_from(self.count).unwrap_or(0) * size_of::<RecordedEvent>();
        self.frames.len() + decoded
    }
}

/// Events that follow each other.
#[derive(Clone)]
pub(crate) struct Stretch {
    /// The position of the first.
    first: u64,
    pub(crate) events: Arc<Vec<RecordedEvent>>,
}

impl Stretch {
    /// The position behind the last.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }
}

/// The newest batches.
pub(crate) struct Tail {
    bytes_max: usize,
    kept: RwLock<Kept>,
    /// What was put together last out of several batches. Who is woken together stands at the same position and takes
    /// the same stretch.
    stretches: Mutex<VecDeque<Stretch>>,
}

#[derive(Default)]
struct Kept {
    batches: VecDeque<Arc<WrittenBatch>>,
    bytes: usize,
}

impl Tail {
    pub(crate) fn new(bytes_max: usize) -> Tail {
        Tail { bytes_max, kept: RwLock::default(), stretches: Mutex::default() }
    }

    /// Adds a durable batch and lets go of the oldest ones beyond the bound.
    pub(crate) fn push(&self, batch: Arc<WrittenBatch>) {
        let mut kept = self.kept.write();
        kept.bytes += batch.memory();
        kept.batches.push_back(batch);
        while kept.bytes > self.bytes_max
            && let Some(oldest) = kept.batches.pop_front()
        {
            kept.bytes -= oldest.memory();
        }
    }

    /// The events from `position` on: all that are there, or a good many of them; none where it is too old.
    pub(crate) fn stretch(&self, position: u64, index: &Arc<Index>) -> Option<Stretch> {
        let mut stretches = self.stretches.lock();
        if let Some(found) = stretches.iter().find(|stretch| stretch.first == position) {
            return Some(found.clone());
        }
        let batches = self.from(position);
        let first = batches.first()?;
        let mut names = Names::new(Arc::clone(index), None);
        if first.first_position == position && batches.len() == 1 {
            return Some(Stretch { first: position, events: Arc::clone(first.events(&mut names)) });
        }
        let skipped = usize::try_from(position - first.first_position).unwrap_or(usize::MAX);
        let events = batches.iter().flat_map(|batch| batch.events(&mut names).iter().cloned());
        let events = Arc::new(events.skip(skipped).collect());
        let stretch = Stretch { first: position, events };
        if stretches.len() == STRETCHES {
            stretches.pop_front();
        }
        stretches.push_back(stretch.clone());
        Some(stretch)
    }

    /// Batches from the one that holds `position` on, until they hold many events.
    fn from(&self, position: u64) -> Vec<Arc<WrittenBatch>> {
        let kept = self.kept.read();
        let first = kept.batches.partition_point(|batch| batch.end_position() <= position);
        let mut found = Vec::new();
        let mut count = 0;
        for batch in kept.batches.range(first..) {
            if found.is_empty() && batch.first_position > position {
                break;
            }
            count += batch.end_position() - batch.first_position.max(position);
            found.push(Arc::clone(batch));
            if count >= MANY_EVENTS {
                break;
            }
        }
        found
    }
}
