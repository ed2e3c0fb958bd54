//! Reads a closed log whole and tells what is wrong with it, without changing anything: every frame, the hash chain,
//! and whether each index file is what its segment makes of it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use annals_core::StoreIdentity;
use annals_core::disk::Disk;
use uuid::Uuid;

use super::error::{Damage, Flaw, OpenError, at};
use super::format::header::SegmentHeader;
use super::format::tree::{Hash, NODE_LEAVES, root};
use super::index::file_of;
use super::open::{existing, take_lock};
use super::open_files::{FileName, OpenFiles};
use super::recovery::{Alone, Behind, read_alone};
use super::tree::stored_nodes;

/// What a verification found.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    /// Which store.
    pub identity: StoreIdentity,
    /// Segments read.
    pub segments: u64,
    /// Events in them.
    pub events: u64,
    /// The position behind the last of them.
    pub end: u64,
    /// Bytes read, of segments and index files.
    pub bytes: u64,
    /// The hash chain at the end of what was read, where that is sound.
    pub chain: Option<[u8; 32]>,
    /// The root of the Merkle tree over all events, where all were read and are sound.
    pub tree_root: Option<[u8; 32]>,
    /// What is damaged, in the order of the log; what depends on it is left out.
    pub damages: Vec<Damage>,
    /// Where a write was cut off, which is cut off when the log is opened: no event in it was acknowledged.
    pub torn_tail: Option<Damage>,
    /// Index files that are missing or not what their segments make of them, and the file of the tree where an entry is not
    /// the hash of its events. They are made again when the log is opened, or when they are needed.
    pub stale_indexes: Vec<PathBuf>,
}

/// Reads the segments that hold positions from `first` to `last` (inclusive) and verifies them; `on_bytes` hears how many
/// bytes have been read, of how many.
///
/// # Errors
/// [`OpenError`], where there is no log, or not even its beginning can be read.
pub fn verify(
    disk: Arc<dyn Disk>,
    directory: &Path,
    (first, last): (u64, u64),
    mut on_bytes: impl FnMut(u64, u64),
) -> Result<Verified, OpenError> {
    let _lock = take_lock(&*disk, directory)?;
    let files = Arc::new(OpenFiles::new(disk, directory));
    let found = existing(&files, directory)?;
    let headers = &found.headers;
    let mut verified = Verified {
        identity: found.identity,
        segments: 0,
        events: 0,
        end: 0,
        bytes: 0,
        chain: None,
        tree_root: None,
        damages: Vec::new(),
        torn_tail: None,
        stale_indexes: Vec::new(),
    };
    let wanted = |number: usize| {
        let begins = headers[number].first_position;
        let ends = headers.get(number + 1).map_or(u64::MAX, |next| next.first_position);
        begins <= last && ends > first
    };
    let size = |number: usize| match headers.get(number + 1) {
        Some(next) => u64::from(next.previous_end),
        None => files
            .get(FileName::Segment(headers[number].segment))
            .and_then(|f| f.length())
            .unwrap_or(0),
    };
    // Without any segment nothing below would ask how far the log reached.
    let reached = found.checkpoint.is_some_and(|known| known.end.segment > 0 || known.events > 0);
    if headers.is_empty() && reached {
        let file = files.path(FileName::Segment(1));
        verified.damages.push(Damage { file, offset: 0, position: Some(0), flaw: Flaw::Missing });
    }
    let chosen: Vec<_> = (0..headers.len()).filter(|number| wanted(*number)).collect();
    let total = chosen.iter().map(|number| size(*number)).sum();
    let mut read = 0;
    let mut tree = TreeCheck::default();
    for number in chosen {
        let (this, next) = (&headers[number], headers.get(number + 1));
        verified.segments += 1;
        verified.chain = None;
        let known = found.checkpoint;
        let behind = next.map_or(Behind::End(known), |next| Behind::Segment(next, known));
        match read_alone(&files, this, behind) {
            Ok(alone) => {
                tree.add(&alone.leaves);
                take(&files, this, next, &alone, &mut verified)?;
            }
            Err(OpenError::Damage(damage)) => verified.damages.push(damage),
            Err(error) => return Err(error),
        }
        read += size(number);
        verified.bytes += size(number);
        on_bytes(read, total);
    }
    if (first, last) == (0, u64::MAX) && verified.damages.is_empty() {
        let sealed = headers.last().map_or(0, |header| header.first_position);
        tree.compare(&files, found.identity.id, sealed, &mut verified)?;
        verified.tree_root = Some(tree.root());
    }
    Ok(verified)
}

/// The Merkle tree of what is read.
#[derive(Default)]
struct TreeCheck {
    nodes: Vec<Hash>,
    leaves: Vec<Hash>,
}

impl TreeCheck {
    fn add(&mut self, leaves: &[Hash]) {
        for leaf in leaves {
            self.leaves.push(*leaf);
            if self.leaves.len() as u64 == NODE_LEAVES {
                self.nodes.push(root(&self.leaves));
                self.leaves.clear();
            }
        }
    }

    /// Holds the file against the nodes of what stands before position `sealed`.
    fn compare(
        &self,
        files: &Arc<OpenFiles>,
        store: Uuid,
        sealed: u64,
        verified: &mut Verified,
    ) -> Result<(), OpenError> {
        let count = sealed / NODE_LEAVES;
        let stored = stored_nodes(files, store, 0..count)?;
        let whole = stored.iter().zip(&self.nodes).all(|(stored, node)| *stored == Some(*node));
        if !whole {
            verified.stale_indexes.push(files.path(FileName::Tree));
        }
        Ok(())
    }

    fn root(&self) -> Hash {
        let mut hashes = self.nodes.clone();
        if !self.leaves.is_empty() || hashes.is_empty() {
            hashes.push(root(&self.leaves));
        }
        root(&hashes)
    }
}

fn take(
    files: &OpenFiles,
    this: &SegmentHeader,
    next: Option<&SegmentHeader>,
    alone: &Alone,
    verified: &mut Verified,
) -> Result<(), OpenError> {
    let part = alone.part.read();
    verified.events += u64::from(part.events());
    verified.end = part.first_position + u64::from(part.events());
    verified.chain = Some(alone.chain);
    verified.torn_tail.clone_from(&alone.tail);
    let Some(next) = next else { return Ok(()) };
    let wanted = file_of(this.store, &part, this.salt, next.previous_end, next.chain);
    let name = FileName::Index(this.segment);
    let path = files.path(name);
    match files.get(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => verified.stale_indexes.push(path),
        opened => {
            let file = opened.map_err(at("opening", &path))?;
            let length = file.length().map_err(at("reading", &path))?;
            let mut bytes = vec![0; wanted.len()];
            let read = file.read_at(&mut bytes, 0).map_err(at("reading", &path))?;
            verified.bytes += read as u64;
            if length != wanted.len() as u64 || read < wanted.len() || bytes != wanted {
                verified.stale_indexes.push(path);
            }
        }
    }
    Ok(())
}
