//! What goes wrong with a log, with its place.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use annals_core::{Family, ReadError};

/// Stored bytes that are not what was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// Where in it, in bytes.
    pub offset: u64,
    /// The first event that cannot be trusted; nothing where the file holds no events.
    pub position: Option<u64>,
    /// What is wrong there.
    pub flaw: Flaw,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (file, offset) = (self.file.display(), self.offset);
        write!(f, "{file} is damaged at offset {offset}")?;
        if let Some(position) = self.position {
            write!(f, ", from position {position} on")?;
        }
        write!(f, ": {}", self.flaw)
    }
}

/// What is wrong with stored bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// They do not begin as they must.
    #[error("the magic number is wrong")]
    Magic,
    /// This version cannot read them.
    #[error("the format is {0}, this version reads 1")]
    Format(u16),
    /// A kind of frame that this version does not know.
    #[error("the kind of frame {0} is unknown")]
    Kind(u8),
    /// A length that cannot be.
    #[error("the length is impossible")]
    Length,
    /// The checksum does not fit.
    #[error("the checksum does not fit")]
    Checksum,
    /// Bytes of another segment, epoch or batch.
    #[error("the bytes belong elsewhere")]
    Misplaced,
    /// A gap in positions or revisions.
    #[error("positions or revisions do not follow on each other")]
    Sequence,
    /// A hash that does not continue the chain.
    #[error("the hash chain is broken")]
    Chain,
    /// The bytes within a frame do not add up.
    #[error("the fields of the frame do not add up")]
    Fields,
    /// The file ends, or is blank, before it should.
    #[error("stored bytes are missing")]
    Missing,
    /// The file belongs to another store.
    #[error("the file belongs to another store")]
    Foreign,
}

/// Why a log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the folder.
    #[error("{} is in use by another process", directory.display())]
    Locked {
        /// The folder.
        directory: PathBuf,
    },
    /// There is no log.
    #[error("{} holds no log", directory.display())]
    NoLog {
        /// The folder.
        directory: PathBuf,
    },
    /// A fault of the disk.
    #[error("{attempt} {} failed", path.display())]
    Disk {
        /// What was being done.
        attempt: &'static str,
        /// To which file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Stored bytes are damaged; nothing was changed.
    #[error("the log cannot be opened")]
    Damage(#[from] Damage),
    /// The options are wrong.
    #[error("a segment of {given} bytes was asked for, {least} to {most} is possible")]
    SegmentSize {
        /// What was asked for, in bytes.
        given: u64,
        /// The least possible.
        least: u64,
        /// The most possible.
        most: u64,
    },
}

impl OpenError {
    /// The family of this error.
    pub fn family(&self) -> Family {
        match self {
            OpenError::Locked { .. } | OpenError::Disk { .. } => Family::Unavailable,
            OpenError::NoLog { .. } => Family::NotFound,
            OpenError::Damage(_) => Family::Damage,
            OpenError::SegmentSize { .. } => Family::Malformed,
        }
    }
}

/// Adds attempt and path to a disk's error.
pub(crate) fn at<'a>(
    attempt: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> OpenError + 'a {
    move |source| OpenError::Disk { attempt, path: path.to_owned(), source }
}

/// Why bytes could not be read from a segment.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScanError {
    /// They are damaged.
    #[error(transparent)]
    Damage(#[from] Damage),
    /// The disk failed.
    #[error("reading {} failed", path.display())]
    Disk {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

impl From<ScanError> for OpenError {
    fn from(error: ScanError) -> OpenError {
        match error {
            ScanError::Damage(damage) => OpenError::Damage(damage),
            ScanError::Disk { path, source } => {
                OpenError::Disk { attempt: "reading", path, source }
            }
        }
    }
}

impl From<ScanError> for ReadError {
    fn from(error: ScanError) -> ReadError {
        match error {
            ScanError::Damage(damage) => {
                let mut place = format!("{} at offset {}", damage.file.display(), damage.offset);
                if let Some(position) = damage.position {
                    place = format!("{place}, from position {position} on");
                }
                ReadError::Damage { place, reason: damage.flaw.to_string() }
            }
            ScanError::Disk { path, source } => ReadError::Fault {
                attempt: path.display().to_string(),
                source: std::sync::Arc::new(source),
            },
        }
    }
}
