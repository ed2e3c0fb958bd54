//! What the figures were taken on: the processor, the file system, what a durable write costs there. Figures without
//! these say nothing.

use std::fmt;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::statfs::{self, FsType, statfs};
use serde::Serialize;

use crate::BenchError;
use crate::figure::Latency;
use crate::log::EVENT_BYTES;

/// How many syncs are timed.
const SYNCS: usize = 1000;

/// The machine, as far as figures depend on it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    /// The processor's model.
    pub(crate) cpu: String,
    /// How many threads it runs at once.
    pub(crate) cores: usize,
    /// The kernel's release.
    pub(crate) kernel: String,
    /// The file system under the log.
    pub(crate) file_system: String,
    /// A write of 4 KiB to a growing file and `fdatasync`, in milliseconds.
    pub(crate) sync_ms: Latency,
    /// The payload of the events that are appended and read, in bytes.
    pub(crate) event_bytes: usize,
}

impl Machine {
    /// Looks at this machine and times syncs in `folder`.
    pub(crate) fn look(folder: &Path) -> Result<Machine, BenchError> {
        let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model =
            cpus.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Ok(Machine {
            cpu: model.unwrap_or("unknown").to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: kernel.trim().to_owned(),
            file_system: file_system(folder)?.0,
            sync_ms: sync_cost(folder)?,
            event_bytes: EVENT_BYTES,
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, {} cores, Linux {}", self.cpu, self.cores, self.kernel)?;
        writeln!(
            f,
            "{}, 4 KiB write and fdatasync: p50 {:.3} ms, p99 {:.3} ms",
            self.file_system, self.sync_ms.p50, self.sync_ms.p99
        )?;
        writeln!(f, "events with {} bytes of payload", self.event_bytes)
    }
}

/// The name of the file system under a folder, and whether it keeps what is written.
fn file_system(folder: &Path) -> Result<(String, bool), BenchError> {
    let looked = statfs(folder).map_err(|errno| {
        BenchError::of(format!("looking at {}", folder.display()))(errno.into())
    })?;
    let ramfs = FsType(0x8584_58f6);
    let known = [
        (statfs::TMPFS_MAGIC, "tmpfs", false),
        (ramfs, "ramfs", false),
        (statfs::EXT4_SUPER_MAGIC, "ext4", true),
        (statfs::XFS_SUPER_MAGIC, "xfs", true),
        (statfs::BTRFS_SUPER_MAGIC, "btrfs", true),
        (statfs::OVERLAYFS_SUPER_MAGIC, "overlayfs", true),
        (statfs::NFS_SUPER_MAGIC, "nfs", true),
    ];
    let kind = looked.filesystem_type();
    let found = known.into_iter().find(|(magic, _, _)| *magic == kind);
    Ok(found.map_or_else(
        || (format!("file system {:#x}", kind.0), true),
        |(_, name, keeps)| (name.to_owned(), keeps),
    ))
}

/// Refuses a folder whose file system is memory.
pub(crate) fn refuse_memory(folder: &Path) -> Result<(), BenchError> {
    match file_system(folder)? {
        (_, true) => Ok(()),
        (kind, false) => Err(BenchError::NotADisk { folder: folder.to_owned(), kind }),
    }
}

fn sync_cost(folder: &Path) -> Result<Latency, BenchError> {
    let path = folder.join("sync");
    let mut file = fs::File::create(&path).map_err(BenchError::of("making a file"))?;
    let block = [7_u8; 4096];
    let mut took = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let start = Instant::now();
        file.write_all(&block).map_err(BenchError::of("writing"))?;
        file.sync_data().map_err(BenchError::of("syncing"))?;
        took.push(start.elapsed());
    }
    fs::remove_file(&path).map_err(BenchError::of("deleting a file"))?;
    Ok(Latency::of(&mut took).unwrap_or(Latency { p50: 0.0, p99: 0.0 }))
}

/// How long a run goes on.
pub(crate) const RUN: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_refused_and_a_disk_is_not() {
        // Every Linux has one of these mounted; where it has not, there is nothing to refuse.
        let memory = Path::new("/dev/shm");
        if memory.is_dir() {
            let refused = refuse_memory(memory);
            assert!(matches!(refused, Err(BenchError::NotADisk { .. })), "{refused:?}");
        }
        assert!(refuse_memory(Path::new("/proc/self")).is_ok());
    }
}
