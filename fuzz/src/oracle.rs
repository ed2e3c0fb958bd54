//! What must be true of a log whose files were damaged: it serves what was written, or a prefix of it where nothing said
//! that more was durable, or it names the damage; and what it refuses to open it does not change.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use annals_core::disk::SimulatedDisk;
use annals_core::{EventQuery, EventStore, Filter, ReadError, ReadQuery, RecordedEvent};
use annals_store::log::{Verified, verify};
use annals_store::{Damage, Log, OpenError};

use crate::written::{FOLDER, STREAMS, Written, append, block_on, open, read, stream};

/// Every file with its contents, but for the lock, which has none.
pub fn files(disk: &SimulatedDisk) -> BTreeMap<PathBuf, Vec<u8>> {
    let paths = disk.paths().into_iter().filter(|path| !path.ends_with("lock"));
    paths.map(|path| (path.clone(), disk.contents(&path).expect("it is there"))).collect()
}

/// Whether the folder was left without anything that says a log was there. The spare segment is no part of it.
fn is_empty(disk: &SimulatedDisk) -> bool {
    let is_segment = |path: &Path| path.extension().is_some_and(|extension| extension == "segment");
    !disk.paths().iter().any(|path| {
        path.ends_with("identity") || (is_segment(path) && !path.ends_with("spare.segment"))
    })
}

/// Verifies the log in [`FOLDER`].
///
/// # Errors
/// Those of [`verify`].
pub fn verified(disk: &SimulatedDisk) -> Result<Verified, OpenError> {
    verify(Arc::new(disk.clone()), Path::new(FOLDER), (0, u64::MAX), |_, _| {})
}

/// The damage is said to be at a place that there may be.
fn is_placed(disk: &SimulatedDisk, damage: &Damage) {
    assert_eq!(damage.file.parent(), Some(Path::new(FOLDER)), "{damage}");
    if let Some(contents) = disk.contents(&damage.file) {
        assert!(damage.offset <= contents.len() as u64, "{damage}, of {} bytes", contents.len());
    }
}

/// Holds a damaged log against what was written.
///
/// # Panics
/// Where it does anything else than it may.
pub fn hold(disk: &SimulatedDisk, written: &Written) {
    if is_empty(disk) {
        return; // Nothing says that a log was here, and a new one may be made.
    }
    let before = files(disk);
    let verified = verified(disk);
    assert_eq!(files(disk), before, "a verification changes nothing");
    let damages = match &verified {
        Ok(found) => found.damages.clone(),
        Err(OpenError::Damage(damage)) => vec![damage.clone()],
        Err(error) => panic!("{error:?}"),
    };
    damages.iter().for_each(|damage| is_placed(disk, damage));
    let closed = says_its_end(disk, written);
    let log = match open(disk) {
        Ok(log) => log,
        Err(OpenError::Damage(damage)) => {
            is_placed(disk, &damage);
            assert!(!damages.is_empty(), "it verifies and does not open: {damage}");
            assert_eq!(files(disk), before, "a damaged log is not changed: {damage}");
            return;
        }
        Err(error) => panic!("{error:?}"),
    };
    serves(&log, written, (!damages.is_empty(), closed));
    if damages.is_empty() {
        goes_on(disk, log);
    }
}

/// Whether the files still say how far the closed log reached: the newest slot of its checkpoint is as it was written. The
/// only slot of a young log may have been torn when it was written first, and an older one says less.
fn says_its_end(disk: &SimulatedDisk, written: &Written) -> bool {
    let path = Path::new(FOLDER).join("checkpoint");
    let (before, now) = (written.disk.contents(&path), disk.contents(&path));
    let before = before.expect("a log has a checkpoint");
    let sequence = |slot: usize| before[slot + 32..slot + 40].iter().rev();
    let newest = if sequence(0).gt(sequence(4096)) { 0 } else { 4096 };
    let slot = newest..newest + 128;
    written.closed && now.is_some_and(|now| now.get(slot.clone()) == Some(&before[slot]))
}

/// Every read gives what was written, up to the same place, or names damage where there is some.
fn serves(log: &Log, written: &Written, (damaged, closed): (bool, bool)) {
    let reached = usize::try_from(log.stats().events).expect("a small log");
    let all = &written.events;
    assert!(reached <= all.len(), "{reached} events of {}", all.len());
    assert!(!closed || reached == all.len(), "a closed log lost its end: {reached}");
    let expected = &all[..reached];
    let of = |wanted: &dyn Fn(&RecordedEvent) -> bool| -> Vec<RecordedEvent> {
        expected.iter().filter(|event| wanted(event)).cloned().collect()
    };
    let tagged =
        |tag: &str| Filter { query: EventQuery::tagged([tag.to_owned()]), ..Filter::default() };
    let mut reads = vec![
        (ReadQuery::all(), expected.to_vec()),
        (ReadQuery::all().backwards(), expected.iter().rev().cloned().collect()),
        (ReadQuery::all().filtered(tagged("none")), Vec::new()),
        (
            ReadQuery::all().filtered(tagged("parity:1")),
            of(&|event| event.metadata().tags.contains("parity:1")),
        ),
    ];
    reads.extend(
        STREAMS.map(|name| {
            (ReadQuery::stream(stream(name)), of(&|event| event.stream.as_str() == name))
        }),
    );
    for (query, expected) in reads {
        match read(log, query.clone()) {
            Ok(found) => assert_eq!(found, expected, "{query:?}"),
            Err(ReadError::Damage { .. }) if damaged => {}
            Err(error) => panic!("{query:?}: {error:?}"),
        }
    }
    match log.tree_root(reached as u64) {
        Ok(root) => assert_eq!(root, written.roots[reached], "the root over {reached} events"),
        Err(ReadError::Damage { .. }) if damaged => {}
        Err(error) => panic!("the tree: {error:?}"),
    }
}

/// A sound log takes an append, and holds it and what was there before when it is opened again.
fn goes_on(disk: &SimulatedDisk, log: Arc<Log>) {
    let mut events = read(&*log, ReadQuery::all()).expect("it was sound");
    let append = append("account-A", 1_000_000, vec![7; 30]);
    block_on(log.append(append)).expect("a sound log takes appends");
    events.extend(read(&*log, ReadQuery::stream(stream("account-A"))).expect("sound").pop());
    drop(log);
    let log = open(disk).expect("a log that was closed opens");
    assert_eq!(read(&*log, ReadQuery::all()).expect("it is sound"), events);
}
