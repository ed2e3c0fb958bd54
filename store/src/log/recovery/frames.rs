//! What recovery makes of the frames of a segment: batches that are whole and continue the log.

use bytes::Bytes;

use super::Recovery;
use crate::log::address::Address;
use crate::log::error::{Damage, Flaw, OpenError, ScanError};
use crate::log::format::Chain;
use crate::log::format::frame::{CommitFrame, EventFrame, Frame};
use crate::log::scan::{Found, FrameScan};

/// What is kept of the events that are read, and knows their streams.
pub(crate) trait Gathering {
    /// Takes the next event of the batch that is read, which lies in `block`.
    fn event(&mut self, block: &Bytes, found: &Found, event: &EventFrame) -> Result<(), Flaw>;

    /// The batch is whole; false where a revision in it does not follow on its stream's last one.
    fn commit(&mut self) -> Result<bool, ScanError>;
}

impl<G: Gathering> Recovery<'_, G> {
    /// Takes the next frame.
    pub(super) fn take(&mut self, scan: &FrameScan, found: &Found) -> Result<(), Refused> {
        match &found.frame {
            Frame::Event(event) => {
                self.take_event(scan.block(), found, event).map_err(Refused::Flaw)
            }
            Frame::Commit(commit) => self.take_commit(scan, found, commit),
        }
    }

    fn take_event(&mut self, block: &Bytes, found: &Found, event: &EventFrame) -> Result<(), Flaw> {
        let coordinates = event.coordinates;
        if coordinates.position != self.found.events + u64::from(self.batch)
            || u64::from(coordinates.batch) != self.found.batches & u64::from(u32::MAX)
            || coordinates.time < self.batch_time
        {
            return Err(Flaw::Sequence);
        }
        self.gathering.event(block, found, event)?;
        let frame = &block[found.start..found.start + found.length];
        self.unhashed.add(frame, &mut self.batch_leaves);
        self.batch += 1;
        self.batch_time = coordinates.time;
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
            || commit.count != self.batch
            || commit.batch_bytes != batch_bytes
        {
            return Err(Flaw::Sequence.into());
        }
        self.unhashed.finish(&mut self.batch_leaves);
        let mut chain = Chain::behind(&self.found.chain);
        chain.add_all(&self.batch_leaves);
        let broken = self.batch == 0 || chain.finish() != commit.chain;
        if broken && !self.sabotage.skip_checksum {
            return Err(Flaw::Chain.into());
        }
        let end = Address { offset: scan.offset(), ..self.found.end };
        let events = self.found.events + u64::from(self.batch);
        if let Some(known) = self.checkpoint.filter(|known| known.end == end)
            && (known.events != events || known.chain != commit.chain)
            && !self.sabotage.skip_checksum
        {
            return Err(Flaw::Chain.into());
        }
        if !self.gathering.commit()? {
            self.contradiction = true;
            return Err(Flaw::Sequence.into());
        }
        self.found.leaves.append(&mut self.batch_leaves);
        self.batch = 0;
        self.found.time = self.batch_time;
        self.found.chain = commit.chain;
        self.found.end = end;
        self.found.events = events;
        self.found.batches += 1;
        Ok(())
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
