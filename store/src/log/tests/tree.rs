//! The Merkle tree against its definition in RFC 6962, at every size, over segments, reopenings and lost files.

use std::path::Path;
use std::sync::Arc;

use annals_core::EventStore;
use annals_core::disk::{Disk, SimulatedDisk};
use sha2::{Digest, Sha256};

use super::super::verify;
use super::{FOLDER, Log, append, block_on, open_with, small};
use crate::log::format::HEADER_BYTES;
use crate::log::format::frame::{self, Extent, Frame};

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    parts.iter().fold(Sha256::new(), Digest::chain_update).finalize().into()
}

/// MTH(D[n]) word for word as section 2.1 of RFC 6962 defines it.
fn definition(leaves: &[Vec<u8>]) -> [u8; 32] {
    match leaves {
        [] => hash(&[]),
        [one] => hash(&[&[0], one]),
        _ => {
            let mut split = 1;
            while split * 2 < leaves.len() {
                split *= 2;
            }
            let (left, right) = leaves.split_at(split);
            hash(&[&[1], &definition(left), &definition(right)])
        }
    }
}

/// What the frames of a closed log hold behind their prefix.
fn leaves(disk: &SimulatedDisk) -> Vec<Vec<u8>> {
    let mut leaves = Vec::new();
    for path in disk.paths() {
        if path.extension().is_none_or(|extension| extension != "segment")
            || path.ends_with("spare.segment")
        {
            continue;
        }
        let bytes = disk.contents(&path).unwrap();
        let salt = u32::from_le_bytes(bytes[72..76].try_into().unwrap());
        let segment = u32::from_le_bytes(bytes[36..40].try_into().unwrap());
        let identity = frame::FrameIdentity { segment, epoch: 1, salt };
        let mut at = HEADER_BYTES;
        while let Ok(Extent::Frame(length)) = frame::extent(&bytes[at..], bytes.len() - at) {
            let frame = &bytes[at..at + length];
            if let Ok(Frame::Event(_)) = frame::decode(frame, identity, false) {
                leaves.push(frame[24..].to_vec());
            }
            at += length;
        }
    }
    leaves
}

fn check(log: &Log, leaves: &[Vec<u8>], sizes: impl Iterator<Item = usize>) {
    for size in sizes {
        let root = log.tree_root(size as u64).unwrap();
        assert_eq!(root, definition(&leaves[..size]), "size {size}");
    }
}

#[test]
fn the_root_is_that_of_the_definition_at_every_size() {
    let disk = SimulatedDisk::new(6);
    let log = open_with(&disk, small()).unwrap();
    let count = 700;
    let roots = block_on(async {
        let mut roots = vec![log.tree_root(0).unwrap()];
        for id in 1..=count {
            log.append(append("s", id as u128, vec![1; 40])).await.unwrap();
            roots.push(log.tree_root(id as u64).unwrap());
        }
        roots
    });
    assert!(log.tree_root(count as u64 + 1).is_err());
    log.close();
    let leaves = leaves(&disk);
    let verified = verify(Arc::new(disk.clone()), Path::new(FOLDER), (0, u64::MAX), |_, _| {});
    let verified = verified.unwrap();
    assert_eq!(verified.tree_root, Some(definition(&leaves)));
    assert_eq!((verified.damages, verified.stale_indexes), (Vec::new(), Vec::new()));
    assert_eq!(leaves.len(), count);
    // As it grew.
    for (size, root) in roots.iter().enumerate() {
        assert_eq!(*root, definition(&leaves[..size]), "size {size}");
    }
    check(
        &open_with(&disk, small()).unwrap(),
        &leaves,
        (0..=count).step_by(13).chain([255, 256, 257, 512, count]),
    );
    let tree = Path::new(FOLDER).join("tree");
    let stored = disk.contents(&tree).expect("nodes of sealed segments are kept");
    assert!(stored.len() > 64, "{} bytes", stored.len());
    for change in ["removed", "flipped", "longer", "of another store"] {
        let disk = disk.fork();
        let mut bytes = stored.clone();
        match change {
            "removed" => disk.remove(&tree).unwrap(),
            "flipped" => {
                bytes[70] ^= 1;
                disk.replace(&tree, bytes);
            }
            "longer" => {
                bytes.extend([7; 100]);
                disk.replace(&tree, bytes);
            }
            _ => {
                bytes[20] ^= 1;
                disk.replace(&tree, bytes);
            }
        }
        let log = open_with(&disk, small()).unwrap();
        check(&log, &leaves, [0, 255, 256, 300, 513, count].into_iter());
        log.close();
        assert_eq!(disk.contents(&tree).unwrap(), stored, "{change}: it is made again");
    }
}
