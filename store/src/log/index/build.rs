//! Writes the index of a sealed segment as the bytes of its file.

use crate::log::format::index::{BLOCK_EVENTS, IndexHeader};
use crate::log::format::put_number;

use super::filter::Filter;
use super::hash::{Hashes, Term};
use super::memory::MemoryPart;

/// What a term's record says.
struct Record<'a> {
    hash: u64,
    term: Term<'a>,
    /// Of a stream: the revision of its first event here.
    first_revision: Option<u64>,
    numbers: &'a [u32],
}

/// The file of a part. `header` has no sections yet.
pub(crate) fn file(part: &MemoryPart, header: IndexHeader, hashes: &Hashes) -> Vec<u8> {
    let mut records = records(part, hashes);
    // Streams of the same name cannot be, but hashes may be the same: then they stand side by side.
    records.sort_unstable_by_key(|record| record.hash);
    let mut filter = Filter::with_room(records.len());
    let (mut terms, mut bytes) = (Vec::with_capacity(records.len() * 12), Vec::new());
    for record in &records {
        filter.insert(record.hash);
        terms.extend_from_slice(&record.hash.to_le_bytes());
        let start = u32::try_from(bytes.len()).expect("records are smaller than their segment");
        terms.extend_from_slice(&start.to_le_bytes());
        append_record(&mut bytes, record);
    }
    let (blocks, offsets) = blocks(part);
    header.file(&[filter.to_bytes(), blocks, offsets, ids(part), terms, bytes])
}

fn records<'a>(part: &'a MemoryPart, hashes: &Hashes) -> Vec<Record<'a>> {
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

fn append_record(out: &mut Vec<u8>, record: &Record<'_>) {
    let (kind, text) = record.term.parts();
    out.push(kind);
    put_number(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
    if let Some(first) = record.first_revision {
        put_number(out, first);
    }
    put_number(out, record.numbers.len() as u64);
    let mut last = 0;
    for number in record.numbers {
        put_number(out, u64::from(number - last));
        last = *number;
    }
}

fn blocks(part: &MemoryPart) -> (Vec<u8>, Vec<u8>) {
    let (mut blocks, mut offsets) = (Vec::new(), Vec::new());
    for block in part.offsets.chunks(BLOCK_EVENTS) {
        let start = u32::try_from(offsets.len()).expect("offsets are smaller than their segment");
        blocks.extend_from_slice(&block[0].to_le_bytes());
        blocks.extend_from_slice(&start.to_le_bytes());
        for pair in block.windows(2) {
            put_number(&mut offsets, u64::from(pair[1] - pair[0]));
        }
    }
    (blocks, offsets)
}

fn ids(part: &MemoryPart) -> Vec<u8> {
    let ids = part.ids.sorted();
    let mut bytes = Vec::with_capacity(ids.len() * 8);
    for (id, number) in ids {
        bytes.extend_from_slice(&id.to_le_bytes());
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes
}
