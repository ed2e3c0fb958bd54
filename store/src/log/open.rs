//! Opens or makes the folder of a log: lock, identity, checkpoint, segments, and then the threads.

use std::io;
use std::path::Path;
use std::sync::Arc;

use annals_core::disk::{Disk, DiskFile, DiskLock};
use annals_core::{Clock, Random, StoreIdentity};

use super::checkpoints::Checkpoints;
use super::encoder::Encoder;
use super::error::{Damage, Flaw, OpenError, at};
use super::format::checkpoint::{CHECKPOINT_BYTES, Checkpoint};
use super::format::header::SegmentHeader;
use super::format::identity;
use super::index::{Index, RecentIds};
use super::live::Live;
use super::open_files::{FileName, OpenFiles};
use super::options::LogOptions;
use super::preparer::{Job, Preparer};
use super::queue::Queue;
use super::recovery::{Recovered, read_header, recover};
use super::segments::Segments;
use super::shared::{Durable, Shared, costly_places};
use super::sync::{Mutex, thread, watch};
use super::tail::Tail;
use super::tree::Tree;
use super::writer::{Writer, encode_beside};
use super::{Log, Running};

pub(crate) const LOCK: &str = "lock";
pub(crate) const IDENTITY: &str = "identity";
const IDENTITY_NEW: &str = "identity.new";
pub(crate) const CHECKPOINT: &str = "checkpoint";

/// Opens a log; see [`Log::open`].
pub(crate) fn open(
    disk: Arc<dyn Disk>,
    directory: &Path,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    options: LogOptions,
) -> Result<Log, OpenError> {
    options.check()?;
    disk.create_directory(directory).map_err(at("making", directory))?;
    let lock = take_lock(&*disk, directory)?;
    // A process that ended before its own sync may have left names that a power cut would take
    // back.
    if !options.sabotage().skip_sync_at_open {
        disk.sync_directory(directory).map_err(at("syncing", directory))?;
    }
    let names = disk.list(directory).map_err(at("listing", directory))?;
    let identity = if names.iter().any(|name| name == IDENTITY) {
        read_identity(&*disk, directory)?
    } else {
        make(&*disk, directory, &names, &*clock, &*random)?
    };
    let (checkpoint, checkpoint_file) = read_checkpoint(&*disk, directory, identity)?;
    let files = Arc::new(OpenFiles::new(Arc::clone(&disk), directory));
    let segments = Arc::new(Segments::new(Arc::clone(&files), options.sabotage().skip_checksum));
    let sabotage = options.sabotage();
    let index = Index::new(identity.id, Arc::clone(&files), Arc::clone(&segments), sabotage);
    let index = Arc::new(index);
    let headers = read_headers(&files, &names, identity)?;
    for header in &headers {
        segments.push(header);
    }
    let recovered = recover(&segments, &files, &headers, &index, checkpoint, sabotage)?;
    let tree =
        Tree::new(identity.id, Arc::clone(&files), Arc::clone(&segments), Arc::clone(&index));
    let active = headers.last().map_or(0, |header| header.first_position);
    tree.begin(active, &recovered.leaves);
    let mut recent = RecentIds::new(options.remembered_ids);
    for ids in index.newest_ids(options.remembered_ids)?.chunks(256) {
        recent.fetch(ids.iter().copied());
        for id in ids {
            recent.meet(*id);
        }
        recent.stored(ids.len());
    }
    let checkpoint_path = directory.join(CHECKPOINT);
    let durable = Durable { end: recovered.end, events: recovered.events, closed: false };
    let shared = Arc::new(Shared {
        disk,
        directory: directory.to_owned(),
        clock,
        random,
        identity,
        files,
        segments,
        index,
        tree,
        tail: Tail::new(options.tail_bytes_max),
        queue: Queue::new(options.queue_appends_max, options.queue_bytes_max),
        preparer: Preparer::new(),
        checkpoints: Checkpoints::new(checkpoint_path, checkpoint_file, checkpoint),
        durable: watch::Sender::new(durable),
        live: Live::new(),
        poisoned: tokio::sync::watch::Sender::new(None),
        costly: costly_places(),
        options,
    });
    // What is missing of index files and tree is made in the background.
    shared.preparer.push(Job::Index(active));
    start(shared, recovered, recent, lock)
}

