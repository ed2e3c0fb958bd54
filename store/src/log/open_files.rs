//! The few files of a log that are open at a time.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use annals_core::disk::{Disk, DiskFile};

/// How many files are open for reading at about most.
const OPEN_FILES_MAX: usize = 256;

/// A file of a log that is read again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum FileName {
    /// A segment.
    Segment(u32),
    /// The index of a sealed segment.
    Index(u32),
    /// The nodes of the Merkle tree.
    Tree,
}

impl FileName {
    /// The file with that name; nothing where it is no numbered one.
    pub(crate) fn parse(name: &str) -> Option<FileName> {
        let (digits, kind) = name.split_once('.')?;
        let number = digits.parse().ok()?;
        let file = match kind {
            "segment" => FileName::Segment(number),
            "index" => FileName::Index(number),
            _ => return None,
        };
        (file.to_string() == name).then_some(file)
    }
}

impl std::fmt::Display for FileName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FileName::Segment(number) => write!(f, "{number:08}.segment"),
            FileName::Index(number) => write!(f, "{number:08}.index"),
            FileName::Tree => f.write_str("tree"),
        }
    }
}

/// Opens files and keeps some of them open.
pub(crate) struct OpenFiles {
    pub(crate) disk: Arc<dyn Disk>,
    directory: PathBuf,
    open: quick_cache::sync::Cache<FileName, Arc<dyn DiskFile>>,
}

impl OpenFiles {
    pub(crate) fn new(disk: Arc<dyn Disk>, directory: &Path) -> OpenFiles {
        let open = quick_cache::sync::Cache::new(OPEN_FILES_MAX);
        OpenFiles { disk, directory: directory.to_owned(), open }
    }

    pub(crate) fn path(&self, name: FileName) -> PathBuf {
        self.directory.join(name.to_string())
    }

    /// The file, opened where it is not open.
    pub(crate) fn get(&self, name: FileName) -> io::Result<Arc<dyn DiskFile>> {
        if let Some(file) = self.open.get(&name) {
            return Ok(file);
        }
        let file = self.disk.open(&self.path(name))?;
        self.open.insert(name, Arc::clone(&file));
        Ok(file)
    }

    /// Keeps a file that is open already.
    pub(crate) fn keep(&self, name: FileName, file: Arc<dyn DiskFile>) {
        self.open.insert(name, file);
    }

    /// Lets go of a file: another one has its name now.
    pub(crate) fn forget(&self, name: FileName) {
        self.open.remove(&name);
    }

    /// Lets go of all files.
    pub(crate) fn close(&self) {
        self.open.clear();
    }
}
