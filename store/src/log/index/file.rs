//! The index of a sealed segment in its file. A look reads a page or two, each checked; nothing of it is believed where
//! the checksum does not fit. Only the filter over the terms stays in memory.

use std::sync::Arc;

use bytes::Bytes;

use crate::log::error::{Damage, Flaw, ScanError};
use crate::log::format::index::{
    BLOCK_EVENTS, Extent, IndexHeader, PAGE_BYTES, PAGE_ROOM, Section, is_sound,
};
use crate::log::format::{take_number, u32_at, u64_at};
use crate::log::open_files::{FileName, OpenFiles};

use super::filter::Filter;
use super::hash::{Hashes, Term};

/// Pages of index files that are kept in memory, shared by all of them.
pub(crate) type Pages = quick_cache::sync::Cache<(u32, u32), Bytes>;

/// The bytes of an id in [`Section::Ids`] and of a term in [`Section::Terms`].
const ID_BYTES: u64 = 8;
const TERM_BYTES: u64 = 12;

/// What all index files of a log share.
pub(crate) struct IndexFiles {
    pub(crate) files: Arc<OpenFiles>,
    pub(crate) pages: Pages,
    pub(crate) hashes: Hashes,
    /// A sabotage of the tests.
    pub(crate) believe_pages: bool,
}

/// The index of one sealed segment.
pub(crate) struct FilePart {
    pub(crate) header: IndexHeader,
    name: FileName,
    filter: Filter,
    shared: Arc<IndexFiles>,
}

/// A stream's events in one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) first_revision: u64,
    pub(crate) count: u64,
}

/// A term's record, up to its numbers.
struct Record<'a> {
    first_revision: u64,
    count: u64,
    numbers: Cursor<'a>,
}