/// Takes a log's folder for this process.
pub(crate) fn take_lock(disk: &dyn Disk, directory: &Path) -> Result<Box<dyn DiskLock>, OpenError> {
    disk.lock(&directory.join(LOCK)).map_err(|error| {
        if error.kind() == io::ErrorKind::WouldBlock {
            return OpenError::Locked { directory: directory.to_owned() };
        }
        at("locking", directory)(error)
    })
}

/// What the files of a log say of themselves.
pub(crate) struct Existing {
    pub(crate) identity: StoreIdentity,
    pub(crate) checkpoint: Option<Checkpoint>,
    pub(crate) headers: Vec<SegmentHeader>,
}

/// Reads the identity, the checkpoint and the headers of a log that is there.
pub(crate) fn existing(files: &OpenFiles, directory: &Path) -> Result<Existing, OpenError> {
    let (names, identity, checkpoint) = small_files(&*files.disk, directory)?;
    let headers = read_headers(files, &names, identity)?;
    Ok(Existing { identity, checkpoint, headers })
}

/// Reads the names in the folder of a log that is there, its identity and its checkpoint.
pub(crate) fn small_files(
    disk: &dyn Disk,
    directory: &Path,
) -> Result<(Vec<String>, StoreIdentity, Option<Checkpoint>), OpenError> {
    let names = disk.list(directory).map_err(at("listing", directory))?;
    if !names.iter().any(|name| name == IDENTITY || segment_number(name).is_some()) {
        return Err(OpenError::NoLog { directory: directory.to_owned() });
    }
    let identity = read_identity(disk, directory)?;
    let (checkpoint, _) = read_checkpoint(disk, directory, identity)?;
    Ok((names, identity, checkpoint))
}

fn start(
    shared: Arc<Shared>,
    recovered: Recovered,
    recent: RecentIds,
    lock: Box<dyn DiskLock>,
) -> Result<Log, OpenError> {
    let encoder = Arc::new(Mutex::new(Encoder::new(Arc::clone(&shared), &recovered, recent)));
    let writer =
        Writer::new(Arc::clone(&shared), Arc::clone(&encoder), recovered.file, recovered.chain);
    let directory = shared.directory.clone();
    let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(run)
            .map_err(at("starting a thread for", &directory))
    };
    let beside = Arc::clone(&shared);
    let prepare = Arc::clone(&shared);
    let live = Arc::clone(&shared);
    let running = Running {
        preparer: spawn(
            "log-prepare",
            Box::new(move || {
                prepare.preparer.run(&prepare);
            }),
        )?,
        live: spawn("log-live", Box::new(move || live.live.run(&live)))?,
        encoder: spawn("log-encode", Box::new(move || encode_beside(&beside, &encoder)))?,
        writer: spawn("log-write", Box::new(move || writer.run()))?,
        lock,
    };
    Ok(Log { shared, running: Mutex::new(Some(running)) })
}

fn read_all(file: &dyn DiskFile, path: &Path) -> Result<Vec<u8>, OpenError> {
    let length = file.length().map_err(at("reading", path))?;
    let mut bytes = vec![0; usize::try_from(length.min(1 << 20)).unwrap_or(0)];
    let read = file.read_at(&mut bytes, 0).map_err(at("reading", path))?;
    bytes.truncate(read);
    Ok(bytes)
}

fn read_identity(disk: &dyn Disk, directory: &Path) -> Result<StoreIdentity, OpenError> {
    let path = directory.join(IDENTITY);
    let damage = |flaw| Damage { file: path.clone(), offset: 0, position: None, flaw };
    let file = match disk.open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(damage(Flaw::Missing).into());
        }
        opened => opened.map_err(at("opening", &path))?,
    };
    let bytes = read_all(&*file, &path)?;
    identity::decode(&bytes).map_err(|flaw| damage(flaw).into())
}

