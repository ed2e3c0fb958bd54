//! What recovery makes of the frames of a segment: batches that are whole and continue the log, and their index.

use annals_core::{EventId, EventType, Metadata, Revision, StreamName, Timestamp};
use bytes::Bytes;

use super::Recovery;
use crate::log::address::Address;
use crate::log::error::{Damage, Flaw, OpenError, ScanError};
use crate::log::format::Chain;
use crate::log::format::frame::{self, CommitFrame, Frame};
use crate::log::format::tree::{Hash, leaf};
use crate::log::index::Entry;
use crate::log::scan::{Found, FrameScan};

/// An event of a batch whose commit has not come yet.
pub(super) struct Uncommitted {
    stream: StreamName,
    event_type: EventType,
    id: EventId,
    revision: Revision,
    offset: u32,
    leaf: Hash,
    time: Timestamp,
    /// The frame's metadata, for its tags.
    metadata: Bytes,
}

impl Recovery<'_> {
    /// Takes the next frame.
    pub(super) fn take(&mut self, scan: &FrameScan, found: &Found) -> Result<(), Refused> {
        let bytes = scan.block().slice(found.start..found.start + found.length);
        match &found.frame {
            Frame::Event(event) => {
                self.take_event(&bytes, found.offset, event).map_err(Refused::Flaw)
            }
            Frame::Commit(commit) => self.take_commit(scan, found, commit),
        }
    }

    fn take_event(
        &mut self,
        bytes: &Bytes,
        offset: u32,
        event: &frame::EventFrame,
    ) -> Result<(), Flaw> {
        let coordinates = event.coordinates;
        let last_time = self.batch.last().map_or(self.found.time, |last| last.time);
        if coordinates.position != self.found.events + self.batch.len() as u64
            || u64::from(coordinates.batch) != self.found.batches & u64::from(u32::MAX)
            || coordinates.time < last_time
        {
            return Err(Flaw::Sequence);
        }
        let previous = &self.found.chain;
        let leaf = leaf(bytes);
        self.batch_chain.get_or_insert_with(|| Chain::behind(previous)).add(&leaf);
        let stream = self.names.stream(&bytes[event.stream.clone()]).ok_or(Flaw::Fields)?.clone();
        let event_type = self.names.event_type(&bytes[event.event_type.clone()]);
        self.batch.push(Uncommitted {
            stream,
            event_type: event_type.ok_or(Flaw::Fields)?.clone(),
            id: event.id,
            revision: Revision(coordinates.revision),
            offset,
            leaf,
            time: coordinates.time,
            metadata: bytes.slice(event.metadata.clone()),
        });
        Ok(())
    }

    fn take_commit(
        &mut self,
        scan: &FrameScan,
        found: &Found,
        commit: &CommitFrame,
    ) -> Result<(), Refused> {
        let batch_bytes = found.offset - self.found.end.offset;
        if u64::from(commit.batch) != self.found.batches & u64::from(u32::MAX)
            || commit.first_position != self.found.events
            || commit.count as usize != self.batch.len()
            || commit.batch_bytes != batch_bytes
        {
            return Err(Flaw::Sequence.into());
        }
        let chain = self.batch_chain.take().map(Chain::finish);
        if chain != Some(commit.chain) && !self.sabotage.skip_checksum {
            return Err(Flaw::Chain.into());
        }
        let end = Address { offset: scan.offset(), ..self.found.end };
        let events = self.found.events + self.batch.len() as u64;
        if let Some(known) = self.checkpoint.filter(|known| known.end == end)
            && (known.events != events || known.chain != commit.chain)
            && !self.sabotage.skip_checksum
        {
            return Err(Flaw::Chain.into());
        }
        self.found.time = self.batch.last().map_or(self.found.time, |last| last.time);
        if !self.index_batch()? {
            self.contradiction = true;
            return Err(Flaw::Sequence.into());
        }
        self.found.chain = commit.chain;
        self.found.end = end;
        self.found.events = events;
        self.found.batches += 1;
        Ok(())
    }

    /// Adds the batch to the index; false where a revision does not follow on its stream's last
    /// one.
    fn index_batch(&mut self) -> Result<bool, ScanError> {
        let hashes = self.index.hashes();
        let part = self.part.as_ref().expect("a segment that is read has a part");
        for event in self.batch.drain(..) {
            let next = match self.index.head(&event.stream)? {
                Some(Revision(last)) => last + 1,
                None if self.alone => event.revision.0,
                None => 0,
            };
            if event.revision.0 != next {
                return Ok(false);
            }
            self.found.leaves.push(event.leaf);
            part.write().add(&Entry {
                offset: event.offset,
                id: event.id,
                id_hash: hashes.id(event.id),
                stream: &event.stream,
                revision: event.revision,
                event_type: event.event_type.as_str(),
                tags: &Metadata::tags_of(&event.metadata),
            });
        }
        Ok(true)
    }
}

/// Why a frame was not taken.
pub(super) enum Refused {
    /// It is not what must stand there.
    Flaw(Flaw),
    /// Whether it is could not be read.
    Fault(ScanError),
}

impl Refused {
    pub(super) fn into_error(self, place: impl FnOnce(Flaw) -> Damage) -> OpenError {
        match self {
            Refused::Flaw(flaw) => place(flaw).into(),
            Refused::Fault(error) => error.into(),
        }
    }
}

impl From<Flaw> for Refused {
    fn from(flaw: Flaw) -> Refused {
        Refused::Flaw(flaw)
    }
}

impl From<ScanError> for Refused {
    fn from(error: ScanError) -> Refused {
        Refused::Fault(error)
    }
}
