//! A disk in memory that does what real ones may do: a power cut loses, tears (at 512-byte sectors)
//! and reorders what was not synced, operations fail, syncs fail and drop what they were to write,
//! space ends. Everything follows from the seed and the order of the calls. It can also be told to
//! lie about syncs, to show that a test would notice.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Disk, DiskFile, DiskLock};
use crate::random::SeededRandom;

/// What a device writes as a whole or not at all, in bytes.
const SECTOR_BYTES: u64 = 512;

/// A disk in memory; clones share it.
#[derive(Clone)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

/// How long an injected error lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// One operation fails.
    Once,
    /// That operation and all after it fail.
    Lasting,
}

/// What of the unsynced writes and names a power cut leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survival {
    /// Only what was synced.
    Nothing,
    /// All of it, as when only the process ends.
    Everything,
    /// Some sectors, and some names in order, as the seed has it.
    Random,
}

#[derive(Clone)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
struct State {
    random: SeededRandom,
    powered: bool,
    operations: u64,
    faults: BTreeMap<u64, Fault>,
    /// The file whose next sync fails.
    failing_sync: Option<usize>,
    lasting: bool,
    capacity: Option<u64>,
    sync_lies: bool,
    directory_sync_lies: bool,
    syncs: u64,
    directories: BTreeSet<PathBuf>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    pending_names: Vec<NameChange>,
    files: Vec<Contents>,
    locks: BTreeSet<PathBuf>,
}

#[derive(Clone)]
enum NameChange {
    Create(PathBuf, usize),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

/// A file as programs see it, as the device holds it, and what stands between the two.
#[derive(Clone, Default)]
struct Contents {
    seen: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Bytes(u64, Vec<u8>),
    Length(u64),
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("a simulated file fits in memory")
}

fn put(contents: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let start = index(offset);
    let end = start + bytes.len();
    if contents.len() < end {
        contents.resize(end, 0);
    }
    contents[start..end].copy_from_slice(bytes);
}

fn apply(contents: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Bytes(offset, bytes) => put(contents, *offset, bytes),
        Change::Length(length) => contents.resize(index(*length), 0),
    }
}

fn apply_name(names: &mut BTreeMap<PathBuf, usize>, change: &NameChange) {
    match change {
        NameChange::Create(path, file) => {
            names.insert(path.clone(), *file);
        }
        NameChange::Rename(from, to) => {
            if let Some(file) = names.remove(from) {
                names.insert(to.clone(), file);
            }
        }
        NameChange::Remove(path) => {
            names.remove(path);
        }
    }
}

impl Contents {
    /// The device takes some sectors of the pending writes, each with a chance of `permille` in
    /// 1000.
    fn settle(&mut self, random: &SeededRandom, permille: u64) {
        for change in std::mem::take(&mut self.pending) {
            let Change::Bytes(offset, bytes) = change else {
                if random.below(1000) < permille {
                    apply(&mut self.durable, &change);
                }
                continue;
            };
            let mut done = 0_usize;
            while done < bytes.len() {
                let at = offset + done as u64;
                let left = index(SECTOR_BYTES - at % SECTOR_BYTES).min(bytes.len() - done);
                if random.below(1000) < permille {
                    put(&mut self.durable, at, &bytes[done..done + left]);
                }
                done += left;
            }
        }
    }

    fn settle_all(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            apply(&mut self.durable, &change);
        }
    }
}

fn eio() -> io::Error {
    io::Error::from_raw_os_error(5)
}

impl State {
    /// Counts an operation; an error where one is to fail, or the power is off.
    fn step(&mut self) -> io::Result<()> {
        if !self.powered {
            return Err(io::Error::other("the simulated power is off"));
        }
        self.operations += 1;
        let fault = self.faults.get(&self.operations).copied();
        self.lasting |= fault == Some(Fault::Lasting);
        if self.lasting || fault.is_some() {
            return Err(eio());
        }
        Ok(())
    }

