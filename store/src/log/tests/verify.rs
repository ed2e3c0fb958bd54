//! Verifications: every way in which an index file may not be what its segment makes of it, revisions that do not follow, and
//! that the number of threads changes nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use annals_core::disk::{Disk, SimulatedDisk};
use annals_core::{Append, EventStore, EventType, Metadata};
use bytes::Bytes;
use proptest::prelude::*;

use super::super::{Flaw, OpenError, Verified, verify, verify_with};
use super::model::config;
use super::{FOLDER, append, block_on, event, open_with, small, write};
use crate::log::format::checkpoint::Checkpoint;
use crate::log::format::frame::{self, Coordinates, Extent, Frame};
use crate::log::format::header::SegmentHeader;
use crate::log::format::index::{IndexHeader, PAGE_BYTES, PAGE_ROOM, Section};
use crate::log::format::tree::leaf;
use crate::log::format::{Chain, HEADER_BYTES, take_number};

fn file(name: &str) -> PathBuf {
    Path::new(FOLDER).join(name)
}

fn verified(disk: &SimulatedDisk) -> Verified {
    verify(Arc::new(disk.clone()), Path::new(FOLDER), (0, u64::MAX), |_, _| {}).unwrap()
}

/// A disk on which a log of these appends was closed.
fn closed(appends: impl IntoIterator<Item = Append>) -> SimulatedDisk {
    let disk = SimulatedDisk::new(4);
    let log = open_with(&disk, small()).unwrap();
    block_on(async {
        for append in appends {
            log.append(append).await.unwrap();
        }
    });
    log.close();
    disk
}

/// A log of several segments, whose events have streams, types and tags.
fn several() -> SimulatedDisk {
    closed((1..=90).map(|id| {
        let mut event = event(id, vec![7; 200]);
        let tags = [format!("desk:{}", id % 3), "all".to_owned()].into();
        event.metadata = Metadata { tags, ..Metadata::default() }.encode();
        Append::to(write(["a", "b", "c"][usize::try_from(id % 3).unwrap()], vec![event]))
    }))
}

/// The contents of the sections of an index file.
fn sections(bytes: &[u8], header: &IndexHeader) -> [Vec<u8>; 6] {
    use Section::{Blocks, Filter, Ids, Offsets, Records, Terms};
    let rooms = bytes[PAGE_BYTES..].chunks(PAGE_BYTES);
    let contents: Vec<u8> = rooms.flat_map(|page| &page[..PAGE_ROOM]).copied().collect();
    let place = |number: u64| usize::try_from(number).unwrap();
    [Filter, Blocks, Offsets, Ids, Terms, Records].map(|section| {
        let extent = header.section(section);
        contents[place(extent.start)..place(extent.start + extent.length)].to_vec()
    })
}

type Change = fn(&mut IndexHeader, &mut [Vec<u8>; 6]);

/// Each leaves an index file whose checksums fit.
const CHANGES: [(&str, Change); 16] = [
    ("an event more", |header, _| header.events += 1),
    ("a stream more begins", |header, _| header.streams_begun += 1),
    ("another chain", |header, _| header.chain[31] ^= 1),
    ("a bit of the filter more", |_, sections| set_bit(&mut sections[0])),
    ("a bit of the filter less", |_, sections| clear_bit(&mut sections[0])),
    ("a larger filter", |_, sections| sections[0].extend([0; 64])),
    ("a block elsewhere", |_, sections| sections[1][0] ^= 1),
    ("an event elsewhere", |_, sections| sections[2][3] ^= 1),
    ("an id less", |_, sections| drop(sections[3].drain(..8))),
    ("an id twice", |_, sections| sections[3].extend_from_within(..8)),
    ("another id", |_, sections| sections[3][0] ^= 1),
    ("ids of each other's events", |_, sections| sections[3][..16].rotate_left(8)),
    ("a term less", |_, sections| drop(sections[4].drain(..12))),
    ("another term", |_, sections| replace(&mut sections[5], b"desk:1", b"desk:4")),
    // Kind, length and name of the stream `a`, its first revision.
    ("another first revision", |_, sections| after(&mut sections[5], &[1, 1, b'a'], 0)),
    ("another number of a term", |_, sections| after(&mut sections[5], &[1, 1, b'a'], 3)),
];

