//! The simulated disk, with a turn for other threads before each operation: a schedule can go on elsewhere between any two,
//! and so while a sync is under way.

use std::io;
use std::path::Path;
use std::sync::Arc;

use annals_core::disk::{Disk, DiskFile, DiskLock, SimulatedDisk};

use crate::log::sync::turn;

/// A simulated disk under a schedule.
pub(super) struct ScheduledDisk(pub(super) SimulatedDisk);

struct ScheduledFile(Arc<dyn DiskFile>);

impl Disk for ScheduledDisk {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        turn();
        self.0.create_directory(path)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        turn();
        Ok(Arc::new(ScheduledFile(self.0.create(path)?)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        turn();
        Ok(Arc::new(ScheduledFile(self.0.open(path)?)))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        turn();
        self.0.list(directory)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        turn();
        self.0.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        turn();
        self.0.remove(path)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        turn();
        self.0.sync_directory(directory)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        turn();
        self.0.lock(path)
    }
}

impl DiskFile for ScheduledFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        turn();
        self.0.read_at(buffer, offset)
    }

    fn write_parts_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        turn();
        self.0.write_parts_at(parts, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        turn();
        self.0.sync_data()
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        turn();
        self.0.allocate(length)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        turn();
        self.0.set_length(length)
    }

    fn length(&self) -> io::Result<u64> {
        turn();
        self.0.length()
    }

    fn forget_cache(&self) -> io::Result<()> {
        turn();
        self.0.forget_cache()
    }
}
