//! What stands where in the log, without reading it: one part a segment, in memory for the active one, in a file for the
//! sealed ones. A part is only a way to find frames, which say themselves what they are; one that is damaged is made
//! again from its segment. The index may hold events that are not durable yet; readers stop at the durable end.

mod build;
mod draft;
mod file;
mod filter;
mod hash;
mod ids;
mod memory;
mod part;
mod query;
mod recent;

use std::io;
use std::sync::Arc;

use annals_core::{Condition, EventId, EventType, Position, Revision, StreamName};
use uuid::Uuid;

use super::address::Address;
use super::error::{Damage, Flaw, OpenError, ScanError};
use super::format::HEADER_BYTES;
use super::format::index::IndexHeader;
use super::open_files::{FileName, OpenFiles};
use super::options::Sabotage;
use super::recovery::{read_header, read_part};
use super::segments::Segments;
use super::sync::RwLock;

pub(crate) use draft::Draft;
pub(crate) use file::Run;
pub(crate) use hash::Hashes;
pub(crate) use memory::{Entry, MemoryPart};
pub(crate) use part::Part;
pub(crate) use recent::RecentIds;

use file::{FilePart, IndexFiles, Pages};
use hash::{Key, Term};

/// Pages of index files that are kept in memory at most: 32 MiB.
const PAGES_MAX: usize = 8192;

/// Where a segment's first frame stands.
#[allow(clippy::cast_possible_truncation, reason = "it is 4096")]
pub(crate) const FIRST_OFFSET: u32 = HEADER_BYTES as u32;

/// A part that is still written to, or waits to be.
pub(crate) type SharedPart = Arc<RwLock<MemoryPart>>;

/// The index of a log.
pub(crate) struct Index {
    store: Uuid,
    segments: Arc<Segments>,
    files: Arc<IndexFiles>,
    /// One a segment, in order. The last one is the active segment's.
    parts: RwLock<Arc<Vec<Part>>>,
    sabotage: Sabotage,
}

/// A stream's events in one part, as far as a reader sees.
#[derive(Clone)]
pub(crate) struct StreamRun {
    pub(crate) part: Part,
    pub(crate) run: Run,
}

impl Index {
    pub(crate) fn new(
        store: Uuid,
        files: Arc<OpenFiles>,
        segments: Arc<Segments>,
        sabotage: Sabotage,
    ) -> Index {
        let (pages, hashes) = (Pages::new(PAGES_MAX), Hashes::of(store));
        let files = IndexFiles { files, pages, hashes, believe_pages: sabotage.believe_pages };
        Index { store, segments, files: Arc::new(files), parts: RwLock::default(), sabotage }
    }

    pub(crate) fn hashes(&self) -> Hashes {
        self.files.hashes
    }

    /// The parts as they are now.
    pub(crate) fn parts(&self) -> Arc<Vec<Part>> {
        Arc::clone(&self.parts.read())
    }

    /// Begins the part of the next segment.
    pub(crate) fn begin(&self, segment: u32, first_position: u64) -> SharedPart {
        let part = Arc::new(RwLock::new(MemoryPart::new(segment, first_position)));
        self.push(Part::Memory(Arc::clone(&part)));
        part
    }

    /// Takes the index file of the next segment, if it is there and is what `wanted` says.
    pub(crate) fn take_file(&self, wanted: &IndexHeader) -> Result<bool, ScanError> {
        match FilePart::open(&self.files, wanted.segment) {
            Ok(Some(part)) if part.header.is_of(wanted) => {
                self.push(Part::File(Arc::new(part)));
                Ok(true)
            }
            Ok(found) => {
                if found.is_some() {
                    tracing::warn!(segment = wanted.segment, "an index file is not of its segment");
                }
                self.files.files.forget(FileName::Index(wanted.segment));
                Ok(false)
            }
            Err(ScanError::Damage(damage)) => {
                tracing::warn!(%damage, "an index file is damaged and is made again");
                Ok(false)
            }
            Err(error @ ScanError::Disk { .. }) => Err(error),
        }
    }

    fn push(&self, part: Part) {
        let mut parts = self.parts.write();
        let mut longer = Vec::with_capacity(parts.len() + 1);
        longer.extend(parts.iter().cloned());
        longer.push(part);
        *parts = Arc::new(longer);
    }

