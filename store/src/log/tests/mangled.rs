//! Files that were mangled in any way: what is served is what was written, or a prefix of it where nothing says that
//! more was durable; otherwise the damage is told. Never another event, never a panic.

use std::path::Path;
use std::sync::Arc;

use annals_core::disk::{SimulatedDisk, Survival};
use annals_core::{EventQuery, EventStore, Filter, ReadError, ReadQuery, RecordedEvent};
use proptest::prelude::*;

use super::super::verify;
use super::model::config;
use super::{FOLDER, OpenError, append, block_on, open_with, read, small, stream};

/// Something done to a file.
#[derive(Clone, Debug)]
enum Mangling {
    Flip(usize, u8),
    Cut(usize),
    Zero(usize, usize),
    Garbage(usize, Vec<u8>),
    /// Bytes of one place over those of another.
    Copy(usize, usize, usize),
    Insert(usize, Vec<u8>),
    Remove(usize, usize),
}

fn any_mangling() -> impl Strategy<Value = Mangling> {
    let place = any::<prop::sample::Index>().prop_map(|index| index.index(20_000));
    let bytes = prop::collection::vec(any::<u8>(), 1..200);
    prop_oneof![
        (place.clone(), 0_u8..8).prop_map(|(at, bit)| Mangling::Flip(at, bit)),
        place.clone().prop_map(Mangling::Cut),
        (place.clone(), 1_usize..5000).prop_map(|(at, length)| Mangling::Zero(at, length)),
        (place.clone(), bytes.clone()).prop_map(|(at, bytes)| Mangling::Garbage(at, bytes)),
        (place.clone(), place.clone(), 1_usize..5000)
            .prop_map(|(from, to, length)| Mangling::Copy(from, to, length)),
        (place.clone(), bytes).prop_map(|(at, bytes)| Mangling::Insert(at, bytes)),
        (place, 1_usize..600).prop_map(|(at, length)| Mangling::Remove(at, length)),
    ]
}

fn mangle(bytes: &mut Vec<u8>, mangling: &Mangling) {
    let length = bytes.len();
    if length == 0 {
        return;
    }
    let within = |at: usize| at % length;
    let range = |at: usize, most: usize| within(at)..(within(at) + most).min(length);
    match mangling {
        Mangling::Flip(at, bit) => bytes[within(*at)] ^= 1 << bit,
        Mangling::Cut(at) => bytes.truncate(within(*at)),
        Mangling::Zero(at, most) => bytes[range(*at, *most)].fill(0),
        Mangling::Garbage(at, garbage) => {
            let range = range(*at, garbage.len());
            let taken = range.len();
            bytes[range].copy_from_slice(&garbage[..taken]);
        }
        Mangling::Copy(from, to, most) => {
            let (from, to) = (within(*from), within(*to));
            let count = (*most).min(length - from).min(length - to);
            bytes.copy_within(from..from + count, to);
        }
        Mangling::Insert(at, inserted) => {
            let at = within(*at);
            bytes.splice(at..at, inserted.iter().copied());
        }
        Mangling::Remove(at, most) => drop(bytes.drain(range(*at, *most))),
    }
}

/// A disk with a log over several segments, closed or left as a power cut leaves it, and its events.
fn written(closed: bool) -> (SimulatedDisk, Vec<RecordedEvent>) {
    let disk = SimulatedDisk::new(3);
    let log = open_with(&disk, small()).unwrap();
    let events = block_on(async {
        for id in 1..=40 {
            log.append(append(["a", "b", "c"][id % 3], id as u128, vec![2; id * 17]))
                .await
                .unwrap();
        }
        read(&log, ReadQuery::all()).await.unwrap()
    });
    log.close();
    (if closed { disk } else { disk.crash(Survival::Everything) }, events)
}

fn check(disk: &SimulatedDisk, events: &[RecordedEvent], closed: bool) -> Result<(), String> {
    let verified = verify(Arc::new(disk.clone()), Path::new(FOLDER), (0, u64::MAX), |_, _| {});
    let sound = matches!(&verified, Ok(found) if found.damages.is_empty());
    let log = match open_with(disk, small()) {
        Ok(log) => log,
        Err(OpenError::Damage(_)) if !sound => return Ok(()),
        Err(error) => return Err(format!("{error:?}, verified: {verified:?}")),
    };
    let tag = Filter { query: EventQuery::tagged(["none".to_owned()]), ..Filter::default() };
    let of_stream = |name: &'static str| {
        (
            ReadQuery::stream(stream(name)),
            events.iter().filter(|event| event.stream.as_str() == name).cloned().collect(),
        )
    };
    let reads: [(ReadQuery, Vec<_>); 6] = [
        (ReadQuery::all(), events.to_vec()),
        (ReadQuery::all().backwards(), events.iter().rev().cloned().collect()),
        (ReadQuery::all().filtered(tag), Vec::new()),
        of_stream("a"),
        of_stream("b"),
        of_stream("c"),
    ];
    for (query, expected) in reads {
        match block_on(read(&log, query.clone())) {
            Ok(found) if found == expected => {}
            // Nothing says how far a log reached that was not closed, but for its last batches.
            Ok(found) if !closed && expected.starts_with(&found) => {}
            Ok(found) if !closed && expected.ends_with(&found) => {}
            Err(ReadError::Damage { .. }) if !sound => {}
            Ok(found) => {
                let positions: Vec<_> = found.iter().map(|event| event.position.0).collect();
                return Err(format!("{query:?}: {positions:?}, verified: {verified:?}"));
            }
            Err(error) => return Err(format!("{query:?}: {error:?}, verified: {verified:?}")),
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(config())]
    #[test]
    fn mangled_files_serve_nothing_else(
        closed in any::<bool>(),
        manglings in prop::collection::vec((0_usize..16, any_mangling()), 1..4),
    ) {
        let (disk, events) = written(closed);
        let paths = disk.paths();
        for (file, mangling) in &manglings {
            let path = &paths[file % paths.len()];
            let mut bytes = disk.contents(path).unwrap();
            mangle(&mut bytes, mangling);
            disk.replace(path, bytes);
        }
        if let Err(wrong) = check(&disk, &events, closed) {
            return Err(TestCaseError::fail(wrong));
        }
    }
}
