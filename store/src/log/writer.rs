//! The one thread that writes: it takes the open batch, hashes it into the chain and the Merkle tree, writes it with one
//! write and one sync, then makes it known and answers. If a write or sync fails, what was under way is unknown and the log
//! takes no more writes.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use annals_core::AppendError;
use annals_core::disk::DiskFile;

use super::encoder::{Encoder, Filled, Group, NewSegment};
use super::format::checkpoint::Checkpoint;
use super::format::frame::{self, CommitFrame};
use super::format::tree::leaves;
use super::format::{COMMIT_BYTES, Chain};
use super::open_files::FileName;
use super::preparer::{Job, SPARE};
use super::queue::answer;
use super::shared::{Durable, Shared};
use super::sync::{Mutex, MutexGuard};
use super::tail::WrittenBatch;

/// The writer's own state.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    encoder: Arc<Mutex<Encoder>>,
    /// The active segment's file; nothing where the next batch begins a segment.
    file: Option<Arc<dyn DiskFile>>,
    /// The hash chain up to the durable end, but for a batch that is being written.
    chain: [u8; 32],
}

/// A write that failed: what was being done, and why.
struct Failed(&'static str, io::Error);

impl Writer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        encoder: Arc<Mutex<Encoder>>,
        file: Option<Arc<dyn DiskFile>>,
        chain: [u8; 32],
    ) -> Writer {
        Writer { shared, encoder, file, chain }
    }

    /// The thread: ends when the queue is closed and empty, or the log poisoned.
    pub(crate) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let guard = PoisonOnPanic::guarding(&shared);
        while self.shared.queue.wait_for_work() {
            while self.write_group() {}
        }
        // What was being encoded beside the last sync when the queue was closed.
        while self.write_group() {}
        if self.shared.poison_reason().is_none() {
            self.checkpoint();
        }
        guard.finished();
    }

    /// Writes one group; true where more waits that was taken already.
    fn write_group(&mut self) -> bool {
        let mut encoder = self.encoder.lock();
        let filled = encoder.fill();
        let group = encoder.take();
        let left = encoder.has_left();
        drop(encoder);
        let idle = group.batch.is_none() && group.answers.is_empty();
        if !self.settle(group) {
            return false;
        }
        if filled == Filled::NeedsSegment && idle {
            self.obtain_segment();
        }
        left
    }

    /// Makes a group durable and answers. False when the log is poisoned.
    fn settle(&mut self, group: Group) -> bool {
        let Group { new_segment, batch, answers } = group;
        let sabotage = self.shared.options.sabotage();
        let answers = if sabotage.answer_before_sync {
            reply(answers);
            Vec::new()
        } else {
            answers
        };
        if let Some(batch) = batch {
            if sabotage.publish_before_sync {
                self.publish(&batch, answers.len());
            }
            if let Err(Failed(attempt, error)) = self.write(new_segment, &batch) {
                self.poison(&format!("{attempt} failed: {error}"), answers);
                return false;
            }
            if !sabotage.publish_before_sync {
                self.publish(&batch, answers.len());
            }
        }
        reply(answers);
        true
    }

    fn write(&mut self, new: Option<NewSegment>, batch: &WrittenBatch) -> Result<(), Failed> {
        let swallow = self.shared.options.sabotage().swallow_errors;
        if let Some(new) = new {
            self.begin_segment(new)?;
        }
        let commit = self.commit(batch);
        let file = self.file.as_ref().expect("a batch has a segment");
        let written = file.write_parts_at(&[&batch.frames, &commit], u64::from(batch.start.offset));
        if !swallow {
            written.map_err(|error| Failed("writing to the log", error))?;
        }
        let begun = Instant::now();
        let synced = file.sync_data();
        if !swallow {
            synced.map_err(|error| Failed("syncing the log", error))?;
        }
        metrics::histogram!("annals_store_sync_seconds").record(begun.elapsed());
        let end = batch.end().offset;
        if u64::from(end) * 2 > self.shared.options.segment_bytes {
            self.shared.preparer.ask(self.shared.options.segment_bytes);
        }
        Ok(())
    }

    /// Hashes the events of a batch; answers the commit frame that closes it. The encoder goes on with the next batch
    /// meanwhile: to hash an event takes about as long as all else that is done to store it.
    fn commit(&mut self, batch: &WrittenBatch) -> Vec<u8> {
        let leaves = leaves(batch.each_frame().map(|range| &batch.frames[range]));
        let mut chain = Chain::behind(&self.chain);
        chain.add_all(&leaves);
        self.shared.tree.add(&leaves);
        self.chain = chain.finish();
        let commit = CommitFrame {
            batch: batch.number,
            first_position: batch.first_position,
            count: u32::try_from(batch.count).expect("a batch fits into a segment"),
            batch_bytes: u32::try_from(batch.frames.len()).expect("a batch fits into a segment"),
            durable_upto: batch.start,
            chain: self.chain,
        };
        let mut frame = Vec::with_capacity(COMMIT_BYTES);
        frame::encode_commit(&mut frame, batch.identity, &commit);
        frame
    }

    /// Gives the spare file its header and its name, durably, before anything is written to it.
    fn begin_segment(&mut self, new: NewSegment) -> Result<(), Failed> {
        let shared = &self.shared;
        let NewSegment { mut header, file } = new;
        header.chain = self.chain;
        file.write_at(&header.encode(), 0)
            .and_then(|()| file.sync_data())
            .map_err(|error| Failed("beginning a segment", error))?;
        let (spare, path) = (shared.directory.join(SPARE), shared.segments.path(header.segment));
        shared.disk.rename(&spare, &path).map_err(|error| Failed("naming a segment", error))?;
        if !shared.options.sabotage().skip_directory_sync {
            sync_directory(shared, &shared.directory)?;
        }
        shared.preparer.named();
        shared.files.keep(FileName::Segment(header.segment), Arc::clone(&file));
        shared.segments.push(&header);
        if let Some(sealed) = self.file.replace(file) {
            shared.preparer.push(Job::Trim(sealed, u64::from(header.previous_end)));
            if let Some(checkpoint) = self.durable_now() {
                shared.preparer.push(Job::Checkpoint(checkpoint));
            }
            shared.preparer.push(Job::Index(header.first_position));
        }
        Ok(())
    }

    /// Lets readers see the batch.
    fn publish(&self, batch: &Arc<WrittenBatch>, appends: usize) {
        self.shared.tail.push(Arc::clone(batch));
        let (end, events) = (batch.end(), batch.end_position());
        let early = self.shared.options.sabotage().wake_before_publishing;
        if early {
            self.shared.live.tell();
        }
        self.shared.durable.send_replace(Durable { end, events, closed: false });
        if !early {
            self.shared.live.tell();
        }
        metrics::counter!("annals_store_appends_total").increment(appends as u64);
        metrics::counter!("annals_store_events_total").increment(batch.count);
        metrics::counter!("annals_store_bytes_total").increment(u64::from(batch.length()));
        let count = u32::try_from(batch.count).unwrap_or(u32::MAX);
        metrics::histogram!("annals_store_group_events").record(f64::from(count));
    }

    /// Waits for the next segment; refuses what waits where there is no room for it.
    fn obtain_segment(&self) {
        let Err(error) = self.shared.preparer.wait(self.shared.options.segment_bytes) else {
            return;
        };
        if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            let text = format!("the disk has no room for the next segment: {error}");
            let mut encoder = self.encoder.lock();
            encoder.refuse_waiting(&AppendError::TooMuch(text));
        } else {
            self.poison(&format!("preparing a segment failed: {error}"), Vec::new());
        }
    }

    fn poison(&self, reason: &str, answers: Answers) {
        self.shared.poison(reason);
        let mut encoder = self.encoder.lock();
        let group = encoder.take();
        encoder.refuse_waiting(&AppendError::ReadOnly(reason.to_owned()));
        drop(encoder);
        for (reply, _) in answers.into_iter().chain(group.answers) {
            answer(reply, Err(AppendError::Unknown(reason.to_owned())));
        }
    }

    fn durable_now(&self) -> Option<Checkpoint> {
        let durable = *self.shared.durable.borrow();
        (durable.events > 0).then_some(Checkpoint {
            store: self.shared.identity.id,
            epoch: self.shared.identity.epoch,
            sequence: 0,
            end: durable.end,
            events: durable.events,
            chain: self.chain,
        })
    }

    fn checkpoint(&self) {
        if let Some(checkpoint) = self.durable_now() {
            self.shared.checkpoints.write(checkpoint);
        }
    }
}

