//! Writes the file `checkpoint`. It only adds to what recovery can notice, so a failure to write it
//! is no failure of the log.

use std::path::PathBuf;
use std::sync::Arc;

use annals_core::disk::DiskFile;

use super::format::checkpoint::Checkpoint;
use super::sync::Mutex;

/// The open checkpoint file.
pub(crate) struct Checkpoints {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    newest: Mutex<Newest>,
}

/// What was written last.
struct Newest {
    sequence: u64,
    events: u64,
}

impl Checkpoints {
    /// The file, and the newest checkpoint in it.
    pub(crate) fn new(
        path: PathBuf,
        file: Arc<dyn DiskFile>,
        newest: Option<Checkpoint>,
    ) -> Checkpoints {
        let (sequence, events) = newest.map_or((0, 0), |newest| (newest.sequence, newest.events));
        Checkpoints { path, file, newest: Mutex::new(Newest { sequence, events }) }
    }

    /// Writes a checkpoint durably, with the next sequence number; not one that says less than the last.
    pub(crate) fn write(&self, checkpoint: Checkpoint) {
        let mut newest = self.newest.lock();
        if checkpoint.events < newest.events {
            return; // The background thread was slower than the end of the log.
        }
        let sequence = newest.sequence + 1;
        let (offset, slot) = Checkpoint { sequence, ..checkpoint }.encode();
        match self.file.write_at(&slot, offset).and_then(|()| self.file.sync_data()) {
            Ok(()) => *newest = Newest { sequence, events: checkpoint.events },
            Err(error) => {
                let path = self.path.display();
                tracing::warn!(%path, %error, "the checkpoint could not be written");
            }
        }
    }
}
