//! What the parts of an open log share.

use std::path::PathBuf;
use std::sync::Arc;

use annals_core::disk::Disk;
use annals_core::{Clock, Random, StoreIdentity};
use tokio::sync::Semaphore;

use super::address::Address;
use super::checkpoints::Checkpoints;
use super::index::Index;
use super::live::Live;
use super::open_files::OpenFiles;
use super::options::LogOptions;
use super::preparer::Preparer;
use super::queue::Queue;
use super::segments::Segments;
use super::sync::watch;
use super::tail::Tail;
use super::tree::Tree;

/// How far the log is durable: readers never look beyond it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Durable {
    /// The end of the last durable batch.
    pub(crate) end: Address,
    /// How many events stand before it; they have the positions before this number.
    pub(crate) events: u64,
    /// Nothing more comes.
    pub(crate) closed: bool,
}

/// What the parts of an open log share.
pub(crate) struct Shared {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) directory: PathBuf,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) options: LogOptions,
    pub(crate) identity: StoreIdentity,
    pub(crate) files: Arc<OpenFiles>,
    pub(crate) segments: Arc<Segments>,
    pub(crate) index: Arc<Index>,
    pub(crate) tree: Tree,
    pub(crate) tail: Tail,
    pub(crate) queue: Queue,
    pub(crate) preparer: Preparer,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) durable: watch::Sender<Durable>,
    pub(crate) live: Live,
    pub(crate) poisoned: tokio::sync::watch::Sender<Option<Arc<str>>>,
    /// Places for batches of reads whose regular expressions take long.
    pub(crate) costly: Semaphore,
}

/// So many batches are matched at once against regular expressions that take long: half of the processors are left.
pub(crate) fn costly_places() -> Semaphore {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    Semaphore::new((processors / 2).max(1))
}

impl Shared {
    /// Takes no more writes, for this reason; the first one stays.
    pub(crate) fn poison(&self, reason: &str) {
        self.poisoned.send_if_modified(|poisoned| {
            if poisoned.is_some() {
                return false;
            }
            tracing::error!(reason, "the log takes no more writes");
            *poisoned = Some(Arc::from(reason));
            true
        });
        self.queue.refuse_all(reason);
    }

    pub(crate) fn poison_reason(&self) -> Option<Arc<str>> {
        self.poisoned.borrow().clone()
    }
}