fn set_bit(bytes: &mut [u8]) {
    let byte = bytes.iter_mut().find(|byte| **byte & 1 == 0).unwrap();
    *byte |= 1;
}

fn clear_bit(bytes: &mut [u8]) {
    let byte = bytes.iter_mut().find(|byte| **byte & 1 == 1).unwrap();
    *byte &= !1;
}

fn find(bytes: &[u8], text: &[u8]) -> usize {
    bytes.windows(text.len()).position(|window| window == text).unwrap()
}

fn replace(bytes: &mut [u8], text: &[u8], by: &[u8]) {
    let at = find(bytes, text);
    bytes[at..at + by.len()].copy_from_slice(by);
}

/// Changes a byte behind a text.
fn after(bytes: &mut [u8], text: &[u8], distance: usize) {
    let at = find(bytes, text) + text.len() + distance;
    bytes[at] ^= 1;
}

#[test]
fn an_index_file_that_is_wrong_in_any_way_is_named() {
    let disk = several();
    assert_eq!(verified(&disk).stale_indexes, Vec::<PathBuf>::new());
    let path = file("00000002.index");
    let whole = disk.contents(&path).unwrap();
    let header = IndexHeader::decode(&whole[..PAGE_BYTES]).unwrap();
    let found = sections(&whole, &header);
    assert_eq!(header.clone().file(&found), whole, "the sections are all there is");
    let is_named = |what: &str, bytes: Vec<u8>| {
        let disk = disk.fork();
        disk.replace(&path, bytes);
        let verified = verified(&disk);
        assert_eq!(verified.stale_indexes, std::slice::from_ref(&path), "{what}");
        assert_eq!(verified.damages, [], "{what}");
    };
    for (what, change) in CHANGES {
        let (mut header, mut sections) = (header.clone(), found.clone());
        change(&mut header, &mut sections);
        is_named(what, header.file(&sections));
    }
    is_named("a page more", [&whole[..], &[0; PAGE_BYTES]].concat());
    is_named("a page less", whole[..whole.len() - PAGE_BYTES].to_vec());
    is_named("the index of another segment", disk.contents(file("00000001.index")).unwrap());
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let disk = several();
    let mut bytes = disk.contents(file("00000002.segment")).unwrap();
    bytes[5_000] ^= 1;
    disk.replace(file("00000002.segment"), bytes);
    Disk::remove(&disk, &file("00000003.index")).unwrap();
    let with = |threads, range| {
        let mut heard = Vec::new();
        let on_bytes = |read, total| heard.push((read, total));
        let shared = Arc::new(disk.clone());
        let found = verify_with(threads, shared, Path::new(FOLDER), range, on_bytes).unwrap();
        let total = heard[0].1;
        assert!(heard.is_sorted(), "{heard:?}");
        assert_eq!((heard.len() as u64, heard.last()), (found.segments, Some(&(total, total))));
        found
    };
    for range in [(0, u64::MAX), (15, 60)] {
        let one = with(1, range);
        assert_eq!(one.damages.len(), 1);
        assert_eq!(one.stale_indexes, [file("00000003.index")]);
        for threads in [0, 2, 3, 50] {
            assert_eq!(with(threads, range), one);
        }
    }
}

