//! The Merkle tree of what a verification reads, held against the file that keeps its nodes.

use annals_core::StoreIdentity;

use crate::log::error::ScanError;
use crate::log::format::tree::{Hash, NODE_LEAVES, root};
use crate::log::open_files::OpenFiles;
use crate::log::tree::stored_nodes;

/// What one segment has of the tree.
pub(super) struct TreePiece {
    /// The leaves before the first node that lies in the segment whole.
    before: Vec<Hash>,
    nodes: Vec<Hash>,
    /// The leaves behind the last such node.
    behind: Vec<Hash>,
}

impl TreePiece {
    /// Of the events of a segment, the first of which has that position.
    pub(super) fn new(first_position: u64, leaves: &[Hash]) -> TreePiece {
        let upto = first_position.next_multiple_of(NODE_LEAVES) - first_position;
        let upto = usize::try_from(upto).map_or(leaves.len(), |upto| upto.min(leaves.len()));
        let (before, rest) = leaves.split_at(upto);
        let whole = rest.chunks_exact(usize::try_from(NODE_LEAVES).expect("256"));
        let behind = whole.remainder().to_vec();
        TreePiece { before: before.to_vec(), nodes: whole.map(root).collect(), behind }
    }
}

/// The tree over the segments that were read; of account only where none of them is left out.
#[derive(Default)]
pub(super) struct TreeCheck {
    nodes: Vec<Hash>,
    leaves: Vec<Hash>,
}

impl TreeCheck {
    /// Adds the next segment.
    pub(super) fn add(&mut self, piece: TreePiece) {
        self.add_leaves(&piece.before);
        self.nodes.extend(piece.nodes);
        self.add_leaves(&piece.behind);
    }

    fn add_leaves(&mut self, leaves: &[Hash]) {
        for leaf in leaves {
            self.leaves.push(*leaf);
            if self.leaves.len() as u64 == NODE_LEAVES {
                self.nodes.push(root(&self.leaves));
                self.leaves.clear();
            }
        }
    }

    /// Whether the file has the nodes of what stands before position `sealed`.
    pub(super) fn is_stored(
        &self,
        files: &OpenFiles,
        identity: StoreIdentity,
        sealed: u64,
    ) -> Result<bool, ScanError> {
        let count = sealed / NODE_LEAVES;
        let stored = stored_nodes(files, identity.id, 0..count)?;
        Ok(stored.iter().zip(&self.nodes).all(|(stored, node)| *stored == Some(*node)))
    }

    /// The root.
    pub(super) fn root(&self) -> Hash {
        let mut hashes = self.nodes.clone();
        if !self.leaves.is_empty() || hashes.is_empty() {
            hashes.push(root(&self.leaves));
        }
        root(&hashes)
    }
}

#[cfg(not(schedules))]
#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// However the events are spread over segments, their tree is the same.
        #[test]
        fn segments_make_one_tree(lengths in prop::collection::vec(0_usize..700, 1..6)) {
            let leaf = |number: usize| {
                let mut leaf = [0; 32];
                leaf[..8].copy_from_slice(&number.to_le_bytes());
                leaf
            };
            let all: Vec<Hash> = (0..lengths.iter().sum()).map(leaf).collect();
            let (mut tree, mut first) = (TreeCheck::default(), 0);
            for length in lengths {
                tree.add(TreePiece::new(first as u64, &all[first..first + length]));
                first += length;
            }
            prop_assert_eq!(tree.nodes.len(), all.len() / 256);
            prop_assert_eq!(tree.root(), root(&all));
        }
    }
}