impl FilePart {
    /// Opens the index of that segment; nothing where there is none.
    pub(crate) fn open(
        shared: &Arc<IndexFiles>,
        segment: u32,
    ) -> Result<Option<FilePart>, ScanError> {
        let name = FileName::Index(segment);
        let path = || shared.files.path(name);
        let fault = |source| ScanError::Disk { path: path(), source };
        let file = match shared.files.get(name) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(fault)?,
        };
        let mut page = vec![0; PAGE_BYTES];
        let read = file.read_at(&mut page, 0).map_err(fault)?;
        let damage = |flaw| Damage { file: path(), offset: 0, position: None, flaw };
        if read < PAGE_BYTES {
            return Err(damage(Flaw::Missing).into());
        }
        let header = IndexHeader::decode(&page).map_err(damage)?;
        let (filter, shared) = (Filter::with_room(0), Arc::clone(shared));
        let mut part = FilePart { header, name, filter, shared };
        let extent = part.header.section(Section::Filter);
        let length = file.length().map_err(fault)?;
        if part.header.segment != segment || extent.length > length {
            return Err(part.damage(Flaw::Misplaced).into());
        }
        let bytes = part.read_through(extent)?;
        part.filter = Filter::from_bytes(&bytes).ok_or_else(|| part.damage(Flaw::Length))?;
        Ok(Some(part))
    }

    /// Something of the filter's block of a term: to look at it takes the block into the processor's cache.
    pub(crate) fn glance(&self, term: u64) -> u64 {
        self.filter.glance(term)
    }

    /// The stream's events in this segment.
    pub(crate) fn run(&self, stream: &str) -> Result<Option<Run>, ScanError> {
        let record = self.record(Term::Stream(stream))?;
        Ok(record.map(|record| Run { first_revision: record.first_revision, count: record.count }))
    }

    /// The numbers of a term's events, in order.
    pub(crate) fn numbers(&self, term: Term<'_>) -> Result<Vec<u32>, ScanError> {
        let Some(mut record) = self.record(term)? else { return Ok(Vec::new()) };
        if record.count > u64::from(self.header.events) {
            return Err(self.damage(Flaw::Length).into());
        }
        let mut numbers = Vec::with_capacity(usize::try_from(record.count).unwrap_or(0));
        let mut last = 0_u64;
        for _ in 0..record.count {
            last = last.saturating_add(record.numbers.number()?);
            let number = u32::try_from(last).ok().filter(|number| *number < self.header.events);
            numbers.push(number.ok_or_else(|| self.damage(Flaw::Sequence))?);
        }
        Ok(numbers)
    }

    /// The numbers of events whose id may have this half of a hash.
    pub(crate) fn candidates(&self, id: u32) -> Result<Vec<u32>, ScanError> {
        let extent = self.header.section(Section::Ids);
        let entry = |at: u64| self.read(extent.start + at * ID_BYTES, ID_BYTES);
        let count = extent.length / ID_BYTES;
        let mut at =
            search(count, u64::from(id) << 32, |at| Ok(u64::from(u32_at(&entry(at)?, 0)) << 32))?;
        let mut numbers = Vec::new();
        while at < count {
            let bytes = entry(at)?;
            if u32_at(&bytes, 0) != id {
                break;
            }
            numbers.push(u32_at(&bytes, 4));
            at += 1;
        }
        Ok(numbers)
    }

    /// Every kept half of an id's hash.
    pub(crate) fn ids(&self) -> Result<Vec<u32>, ScanError> {
        let extent = self.header.section(Section::Ids);
        let bytes = self.read_through(extent)?;
        Ok(bytes.chunks_exact(8).map(|entry| u32_at(entry, 0)).collect())
    }

    /// Where the events of these numbers begin in the segment; the numbers are sorted.
    pub(crate) fn offsets(&self, numbers: &[u32]) -> Result<Vec<u32>, ScanError> {
        let mut found = Vec::with_capacity(numbers.len());
        let mut at: Option<Block<'_>> = None;
        for number in numbers {
            let number = *number as usize;
            let block = match &mut at {
                Some(block) if block.number == number / BLOCK_EVENTS => block,
                at => at.insert(self.block(number / BLOCK_EVENTS)?),
            };
            found.push(block.offset_of(number % BLOCK_EVENTS)?);
        }
        Ok(found)
    }

    fn block(&self, number: usize) -> Result<Block<'_>, ScanError> {
        let (blocks, extent) =
            (self.header.section(Section::Blocks), self.header.section(Section::Offsets));
        if (number as u64 + 1) * 8 > blocks.length {
            return Err(self.damage(Flaw::Sequence).into());
        }
        let entry = self.read(blocks.start + number as u64 * 8, 8)?;
        let events = (self.header.events as usize - number * BLOCK_EVENTS).min(BLOCK_EVENTS);
        let deltas = self.cursor(extent, u64::from(u32_at(&entry, 4)))?;
        Ok(Block { number, events, at: 0, offset: u32_at(&entry, 0), deltas })
    }

    fn record(&self, term: Term<'_>) -> Result<Option<Record<'_>>, ScanError> {
        let hash = self.shared.hashes.term(term);
        if !self.filter.may_hold(hash) {
            return Ok(None);
        }
        let (extent, records) =
            (self.header.section(Section::Terms), self.header.section(Section::Records));
        let entry = |at: u64| self.read(extent.start + at * TERM_BYTES, TERM_BYTES);
        let count = extent.length / TERM_BYTES;
        let mut at = search(count, hash, |at| Ok(u64_at(&entry(at)?, 0)))?;
        let (kind, text) = term.parts();
        while at < count {
            let bytes = entry(at)?;
            if u64_at(&bytes, 0) != hash {
                return Ok(None);
            }
            let mut cursor = self.cursor(records, u64::from(u32_at(&bytes, 8)))?;
            let same_kind = cursor.byte()? == kind;
            let length = cursor.number()?;
            if same_kind && length == text.len() as u64 && cursor.is_text(text)? {
                let is_stream = matches!(term, Term::Stream(_));
                let first_revision = if is_stream { cursor.number()? } else { 0 };
                let count = cursor.number()?;
                return Ok(Some(Record { first_revision, count, numbers: cursor }));
            }
            at += 1; // Another term of the same hash.
        }
        Ok(None)
    }

    /// Bytes of the rooms of the pages.
    fn read(&self, start: u64, length: u64) -> Result<Vec<u8>, ScanError> {
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
        let mut at = start;
        while at < start + length {
            let (page, within) = self.page_at(at)?;
            let wanted = usize::try_from(start + length - at).unwrap_or(PAGE_ROOM);
            let upto = PAGE_ROOM.min(within + wanted);
            bytes.extend_from_slice(&page[within..upto]);
            at += (upto - within) as u64;
        }
        Ok(bytes)
    }

    /// A whole section, at once and past the kept pages.
    fn read_through(&self, extent: Extent) -> Result<Vec<u8>, ScanError> {
        let room = PAGE_ROOM as u64;
        let pages = extent.start / room + 1..(extent.start + extent.length).div_ceil(room) + 1;
        let count =
            usize::try_from(pages.end - pages.start).map_err(|_| self.damage(Flaw::Length))?;
        let fault = |source| ScanError::Disk { path: self.shared.files.path(self.name), source };
        let file = self.shared.files.get(self.name).map_err(fault)?;
        let mut bytes = vec![0; count * PAGE_BYTES];
        let offset = pages.start * PAGE_BYTES as u64;
        if file.read_at(&mut bytes, offset).map_err(fault)? < bytes.len() {
            return Err(Damage { offset, ..self.damage(Flaw::Missing) }.into());
        }
        let mut contents = Vec::with_capacity(count * PAGE_ROOM);
        for (number, page) in pages.zip(bytes.chunks_exact(PAGE_BYTES)) {
            let sound = self.shared.believe_pages
                || u32::try_from(number).is_ok_and(|n| is_sound(page, self.header.salt, n));
            if !sound {
                let offset = number * PAGE_BYTES as u64;
                return Err(Damage { offset, ..self.damage(Flaw::Checksum) }.into());
            }
            contents.extend_from_slice(&page[..PAGE_ROOM]);
        }
        let skipped = usize::try_from(extent.start % room).expect("it is within a page");
        contents.drain(..skipped);
        contents.truncate(usize::try_from(extent.length).unwrap_or(usize::MAX));
        Ok(contents)
    }

    fn cursor(&self, extent: Extent, at: u64) -> Result<Cursor<'_>, ScanError> {
        if at > extent.length {
            return Err(self.damage(Flaw::Length).into());
        }
        let (at, end) = (extent.start + at, extent.start + extent.length);
        Ok(Cursor { part: self, page: Bytes::new(), within: PAGE_ROOM, at, end })
    }

    /// The page that holds a byte of the rooms, and where in it.
    fn page_at(&self, at: u64) -> Result<(Bytes, usize), ScanError> {
        let number = at / PAGE_ROOM as u64 + 1;
        let within = usize::try_from(at % PAGE_ROOM as u64).expect("it is within a page");
        let number = u32::try_from(number).map_err(|_| self.damage(Flaw::Length))?;
        Ok((self.page(number)?, within))
    }

    fn page(&self, number: u32) -> Result<Bytes, ScanError> {
        let key = (self.header.segment, number);
        if let Some(page) = self.shared.pages.get(&key) {
            return Ok(page);
        }
        let fault = |source| ScanError::Disk { path: self.shared.files.path(self.name), source };
        let file = self.shared.files.get(self.name).map_err(fault)?;
        let mut page = vec![0; PAGE_BYTES];
        let offset = u64::from(number) * PAGE_BYTES as u64;
        let read = file.read_at(&mut page, offset).map_err(fault)?;
        let flaw = if read < PAGE_BYTES {
            Flaw::Missing
        } else if self.shared.believe_pages || is_sound(&page, self.header.salt, number) {
            let page = Bytes::from(page);
            self.shared.pages.insert(key, page.clone());
            return Ok(page);
        } else {
            Flaw::Checksum
        };
        Err(Damage { offset, ..self.damage(flaw) }.into())
    }

    fn damage(&self, flaw: Flaw) -> Damage {
        let file = self.shared.files.path(self.name);
        Damage { file, offset: 0, position: None, flaw }
    }
}

