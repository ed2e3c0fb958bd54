//! Reads a closed log whole and tells what is wrong with it, without changing anything: every frame, the hash chain,
//! and whether each index file is what its segment makes of it.

mod segment;
mod tree;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use annals_core::StoreIdentity;
use annals_core::disk::Disk;

use super::error::{Damage, Flaw, OpenError};
use super::open::{existing, take_lock};
use super::open_files::{FileName, OpenFiles};
use segment::{Checked, Room, check};
use tree::TreeCheck;

/// What a verification found.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    /// Which store.
    pub identity: StoreIdentity,
    /// Segments read.
    pub segments: u64,
    /// Events in them.
    pub events: u64,
    /// The position behind the last of them.
    pub end: u64,
    /// Bytes read, of segments and index files.
    pub bytes: u64,
    /// The hash chain at the end of what was read, where that is sound.
    pub chain: Option<[u8; 32]>,
    /// The root of the Merkle tree over all events, where all were read and are sound.
    pub tree_root: Option<[u8; 32]>,
    /// What is damaged, in the order of the log; what depends on it is left out.
    pub damages: Vec<Damage>,
    /// Where a write was cut off, which is cut off when the log is opened: no event in it was acknowledged.
    pub torn_tail: Option<Damage>,
    /// Index files that are missing or not what their segments make of them, and the file of the tree where an entry is not
    /// the hash of its events. They are made again when the log is opened, or when they are needed.
    pub stale_indexes: Vec<PathBuf>,
}

/// Reads the segments that hold positions from `first` to `last` (inclusive) and verifies them, with as many threads as
/// may run at once; `on_bytes` hears how many bytes have been read, of how many.
///
/// # Errors
/// [`OpenError`], where there is no log, or not even its beginning can be read.
pub fn verify(
    disk: Arc<dyn Disk>,
    directory: &Path,
    (first, last): (u64, u64),
    on_bytes: impl FnMut(u64, u64),
) -> Result<Verified, OpenError> {
    let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    verify_with(threads, disk, directory, (first, last), on_bytes)
}

/// Verifies as [`verify`] does, with so many threads at most, one at least.
///
/// # Errors
/// Those of [`verify`].
pub fn verify_with(
    threads: usize,
    disk: Arc<dyn Disk>,
    directory: &Path,
    (first, last): (u64, u64),
    mut on_bytes: impl FnMut(u64, u64),
) -> Result<Verified, OpenError> {
    let _lock = take_lock(&*disk, directory)?;
    let files = Arc::new(OpenFiles::new(disk, directory));
    let found = existing(&files, directory)?;
    let headers = &found.headers;
    let mut verified = Verified::nothing(found.identity);
    let wanted = |number: usize| {
        let begins = headers[number].first_position;
        let ends = headers.get(number + 1).map_or(u64::MAX, |next| next.first_position);
        begins <= last && ends > first
    };
    let size = |number: usize| match headers.get(number + 1) {
        Some(next) => u64::from(next.previous_end),
        None => files
            .get(FileName::Segment(headers[number].segment))
            .and_then(|f| f.length())
            .unwrap_or(0),
    };
    // Without any segment nothing below would ask how far the log reached.
    let reached = found.checkpoint.is_some_and(|known| known.end.segment > 0 || known.events > 0);
    if headers.is_empty() && reached {
        let file = files.path(FileName::Segment(1));
        verified.damages.push(Damage { file, offset: 0, position: Some(0), flaw: Flaw::Missing });
    }
    let chosen: Vec<_> = (0..headers.len()).filter(|number| wanted(*number)).collect();
    let sizes: Vec<_> = chosen.iter().map(|number| size(*number)).collect();
    let (total, mut read) = (sizes.iter().sum(), 0);
    let checked = in_lanes(
        threads.clamp(1, chosen.len().max(1)),
        chosen.len(),
        || Room::new(found.identity.id),
        |room, place| {
            let number = chosen[place];
            check(&files, &headers[number], headers.get(number + 1), found.checkpoint, room)
        },
        |place| {
            read += sizes[place];
            on_bytes(read, total);
        },
    );
    let mut tree = TreeCheck::default();
    for (outcome, size) in checked.into_iter().zip(sizes) {
        verified.segments += 1;
        verified.bytes += size;
        verified.chain = None;
        match outcome {
            Ok(checked) => verified.take(checked, &mut tree),
            Err(OpenError::Damage(damage)) => verified.damages.push(damage),
            Err(error) => return Err(error),
        }
    }
    if (first, last) == (0, u64::MAX) && verified.damages.is_empty() {
        let sealed = headers.last().map_or(0, |header| header.first_position);
        if !tree.is_stored(&files, found.identity, sealed)? {
            verified.stale_indexes.push(files.path(FileName::Tree));
        }
        verified.tree_root = Some(tree.root());
    }
    Ok(verified)
}

