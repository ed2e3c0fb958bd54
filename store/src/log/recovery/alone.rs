//! Reads one segment on its own, for a verification and to make its index again.

use std::sync::Arc;

use annals_core::Timestamp;

use super::{Recovered, Recovery};
use crate::log::error::{Damage, OpenError};
use crate::log::format::checkpoint::Checkpoint;
use crate::log::format::header::SegmentHeader;
use crate::log::format::tree::Hash;
use crate::log::index::{Index, SharedPart};
use crate::log::open_files::OpenFiles;
use crate::log::options::Sabotage;
use crate::log::segments::Segments;

/// A segment that was read on its own.
pub(crate) struct Alone {
    /// Its index.
    pub(crate) part: SharedPart,
    /// What a write that was cut off left behind the last batch of the last segment.
    pub(crate) tail: Option<Damage>,
    pub(crate) chain: [u8; 32],
    /// The hashes of its events.
    pub(crate) leaves: Vec<Hash>,
}

/// What stands behind a segment.
#[derive(Clone, Copy)]
pub(crate) enum Behind<'a> {
    /// The next one; where the checkpoint names a place in the segment, it must be right.
    Segment(&'a SegmentHeader, Option<Checkpoint>),
    /// The end of the log, which reaches as far as the checkpoint says.
    End(Option<Checkpoint>),
}

/// Reads a segment on its own and changes nothing.
///
/// # Errors
/// [`OpenError`]: damage, but for what may be a torn tail.
pub(crate) fn read_alone(
    files: &Arc<OpenFiles>,
    this: &SegmentHeader,
    behind: Behind<'_>,
) -> Result<Alone, OpenError> {
    let segments = Arc::new(Segments::new(Arc::clone(files), false));
    let index = Arc::new(Index::new(
        this.store,
        Arc::clone(files),
        Arc::clone(&segments),
        Sabotage::default(),
    ));
    let path = segments.path(this.segment);
    let checkpoint = match behind {
        Behind::Segment(_, checkpoint) | Behind::End(checkpoint) => checkpoint,
    };
    let mut recovery = Recovery::new(files, &index, checkpoint, Sabotage::default());
    recovery.alone = true;
    // Nothing stood before the first one, whatever its header says.
    if this.segment > 1 {
        recovery.found.events = this.first_position;
        recovery.found.batches = this.first_batch;
        recovery.found.time = Timestamp(this.time);
        recovery.found.chain = this.chain;
    }
    recovery.begin(this, &path)?;
    recovery.index_anew(this);
    let mut tail = None;
    if let Behind::Segment(next, _) = behind {
        recovery.sealed(this, &path, next.previous_end)?;
        recovery.begin(next, &segments.path(next.segment))?;
    } else {
        tail = recovery.tail(this, &path)?;
        if let Some(bad) = &tail
            && !recovery.is_torn(this, &path)?
        {
            return Err(bad.clone().into());
        }
        recovery.reached(&path)?;
    }
    let part = recovery.part.take().expect("it was just begun");
    let Recovered { chain, leaves, .. } = recovery.found;
    Ok(Alone { part, tail, chain, leaves })
}
