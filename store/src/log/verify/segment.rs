//! Verifies one segment: its frames, and whether its index file is what they make of it.

use std::io;
use std::path::PathBuf;

use uuid::Uuid;

use super::tree::TreePiece;
use crate::log::error::{Damage, OpenError, at};
use crate::log::format::checkpoint::Checkpoint;
use crate::log::format::header::SegmentHeader;
use crate::log::format::tree::Hash;
use crate::log::index::Draft;
use crate::log::open_files::{FileName, OpenFiles};
use crate::log::recovery::{Alone, Behind, read_alone};

/// A segment without damage.
pub(super) struct Checked {
    pub(super) events: u64,
    /// The position behind the last of them.
    pub(super) end: u64,
    /// The hash chain there.
    pub(super) chain: [u8; 32],
    pub(super) tree: TreePiece,
    /// What a write that was cut off left behind.
    pub(super) tail: Option<Damage>,
    /// Bytes read of its index file.
    pub(super) index_bytes: u64,
    /// The index file, where it is missing or not of this segment.
    pub(super) stale_index: Option<PathBuf>,
}

/// What serves one segment after the other.
pub(super) struct Room {
    draft: Draft,
    leaves: Vec<Hash>,
    /// An index file.
    file: Vec<u8>,
}

impl Room {
    /// For segments of that store.
    pub(super) fn new(store: Uuid) -> Room {
        Room { draft: Draft::new(store), leaves: Vec::new(), file: Vec::new() }
    }
}

/// Verifies the segment `this`, behind which stands `next`.
///
/// # Errors
/// [`OpenError`]: damage, or a fault of the disk.
pub(super) fn check(
    files: &OpenFiles,
    this: &SegmentHeader,
    next: Option<&SegmentHeader>,
    known: Option<Checkpoint>,
    room: &mut Room,
) -> Result<Checked, OpenError> {
    room.draft.clear();
    let mut leaves = std::mem::take(&mut room.leaves);
    leaves.clear();
    let behind = next.map_or(Behind::End(known), |next| Behind::Segment(next, known));
    let Alone { end, tail, chain, leaves } =
        read_alone(files, this, behind, &mut room.draft, leaves)?;
    let mut checked = Checked {
        events: leaves.len() as u64,
        end,
        chain,
        tree: TreePiece::new(end - leaves.len() as u64, &leaves),
        tail,
        index_bytes: 0,
        stale_index: None,
    };
    room.leaves = leaves;
    if let Some(next) = next {
        check_index(files, this, next, room, &mut checked)?;
    }
    Ok(checked)
}

fn check_index(
    files: &OpenFiles,
    this: &SegmentHeader,
    next: &SegmentHeader,
    room: &mut Room,
    checked: &mut Checked,
) -> Result<(), OpenError> {
    let identity = (this.segment, this.salt, next.previous_end);
    let wanted = room.draft.file(this.store, identity, this.first_position, next.chain);
    let name = FileName::Index(this.segment);
    let path = files.path(name);
    match files.get(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => checked.stale_index = Some(path),
        opened => {
            let file = opened.map_err(at("opening", &path))?;
            let length = file.length().map_err(at("reading", &path))?;
            room.file.resize(wanted.len(), 0);
            let read = file.read_at(&mut room.file, 0).map_err(at("reading", &path))?;
            checked.index_bytes = read as u64;
            if length != wanted.len() as u64 || read < wanted.len() || room.file != wanted {
                checked.stale_index = Some(path);
            }
        }
    }
    Ok(())
}
