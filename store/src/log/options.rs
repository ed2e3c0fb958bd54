//! How a log is kept.

use super::error::OpenError;
use super::format::{COMMIT_BYTES, HEADER_BYTES};

/// The largest event, in bytes of names, metadata and payload together.
pub const EVENT_BYTES_MAX: usize = 16 << 20;
/// The largest append, in stored bytes; less where a segment is smaller.
pub const APPEND_BYTES_MAX: usize = 32 << 20;
/// Sizes that a segment may have.
const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = 8 << 10..=1 << 30;

/// How a log is kept.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// The size of a segment file in bytes, 8 KiB to 1 GiB; it holds for segments begun from now
    /// on. An append must fit into one segment.
    pub segment_bytes: u64,
    /// How many appends may wait; a full queue answers [`annals_core::AppendError::TooMuch`].
    pub queue_appends_max: usize,
    /// How many bytes of appends may wait.
    pub queue_bytes_max: usize,
    /// How many bytes of the newest events are kept in memory for live subscriptions.
    pub tail_bytes_max: usize,
    /// How many of the newest event ids are remembered at least, so that a repeated append is known by them. About three
    /// bytes of memory each. (An append with exact expectations is known for ever, by what stands in their place.)
    pub remembered_ids: usize,
    /// An append from a task of an async runtime is not written before every other task that is ready has had its turn, so
    /// that appends which come together are written together: for a server, whose tasks never compute for long.
    pub gather: bool,
    /// What a test breaks to see that it is noticed.
    #[cfg(test)]
    pub(crate) sabotage: Sabotage,
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        LogOptions {
            segment_bytes: 64 << 20,
            queue_appends_max: 65_536,
            queue_bytes_max: 64 << 20,
            tail_bytes_max: 64 << 20,
            remembered_ids: 4 << 20,
            gather: false,
            #[cfg(test)]
            sabotage: Sabotage::default(),
        }
    }
}

impl LogOptions {
    pub(crate) fn check(&self) -> Result<(), OpenError> {
        if SEGMENT_BYTES.contains(&self.segment_bytes) {
            return Ok(());
        }
        Err(OpenError::SegmentSize {
            given: self.segment_bytes,
            least: *SEGMENT_BYTES.start(),
            most: *SEGMENT_BYTES.end(),
        })
    }

    /// The most stored bytes that one append may take.
    pub(crate) fn append_bytes_max(&self) -> usize {
        let room = usize::try_from(self.segment_bytes).unwrap_or(usize::MAX);
        (room - HEADER_BYTES - COMMIT_BYTES).min(APPEND_BYTES_MAX)
    }

    #[cfg(test)]
    pub(crate) fn sabotage(&self) -> Sabotage {
        self.sabotage
    }

    #[cfg(not(test))]
    #[allow(clippy::unused_self, reason = "the test build reads it")]
    pub(crate) fn sabotage(&self) -> Sabotage {
        Sabotage::default()
    }
}

/// Ways to break the log on purpose. Outside the tests of this crate nothing can set them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(crate) struct Sabotage {
    /// Answers before the sync.
    pub(crate) answer_before_sync: bool,
    /// Believes every checksum.
    pub(crate) skip_checksum: bool,
    /// Does not sync the folder after a new segment.
    pub(crate) skip_directory_sync: bool,
    /// Takes a failed write or sync for a good one.
    pub(crate) swallow_errors: bool,
    /// Does not look whether an event id is stored already.
    pub(crate) forget_ids: bool,
    /// Does not check expected revisions.
    pub(crate) ignore_expected: bool,
    /// Does not sync, when a log is opened, what a process may have left unsynced.
    pub(crate) skip_sync_at_open: bool,
    /// Believes, when a log is opened, what the cache shows.
    pub(crate) trust_cache_at_open: bool,
    /// Takes every bad record for a torn tail.
    pub(crate) cut_damage_off: bool,
    /// Does not check conditions.
    pub(crate) ignore_condition: bool,
    /// Believes every page of an index file.
    pub(crate) believe_pages: bool,
    /// Looks for a stream in the active segment only.
    pub(crate) stale_heads: bool,
    /// Does not tell the writer to begin, though it was promised.
    pub(crate) forget_promise: bool,
    /// Lets readers see a batch before it is written.
    pub(crate) publish_before_sync: bool,
    /// Wakes subscriptions before there is something new for them.
    pub(crate) wake_before_publishing: bool,
    /// Leaves the tags out of index files.
    pub(crate) index_without_tags: bool,
}
