//! Opens the files of a log: reads every frame, builds the index, and tells a torn tail from
//! damage. A bad record is a torn tail only where nothing says that it was durable; then it is cut
//! off. Everything else is damage, and nothing is changed.

use std::io;
use std::path::Path;
use std::sync::Arc;

use annals_core::disk::{Disk, DiskFile};
use annals_core::{EventId, EventType, Revision, StreamName, Timestamp};
use parking_lot::RwLock;

use super::address::Address;
use super::error::{Damage, Flaw, OpenError, ScanError, at};
use super::format::checkpoint::Checkpoint;
use super::format::frame::{self, CommitFrame, Frame, FrameIdentity};
use super::format::header::SegmentHeader;
use super::format::{Chain, HEADER_BYTES};
use super::index::{Index, Landmark};
use super::names::Names;
use super::options::Sabotage;
use super::scan::{BLOCK_BYTES_MAX, Found, FrameScan};
use super::segments::Segments;

/// What recovery found.
pub(crate) struct Recovered {
    /// Where the log ends.
    pub(crate) end: Address,
    /// Up to where the last segment takes frames; `end` itself where it takes none any more.
    pub(crate) room_end: u32,
    /// The active segment's file, where it takes more.
    pub(crate) file: Option<Arc<dyn DiskFile>>,
    pub(crate) frames: FrameIdentity,
    pub(crate) events: u64,
    pub(crate) batches: u64,
    pub(crate) time: Timestamp,
    pub(crate) chain: [u8; 32],
}

/// An event of a batch whose commit has not come yet.
struct Uncommitted {
    stream: StreamName,
    event_type: EventType,
    id: EventId,
    revision: u64,
    landmark: Landmark,
}

/// A segment's header and file.
pub(crate) struct Opened {
    pub(crate) header: SegmentHeader,
    pub(crate) file: Arc<dyn DiskFile>,
}

struct Recovery<'a> {
    index: &'a RwLock<Index>,
    names: Names,
    checkpoint: Option<Checkpoint>,
    sabotage: Sabotage,
    batch: Vec<Uncommitted>,
    /// The hash chain with the events of `batch`.
    batch_chain: Option<Chain>,
    /// A whole batch contradicts the index: no tear does that.
    contradiction: bool,
    found: Recovered,
}

/// Reads the segments, in order, into the index.
pub(crate) fn recover(
    segments: &Segments,
    opened: &[Opened],
    index: &Arc<RwLock<Index>>,
    checkpoint: Option<Checkpoint>,
    sabotage: Sabotage,
) -> Result<Recovered, OpenError> {
    let mut recovery = Recovery {
        index,
        names: Names::new(Arc::clone(index)),
        checkpoint,
        sabotage,
        batch: Vec::new(),
        batch_chain: None,
        contradiction: false,
        found: Recovered {
            end: Address { segment: 0, offset: 0 },
            room_end: 0,
            file: None,
            frames: FrameIdentity { segment: 0, epoch: 0, salt: 0 },
            events: 0,
            batches: 0,
            time: Timestamp(i64::MIN),
            chain: [0; 32],
        },
    };
    if let Some(last) = opened.last() {
        index.write().reserve(last.header.first_position);
    }
    for (number, this) in opened.iter().enumerate() {
        let path = segments.path(this.header.segment);
        recovery.begin(&this.header, &path)?;
        match opened.get(number + 1) {
            Some(next) => recovery.sealed(this, &path, next.header.previous_end)?,
            None => recovery.active(this, &path)?,
        }
    }
    recovery.reached(&segments.path(recovery.found.end.segment.max(1)))?;
    Ok(recovery.found)
}