    fn replace(&self, part: &Part) {
        let mut parts = self.parts.write();
        let number = part.segment();
        let same = |old: &Part| if old.segment() == number { part.clone() } else { old.clone() };
        *parts = Arc::new(parts.iter().map(same).collect());
    }

    /// How many streams have an event.
    pub(crate) fn streams(&self) -> u64 {
        self.parts().iter().map(|part| u64::from(part.streams_begun())).sum()
    }

    /// Asks a part; one whose file is damaged is made again from its segment.
    fn ask<T>(
        &self,
        part: &Part,
        look: impl Fn(&Part) -> Result<T, ScanError>,
    ) -> Result<T, ScanError> {
        match look(part) {
            Err(ScanError::Damage(damage)) if matches!(part, Part::File(_)) => {
                tracing::warn!(%damage, "an index file is damaged and is made again");
                look(&self.heal(part)?)
            }
            answer => answer,
        }
    }

    fn heal(&self, part: &Part) -> Result<Part, ScanError> {
        let header = |segment| read_header(&self.files.files, segment, self.store);
        let read = || {
            let (this, next) = (header(part.segment())?, header(part.segment() + 1)?);
            read_part(&self.files.files, &this, &next)
        };
        let made = read().map_err(|error| match error {
            OpenError::Damage(damage) => ScanError::Damage(damage),
            OpenError::Disk { path, source, .. } => ScanError::Disk { path, source },
            error @ (OpenError::Locked { .. }
            | OpenError::NoLog { .. }
            | OpenError::SegmentSize { .. }) => {
                unreachable!("reading a segment does not answer {error}")
            }
        })?;
        let made = Part::Memory(made);
        self.files.pages.clear();
        self.replace(&made);
        Ok(made)
    }

    /// Writes the files of sealed segments that have none. Where it fails, the index stays in memory.
    pub(crate) fn write_files(&self) {
        // A segment is sealed when the next one has its name; the encoder may have begun that one before.
        let named = u32::try_from(self.segments.len()).unwrap_or(u32::MAX);
        for part in self.parts().iter() {
            let Part::Memory(part) = part else { continue };
            let segment = part.read().segment;
            if segment >= named {
                break;
            }
            if self.sabotage.index_without_tags {
                part.write().tags.clear();
            }
            // The lock is let go of before `replace`, which takes it again.
            let written = self.write_file(&part.read());
            match written {
                Ok(written) => self.replace(&Part::File(Arc::new(written))),
                Err(error) => {
                    tracing::warn!(segment, %error, "an index file could not be written");
                }
            }
        }
    }

    fn write_file(&self, part: &MemoryPart) -> Result<FilePart, ScanError> {
        let segment = self.segments.get(part.segment);
        let chain = self.segments.get(part.segment + 1).chain;
        let bytes = file_of(self.store, part, segment.frames.salt, segment.end(), chain);
        let name = FileName::Index(part.segment);
        let path = self.files.files.path(name);
        let made = write_whole(&*self.files.files.disk, &path, &bytes);
        made.map_err(|source| ScanError::Disk { path: path.clone(), source })?;
        self.files.files.forget(name);
        let opened = FilePart::open(&self.files, part.segment)?;
        opened.ok_or_else(|| {
            Damage { file: path, offset: 0, position: None, flaw: Flaw::Missing }.into()
        })
    }

