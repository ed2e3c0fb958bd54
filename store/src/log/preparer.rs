//! The background thread that fills the next segment file with zeros, so that the writer overwrites
//! blocks that the file system has already given: a full disk shows itself here, between segments,
//! and a sync there writes no metadata. It also cuts sealed segments to their size, writes their index files,
//! and writes checkpoints.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;

use annals_core::disk::{Disk, DiskFile};

use super::format::checkpoint::Checkpoint;
use super::shared::Shared;
use super::sync::{Condvar, Mutex};
use super::writer::PoisonOnPanic;

/// The name that the next segment has until it is one.
pub(crate) const SPARE: &str = "spare.segment";
/// So many zeros are written at a time, which a cache holds, and so many synced: the writer's syncs wait behind no more.
const ZEROS_BYTES: usize = 64 << 10;
const SYNC_BYTES: u64 = 4 << 20;

/// What the thread is asked to do.
pub(crate) enum Job {
    /// Fill a spare segment of that many bytes.
    Fill(u64),
    /// Cut a sealed segment to that many bytes.
    Trim(Arc<dyn DiskFile>, u64),
    /// Write the index files and the tree of what is sealed: what stands before that position.
    Index(u64),
    /// Write a checkpoint.
    Checkpoint(Checkpoint),
}

enum Spare {
    None,
    Asked,
    Ready(Arc<dyn DiskFile>),
    /// The writer has it, and it still has the spare's name.
    Taken,
    Failed(io::Error),
}

struct State {
    jobs: VecDeque<Job>,
    spare: Spare,
    stopped: bool,
}

/// The seam between the writer and the thread.
pub(crate) struct Preparer {
    state: Mutex<State>,
    changed: Condvar,
}

impl Preparer {
    pub(crate) fn new() -> Preparer {
        let state = State { jobs: VecDeque::new(), spare: Spare::None, stopped: false };
        Preparer { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Asks for a spare segment, unless one is there or on its way.
    pub(crate) fn ask(&self, bytes: u64) {
        let mut state = self.state.lock();
        if matches!(state.spare, Spare::None | Spare::Failed(_)) {
            state.spare = Spare::Asked;
            // Before the index files, which take long: the writer may soon wait for it. Not before what gives room back.
            let later = state.jobs.iter().position(|job| matches!(job, Job::Index(_)));
            let place = later.unwrap_or(state.jobs.len());
            state.jobs.insert(place, Job::Fill(bytes));
            self.changed.notify_all();
        }
    }

    /// Gives the thread something else to do.
    pub(crate) fn push(&self, job: Job) {
        self.state.lock().jobs.push_back(job);
        self.changed.notify_all();
    }

    /// The spare segment, if it is ready.
    pub(crate) fn take(&self) -> Option<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        if let Spare::Ready(file) = &state.spare {
            let file = Arc::clone(file);
            state.spare = Spare::Taken;
            return Some(file);
        }
        None
    }

    /// The spare that was taken has a name of its own now.
    pub(crate) fn named(&self) {
        self.state.lock().spare = Spare::None;
    }

    /// Waits until a spare segment is ready, asking for one. It ends, too, where the encoder beside the
    /// writer took that segment first: then its batch waits for the writer.
    ///
    /// # Errors
    /// Why there is none; the next call tries again.
    pub(crate) fn wait(&self, bytes: u64) -> io::Result<()> {
        self.ask(bytes);
        let mut state = self.state.lock();
        loop {
            if matches!(state.spare, Spare::Ready(_) | Spare::Taken) {
                return Ok(());
            }
            if state.stopped {
                return Err(io::Error::other("the log was closed"));
            }
            if matches!(state.spare, Spare::Failed(_))
                && let Spare::Failed(error) = std::mem::replace(&mut state.spare, Spare::None)
            {
                return Err(error);
            }
            self.changed.wait(&mut state);
        }
    }

    /// Ends the thread after the jobs it has, but for filling.
    pub(crate) fn stop(&self) {
        self.state.lock().stopped = true;
        self.changed.notify_all();
    }

    /// The thread.
    pub(crate) fn run(&self, shared: &Shared) {
        let guard = PoisonOnPanic::guarding(shared);
        loop {
            let mut state = self.state.lock();
            let stopped = state.stopped;
            let Some(job) = state.jobs.pop_front() else {
                if stopped {
                    return guard.finished();
                }
                self.changed.wait(&mut state);
                continue;
            };
            drop(state);
            match job {
                Job::Fill(_) if stopped => {}
                Job::Fill(bytes) => {
                    let spare = match fill(&*shared.disk, &shared.directory.join(SPARE), bytes) {
                        Ok(file) => Spare::Ready(file),
                        Err(error) => Spare::Failed(error),
                    };
                    self.state.lock().spare = spare;
                    self.changed.notify_all();
                }
                Job::Trim(file, bytes) => {
                    if let Err(error) = file.set_length(bytes) {
                        tracing::warn!(%error, "a sealed segment could not be cut to its size");
                    }
                }
                Job::Index(sealed) => {
                    shared.index.write_files();
                    shared.tree.write(sealed);
                }
                Job::Checkpoint(checkpoint) => shared.checkpoints.write(checkpoint),
            }
        }
    }
}

fn fill(disk: &dyn Disk, path: &Path, bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
    let file = match disk.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => disk.create(path)?,
        Err(error) => return Err(error),
    };
    match fill_file(&*file, bytes) {
        Ok(()) => Ok(file),
        Err(error) => {
            // Gives back what it took of a full disk, and does not trust a file whose sync failed.
            drop(file);
            if let Err(error) = disk.remove(path) {
                tracing::warn!(%error, "a spare segment could not be removed");
            }
            Err(error)
        }
    }
}

fn fill_file(file: &dyn DiskFile, bytes: u64) -> io::Result<()> {
    file.set_length(bytes.min(file.length()?))?;
    file.allocate(bytes)?;
    let zeros = vec![0; ZEROS_BYTES.min(usize::try_from(bytes).unwrap_or(ZEROS_BYTES))];
    let mut offset = 0;
    while offset < bytes {
        let left = usize::try_from(bytes - offset).unwrap_or(usize::MAX).min(zeros.len());
        file.write_at(&zeros[..left], offset)?;
        offset += left as u64;
        if offset.is_multiple_of(SYNC_BYTES) {
            file.sync_data()?;
        }
    }
    file.sync_data()
}

#[cfg(not(schedules))]
#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_writer_does_not_wait_for_a_spare_that_the_encoder_took_first() {
        let preparer = Arc::new(Preparer::new());
        preparer.state.lock().spare = Spare::Taken;
        let (ended, end) = mpsc::channel();
        let waiting = Arc::clone(&preparer);
        std::thread::spawn(move || drop(ended.send(waiting.wait(1 << 20))));
        let waited = end.recv_timeout(Duration::from_secs(10)).expect("it waits for ever");
        assert!(waited.is_ok());
    }
}
