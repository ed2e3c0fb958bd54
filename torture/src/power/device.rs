//! A block device's file, served through FUSE from memory, that records every write and every flush in order. It never
//! touches a file itself, so nothing that waits for it can be waited for by it.
//!
//! Which acknowledgements came before an operation is exact: they are taken from the pipe of whoever appends before the
//! operation is recorded, by the one thread that serves.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::process::ChildStdout;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use annals_core::random::SeededRandom;
use annals_torture::appends::Acknowledged;
use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, Generation, INodeNo, LockOwner, OpenFlags,
    ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyWrite, Request, WriteFlags,
};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use parking_lot::{Condvar, Mutex};

use super::recording::{Operation, Recording, SECTOR_BYTES, Told};

/// The name of the one file.
pub(crate) const FILE: &str = "disk";
const FILE_NUMBER: INodeNo = INodeNo(2);
/// A flush takes up to this long, so that whoever does not wait for it is caught.
const FLUSH_MICROS_MAX: u64 = 2000;
/// Nothing changes behind the kernel's back.
const FOR_EVER: Duration = Duration::from_hours(1);

/// The pipe on which appends are acknowledged, and a line of it that is not whole yet.
#[derive(Debug)]
struct Pipe {
    file: File,
    begun: Vec<u8>,
}

impl Pipe {
    /// What stands in the pipe now; does not wait for more.
    fn take(&mut self) -> io::Result<Vec<Acknowledged>> {
        match self.file.read_to_end(&mut self.begun) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            _ => {}
        }
        let whole = self.begun.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let lines: Vec<u8> = self.begun.drain(..whole).collect();
        let text = String::from_utf8_lossy(&lines);
        Ok(text.lines().filter_map(Acknowledged::parse).collect())
    }
}

#[derive(Debug)]
struct State {
    image: Vec<u8>,
    operations: Vec<Operation>,
    written: usize,
    told: Vec<Told>,
    pipe: Option<Pipe>,
}

impl State {
    fn listen(&mut self) -> io::Result<()> {
        let after = self.operations.len();
        let Some(pipe) = &mut self.pipe else { return Ok(()) };
        let told = pipe.take()?.into_iter().map(|acknowledged| Told { acknowledged, after });
        self.told.extend(told);
        Ok(())
    }

    fn record(&mut self, operation: Operation) -> io::Result<()> {
        self.listen()?;
        self.operations.push(operation);
        Ok(())
    }
}

/// A device under recording; clones are the same device.
#[derive(Clone, Debug)]
pub(crate) struct Device {
    base: Arc<[u8]>,
    state: Arc<Mutex<State>>,
    grown: Arc<Condvar>,
    random: SeededRandom,
    /// Flushes are answered and not done from the first acknowledgement on.
    lies: bool,
}

impl Device {
    pub(crate) fn new(base: &[u8], seed: u64, lies: bool) -> Device {
        let state = State {
            image: base.to_vec(),
            operations: Vec::new(),
            written: 0,
            told: Vec::new(),
            pipe: None,
        };
        Device {
            base: Arc::from(base),
            state: Arc::new(Mutex::new(state)),
            grown: Arc::new(Condvar::new()),
            random: SeededRandom::new(seed),
            lies,
        }
    }

    /// Takes acknowledgements from `pipe` from now on.
    pub(crate) fn listen_to(&self, pipe: ChildStdout) -> io::Result<()> {
        let pipe = OwnedFd::from(pipe);
        fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        self.state.lock().pipe = Some(Pipe { file: File::from(pipe), begun: Vec::new() });
        Ok(())
    }

    /// Waits until so many more operations were done, or so many bytes written, or until the time is over.
    pub(crate) fn wait(&self, operations: usize, bytes: usize, longest: Duration) {
        let until = Instant::now() + longest;
        let mut state = self.state.lock();
        let (operations, bytes) = (state.operations.len() + operations, state.written + bytes);
        while state.operations.len() < operations && state.written < bytes {
            if self.grown.wait_until(&mut state, until).timed_out() {
                return;
            }
        }
    }

    /// What was recorded. Nothing is recorded after it.
    pub(crate) fn recording(self) -> io::Result<Recording> {
        let mut state = self.state.lock();
        state.listen()?;
        Ok(Recording {
            base: self.base.to_vec(),
            operations: std::mem::take(&mut state.operations),
            told: std::mem::take(&mut state.told),
        })
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock();
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let space = state.image.get_mut(offset..offset + bytes.len());
        space.ok_or(io::ErrorKind::StorageFull)?.copy_from_slice(bytes);
        state.written += bytes.len();
        state.record(Operation::Write { offset, bytes: Box::from(bytes) })?;
        self.grown.notify_all();
        Ok(())
    }

    fn flush_all(&self) -> io::Result<()> {
        take_time(Duration::from_micros(self.random.below(FLUSH_MICROS_MAX)));
        let mut state = self.state.lock();
        state.listen()?;
        if !self.lies || state.told.is_empty() {
            state.record(Operation::Flush)?;
        }
        self.grown.notify_all();
        Ok(())
    }

    fn attributes(&self, number: INodeNo) -> FileAttr {
        let is_file = number == FILE_NUMBER;
        let size = if is_file { self.base.len() as u64 } else { 0 };
        FileAttr {
            ino: number,
            size,
            blocks: size / SECTOR_BYTES as u64,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if is_file { FileType::RegularFile } else { FileType::Directory },
            perm: if is_file { 0o600 } else { 0o700 },
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "a real device takes its time, whatever the clock says"
)]
fn take_time(time: Duration) {
    std::thread::sleep(time);
}

impl Filesystem for Device {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if parent == INodeNo::ROOT && name == FILE {
            reply.entry(&FOR_EVER, &self.attributes(FILE_NUMBER), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&FOR_EVER, &self.attributes(number));
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let state = self.state.lock();
        let length = state.image.len();
        let start = usize::try_from(offset).map_or(length, |offset| offset.min(length));
        reply.data(&state.image[start..(start + size as usize).min(length)]);
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        bytes: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match (self.write_at(offset, bytes), u32::try_from(bytes.len())) {
            (Ok(()), Ok(length)) => reply.written(length),
            _ => reply.error(Errno::EIO),
        }
    }

    /// Called when a descriptor is closed: nothing to do, and no flush of the device.
    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        match self.flush_all() {
            Ok(()) => reply.ok(),
            Err(_) => reply.error(Errno::EIO),
        }
    }
}
