//! The pages of an index file. The first is the header; the others hold the sections, one after the other as if the
//! pages had no end. Each page closes with a checksum of its own, so that a look reads and checks a page or two.

use uuid::Uuid;

use super::{bytes_at, check_page, put, seal, u32_at, u64_at};
use crate::log::error::Flaw;

/// The size of a page.
pub(crate) const PAGE_BYTES: usize = 4096;
/// What a page holds of a section.
pub(crate) const PAGE_ROOM: usize = PAGE_BYTES - 4;
const MAGIC: [u8; 8] = *b"ANNALIDX";
/// A file of another format is made again from its segment.
const FORMAT: u16 = 3;
/// Events in a block of the sections [`Section::Blocks`] and [`Section::Offsets`].
pub(crate) const BLOCK_EVENTS: u32 = 64;

/// The sections of an index, in the order in which they stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    /// A filter over the hashes of all terms.
    Filter,
    /// For every 64 events, where the first one stands in the segment, and where its block of
    /// [`Section::Offsets`] begins.
    Blocks,
    /// How far each of the other 63 events of a block stands behind the one before it.
    Offsets,
    /// Event ids: the high half of their hash, and the event's number; sorted.
    Ids,
    /// Terms: their hash, and where their record begins; sorted.
    Terms,
    /// A record for each term.
    Records,
}

const SECTIONS: usize = 6;

/// A section's place, in bytes of the rooms of the pages behind the header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) start: u64,
    pub(crate) length: u64,
}

/// The first page of an index file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IndexHeader {
    /// The store.
    pub(crate) store: Uuid,
    /// The number of the segment that it is of.
    pub(crate) segment: u32,
    /// The salt of that segment's checksums, and of this file's.
    pub(crate) salt: u32,
    /// Where the segment's frames end.
    pub(crate) end: u32,
    /// How many events the segment holds.
    pub(crate) events: u32,
    /// How many streams begin in it.
    pub(crate) streams_begun: u32,
    /// The position of its first event.
    pub(crate) first_position: u64,
    /// The hash chain at its end.
    pub(crate) chain: [u8; 32],
    sections: [Extent; SECTIONS],
}

impl IndexHeader {
    pub(crate) fn section(&self, section: Section) -> Extent {
        self.sections[section as usize]
    }

    /// Whether both are of the same segment, as it is; sections do not count.
    pub(crate) fn is_of(&self, other: &IndexHeader) -> bool {
        *self
            == IndexHeader {
                sections: self.sections,
                streams_begun: self.streams_begun,
                ..other.clone()
            }
    }

    /// The page.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut page = vec![0; PAGE_BYTES];
        put(&mut page, 0, &MAGIC);
        put(&mut page, 8, &FORMAT.to_le_bytes());
        // 12: flags, none yet.
        put(&mut page, 16, self.store.as_bytes());
        put(&mut page, 32, &self.segment.to_le_bytes());
        put(&mut page, 36, &self.salt.to_le_bytes());
        put(&mut page, 40, &self.end.to_le_bytes());
        put(&mut page, 44, &self.events.to_le_bytes());
        put(&mut page, 48, &self.first_position.to_le_bytes());
        put(&mut page, 56, &self.streams_begun.to_le_bytes());
        put(&mut page, 64, &self.chain);
        for (number, section) in self.sections.iter().enumerate() {
            put(&mut page, 96 + number * 16, &section.start.to_le_bytes());
            put(&mut page, 104 + number * 16, &section.length.to_le_bytes());
        }
        seal(&mut page);
        page
    }

    /// Reads the page; `page` has [`PAGE_BYTES`].
    pub(crate) fn decode(page: &[u8]) -> Result<IndexHeader, Flaw> {
        check_page(page, MAGIC, FORMAT)?;
        if u32_at(page, 12) != 0 {
            return Err(Flaw::Fields); // A flag of a later version.
        }
        let mut sections = [Extent::default(); SECTIONS];
        for (number, section) in sections.iter_mut().enumerate() {
            let at = 96 + number * 16;
            *section = Extent { start: u64_at(page, at), length: u64_at(page, at + 8) };
        }
        Ok(IndexHeader {
            store: Uuid::from_bytes(bytes_at(page, 16)),
            segment: u32_at(page, 32),
            salt: u32_at(page, 36),
            end: u32_at(page, 40),
            events: u32_at(page, 44),
            first_position: u64_at(page, 48),
            streams_begun: u32_at(page, 56),
            chain: bytes_at(page, 64),
            sections,
        })
    }

    /// The whole file: `header` with its places filled in, and the sections, which stand in the order of [`Section`].
    pub(crate) fn file(mut self, sections: &[Vec<u8>; SECTIONS]) -> Vec<u8> {
        let mut start = 0;
        for (extent, bytes) in self.sections.iter_mut().zip(sections) {
            *extent = Extent { start, length: bytes.len() as u64 };
            start += bytes.len() as u64;
        }
        let pages = usize::try_from(start).expect("it is in memory").div_ceil(PAGE_ROOM);
        let mut file = Vec::with_capacity((1 + pages) * PAGE_BYTES);
        file.extend_from_slice(&self.encode());
        let (mut number, mut begin) = (1, PAGE_BYTES);
        for mut rest in sections.iter().map(Vec::as_slice) {
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(begin + PAGE_ROOM - file.len()));
                file.extend_from_slice(now);
                rest = later;
                if file.len() == begin + PAGE_ROOM {
                    self.close_page(&mut file, number);
                    (number, begin) = (number + 1, file.len());
                }
            }
        }
        if file.len() > begin {
            file.resize(begin + PAGE_ROOM, 0);
            self.close_page(&mut file, number);
        }
        file
    }

    /// Adds the checksum of the page of that number, whose room stands at the end.
    fn close_page(&self, file: &mut Vec<u8>, number: u32) {
        let room = &file[file.len() - PAGE_ROOM..];
        let checksum = page_checksum(room, self.salt, number);
        file.extend_from_slice(&checksum.to_le_bytes());
    }

    /// A header that says nothing of sections yet.
    #[allow(clippy::too_many_arguments, reason = "each is a field")]
    pub(crate) fn new(
        store: Uuid,
        (segment, salt, end): (u32, u32, u32),
        (first_position, events, streams_begun): (u64, u32, u32),
        chain: [u8; 32],
    ) -> IndexHeader {
        let sections = [Extent::default(); SECTIONS];
        IndexHeader {
            store,
            segment,
            salt,
            end,
            events,
            streams_begun,
            first_position,
            chain,
            sections,
        }
    }
}

/// Whether the page of that number is what was written.
pub(crate) fn is_sound(page: &[u8], salt: u32, number: u32) -> bool {
    page.len() == PAGE_BYTES
        && u32_at(page, PAGE_ROOM) == page_checksum(&page[..PAGE_ROOM], salt, number)
}

/// The checksum continues from salt and number, so that a page in another's place does not pass.
fn page_checksum(room: &[u8], salt: u32, number: u32) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(salt, &number.to_le_bytes()), room)
}