impl Recovery<'_> {
    /// A segment must continue where the one before it ended.
    fn begin(&mut self, header: &SegmentHeader, path: &Path) -> Result<(), Damage> {
        let found = &mut self.found;
        let flaw = if header.first_position != found.events || header.first_batch != found.batches {
            Flaw::Sequence
        } else if header.chain != found.chain {
            Flaw::Chain
        } else {
            found.frames = header.frames();
            let offset = u32::try_from(HEADER_BYTES).expect("4096");
            found.end = Address { segment: header.segment, offset };
            return Ok(());
        };
        Err(Damage { file: path.to_owned(), offset: 0, position: Some(found.events), flaw })
    }

    fn sealed(&mut self, this: &Opened, path: &Path, end: u32) -> Result<(), OpenError> {
        let mut scan = self.scan(this, path, end);
        while let Some(found) = scan.next().map_err(|error| self.placed(error))? {
            self.take(&scan, &found).map_err(|flaw| self.damage(&scan, &found, flaw))?;
        }
        if scan.offset() == end && self.batch.is_empty() {
            return Ok(());
        }
        let damage = scan.damage(Flaw::Missing);
        Err(Damage { position: Some(self.found.events), ..damage }.into())
    }

    fn active(&mut self, this: &Opened, path: &Path) -> Result<(), OpenError> {
        // Only what the device holds counts: a process may have ended before its sync, or after a
        // failed one.
        if !self.sabotage.skip_sync_at_open {
            this.file.sync_data().map_err(at("syncing", path))?;
        }
        if !self.sabotage.trust_cache_at_open {
            this.file.forget_cache().map_err(at("reading", path))?;
        }
        let length = this.file.length().map_err(at("reading", path))?;
        let end = u32::try_from(length).unwrap_or(u32::MAX);
        let mut scan = self.scan(this, path, end);
        let bad = loop {
            match scan.next() {
                Ok(Some(found)) => {
                    if let Err(flaw) = self.take(&scan, &found) {
                        break Some(self.damage(&scan, &found, flaw));
                    }
                }
                Ok(None) => break None,
                Err(error @ ScanError::Disk { .. }) => return Err(error.into()),
                Err(ScanError::Damage(damage)) => break Some(damage),
            }
        };
        let cut = self.found.end;
        let torn = match bad {
            None if self.batch.is_empty() && blank(&*this.file, path, cut.offset, end)? => None,
            None => Some(scan.damage(Flaw::Missing)),
            Some(damage) => Some(damage),
        };
        let whole = u64::from(end) == this.header.segment_bytes;
        if let Some(damage) = torn {
            self.cut(this, path, Damage { position: Some(self.found.events), ..damage }, end)?;
        } else if whole {
            self.found.file = Some(Arc::clone(&this.file));
            self.found.room_end = end;
            return Ok(());
        }
        self.found.room_end = cut.offset;
        Ok(())
    }

    /// Cuts a torn tail off, if it is one.
    fn cut(&mut self, this: &Opened, path: &Path, bad: Damage, end: u32) -> Result<(), OpenError> {
        let cut = self.found.end;
        if !self.sabotage.cut_damage_off {
            let known = self.checkpoint.is_some_and(|checkpoint| checkpoint.end > cut);
            let rest = read(&*this.file, path, cut.offset, end)?;
            if known || self.contradiction || frame::later_commit(&rest, cut, this.header.frames())
            {
                return Err(bad.into());
            }
        }
        self.batch.clear();
        self.batch_chain = None;
        tracing::warn!(
            file = %path.display(), offset = cut.offset, flaw = %bad.flaw,
            "a torn tail is cut off: it was never acknowledged"
        );
        let cut = u64::from(cut.offset);
        this.file
            .set_length(cut)
            .and_then(|()| this.file.sync_data())
            .map_err(at("cutting the torn tail off", path))
    }

    /// The log must reach as far as the checkpoint says.
    fn reached(&self, path: &Path) -> Result<(), OpenError> {
        let short = self.checkpoint.is_some_and(|checkpoint| {
            checkpoint.end > self.found.end || checkpoint.events > self.found.events
        });
        if !short || self.sabotage.cut_damage_off {
            return Ok(());
        }
        let (file, offset) = (path.to_owned(), u64::from(self.found.end.offset));
        let position = Some(self.found.events);
        Err(Damage { file, offset, position, flaw: Flaw::Missing }.into())
    }

    fn scan(&self, this: &Opened, path: &Path, end: u32) -> FrameScan {
        let (file, believe) = (Arc::clone(&this.file), self.sabotage.skip_checksum);
        let range = (self.found.end.offset, end);
        FrameScan::new(file, path.to_owned(), this.header.frames(), believe, range)
    }

    fn placed(&self, error: ScanError) -> ScanError {
        match error {
            ScanError::Damage(damage) => {
                Damage { position: Some(self.found.events), ..damage }.into()
            }
            error @ ScanError::Disk { .. } => error,
        }
    }

    fn damage(&self, scan: &FrameScan, found: &Found, flaw: Flaw) -> Damage {
        Damage {
            file: scan.path().clone(),
            offset: u64::from(found.offset),
            position: Some(self.found.events),
            flaw,
        }
    }

    /// Takes the next frame.
    fn take(&mut self, scan: &FrameScan, found: &Found) -> Result<(), Flaw> {
        let bytes = &scan.block()[found.start..found.start + found.length];
        match &found.frame {
            Frame::Event(event) => self.take_event(bytes, found.offset, event),
            Frame::Commit(commit) => self.take_commit(scan, found, commit),
        }
    }

    fn take_event(
        &mut self,
        bytes: &[u8],
        offset: u32,
        event: &frame::EventFrame,
    ) -> Result<(), Flaw> {
        let coordinates = event.coordinates;
        let last_time = self.batch.last().map_or(self.found.time, |last| last.landmark.time);
        if coordinates.position != self.found.events + self.batch.len() as u64
            || u64::from(coordinates.batch) != self.found.batches & u64::from(u32::MAX)
            || coordinates.time < last_time
        {
            return Err(Flaw::Sequence);
        }
        let previous = &self.found.chain;
        self.batch_chain.get_or_insert_with(|| Chain::behind(previous)).add(bytes);
        let address = Address { segment: self.found.end.segment, offset };
        let (position, time) = (coordinates.position, coordinates.time);
        let stream = self.names.stream(&bytes[event.stream.clone()]).ok_or(Flaw::Fields)?.clone();
        let event_type = self.names.event_type(&bytes[event.event_type.clone()]);
        self.batch.push(Uncommitted {
            stream,
            event_type: event_type.ok_or(Flaw::Fields)?.clone(),
            id: event.id,
            revision: coordinates.revision,
            landmark: Landmark { address, position, time },
        });
        Ok(())
    }

    fn take_commit(
        &mut self,
        scan: &FrameScan,
        found: &Found,
        commit: &CommitFrame,
    ) -> Result<(), Flaw> {
        let batch_bytes = found.offset - self.found.end.offset;
        if u64::from(commit.batch) != self.found.batches & u64::from(u32::MAX)
            || commit.first_position != self.found.events
            || commit.count as usize != self.batch.len()
            || commit.batch_bytes != batch_bytes
        {
            return Err(Flaw::Sequence);
        }
        let chain = self.batch_chain.take().map(Chain::finish);
        if chain != Some(commit.chain) && !self.sabotage.skip_checksum {
            return Err(Flaw::Chain);
        }
        let end = Address { offset: scan.offset(), ..self.found.end };
        let events = self.found.events + self.batch.len() as u64;
        if let Some(known) = self.checkpoint.filter(|known| known.end == end)
            && (known.events != events || known.chain != commit.chain)
            && !self.sabotage.skip_checksum
        {
            return Err(Flaw::Chain);
        }
        self.found.time = self.batch.last().map_or(self.found.time, |last| last.landmark.time);
        if !self.index_batch() {
            self.contradiction = true;
            return Err(Flaw::Sequence);
        }
        self.found.chain = commit.chain;
        self.found.end = end;
        self.found.events = events;
        self.found.batches += 1;
        Ok(())
    }

    /// Adds the batch to the index; false where a revision does not follow on its stream's last
    /// one.
    fn index_batch(&mut self) -> bool {
        let mut index = self.index.write();
        for event in self.batch.drain(..) {
            let next = index.head(&event.stream).map_or(0, |(Revision(last), _)| last + 1);
            if event.revision != next {
                return false;
            }
            index.add_type(&event.event_type);
            index.add(&event.stream, [(event.id, event.landmark)]);
        }
        true
    }
}

