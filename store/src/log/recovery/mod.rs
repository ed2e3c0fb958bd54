//! Opens the files of a log: reads every frame of the last segment, and of those that have no good
//! index file, builds their index, and tells a torn tail from damage. A bad record is a torn tail
//! only where nothing says that it was durable; then it is cut off. Everything else is damage, and
//! nothing is changed.

mod alone;
mod frames;
mod indexing;

use std::io;
use std::path::Path;
use std::sync::Arc;

use annals_core::Timestamp;
use annals_core::disk::DiskFile;
use uuid::Uuid;

use crate::log::address::Address;
use crate::log::error::{Damage, Flaw, OpenError, ScanError, at};
use crate::log::format::HEADER_BYTES;
use crate::log::format::checkpoint::Checkpoint;
use crate::log::format::frame::{self, FrameIdentity};
use crate::log::format::header::SegmentHeader;
use crate::log::format::index::IndexHeader;
use crate::log::format::tree::{Hash, Unhashed};
use crate::log::index::{FIRST_OFFSET, Index};
use crate::log::open_files::{FileName, OpenFiles};
use crate::log::options::Sabotage;
use crate::log::scan::{BLOCK_BYTES_MAX, Found, FrameScan};
use crate::log::segments::Segments;

pub(crate) use alone::{Alone, Behind, read_alone, read_part};
pub(crate) use frames::Gathering;

use frames::Refused;
use indexing::Indexing;

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
    /// The hashes of the events of the last segment.
    pub(crate) leaves: Vec<Hash>,
}

struct Recovery<'a, G> {
    files: &'a OpenFiles,
    /// What becomes of the events.
    gathering: &'a mut G,
    checkpoint: Option<Checkpoint>,
    sabotage: Sabotage,
    /// How many events were read of a batch whose commit has not come yet.
    batch: u32,
    /// The time of the last event, of that batch too.
    batch_time: Timestamp,
    /// The hashes of that batch's events, but for those that are not hashed yet.
    batch_leaves: Vec<Hash>,
    unhashed: Unhashed,
    /// A whole batch contradicts its streams: no tear does that.
    contradiction: bool,
    found: Recovered,
}

/// Reads the segments, in order, into the index.
pub(crate) fn recover(
    segments: &Segments,
    files: &OpenFiles,
    headers: &[SegmentHeader],
    index: &Arc<Index>,
    checkpoint: Option<Checkpoint>,
    sabotage: Sabotage,
) -> Result<Recovered, OpenError> {
    let mut indexing = Indexing::new(index, false);
    let mut recovery = Recovery::new(files, &mut indexing, checkpoint, sabotage);
    for (number, this) in headers.iter().enumerate() {
        let path = segments.path(this.segment);
        recovery.begin(this, &path)?;
        let Some(next) = headers.get(number + 1) else {
            recovery.index_anew(this);
            recovery.active(this, &path)?;
            break;
        };
        if !recovery.skip(this, next)? {
            recovery.index_anew(this);
            recovery.sealed(this, &path, next.previous_end)?;
        }
    }
    recovery.reached(&segments.path(recovery.found.end.segment.max(1)))?;
    Ok(recovery.found)
}

impl Recovery<'_, Indexing<'_>> {
    /// Goes over a sealed segment without reading it, if its index file agrees with the headers of both segments.
    fn skip(&mut self, this: &SegmentHeader, next: &SegmentHeader) -> Result<bool, ScanError> {
        let events = next.first_position.checked_sub(this.first_position);
        let Some(events) = events.and_then(|events| u32::try_from(events).ok()) else {
            return Ok(false);
        };
        let wanted = IndexHeader::new(
            this.store,
            (this.segment, this.salt, next.previous_end),
            (this.first_position, events, 0),
            next.chain,
        );
        if !self.gathering.index.take_file(&wanted)? {
            return Ok(false);
        }
        let found = &mut self.found;
        found.end.offset = next.previous_end;
        found.events = next.first_position;
        found.batches = next.first_batch;
        found.time = Timestamp(next.time);
        found.chain = next.chain;
        Ok(true)
    }