type Answers = Vec<(super::queue::Reply, Result<annals_core::Appended, AppendError>)>;

/// From the last to the first: who waits for the answers to many finds all of them there once woken for the first.
fn reply(answers: Answers) {
    for (reply, result) in answers.into_iter().rev() {
        answer(reply, result);
    }
}

fn sync_directory(shared: &Shared, directory: &Path) -> Result<(), Failed> {
    shared.disk.sync_directory(directory).map_err(|error| Failed("syncing the folder", error))
}

/// The thread that encodes beside a sync.
pub(crate) fn encode_beside(shared: &Shared, encoder: &Mutex<Encoder>) {
    let guard = PoisonOnPanic::guarding(shared);
    while shared.queue.wait_for_backlog() {
        let mut filled = Filled::Enough;
        // In stretches, between which a writer that waits takes what is there.
        while filled == Filled::Enough {
            let mut encoder = encoder.lock();
            filled = encoder.fill_further();
            MutexGuard::unlock_fair(encoder);
            shared.queue.encoded();
        }
        tracing::trace!(?filled, "encoded beside a sync");
    }
    guard.finished();
}

/// Our own bug in a thread of the log must not leave callers waiting.
pub(crate) struct PoisonOnPanic<'a> {
    shared: &'a Shared,
    finished: bool,
}

impl<'a> PoisonOnPanic<'a> {
    pub(crate) fn guarding(shared: &'a Shared) -> PoisonOnPanic<'a> {
        PoisonOnPanic { shared, finished: false }
    }

    pub(crate) fn finished(mut self) {
        self.finished = true;
    }
}

impl Drop for PoisonOnPanic<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.shared.poison("a thread of the log stopped unexpectedly");
            self.shared.preparer.stop();
        }
    }
}
