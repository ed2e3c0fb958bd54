//! The Merkle tree over all events, kept as the log grows. The file `tree` holds the nodes above 256 events each; what is
//! younger than the last sealed segment is in memory; what lies below is hashed again when it is asked for. The file is
//! no part of what the log promises: an entry that is missing or damaged is made again from the events.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use annals_core::disk::DiskFile;
use uuid::Uuid;

use super::address::Address;
use super::error::{Flaw, ScanError};
use super::format::frame::Frame;
use super::format::tree::{
    ENTRY_BYTES, Hash, NODE_LEAVES, entry, entry_offset, header, leaf, read_entry, root,
};
use super::index::{FIRST_OFFSET, Index};
use super::open_files::{FileName, OpenFiles};
use super::segments::Segments;
use super::sync::Mutex;

/// The part of the tree that is in memory.
#[derive(Default)]
struct Young {
    /// The number of the first of `nodes`.
    first: u64,
    /// Nothing for one that has leaves in a sealed segment.
    nodes: Vec<Option<Hash>>,
    /// The leaves behind the last node, but for as many as lie in a sealed segment.
    leaves: Vec<Hash>,
    sealed: u64,
    /// How many nodes the file was seen to hold, from the first on, since the log was opened.
    written: u64,
}

/// The tree of a log.
pub(crate) struct Tree {
    store: Uuid,
    files: Arc<OpenFiles>,
    segments: Arc<Segments>,
    index: Arc<Index>,
    young: Mutex<Young>,
}

impl Tree {
    pub(crate) fn new(
        store: Uuid,
        files: Arc<OpenFiles>,
        segments: Arc<Segments>,
        index: Arc<Index>,
    ) -> Tree {
        Tree { store, files, segments, index, young: Mutex::default() }
    }

    /// Begins with the events from `first` on, whose leaves are given; those before it lie in sealed segments.
    pub(crate) fn begin(&self, first: u64, leaves: &[Hash]) {
        let (whole, sealed) = (first / NODE_LEAVES, first % NODE_LEAVES);
        *self.young.lock() = Young { first: whole, sealed, ..Young::default() };
        self.add(leaves);
    }

    /// Adds the next events.
    pub(crate) fn add(&self, leaves: &[Hash]) {
        let mut young = self.young.lock();
        for leaf in leaves {
            young.leaves.push(*leaf);
            if young.leaves.len() as u64 + young.sealed == NODE_LEAVES {
                let node = (young.sealed == 0).then(|| root(&young.leaves));
                young.nodes.push(node);
                young.leaves.clear();
                young.sealed = 0;
            }
        }
    }

    /// The root over the first `size` events, which are in the log.
    pub(crate) fn root(&self, size: u64) -> Result<Hash, ScanError> {
        let whole = size / NODE_LEAVES;
        let mut hashes = self.nodes(whole)?;
        if size > whole * NODE_LEAVES || size == 0 {
            hashes.push(root(&self.last_leaves(whole, size)?));
        }
        Ok(root(&hashes))
    }

    /// The leaves from a node's first on, up to `size`: from memory where they are the youngest.
    fn last_leaves(&self, node: u64, size: u64) -> Result<Vec<Hash>, ScanError> {
        let young = self.young.lock();
        let wanted = usize::try_from(size - node * NODE_LEAVES).expect("fewer than 256");
        let last = young.first + young.nodes.len() as u64 == node;
        if last && young.sealed == 0 && young.leaves.len() >= wanted {
            return Ok(young.leaves[..wanted].to_vec());
        }
        drop(young);
        self.leaves(node * NODE_LEAVES, size)
    }

    /// The first `count` nodes.
    fn nodes(&self, count: u64) -> Result<Vec<Hash>, ScanError> {
        let (first, young) = {
            let young = self.young.lock();
            let upto = usize::try_from(count.saturating_sub(young.first)).unwrap_or(usize::MAX);
            (young.first, young.nodes[..upto.min(young.nodes.len())].to_vec())
        };
        let stored = stored_nodes(&self.files, self.store, 0..count.min(first))?;
        let mut nodes = Vec::with_capacity(stored.len() + young.len());
        for (number, hash) in (0..).zip(stored.into_iter().chain(young)) {
            nodes.push(match hash {
                Some(hash) => hash,
                None => self.made_again(number)?,
            });
        }
        Ok(nodes)
    }

    fn made_again(&self, number: u64) -> Result<Hash, ScanError> {
        let first = number * NODE_LEAVES;
        Ok(root(&self.leaves(first, first + NODE_LEAVES)?))
    }