    /// Takes what the filters tell of these streams into the processor's cache. For reads, which ask them all where a
    /// stream is an old one; who appends mostly finds it in the active part.
    pub(crate) fn fetch<'a>(&self, streams: impl Iterator<Item = &'a StreamName>) {
        let parts = self.parts();
        let glances = streams.flat_map(|stream| {
            let key = self.key(stream);
            parts.iter().map(move |part| match part {
                Part::Memory(_) => 0,
                Part::File(part) => part.glance(key.hash),
            })
        });
        filter::fetch(glances);
    }

    fn key<'a>(&self, stream: &'a StreamName) -> Key<'a> {
        self.files.hashes.key(Term::Stream(stream.as_str()))
    }

    /// The last revision of a stream.
    pub(crate) fn head(&self, stream: &StreamName) -> Result<Option<Revision>, ScanError> {
        let key = self.key(stream);
        for part in self.parts().iter().rev() {
            if let Some(run) = self.ask(part, |part| part.run(stream, key))? {
                return Ok(Some(Revision(run.first_revision + run.count - 1)));
            }
            if self.sabotage.stale_heads {
                break;
            }
        }
        Ok(None)
    }

    /// The last revision of a stream among the events before position `end`.
    pub(crate) fn head_before(
        &self,
        stream: &StreamName,
        end: u64,
    ) -> Result<Option<Revision>, ScanError> {
        self.fetch(std::iter::once(stream));
        let key = self.key(stream);
        for part in self.parts().iter().rev().filter(|part| part.first_position() < end) {
            let Some(run) = self.ask(part, |part| part.run(stream, key))? else { continue };
            let before = self.run_before(part, stream, run, end)?;
            return Ok((run.first_revision + before).checked_sub(1).map(Revision));
        }
        Ok(None)
    }

    /// The id of a stream's last event, where the active segment holds it.
    pub(crate) fn last_id(&self, stream: &StreamName) -> Option<(Revision, EventId, Position)> {
        match self.parts().last() {
            Some(Part::Memory(part)) => part.read().last_of(stream),
            Some(Part::File(_)) | None => None,
        }
    }

    /// Where a stream's event stands.
    pub(crate) fn address_in(
        &self,
        stream: &StreamName,
        revision: Revision,
    ) -> Result<Option<Address>, ScanError> {
        let key = self.key(stream);
        for part in self.parts().iter().rev() {
            let Some(run) = self.ask(part, |part| part.run(stream, key))? else { continue };
            if run.first_revision > revision.0 {
                continue;
            }
            let place = revision.0 - run.first_revision;
            if place >= run.count {
                return Ok(None);
            }
            return Ok(self.stream_addresses(part, stream, place..place + 1)?.first().copied());
        }
        Ok(None)
    }

    /// The positions of events whose id may have this half of a hash.
    pub(crate) fn candidates(&self, id: u32) -> Result<Vec<u64>, ScanError> {
        let mut positions = Vec::new();
        for part in self.parts().iter().rev() {
            let numbers = self.ask(part, |part| part.candidates(id))?;
            let first = part.first_position();
            positions.extend(numbers.into_iter().map(|number| first + u64::from(number)));
        }
        Ok(positions)
    }

    /// The position of the last event that the condition excludes.
    pub(crate) fn excluded(&self, condition: &Condition) -> Result<Option<u64>, ScanError> {
        if self.sabotage.ignore_condition {
            return Ok(None);
        }
        let from = condition.after.map_or(0, |Position(after)| after.saturating_add(1));
        let query = &condition.fail_if_events_match;
        for part in self.parts().iter().rev() {
            let (first, events) = (part.first_position(), u64::from(part.events()));
            if first + events <= from {
                break;
            }
            let least = u32::try_from(from.saturating_sub(first)).expect("it is within the part");
            let found = self.ask(part, |part| part.last_match(query, least))?;
            if let Some(number) = found {
                return Ok(Some(first + u64::from(number)));
            }
        }
        Ok(None)
    }

    /// The part that holds a position, which is in the log.
    pub(crate) fn part_of(parts: &[Part], position: u64) -> &Part {
        let place = parts.partition_point(|part| part.first_position() <= position);
        &parts[place - 1]
    }

    /// Where the event of a position in the log stands.
    pub(crate) fn address(&self, position: u64) -> Result<Address, ScanError> {
        let parts = self.parts();
        let part = Index::part_of(&parts, position);
        let number = u32::try_from(position - part.first_position()).expect("it is in the part");
        let addresses = self.addresses(part, &[number])?;
        Ok(addresses[0])
    }

    /// Where the events of these numbers of a part stand; the numbers are sorted.
    pub(crate) fn addresses(
        &self,
        part: &Part,
        numbers: &[u32],
    ) -> Result<Vec<Address>, ScanError> {
        let offsets = self.ask(part, |part| part.offsets(numbers))?;
        Ok(in_segment(part.segment(), offsets))
    }

    /// Where a stream's events in a part stand, by their places in its run there.
    pub(crate) fn stream_addresses(
        &self,
        part: &Part,
        stream: &StreamName,
        places: std::ops::Range<u64>,
    ) -> Result<Vec<Address>, ScanError> {
        let offsets = self.ask(part, |part| part.stream_offsets(stream, places.clone()))?;
        Ok(in_segment(part.segment(), offsets))
    }

    /// A stream's events before position `end`, by part, oldest first.
    pub(crate) fn runs(&self, stream: &StreamName, end: u64) -> Result<Vec<StreamRun>, ScanError> {
        let mut runs = Vec::new();
        let key = self.key(stream);
        for part in self.parts().iter().rev() {
            if part.first_position() >= end {
                continue;
            }
            let Some(mut run) = self.ask(part, |part| part.run(stream, key))? else { continue };
            let begins = run.first_revision == 0;
            run.count = self.run_before(part, stream, run, end)?;
            if run.count > 0 {
                runs.push(StreamRun { part: part.clone(), run });
            }
            if begins {
                break;
            }
        }
        runs.reverse();
        Ok(runs)
    }

    /// How many events of a run stand before a position.
    pub(crate) fn run_before(
        &self,
        part: &Part,
        stream: &StreamName,
        run: Run,
        position: u64,
    ) -> Result<u64, ScanError> {
        let Some(number) = position.checked_sub(part.first_position()) else { return Ok(0) };
        let number = u32::try_from(number).ok().filter(|number| *number < part.events());
        let Some(number) = number else { return Ok(run.count) };
        let end = self.addresses(part, &[number])?[0];
        // Nearly always the last one is; a long run is not copied to find that out.
        let last = self.stream_addresses(part, stream, run.count - 1..run.count)?;
        if last.last().is_some_and(|address| *address < end) {
            return Ok(run.count);
        }
        let addresses = self.stream_addresses(part, stream, 0..run.count)?;
        Ok(addresses.partition_point(|address| *address < end) as u64)
    }

    /// The numbers of a part's events that match a query, from one position up to another.
    pub(crate) fn matching(
        &self,
        part: &Part,
        query: &annals_core::EventQuery,
        positions: std::ops::Range<u64>,
    ) -> Result<Vec<u32>, ScanError> {
        let first = part.first_position();
        let number =
            |position: u64| u32::try_from(position.saturating_sub(first)).unwrap_or(u32::MAX);
        let range = number(positions.start)..number(positions.end);
        self.ask(part, |part| part.matching(query, range.clone()))
    }

    /// The newest ids' hashes, about `count`, oldest first.
    pub(crate) fn newest_ids(&self, count: usize) -> Result<Vec<u32>, ScanError> {
        let parts = self.parts();
        let mut held = 0;
        let newest = parts.iter().rev().take_while(|part| {
            let wanted = held < count;
            held += part.events() as usize;
            wanted
        });
        let newest: Vec<_> = newest.collect();
        let mut ids = Vec::new();
        for part in newest.into_iter().rev() {
            ids.extend(self.ask(part, Part::ids)?);
        }
        Ok(ids)
    }

    /// The name as the active part keeps it, so that it is shared.
    pub(crate) fn stream_name(&self, name: &str) -> Option<StreamName> {
        match self.parts().last()? {
            Part::Memory(part) => {
                part.read().streams.get_key_value(name).map(|(name, _)| name.clone())
            }
            Part::File(_) => None,
        }
    }

    /// The type as the active part keeps it.
    pub(crate) fn event_type(&self, name: &str) -> Option<EventType> {
        match self.parts().last()? {
            Part::Memory(part) => {
                part.read().types.get_key_value(name).map(|(name, _)| name.clone())
            }
            Part::File(_) => None,
        }
    }
}

fn in_segment(segment: u32, offsets: Vec<u32>) -> Vec<Address> {
    offsets.into_iter().map(|offset| Address { segment, offset }).collect()
}

/// The bytes of the index file of a sealed segment.
fn file_of(store: Uuid, part: &MemoryPart, salt: u32, end: u32, chain: [u8; 32]) -> Vec<u8> {
    let numbers = (part.first_position, part.events(), part.streams_begun);
    let header = IndexHeader::new(store, (part.segment, salt, end), numbers, chain);
    let records = build::records(part, &Hashes::of(store));
    build::file(records, &part.offsets, &part.ids.sorted(), header)
}

/// Writes a file under another name first, so that it is whole wherever it has its own.
fn write_whole(
    disk: &dyn annals_core::disk::Disk,
    path: &std::path::Path,
    bytes: &[u8],
) -> io::Result<()> {
    let unfinished = path.with_extension("index.new");
    match disk.remove(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.create(&unfinished)?;
    file.write_at(bytes, 0)?;
    file.sync_data()?;
    disk.rename(&unfinished, path)
}