    fn room(&self, file: usize, length: u64) -> io::Result<()> {
        let grows = length.saturating_sub(self.files[file].seen.len() as u64);
        let used: u64 = self.files.iter().map(|file| file.seen.len() as u64).sum();
        if grows > 0 && self.capacity.is_some_and(|capacity| used + grows > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn change_name(&mut self, change: NameChange) {
        apply_name(&mut self.names, &change);
        self.pending_names.push(change);
        let linked: BTreeSet<_> =
            self.names.values().chain(self.durable_names.values()).copied().collect();
        for (number, file) in self.files.iter_mut().enumerate() {
            if !linked.contains(&number) {
                *file = Contents::default();
            }
        }
    }
}

impl SimulatedDisk {
    /// An empty disk whose faults follow from `seed`.
    pub fn new(seed: u64) -> SimulatedDisk {
        SimulatedDisk::with(State {
            random: SeededRandom::new(seed),
            powered: true,
            operations: 0,
            faults: BTreeMap::new(),
            failing_sync: None,
            lasting: false,
            capacity: None,
            sync_lies: false,
            directory_sync_lies: false,
            syncs: 0,
            directories: BTreeSet::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending_names: Vec::new(),
            files: Vec::new(),
            locks: BTreeSet::new(),
        })
    }

    fn with(state: State) -> SimulatedDisk {
        SimulatedDisk { state: Arc::new(Mutex::new(state)) }
    }

    /// How many operations were asked of it so far.
    pub fn operations(&self) -> u64 {
        self.state.lock().operations
    }

    /// How many syncs of files were asked of it so far.
    pub fn syncs(&self) -> u64 {
        self.state.lock().syncs
    }

    /// Lets the operation of that number (the first is 1) fail with an input/output error. A failed
    /// write leaves a part of it; a failed sync drops a part for ever, though reads go on to show
    /// it.
    pub fn fail_operation(&self, number: u64, fault: Fault) {
        self.state.lock().faults.insert(number, fault);
    }

    /// Lets the next sync of a file fail, whatever else goes on.
    ///
    /// # Panics
    /// Where there is no such file.
    pub fn fail_sync(&self, path: impl AsRef<Path>) {
        let mut state = self.state.lock();
        let file = state.names.get(path.as_ref()).copied();
        state.failing_sync = Some(file.expect("there is such a file"));
    }

    /// Lets no more errors happen.
    pub fn heal(&self) {
        let mut state = self.state.lock();
        state.faults.clear();
        state.lasting = false;
    }

    /// Limits the room to that many bytes; `None` for no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state.lock().capacity = bytes;
    }

    /// Sabotage: file syncs answer that all is well and do nothing.
    pub fn lie_about_syncs(&self, lie: bool) {
        self.state.lock().sync_lies = lie;
    }

    /// Sabotage: directory syncs answer that all is well and do nothing.
    pub fn lie_about_directory_syncs(&self, lie: bool) {
        self.state.lock().directory_sync_lies = lie;
    }

    /// Cuts the power: every handle of this disk fails from now on. Answers the disk as it is found
    /// afterwards.
    pub fn crash(&self, survival: Survival) -> SimulatedDisk {
        let mut old = self.state.lock();
        let mut state = old.clone();
        old.powered = false;
        drop(old);
        state.random = SeededRandom::new(crate::Random::next_u64(&state.random));
        state.locks.clear();
        state.faults.clear();
        state.lasting = false;
        let random = state.random.clone();
        let kept = match survival {
            Survival::Nothing => 0,
            Survival::Everything => state.pending_names.len(),
            Survival::Random => {
                let names = state.pending_names.len() as u64;
                index(random.below(names + 1))
            }
        };
        for change in std::mem::take(&mut state.pending_names).iter().take(kept) {
            apply_name(&mut state.durable_names, change);
        }
        state.names = state.durable_names.clone();
        // Some cuts lose nearly everything, some nearly nothing.
        let permille = [20, 500, 980][index(random.below(3))];
        for file in &mut state.files {
            match survival {
                Survival::Nothing => file.pending.clear(),
                Survival::Everything => file.settle_all(),
                Survival::Random => file.settle(&random, permille),
            }
            file.seen = file.durable.clone();
        }
        SimulatedDisk::with(state)
    }

    /// Ends the process that uses the disk: every handle fails from now on. Answers the disk as the
    /// next process finds it, with what was not synced still in the cache.
    pub fn kill(&self) -> SimulatedDisk {
        let after = self.fork();
        let mut state = after.state.lock();
        state.faults.clear();
        state.lasting = false;
        drop(state);
        self.state.lock().powered = false;
        after
    }

    /// A disk of its own with the same contents, synced and unsynced.
    pub fn fork(&self) -> SimulatedDisk {
        let mut state = self.state.lock().clone();
        state.random = SeededRandom::new(crate::Random::next_u64(&state.random));
        state.locks.clear();
        SimulatedDisk::with(state)
    }

    /// The paths of all files.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.state.lock().names.keys().cloned().collect()
    }