impl Verified {
    /// Before anything was read.
    fn nothing(identity: StoreIdentity) -> Verified {
        Verified {
            identity,
            segments: 0,
            events: 0,
            end: 0,
            bytes: 0,
            chain: None,
            tree_root: None,
            damages: Vec::new(),
            torn_tail: None,
            stale_indexes: Vec::new(),
        }
    }

    /// Takes the next segment, which is sound.
    fn take(&mut self, checked: Checked, tree: &mut TreeCheck) {
        self.events += checked.events;
        self.end = checked.end;
        self.bytes += checked.index_bytes;
        self.chain = Some(checked.chain);
        self.torn_tail = checked.tail;
        self.stale_indexes.extend(checked.stale_index);
        tree.add(checked.tree);
    }
}

/// Checks `count` segments, each on its own, in that many threads; answers what each came to, in their order. `on_done` hears
/// of each as it is done. Behind a fault of the disk no other is begun.
fn in_lanes(
    threads: usize,
    count: usize,
    room: impl Fn() -> Room + Sync,
    check: impl Fn(&mut Room, usize) -> Result<Checked, OpenError> + Sync,
    mut on_done: impl FnMut(usize),
) -> Vec<Result<Checked, OpenError>> {
    let next = AtomicUsize::new(0);
    let (done, outcomes) = std::sync::mpsc::channel();
    let lane = |done: std::sync::mpsc::Sender<_>| {
        let mut room = room();
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            if place >= count {
                break;
            }
            let outcome = check(&mut room, place);
            if matches!(&outcome, Err(error) if !matches!(error, OpenError::Damage(_))) {
                next.store(count, Ordering::Relaxed);
            }
            if done.send((place, outcome)).is_err() {
                break;
            }
        }
    };
    let mut found: Vec<_> = (0..count).map(|_| None).collect();
    thread::scope(|scope| {
        for _ in 0..threads {
            let done = done.clone();
            scope.spawn(|| lane(done));
        }
        drop(done);
        for (place, outcome) in outcomes {
            on_done(place);
            found[place] = Some(outcome);
        }
    });
    found.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use uuid::Uuid;

    fn damage(place: usize) -> OpenError {
        let offset = place as u64;
        Damage { file: PathBuf::new(), offset, position: None, flaw: Flaw::Missing }.into()
    }

    /// Where the damages are that were found, in the order in which they are answered.
    fn places(found: Vec<Result<Checked, OpenError>>) -> Vec<Option<u64>> {
        let place = |outcome| match outcome {
            Err(OpenError::Damage(damage)) => Some(damage.offset),
            Ok(_) | Err(_) => None,
        };
        found.into_iter().map(place).collect()
    }

    #[test]
    fn outcomes_stand_in_the_order_of_the_segments() {
        let (done, heard) = std::sync::mpsc::channel();
        let heard = parking_lot::Mutex::new(heard);
        let mut order = Vec::new();
        let found = in_lanes(
            2,
            2,
            || Room::new(Uuid::nil()),
            |_, place| {
                if place == 0 {
                    heard.lock().recv().expect("the second one is done before");
                }
                Err(damage(place))
            },
            |place| {
                order.push(place);
                done.send(()).expect("it is waited for");
            },
        );
        assert_eq!((order, places(found)), (vec![1, 0], vec![Some(0), Some(1)]));
    }

    #[test]
    fn nothing_is_begun_behind_a_fault() {
        let fault = || OpenError::Disk {
            attempt: "reading",
            path: PathBuf::new(),
            source: io::Error::other("no"),
        };
        let check = |_: &mut Room, place| Err(if place == 1 { fault() } else { damage(place) });
        let found = in_lanes(1, 5, || Room::new(Uuid::nil()), check, |_| {});
        assert_eq!(places(found), [Some(0), None]);
    }
}
