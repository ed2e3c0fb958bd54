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
use super::hash::{Hashes, Key, Term};

/// Pages of index files that are kept in memory, shared by all of them.
pub(crate) type Pages = quick_cache::sync::Cache<(u32, u32), Bytes>;

/// The bytes of an id in [`Section::Ids`] and of a term in [`Section::Terms`].
const ID_BYTES: usize = 8;
const TERM_BYTES: usize = 12;
/// The bytes of a block in [`Section::Blocks`].
const BLOCK_BYTES: usize = 8;
/// [`PAGE_ROOM`], as places are counted.
const ROOM: u64 = PAGE_ROOM as u64;

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

/// A term's record, up to what it lists.
struct Record<'a> {
    first_revision: u64,
    count: u64,
    list: Cursor<'a>,
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
    pub(crate) fn glance(&self, hash: u64) -> u64 {
        self.filter.glance(hash)
    }

    /// The stream's events in this segment.
    pub(crate) fn run(&self, stream: Key<'_>) -> Result<Option<Run>, ScanError> {
        let record = self.record(stream)?;
        Ok(record.map(|record| Run { first_revision: record.first_revision, count: record.count }))
    }

    /// The numbers of the events of a type or tag, in order.
    pub(crate) fn numbers(&self, term: Term<'_>) -> Result<Vec<u32>, ScanError> {
        self.list(term, self.header.events)
    }

    /// Where the events of a stream begin in the segment, in order.
    pub(crate) fn stream_offsets(&self, stream: &str) -> Result<Vec<u32>, ScanError> {
        self.list(Term::Stream(stream), self.header.end)
    }

    /// What the record of a term lists: growing numbers below `end`.
    fn list(&self, term: Term<'_>, end: u32) -> Result<Vec<u32>, ScanError> {
        let key = self.shared.hashes.key(term);
        let Some(mut record) = self.record(key)? else { return Ok(Vec::new()) };
        if record.count > u64::from(self.header.events) {
            return Err(self.damage(Flaw::Length).into());
        }
        let mut listed = Vec::with_capacity(usize::try_from(record.count).unwrap_or(0));
        let mut sum = 0_u64;
        for _ in 0..record.count {
            sum = sum.saturating_add(record.list.number()?);
            let next = u32::try_from(sum).ok().filter(|next| *next < end);
            listed.push(next.ok_or_else(|| self.damage(Flaw::Sequence))?);
        }
        Ok(listed)
    }

    /// The numbers of events whose id may have this half of a hash.
    pub(crate) fn candidates(&self, id: u32) -> Result<Vec<u32>, ScanError> {
        let mut ids = self.cursor(Section::Ids);
        let mut entry = |at: u64| {
            ids.seek(at * ID_BYTES as u64);
            ids.array::<ID_BYTES>()
        };
        let count = self.header.section(Section::Ids).length / ID_BYTES as u64;
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
        let (mut blocks, mut deltas) =
            (self.cursor(Section::Blocks), self.cursor(Section::Offsets));
        let mut last: Option<(u32, u32)> = None;
        for &number in numbers {
            if number >= self.header.events {
                return Err(self.damage(Flaw::Sequence).into());
            }
            let block = number / BLOCK_EVENTS;
            let (from, begin) = match last {
                Some(last) if last.0 / BLOCK_EVENTS == block => last,
                _ => {
                    blocks.seek(u64::from(block) * BLOCK_BYTES as u64);
                    let entry: [u8; BLOCK_BYTES] = blocks.array()?;
                    deltas.seek(u64::from(u32_at(&entry, 4)));
                    (block * BLOCK_EVENTS, u32_at(&entry, 0))
                }
            };
            let delta = u32::try_from(deltas.sum(number - from)?).ok();
            let offset = delta.and_then(|delta| begin.checked_add(delta));
            let offset = offset.ok_or_else(|| self.damage(Flaw::Length))?;
            last = Some((number, offset));
            found.push(offset);
        }
        Ok(found)
    }

    fn record(&self, key: Key<'_>) -> Result<Option<Record<'_>>, ScanError> {
        if !self.filter.may_hold(key.hash) {
            return Ok(None);
        }
        let (mut terms, mut records) = (self.cursor(Section::Terms), self.cursor(Section::Records));
        let mut entry = |at: u64| {
            terms.seek(at * TERM_BYTES as u64);
            terms.array::<TERM_BYTES>()
        };
        let count = self.header.section(Section::Terms).length / TERM_BYTES as u64;
        let mut at = search(count, key.hash, |at| Ok(u64_at(&entry(at)?, 0)))?;
        let (kind, text) = key.term.parts();
        while at < count {
            let bytes = entry(at)?;
            if u64_at(&bytes, 0) != key.hash {
                return Ok(None);
            }
            records.seek(u64::from(u32_at(&bytes, 8)));
            let same_kind = records.byte()? == kind;
            let length = records.number()?;
            if same_kind && length == text.len() as u64 && records.is_text(text)? {
                let is_stream = matches!(key.term, Term::Stream(_));
                let first_revision = if is_stream { records.number()? } else { 0 };
                let count = records.number()?;
                return Ok(Some(Record { first_revision, count, list: records }));
            }
            at += 1; // Another term of the same hash.
        }
        Ok(None)
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

    fn cursor(&self, section: Section) -> Cursor<'_> {
        let Extent { start, length } = self.header.section(section);
        Cursor { part: self, start, at: start, end: start + length, page: Bytes::new(), first: 0 }
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

/// The first of `count` sorted keys that is not below `key`. Hashes are spread evenly, so the place is guessed from
/// the key's size and corrected.
fn search(
    count: u64,
    key: u64,
    mut at: impl FnMut(u64) -> Result<u64, ScanError>,
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

/// Reads a section, over its pages as if they had no end. The page that was read last is kept at hand.
struct Cursor<'a> {
    part: &'a FilePart,
    /// Where the section begins, where the next byte stands, and where the section ends.
    start: u64,
    at: u64,
    end: u64,
    page: Bytes,
    /// Where the room of that page begins.
    first: u64,
}

impl Cursor<'_> {
    /// Goes on from another place of the section.
    fn seek(&mut self, place: u64) {
        self.at = self.start.saturating_add(place);
    }

    /// What the page of the next byte holds of the section from there on: never nothing.
    fn rest(&mut self) -> Result<&[u8], ScanError> {
        if self.at >= self.end {
            return Err(self.part.damage(Flaw::Length).into());
        }
        let first = self.at / ROOM * ROOM;
        if self.page.is_empty() || first != self.first {
            let number = u32::try_from(first / ROOM + 1);
            let number = number.map_err(|_| self.part.damage(Flaw::Length))?;
            (self.page, self.first) = (self.part.page(number)?, first);
        }
        let within = |place: u64| usize::try_from(place).unwrap_or(PAGE_ROOM).min(PAGE_ROOM);
        Ok(&self.page[within(self.at - first)..within(self.end - first)])
    }

    fn byte(&mut self) -> Result<u8, ScanError> {
        let byte = self.rest()?[0];
        self.at += 1;
        Ok(byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ScanError> {
        if let Some(held) = self.rest()?.first_chunk() {
            let array = *held;
            self.at += N as u64;
            return Ok(array);
        }
        let mut array = [0; N];
        for byte in &mut array {
            *byte = self.byte()?;
        }
        Ok(array)
    }

    fn number(&mut self) -> Result<u64, ScanError> {
        // Mostly the whole number lies in the page that is at hand.
        let mut rest = self.rest()?;
        let held = rest.len();
        if let Some(number) = take_number(&mut rest) {
            self.at += (held - rest.len()) as u64;
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

    /// The sum of the next numbers. Byte by byte, without a branch on where a number ends, which nobody can foretell.
    fn sum(&mut self, count: u32) -> Result<u64, ScanError> {
        let (mut sum, mut left, mut shift) = (0_u64, count, 0_u32);
        while left > 0 {
            let mut taken = 0;
            for byte in self.rest()? {
                sum = sum.saturating_add(u64::from(byte & 0x7f) << (shift & 63));
                let ends = byte & 0x80 == 0;
                left -= u32::from(ends);
                shift = if ends { 0 } else { shift + 7 };
                taken += 1;
                if left == 0 || shift > 63 {
                    break;
                }
            }
            self.at += taken;
            if shift > 63 {
                return Err(self.part.damage(Flaw::Length).into());
            }
        }
        Ok(sum)
    }

    fn is_text(&mut self, text: &str) -> Result<bool, ScanError> {
        // Mostly all of it lies in the page that is at hand.
        if text.is_empty() {
            return Ok(true);
        }
        if let Some(held) = self.rest()?.get(..text.len()) {
            let same = held == text.as_bytes();
            self.at += text.len() as u64;
            return Ok(same);
        }
        for wanted in text.bytes() {
            if self.byte()? != wanted {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