/// Whether nothing was written from `from` to `end`.
fn blank(file: &dyn DiskFile, path: &Path, from: u32, end: u32) -> Result<bool, OpenError> {
    let mut block = vec![0; BLOCK_BYTES_MAX];
    let mut offset = u64::from(from);
    while offset < u64::from(end) {
        let left = usize::try_from(u64::from(end) - offset).unwrap_or(usize::MAX);
        let size = block.len().min(left);
        let read = file.read_at(&mut block[..size], offset).map_err(at("reading", path))?;
        if read == 0 || block[..read].iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        offset += read as u64;
    }
    Ok(true)
}

fn read(file: &dyn DiskFile, path: &Path, from: u32, end: u32) -> Result<Vec<u8>, OpenError> {
    let mut bytes = vec![0; end.saturating_sub(from) as usize];
    let read = file.read_at(&mut bytes, u64::from(from)).map_err(at("reading", path))?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Reads the header of a segment file.
pub(crate) fn open_segment(
    disk: &dyn Disk,
    path: &Path,
    number: u32,
    identity: annals_core::StoreIdentity,
) -> Result<Opened, OpenError> {
    let file = disk.open(path).map_err(at("opening", path))?;
    let mut page = vec![0; HEADER_BYTES];
    let read: Result<usize, io::Error> = file.read_at(&mut page, 0);
    let damage = |flaw| Damage { file: path.to_owned(), offset: 0, position: None, flaw };
    if read.map_err(at("reading", path))? < HEADER_BYTES {
        return Err(damage(Flaw::Missing).into());
    }
    let header = SegmentHeader::decode(&page).map_err(damage)?;
    if header.store != identity.id || header.epoch > identity.epoch {
        return Err(damage(Flaw::Foreign).into());
    }
    if header.segment != number {
        return Err(damage(Flaw::Misplaced).into());
    }
    Ok(Opened { header, file })
}
