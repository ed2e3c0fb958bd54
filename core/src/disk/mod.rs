//! The seam to the disk. What a file system promises, and no more: a write is durable after
//! [`DiskFile::sync_data`], a name after [`Disk::sync_directory`]; until then a power cut may take
//! back any part of it, in any order. The real disk and the simulated one, which does take it back,
//! are the two implementations.

mod real;
mod simulated;

use std::io;
use std::path::Path;
use std::sync::Arc;

pub use real::RealDisk;
pub use simulated::{Fault, SimulatedDisk, Survival};

/// A file system.
pub trait Disk: Send + Sync + 'static {
    /// Makes a folder and those above it; it may exist already.
    ///
    /// # Errors
    /// The file system's.
    fn create_directory(&self, path: &Path) -> io::Result<()>;

    /// Makes an empty file, for reading and writing.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] where the name is taken; else the file system's.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] where there is none; else the file system's.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// The names in a folder, sorted; folders are left out.
    ///
    /// # Errors
    /// The file system's.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;

    /// Gives a file another name, in place of a file that has it.
    ///
    /// # Errors
    /// The file system's.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// The file system's.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// The file system's; what was to be durable may or may not be so.
    fn sync_directory(&self, directory: &Path) -> io::Result<()>;

    /// Takes a file as a lock that no other process (or caller) holds; making it where it is
    /// missing. Dropping the answer lets go.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] where another holds it; else the file system's.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>>;
}

/// An open file. Several threads may use it at once.
pub trait DiskFile: Send + Sync + 'static {
    /// Reads at `offset` until the buffer is full or the file ends; answers the number of bytes
    /// read.
    ///
    /// # Errors
    /// The file system's.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`, beyond the end too.
    ///
    /// # Errors
    /// The file system's; any part may have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_parts_at(&[bytes], offset)
    }

    /// Writes all of `parts`, one behind the other, at `offset`: one write, as of one piece.
    ///
    /// # Errors
    /// The file system's; any part may have been written.
    fn write_parts_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()>;

    /// Makes the contents and the length durable.
    ///
    /// # Errors
    /// The file system's; what was to be durable may or may not be so, and repeating the call does
    /// not help.
    fn sync_data(&self) -> io::Result<()>;

    /// Reserves room for `length` bytes and sets the length to no less than that. The new bytes
    /// read as 0.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] where there is no room; else the file system's.
    fn allocate(&self, length: u64) -> io::Result<()>;

    /// Cuts the file off, or lengthens it by bytes that read as 0.
    ///
    /// # Errors
    /// The file system's.
    fn set_length(&self, length: u64) -> io::Result<()>;

    /// The length in bytes.
    ///
    /// # Errors
    /// The file system's.
    fn length(&self) -> io::Result<u64>;

    /// Lets go of cached contents that need no writing, so that the next read shows what the device
    /// holds: after a failed sync, the cache may show bytes that the device never took.
    ///
    /// # Errors
    /// The file system's.
    fn forget_cache(&self) -> io::Result<()>;
}

/// A lock that is held until it is dropped.
pub trait DiskLock: Send + Sync + 'static {}