    fn index_anew(&mut self, header: &SegmentHeader) {
        self.gathering.begin(header);
        self.found.leaves.clear();
    }
}

impl<'a, G: Gathering> Recovery<'a, G> {
    fn new(
        files: &'a OpenFiles,
        gathering: &'a mut G,
        checkpoint: Option<Checkpoint>,
        sabotage: Sabotage,
    ) -> Recovery<'a, G> {
        Recovery {
            files,
            gathering,
            checkpoint,
            sabotage,
            batch: 0,
            batch_time: Timestamp(i64::MIN),
            batch_leaves: Vec::new(),
            unhashed: Unhashed::default(),
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
                leaves: Vec::new(),
            },
        }
    }

    /// A segment must continue where the one before it ended.
    fn begin(&mut self, header: &SegmentHeader, path: &Path) -> Result<(), Damage> {
        let found = &mut self.found;
        let follows = header.first_position == found.events
            && header.first_batch == found.batches
            && header.time >= found.time.0;
        let flaw = if !follows {
            Flaw::Sequence
        } else if header.chain != found.chain {
            Flaw::Chain
        } else {
            found.frames = header.frames();
            found.time = Timestamp(header.time);
            self.batch_time = found.time;
            found.end = Address { segment: header.segment, offset: FIRST_OFFSET };
            return Ok(());
        };
        Err(Damage { file: path.to_owned(), offset: 0, position: Some(found.events), flaw })
    }

    fn sealed(&mut self, this: &SegmentHeader, path: &Path, end: u32) -> Result<(), OpenError> {
        let file = self.file(this, path)?;
        let mut scan = self.scan(this, file, path, end);
        while let Some(found) = scan.next().map_err(|error| self.placed(error))? {
            self.take(&scan, &found)
                .map_err(|flaw| flaw.into_error(|flaw| self.damage(&scan, &found, flaw)))?;
        }
        if scan.offset() == end && self.batch == 0 {
            return Ok(());
        }
        let damage = scan.damage(Flaw::Missing);
        Err(Damage { position: Some(self.found.events), ..damage }.into())
    }

    fn active(&mut self, this: &SegmentHeader, path: &Path) -> Result<(), OpenError> {
        let file = self.file(this, path)?;
        // Only what the device holds counts: a process may have ended before its sync, or after a
        // failed one.
        if !self.sabotage.skip_sync_at_open {
            file.sync_data().map_err(at("syncing", path))?;
        }
        if !self.sabotage.trust_cache_at_open {
            file.forget_cache().map_err(at("reading", path))?;
        }
        let torn = self.tail(this, path)?;
        let cut = self.found.end;
        let length = file.length().map_err(at("reading", path))?;
        let end = u32::try_from(length).unwrap_or(u32::MAX);
        if let Some(damage) = torn {
            self.cut(this, &*file, path, damage)?;
        } else if length == this.segment_bytes {
            self.found.file = Some(file);
            self.found.room_end = end;
            return Ok(());
        }
        self.found.room_end = cut.offset;
        Ok(())
    }

    /// Reads the last segment up to the end of its whole batches; answers what is wrong behind them, if anything is.
    fn tail(&mut self, this: &SegmentHeader, path: &Path) -> Result<Option<Damage>, OpenError> {
        let file = self.file(this, path)?;
        let length = file.length().map_err(at("reading", path))?;
        let end = u32::try_from(length).unwrap_or(u32::MAX);
        let mut scan = self.scan(this, Arc::clone(&file), path, end);
        let bad = loop {
            match scan.next() {
                Ok(Some(found)) => match self.take(&scan, &found) {
                    Ok(()) => {}
                    Err(Refused::Flaw(flaw)) => break Some(self.damage(&scan, &found, flaw)),
                    Err(Refused::Fault(error)) => return Err(error.into()),
                },
                Ok(None) => break None,
                Err(error @ ScanError::Disk { .. }) => return Err(error.into()),
                Err(ScanError::Damage(damage)) => break Some(damage),
            }
        };
        let cut = self.found.end;
        let torn = match bad {
            None if self.batch == 0 && blank(&*file, path, cut.offset, end)? => None,
            None => Some(scan.damage(Flaw::Missing)),
            Some(damage) => Some(damage),
        };
        Ok(torn.map(|damage| Damage { position: Some(self.found.events), ..damage }))
    }

    /// Whether what stands behind the last whole batch may be a torn tail: nothing says that it was durable.
    fn is_torn(&self, this: &SegmentHeader, path: &Path) -> Result<bool, OpenError> {
        let cut = self.found.end;
        let known = self.checkpoint.is_some_and(|checkpoint| checkpoint.end > cut);
        let file = self.file(this, path)?;
        let length = file.length().map_err(at("reading", path))?;
        let end = u32::try_from(length).unwrap_or(u32::MAX);
        let rest = read(&*file, path, cut.offset, end)?;
        Ok(!known && !self.contradiction && !frame::later_commit(&rest, cut, this.frames()))
    }

    /// Cuts a torn tail off, if it is one.
    fn cut(
        &mut self,
        this: &SegmentHeader,
        file: &dyn DiskFile,
        path: &Path,
        bad: Damage,
    ) -> Result<(), OpenError> {
        let cut = self.found.end;
        if !self.sabotage.cut_damage_off && !self.is_torn(this, path)? {
            return Err(bad.into());
        }
        tracing::warn!(
            file = %path.display(), offset = cut.offset, flaw = %bad.flaw,
            "a torn tail is cut off: it was never acknowledged"
        );
        let cut = u64::from(cut.offset);
        file.set_length(cut)
            .and_then(|()| file.sync_data())
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

    fn file(&self, this: &SegmentHeader, path: &Path) -> Result<Arc<dyn DiskFile>, OpenError> {
        self.files.get(FileName::Segment(this.segment)).map_err(at("opening", path))
    }

    fn scan(
        &self,
        this: &SegmentHeader,
        file: Arc<dyn DiskFile>,
        path: &Path,
        end: u32,
    ) -> FrameScan {
        let believe = self.sabotage.skip_checksum;
        let range = (self.found.end.offset, end);
        FrameScan::new(file, path.to_owned(), this.frames(), believe, range)
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
}

/// Whether nothing was written from `from` to `end`.
pub(crate) fn blank(
    file: &dyn DiskFile,
    path: &Path,
    from: u32,
    end: u32,
) -> Result<bool, OpenError> {
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

pub(crate) fn read(
    file: &dyn DiskFile,
    path: &Path,
    from: u32,
    end: u32,
) -> Result<Vec<u8>, OpenError> {
    let mut bytes = vec![0; end.saturating_sub(from) as usize];
    let read = file.read_at(&mut bytes, u64::from(from)).map_err(at("reading", path))?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Reads the header of a segment file.
pub(crate) fn read_header(
    files: &OpenFiles,
    number: u32,
    store: Uuid,
) -> Result<SegmentHeader, OpenError> {
    let name = FileName::Segment(number);
    let path = &files.path(name);
    let file = files.get(name).map_err(at("opening", path))?;
    let mut page = vec![0; HEADER_BYTES];
    let read: Result<usize, io::Error> = file.read_at(&mut page, 0);
    let damage = |flaw| Damage { file: path.to_owned(), offset: 0, position: None, flaw };
    if read.map_err(at("reading", path))? < HEADER_BYTES {
        return Err(damage(Flaw::Missing).into());
    }
    let header = SegmentHeader::decode(&page).map_err(damage)?;
    if header.store != store {
        return Err(damage(Flaw::Foreign).into());
    }
    if header.segment != number {
        return Err(damage(Flaw::Misplaced).into());
    }
    Ok(header)
}