    /// What a file holds; nothing where there is none.
    pub fn contents(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        let state = self.state.lock();
        state.names.get(path.as_ref()).map(|file| state.files[*file].seen.clone())
    }

    /// Puts a file there, durably: how a test damages one.
    pub fn replace(&self, path: impl AsRef<Path>, contents: Vec<u8>) {
        let mut state = self.state.lock();
        let number = state.files.len();
        state.files.push(Contents {
            seen: contents.clone(),
            durable: contents,
            pending: Vec::new(),
        });
        state.names.insert(path.as_ref().to_owned(), number);
        state.durable_names.insert(path.as_ref().to_owned(), number);
    }

    fn file(&self, number: usize) -> Arc<dyn DiskFile> {
        Arc::new(SimulatedFile { state: Arc::clone(&self.state), number })
    }
}

impl Disk for SimulatedDisk {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.step()?;
        state.directories.extend(path.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        state.step()?;
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let number = state.files.len();
        state.files.push(Contents::default());
        state.change_name(NameChange::Create(path.to_owned(), number));
        drop(state);
        Ok(self.file(number))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        state.step()?;
        let number = *state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        drop(state);
        Ok(self.file(number))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let mut state = self.state.lock();
        state.step()?;
        let inside = state.names.keys().filter(|path| path.parent() == Some(directory));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.step()?;
        if !state.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change_name(NameChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.step()?;
        if !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change_name(NameChange::Remove(path.to_owned()));
        Ok(())
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.step()?;
        if state.directory_sync_lies {
            return Ok(());
        }
        // One folder is enough for this disk's users: all pending names are synced.
        if !state.directories.contains(directory) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let changes = std::mem::take(&mut state.pending_names);
        for change in &changes {
            apply_name(&mut state.durable_names, change);
        }
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let mut state = self.state.lock();
        state.step()?;
        if !state.locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(SimulatedLock { state: Arc::clone(&self.state), path: path.to_owned() }))
    }
}

struct SimulatedLock {
    state: Arc<Mutex<State>>,
    path: PathBuf,
}

impl DiskLock for SimulatedLock {}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        self.state.lock().locks.remove(&self.path);
    }
}

struct SimulatedFile {
    state: Arc<Mutex<State>>,
    number: usize,
}

impl DiskFile for SimulatedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.state.lock();
        state.step()?;
        let seen = &state.files[self.number].seen;
        let start = index(offset).min(seen.len());
        let length = buffer.len().min(seen.len() - start);
        buffer[..length].copy_from_slice(&seen[start..start + length]);
        Ok(length)
    }

    fn write_parts_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        let bytes = parts.concat();
        let mut state = self.state.lock();
        let result = state.step();
        if !state.powered {
            return result;
        }
        let kept = match &result {
            Ok(()) => bytes.len(),
            Err(_) => index(state.random.below(bytes.len() as u64 + 1)),
        };
        state.room(self.number, offset + kept as u64)?;
        let file = &mut state.files[self.number];
        put(&mut file.seen, offset, &bytes[..kept]);
        file.pending.push(Change::Bytes(offset, bytes[..kept].to_vec()));
        result
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        let failing = state.failing_sync.take_if(|file| *file == self.number).is_some();
        let result = state.step().and_then(|()| if failing { Err(eio()) } else { Ok(()) });
        if !state.powered {
            return result;
        }
        state.syncs += 1;
        let (lies, random) = (state.sync_lies, state.random.clone());
        let file = &mut state.files[self.number];
        match &result {
            Ok(()) if lies => {}
            Ok(()) => file.settle_all(),
            // What the device did not take is lost, though the cache goes on to show it.
            Err(_) => file.settle(&random, 500),
        }
        result
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        state.step()?;
        state.room(self.number, length)?;
        let file = &mut state.files[self.number];
        if length > file.seen.len() as u64 {
            file.seen.resize(index(length), 0);
            file.pending.push(Change::Length(length));
        }
        Ok(())
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        state.step()?;
        state.room(self.number, length)?;
        let file = &mut state.files[self.number];
        file.seen.resize(index(length), 0);
        file.pending.push(Change::Length(length));
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        let mut state = self.state.lock();
        state.step()?;
        Ok(state.files[self.number].seen.len() as u64)
    }

    fn forget_cache(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        state.step()?;
        let file = &mut state.files[self.number];
        file.seen = file.durable.clone();
        for change in &file.pending {
            apply(&mut file.seen, change);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