/// The offsets of a block of events, read on from the first of them.
struct Block<'a> {
    number: usize,
    events: usize,
    at: usize,
    /// That of the event `at`.
    offset: u32,
    deltas: Cursor<'a>,
}

impl Block<'_> {
    /// Where an event of the block begins: one that is not before the last that was asked for.
    fn offset_of(&mut self, event: usize) -> Result<u32, ScanError> {
        let damage = |flaw| ScanError::from(self.deltas.part.damage(flaw));
        if event >= self.events {
            return Err(damage(Flaw::Sequence));
        }
        while self.at < event {
            let delta = u32::try_from(self.deltas.number()?).ok();
            let next = delta.and_then(|delta| self.offset.checked_add(delta));
            self.offset = next.ok_or_else(|| self.deltas.part.damage(Flaw::Length))?;
            self.at += 1;
        }
        Ok(self.offset)
    }
}

/// The first of `count` sorted keys that is not below `key`. Hashes are spread evenly, so the place is guessed from
/// the key's size and corrected.
fn search(
    count: u64,
    key: u64,
    at: impl Fn(u64) -> Result<u64, ScanError>,
) -> Result<u64, ScanError> {
    let (mut low, mut high) = (0, count);
    let (mut low_key, mut high_key) = (0_u64, u64::MAX);
    let mut guesses = 0;
    while low < high {
        let span = u128::from(high_key - low_key).max(1);
        let share = u128::from(key.saturating_sub(low_key)) * u128::from(high - low) / span;
        let guess = low + u64::try_from(share).unwrap_or(u64::MAX).min(high - low - 1);
        // Where the spread is not even after all, halving always ends.
        let middle = if guesses < 8 { guess } else { low + (high - low) / 2 };
        guesses += 1;
        let found = at(middle)?;
        if found < key {
            (low, low_key) = (middle + 1, found);
        } else {
            (high, high_key) = (middle, found);
        }
    }
    Ok(low)
}

