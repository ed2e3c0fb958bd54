//! Writes the file `checkpoint`. It only adds to what recovery can notice, so a failure to write it
//! is no failure of the log.

use std::path::PathBuf;
use std::sync::Arc;

use annals_core::disk::DiskFile;
use parking_lot::Mutex;

use super::format::checkpoint::Checkpoint;

/// The open checkpoint file.
pub(crate) struct Checkpoints {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    sequence: Mutex<u64>,
}

impl Checkpoints {
    /// The file, and the newest sequence number in it.
    pub(crate) fn new(path: PathBuf, file: Arc<dyn DiskFile>, sequence: u64) -> Checkpoints {
        Checkpoints { path, file, sequence: Mutex::new(sequence) }
    }

    /// Writes a checkpoint durably, with the next sequence number.
    pub(crate) fn write(&self, checkpoint: Checkpoint) {
        let mut sequence = self.sequence.lock();
        let (offset, slot) = Checkpoint { sequence: *sequence + 1, ..checkpoint }.encode();
        match self.file.write_at(&slot, offset).and_then(|()| self.file.sync_data()) {
            Ok(()) => *sequence += 1,
            Err(error) => {
                let path = self.path.display();
                tracing::warn!(%path, %error, "the checkpoint could not be written");
            }
        }
    }
}