/// Writes the events of a log of one segment anew, each with the coordinates that `change` makes of its own.
fn forged(disk: &SimulatedDisk, change: impl Fn(&mut Coordinates)) -> SimulatedDisk {
    let bytes = disk.contents(file("00000001.segment")).unwrap();
    let header = SegmentHeader::decode(&bytes[..HEADER_BYTES]).unwrap();
    let (mut out, mut at) = (bytes[..HEADER_BYTES].to_vec(), HEADER_BYTES);
    let mut last = header.chain;
    let mut chain = Chain::behind(&last);
    while let Ok(Extent::Frame(length)) = frame::extent(&bytes[at..], bytes.len() - at) {
        let begin = out.len();
        let found = &bytes[at..at + length];
        match frame::decode(found, header.frames(), false).unwrap() {
            Frame::Event(event) => {
                let mut coordinates = event.coordinates;
                change(&mut coordinates);
                let mut contents = &found[64..];
                take_number(&mut contents).unwrap();
                let written = (event.id, event.schema);
                frame::encode_event(&mut out, header.frames(), &coordinates, written, contents);
                chain.add(&leaf(&out[begin..]));
            }
            Frame::Commit(commit) => {
                last = chain.finish();
                chain = Chain::behind(&last);
                let commit = frame::CommitFrame { chain: last, ..commit };
                frame::encode_commit(&mut out, header.frames(), &commit);
            }
        }
        at += length;
    }
    out.resize(bytes.len(), 0);
    let mut checkpoint = disk.contents(file("checkpoint")).unwrap();
    let known = Checkpoint::decode(&checkpoint).unwrap();
    let (offset, slot) = Checkpoint { chain: last, ..known }.encode();
    let offset = usize::try_from(offset).unwrap();
    checkpoint[offset..offset + slot.len()].copy_from_slice(&slot);
    let forged = disk.fork();
    forged.replace(file("00000001.segment"), out);
    forged.replace(file("checkpoint"), checkpoint);
    forged
}

#[test]
fn a_revision_that_does_not_follow_is_damage() {
    let disk = closed((1..=6).map(|id| append(["a", "b"][id % 2], id as u128, vec![1; 50])));
    assert_eq!(verified(&forged(&disk, |_| {})).damages, []);
    for (position, revision) in [(2, 2), (2, 0), (5, 1), (3, 9)] {
        let forged = forged(&disk, |coordinates| {
            if coordinates.position == position {
                coordinates.revision = revision;
            }
        });
        let damages = verified(&forged).damages;
        let found: Vec<_> = damages.iter().map(|it| (it.flaw, it.position)).collect();
        assert_eq!(found, [(Flaw::Sequence, Some(position))]);
        let opened = open_with(&forged, small()).map(|log| log.stats());
        assert!(matches!(&opened, Err(OpenError::Damage(it)) if *it == damages[0]), "{opened:?}");
    }
}

proptest! {
    #![proptest_config(config())]
    /// What is written of a segment while it is filled is what a verification makes of its frames.
    #[test]
    fn the_index_of_any_segment_is_made_again_as_it_was(
        events in prop::collection::vec((0_usize..5, 0_usize..4, 0_usize..6, 0_usize..4), 1..120),
    ) {
        // Of the compact form, of another one, and with a tag that stands there twice.
        let metadata: [&[u8]; 6] =
            [b"", b"{}", b"\x06\x01x", b"\x06\x01x\x06\x01y\x06\x01x", b"\x06\x09", b"\x04\x01u"];
        let types = ["t.A", "t.B", "a", "trading.OrderPlaced"];
        let appends = (1..).zip(&events).map(|(id, (stream, of_type, with, size))| {
            let mut event = event(id, vec![2; size * 90]);
            event.event_type = EventType::new(types[*of_type]).unwrap();
            event.metadata = Bytes::from_static(metadata[*with]);
            Append::to(write(["a", "b", "t.A", "x", "account-7"][*stream], vec![event]))
        });
        let found = verified(&closed(appends));
        prop_assert_eq!(found.damages, []);
        prop_assert_eq!(found.stale_indexes, Vec::<PathBuf>::new());
        prop_assert_eq!(found.events, events.len() as u64);
    }
}