/// Reads on over the pages of a section.
struct Cursor<'a> {
    part: &'a FilePart,
    page: Bytes,
    within: usize,
    at: u64,
    end: u64,
}

impl Cursor<'_> {
    fn byte(&mut self) -> Result<u8, ScanError> {
        if self.at >= self.end {
            return Err(self.part.damage(Flaw::Length).into());
        }
        if self.within >= PAGE_ROOM || self.page.is_empty() {
            (self.page, self.within) = self.part.page_at(self.at)?;
        }
        let byte = self.page[self.within];
        self.within += 1;
        self.at += 1;
        Ok(byte)
    }

    fn number(&mut self) -> Result<u64, ScanError> {
        // Mostly the whole number lies in the page that is at hand.
        let end = self.within + usize::try_from(self.end - self.at).unwrap_or(PAGE_ROOM);
        let mut rest = self.page.get(self.within..end.min(PAGE_ROOM)).unwrap_or_default();
        let held = rest.len();
        if let Some(number) = take_number(&mut rest) {
            let taken = held - rest.len();
            self.within += taken;
            self.at += taken as u64;
            return Ok(number);
        }
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(self.part.damage(Flaw::Length).into())
    }

    fn is_text(&mut self, text: &str) -> Result<bool, ScanError> {
        // Mostly all of it lies in the page that is at hand.
        let end = self.within + text.len();
        if self.at + text.len() as u64 <= self.end
            && let Some(held) = self.page.get(self.within..end.min(PAGE_ROOM))
            && held.len() == text.len()
        {
            self.within = end;
            self.at += text.len() as u64;
            return Ok(held == text.as_bytes());
        }
        for wanted in text.bytes() {
            if self.byte()? != wanted {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
