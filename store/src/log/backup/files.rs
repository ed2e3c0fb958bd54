//! Whole files, as backups need them: read, written durably, copied with a hash, and hashed again as the device holds
//! them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use annals_core::disk::{Disk, DiskFile};
use sha2::{Digest, Sha256};

use crate::log::error::{Damage, Flaw, OpenError, ScanError, at};

const BLOCK_BYTES: usize = 1 << 20;

/// The names in a folder; none where there is no folder.
pub(crate) fn names_in(disk: &dyn Disk, directory: &Path) -> Result<Vec<String>, OpenError> {
    match disk.list(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed.map_err(at("listing", directory)),
    }
}

/// Opens a file that must be there.
pub(crate) fn open(disk: &dyn Disk, path: &Path) -> Result<Arc<dyn DiskFile>, ScanError> {
    disk.open(path).map_err(|source| {
        if source.kind() == io::ErrorKind::NotFound {
            let (file, flaw) = (path.to_owned(), Flaw::Missing);
            return Damage { file, offset: 0, position: None, flaw }.into();
        }
        ScanError::Disk { path: path.to_owned(), source }
    })
}

/// Makes a file anew, in place of one that was left there.
pub(crate) fn make(disk: &dyn Disk, path: &Path) -> Result<Arc<dyn DiskFile>, OpenError> {
    match disk.remove(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(at("removing", path)(error)),
    }
    disk.create(path).map_err(at("making", path))
}

/// Makes a file with these contents, durable but for its name.
pub(crate) fn write(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), OpenError> {
    let file = make(disk, path)?;
    file.write_at(bytes, 0).and_then(|()| file.sync_data()).map_err(at("writing", path))
}

/// Everything in a file.
pub(crate) fn read(disk: &dyn Disk, path: &Path) -> Result<Vec<u8>, ScanError> {
    let file = open(disk, path)?;
    let fault = |source| ScanError::Disk { path: path.to_owned(), source };
    let length = file.length().map_err(fault)?;
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    let read = file.read_at(&mut bytes, 0).map_err(fault)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Hands out the bytes `from..end` of a file in blocks.
fn blocks(
    file: &dyn DiskFile,
    path: &Path,
    (from, end): (u64, u64),
    mut take: impl FnMut(u64, &[u8]) -> Result<(), OpenError>,
) -> Result<(), OpenError> {
    let mut block = vec![0; BLOCK_BYTES];
    let mut offset = from;
    while offset < end {
        let size = usize::try_from(end - offset).unwrap_or(usize::MAX).min(BLOCK_BYTES);
        let read = file.read_at(&mut block[..size], offset).map_err(at("reading", path))?;
        if read < size {
            let (file, offset) = (path.to_owned(), offset + read as u64);
            return Err(Damage { file, offset, position: None, flaw: Flaw::Missing }.into());
        }
        take(offset, &block[..size])?;
        offset += size as u64;
    }
    Ok(())
}

/// SHA-256 of the first `length` bytes.
pub(crate) fn hash(file: &dyn DiskFile, path: &Path, length: u32) -> Result<[u8; 32], OpenError> {
    let mut hash = Sha256::new();
    blocks(file, path, (0, u64::from(length)), |_, bytes| {
        hash.update(bytes);
        Ok(())
    })?;
    Ok(hash.finalize().into())
}

/// A part of a file.
pub(crate) struct Piece<'a> {
    pub(crate) file: &'a dyn DiskFile,
    pub(crate) path: &'a Path,
    pub(crate) from: u32,
    pub(crate) end: u32,
}

/// A copy that was made.
pub(crate) struct Copied {
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) path: PathBuf,
    /// SHA-256 of what was read for it, which is what the device holds of it.
    pub(crate) hash: [u8; 32],
}

/// Makes a file of pieces that follow on each other, syncs it, and sees that the device holds what was read.
pub(crate) fn copy(
    disk: &dyn Disk,
    path: PathBuf,
    pieces: &[Piece<'_>],
    mut on_bytes: impl FnMut(u64),
) -> Result<Copied, OpenError> {
    let file = make(disk, &path)?;
    let mut hash_read = Sha256::new();
    let mut length = 0;
    for piece in pieces {
        blocks(piece.file, piece.path, (piece.from.into(), piece.end.into()), |offset, bytes| {
            hash_read.update(bytes);
            on_bytes(bytes.len() as u64);
            file.write_at(bytes, offset).map_err(at("writing", &path))
        })?;
        length = piece.end;
    }
    file.sync_data().map_err(at("syncing", &path))?;
    file.forget_cache().map_err(at("reading", &path))?;
    let hash_read: [u8; 32] = hash_read.finalize().into();
    if hash(&*file, &path, length)? != hash_read {
        let lost = io::Error::other("the device holds other bytes than were written");
        return Err(at("writing", &path)(lost));
    }
    Ok(Copied { file, path, hash: hash_read })
}