/// Makes a new log. Its identity is written last: without it, the folder holds no log yet.
fn make(
    disk: &dyn Disk,
    directory: &Path,
    names: &[String],
    clock: &dyn Clock,
    random: &dyn Random,
) -> Result<StoreIdentity, OpenError> {
    if names.iter().any(|name| segment_number(name).is_some()) {
        let (file, flaw) = (directory.join(IDENTITY), Flaw::Missing);
        return Err(Damage { file, offset: 0, position: None, flaw }.into());
    }
    let now = clock.now();
    let identity = StoreIdentity { id: random.uuid_v7(now), epoch: 1 };
    let path = directory.join(CHECKPOINT);
    let file = fresh(disk, &path, names)?;
    file.write_at(&[0; CHECKPOINT_BYTES], 0)
        .and_then(|()| file.sync_data())
        .map_err(at("writing", &path))?;
    let path = directory.join(IDENTITY_NEW);
    let file = fresh(disk, &path, names)?;
    file.write_at(&identity::encode(identity, now), 0)
        .and_then(|()| file.sync_data())
        .map_err(at("writing", &path))?;
    disk.rename(&path, &directory.join(IDENTITY)).map_err(at("renaming", &path))?;
    disk.sync_directory(directory).map_err(at("syncing", directory))?;
    if let Some(parent) = directory.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        disk.sync_directory(parent).map_err(at("syncing", parent))?;
    }
    Ok(identity)
}

/// Makes a file, in place of one that an interrupted start left.
fn fresh(disk: &dyn Disk, path: &Path, names: &[String]) -> Result<Arc<dyn DiskFile>, OpenError> {
    let left = names.iter().any(|name| path.file_name().is_some_and(|file| file == name.as_str()));
    if left {
        disk.remove(path).map_err(at("removing", path))?;
    }
    disk.create(path).map_err(at("making", path))
}

fn read_checkpoint(
    disk: &dyn Disk,
    directory: &Path,
    identity: StoreIdentity,
) -> Result<(Option<Checkpoint>, Arc<dyn DiskFile>), OpenError> {
    let path = directory.join(CHECKPOINT);
    let damage = |flaw| Damage { file: path.clone(), offset: 0, position: None, flaw };
    let file = match disk.open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(damage(Flaw::Missing).into());
        }
        opened => opened.map_err(at("opening", &path))?,
    };
    let bytes = read_all(&*file, &path)?;
    let checkpoint = Checkpoint::decode(&bytes);
    if checkpoint.is_some_and(|checkpoint| checkpoint.store != identity.id) {
        return Err(damage(Flaw::Foreign).into());
    }
    // A torn write spoils one slot only, and there is a second one from the second write on.
    let written = bytes.iter().any(|byte| *byte != 0);
    if bytes.len() != CHECKPOINT_BYTES || (checkpoint.is_none() && both_slots(&bytes) && written) {
        return Err(damage(Flaw::Checksum).into());
    }
    Ok((checkpoint, file))
}

/// Whether something was written to each slot.
fn both_slots(bytes: &[u8]) -> bool {
    let halves = bytes.split_at(bytes.len() / 2);
    [halves.0, halves.1].iter().all(|half| half.iter().any(|byte| *byte != 0))
}

fn read_headers(
    files: &OpenFiles,
    names: &[String],
    identity: StoreIdentity,
) -> Result<Vec<SegmentHeader>, OpenError> {
    let mut headers = Vec::new();
    for (before, number) in (0_u32..).zip(names.iter().filter_map(|name| segment_number(name))) {
        if number != before + 1 {
            let (file, flaw) = (files.path(FileName::Segment(before + 1)), Flaw::Missing);
            return Err(Damage { file, offset: 0, position: None, flaw }.into());
        }
        let header = read_header(files, number, identity.id)?;
        if header.epoch > identity.epoch {
            let (file, flaw) = (files.path(FileName::Segment(number)), Flaw::Foreign);
            return Err(Damage { file, offset: 0, position: None, flaw }.into());
        }
        headers.push(header);
    }
    Ok(headers)
}

/// The number of the segment with that file name.
pub(crate) fn segment_number(name: &str) -> Option<u32> {
    match FileName::parse(name)? {
        FileName::Segment(number) => Some(number),
        FileName::Index(_) | FileName::Tree => None,
    }
}