    /// The leaves of the events from one position up to another.
    fn leaves(&self, from: u64, to: u64) -> Result<Vec<Hash>, ScanError> {
        let mut leaves = Vec::new();
        if from >= to {
            return Ok(leaves);
        }
        let mut at = self.index.address(from)?;
        while from + (leaves.len() as u64) < to {
            let mut scan = self.segments.scan(at, None)?;
            while from + (leaves.len() as u64) < to
                && let Some(found) = scan.next()?
            {
                if let Frame::Event(event) = &found.frame {
                    let expected = from + leaves.len() as u64;
                    if event.coordinates.position != expected {
                        return Err(scan.damage(Flaw::Sequence).into());
                    }
                    leaves.push(leaf(&scan.block()[found.start..found.start + found.length]));
                }
            }
            if from + (leaves.len() as u64) < to && at.segment as usize >= self.segments.len() {
                return Err(scan.damage(Flaw::Missing).into());
            }
            at = Address { segment: at.segment + 1, offset: FIRST_OFFSET };
        }
        Ok(leaves)
    }

    /// Writes the nodes of sealed segments, whose events end before position `sealed`. Where it fails, they stay in memory.
    pub(crate) fn write(&self, sealed: u64) {
        if let Err(error) = self.try_write(sealed / NODE_LEAVES) {
            tracing::warn!(%error, "the Merkle tree could not be written");
        }
    }

    fn try_write(&self, count: u64) -> Result<(), ScanError> {
        let fault = |source| ScanError::Disk { path: self.files.path(FileName::Tree), source };
        let known = self.young.lock().written.min(count);
        self.cut(count).map_err(fault)?;
        let stored = stored_nodes(&self.files, self.store, known..count)?;
        let missing: Vec<_> = (known..)
            .zip(&stored)
            .filter(|(_, hash)| hash.is_none())
            .map(|(number, _)| number)
            .collect();
        if !missing.is_empty() {
            let file = self.file().map_err(fault)?;
            let (first, young) = {
                let young = self.young.lock();
                (young.first, young.nodes.clone())
            };
            for number in missing {
                let in_memory = number.checked_sub(first).and_then(|at| usize::try_from(at).ok());
                let hash = match in_memory.and_then(|at| young.get(at).copied().flatten()) {
                    Some(hash) => hash,
                    None => self.made_again(number)?,
                };
                file.write_at(&entry(number, &hash), entry_offset(number)).map_err(fault)?;
            }
            file.sync_data().map_err(fault)?;
        }
        let mut young = self.young.lock();
        young.written = young.written.max(count);
        let written = usize::try_from(count.saturating_sub(young.first)).unwrap_or(usize::MAX);
        let written = written.min(young.nodes.len());
        young.nodes.drain(..written);
        young.first += written as u64;
        Ok(())
    }

    /// Cuts off what stands in the file behind the first `count` nodes: this log wrote none there, or will write it again.
    fn cut(&self, count: u64) -> io::Result<()> {
        let file = match self.files.get(FileName::Tree) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            file => file?,
        };
        let end = entry_offset(count);
        if file.length()? > end { file.set_length(end) } else { Ok(()) }
    }

    /// The file, made where it is missing or another's.
    fn file(&self) -> io::Result<Arc<dyn DiskFile>> {
        let file = match self.files.get(FileName::Tree) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let path = self.files.path(FileName::Tree);
                let file = self.files.disk.create(&path)?;
                self.files.keep(FileName::Tree, Arc::clone(&file));
                file
            }
            file => file?,
        };
        let wanted = header(self.store);
        let mut found = vec![0; wanted.len()];
        if file.read_at(&mut found, 0)? < wanted.len() || found != wanted {
            file.set_length(0)?;
            file.write_at(&wanted, 0)?;
        }
        Ok(file)
    }
}

/// What the file says of some nodes.
pub(crate) fn stored_nodes(
    files: &OpenFiles,
    store: Uuid,
    numbers: Range<u64>,
) -> Result<Vec<Option<Hash>>, ScanError> {
    let count = usize::try_from(numbers.end - numbers.start).unwrap_or(usize::MAX);
    let fault = |source| ScanError::Disk { path: files.path(FileName::Tree), source };
    let file = match files.get(FileName::Tree) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![None; count]),
        file => file.map_err(fault)?,
    };
    let wanted = header(store);
    let mut start = vec![0; wanted.len()];
    if file.read_at(&mut start, 0).map_err(fault)? < wanted.len() || start != wanted {
        return Ok(vec![None; count]);
    }
    let mut entries = vec![0; count * ENTRY_BYTES];
    let read = file.read_at(&mut entries, entry_offset(numbers.start)).map_err(fault)?;
    let held = &entries[..read - read % ENTRY_BYTES];
    let entries = numbers.zip(held.chunks_exact(ENTRY_BYTES));
    let mut stored: Vec<_> = entries.map(|(number, bytes)| read_entry(number, bytes)).collect();
    stored.resize(count, None);
    Ok(stored)
}
