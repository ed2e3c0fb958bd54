//! Reads one segment on its own, for a verification and to make its index again.

use std::sync::Arc;

use annals_core::Timestamp;

use super::frames::Gathering;
use super::indexing::Indexing;
use super::{Recovered, Recovery};
use crate::log::error::{Damage, OpenError};
use crate::log::format::checkpoint::Checkpoint;
use crate::log::format::header::SegmentHeader;
use crate::log::format::tree::Hash;
use crate::log::index::{Index, SharedPart};
use crate::log::open_files::{FileName, OpenFiles};
use crate::log::options::Sabotage;
use crate::log::segments::Segments;

/// A segment that was read on its own.
pub(crate) struct Alone {
    /// The position behind its last event.
    pub(crate) end: u64,
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

/// Reads a segment on its own and changes nothing. `gathering` has its events then, where it is sealed; of the last
/// segment it may have some more, of a batch without its commit. `leaves` is empty, and room for hashes.
///
/// # Errors
/// [`OpenError`]: damage, but for what may be a torn tail.
pub(crate) fn read_alone<G: Gathering>(
    files: &OpenFiles,
    this: &SegmentHeader,
    behind: Behind<'_>,
    gathering: &mut G,
    leaves: Vec<Hash>,
) -> Result<Alone, OpenError> {
    let path = files.path(FileName::Segment(this.segment));
    let checkpoint = match behind {
        Behind::Segment(_, checkpoint) | Behind::End(checkpoint) => checkpoint,
    };
    let mut recovery = Recovery::new(files, gathering, checkpoint, Sabotage::default());
    // Nothing stood before the first one, whatever its header says.
    if this.segment > 1 {
        recovery.found.events = this.first_position;
        recovery.found.batches = this.first_batch;
        recovery.found.time = Timestamp(this.time);
        recovery.found.chain = this.chain;
    }
    recovery.found.leaves = leaves;
    recovery.begin(this, &path)?;
    let mut tail = None;
    if let Behind::Segment(next, _) = behind {
        recovery.sealed(this, &path, next.previous_end)?;
        recovery.begin(next, &files.path(FileName::Segment(next.segment)))?;
    } else {
        tail = recovery.tail(this, &path)?;
        if let Some(bad) = &tail
            && !recovery.is_torn(this, &path)?
        {
            return Err(bad.clone().into());
        }
        recovery.reached(&path)?;
    }
    let Recovered { events: end, chain, leaves, .. } = recovery.found;
    Ok(Alone { end, tail, chain, leaves })
}

/// Reads a sealed segment on its own and makes its index.
///
/// # Errors
/// [`OpenError`]: damage.
pub(crate) fn read_part(
    files: &Arc<OpenFiles>,
    this: &SegmentHeader,
    next: &SegmentHeader,
) -> Result<SharedPart, OpenError> {
    let segments = Arc::new(Segments::new(Arc::clone(files), false));
    let index = Index::new(this.store, Arc::clone(files), segments, Sabotage::default());
    let index = Arc::new(index);
    let mut indexing = Indexing::new(&index, true);
    indexing.begin(this);
    read_alone(files, this, Behind::Segment(next, None), &mut indexing, Vec::new())?;
    Ok(indexing.part.expect("it was just begun"))
}
