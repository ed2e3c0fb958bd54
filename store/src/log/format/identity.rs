//! The file `identity`: which store a folder holds.

use annals_core::{StoreIdentity, Timestamp};
use uuid::Uuid;

use super::{FORMAT, bytes_at, check_page, put, seal, u32_at};
use crate::log::error::Flaw;

/// The size of the file.
pub(crate) const IDENTITY_BYTES: usize = 64;
const MAGIC: [u8; 8] = *b"ANNALSID";

/// The file's contents.
pub(crate) fn encode(identity: StoreIdentity, created: Timestamp) -> Vec<u8> {
    let mut page = vec![0; IDENTITY_BYTES];
    put(&mut page, 0, &MAGIC);
    put(&mut page, 8, &FORMAT.to_le_bytes());
    put(&mut page, 12, &identity.epoch.to_le_bytes());
    put(&mut page, 16, identity.id.as_bytes());
    put(&mut page, 32, &created.0.to_le_bytes());
    seal(&mut page);
    page
}

/// Reads the file's contents.
pub(crate) fn decode(page: &[u8]) -> Result<StoreIdentity, Flaw> {
    if page.len() != IDENTITY_BYTES {
        return Err(Flaw::Length);
    }
    check_page(page, MAGIC, FORMAT)?;
    Ok(StoreIdentity { id: Uuid::from_bytes(bytes_at(page, 16)), epoch: u32_at(page, 12) })
}

/// When the store was created, of contents that [`decode`] takes.
pub(crate) fn created(page: &[u8]) -> Timestamp {
    Timestamp(i64::from_le_bytes(bytes_at(page, 32)))
}
