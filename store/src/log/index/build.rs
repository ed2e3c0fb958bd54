//! Writes the index of a sealed segment as the bytes of its file.

use crate::log::format::index::{BLOCK_EVENTS, IndexHeader};
use crate::log::format::put_number;

use super::filter::Filter;
use super::hash::{Hashes, Term};
use super::memory::MemoryPart;

/// What a term's record says.
pub(super) struct Record<'a> {
    pub(super) hash: u64,
    pub(super) term: Term<'a>,
    /// Of a stream: the revision of its first event here.
    pub(super) first_revision: Option<u64>,
    pub(super) numbers: &'a [u32],
}

/// The file: `records` in any order, where the events begin, and of each event the kept half of its id's hash above its
/// number, sorted. `header` has no sections yet.
pub(super) fn file(
    mut records: Vec<Record<'_>>,
    offsets: &[u32],
    ids: &[u64],
    header: IndexHeader,
) -> Vec<u8> {
    // Terms of the same hash stand side by side, in an order that does not depend on how they were found.
    records.sort_unstable_by_key(|record| (record.hash, record.term.parts()));
    let mut filter = Filter::with_room(records.len());
    let (mut terms, mut bytes) = (Vec::with_capacity(records.len() * 12), Vec::new());
    for record in &records {
        filter.insert(record.hash);
        terms.extend_from_slice(&record.hash.to_le_bytes());
        let start = u32::try_from(bytes.len()).expect("records are smaller than their segment");
        terms.extend_from_slice(&start.to_le_bytes());
        append_record(&mut bytes, record, offsets);
    }
    let (blocks, offsets) = blocks(offsets);
    // The half of the hash stands before the number.
    let ids = ids.iter().flat_map(|entry| entry.rotate_left(32).to_le_bytes()).collect();
    header.file(&[filter.to_bytes(), blocks, offsets, ids, terms, bytes])
}

/// The terms of a part.
pub(super) fn records<'a>(part: &'a MemoryPart, hashes: &Hashes) -> Vec<Record<'a>> {
    let record = |term: Term<'a>, first_revision, numbers| Record {
        hash: hashes.term(term),
        term,
        first_revision,
        numbers,
    };
    let streams = part.streams.iter().map(|(name, events)| {
        record(Term::Stream(name.as_str()), Some(events.first_revision), &events.numbers[..])
    });
    let types =
        part.types.iter().map(|(name, numbers)| record(Term::Type(name.as_str()), None, numbers));
    let tags = part.tags.iter().map(|(tag, numbers)| record(Term::Tag(tag), None, numbers));
    streams.chain(types).chain(tags).collect()
}

fn append_record(out: &mut Vec<u8>, record: &Record<'_>, offsets: &[u32]) {
    let (kind, text) = record.term.parts();
    out.push(kind);
    put_number(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
    let count = record.numbers.len() as u64;
    if let Some(first) = record.first_revision {
        put_number(out, first);
        put_number(out, count);
        put_growing(out, record.numbers.iter().map(|number| offsets[*number as usize]));
    } else {
        put_number(out, count);
        put_growing(out, record.numbers.iter().copied());
    }
}

/// Each as the difference to the one before.
fn put_growing(out: &mut Vec<u8>, numbers: impl Iterator<Item = u32>) {
    let mut last = 0;
    for number in numbers {
        put_number(out, u64::from(number - last));
        last = number;
    }
}

fn blocks(starts: &[u32]) -> (Vec<u8>, Vec<u8>) {
    let (mut blocks, mut offsets) = (Vec::new(), Vec::new());
    for block in starts.chunks(BLOCK_EVENTS as usize) {
        let start = u32::try_from(offsets.len()).expect("offsets are smaller than their segment");
        blocks.extend_from_slice(&block[0].to_le_bytes());
        blocks.extend_from_slice(&start.to_le_bytes());
        for pair in block.windows(2) {
            put_number(&mut offsets, u64::from(pair[1] - pair[0]));
        }
    }
    (blocks, offsets)
}
