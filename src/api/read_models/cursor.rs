//! The cursor of a page: the sort values of its last row, sealed with a digest over the query they
//! belong to. So a cursor that was changed, or is used with another query, is refused instead of
//! giving rows that make no sense. It stays valid across restarts. It is no secret: whoever may
//! read the rows may read it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::request::{Model, PageRequest};
use crate::api::problem::Problem;

const SEAL_BYTES: usize = 12;

/// The cursor after a row with these sort values.
pub(super) fn encode(model: &Model, request: &PageRequest, values: &[Option<String>]) -> String {
    let json = serde_json::to_vec(values).expect("texts have a JSON form");
    let mut bytes = seal(model, request, &json).to_vec();
    bytes.extend_from_slice(&json);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The sort values in a cursor.
pub(super) fn decode(
    model: &Model,
    request: &PageRequest,
    cursor: &str,
) -> Result<Vec<Option<String>>, Problem> {
    let read = || {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let (sealed, json) = bytes.split_at_checked(SEAL_BYTES)?;
        if sealed != seal(model, request, json) {
            return None;
        }
        let values: Vec<Option<String>> = serde_json::from_slice(json).ok()?;
        (values.len() == request.sort.len()).then_some(values)
    };
    read().ok_or_else(|| {
        Problem::malformed(
            "wrong-cursor",
            "the cursor was changed, or is of another query; pass next_cursor as it came, with \
             the same read model, filters and sort",
        )
    })
}

fn seal(model: &Model, request: &PageRequest, json: &[u8]) -> [u8; SEAL_BYTES] {
    let sort: Vec<_> =
        request.sort.iter().map(|sort| (&sort.column.name, sort.descending)).collect();
    let conditions: Vec<_> = request
        .conditions
        .iter()
        .map(|condition| {
            (&condition.column.name, format!("{:?}", condition.operator), &condition.value)
        })
        .collect();
    let query = serde_json::to_vec(&(model.name, sort, conditions)).expect("plain data");
    let mut digest = Sha256::new();
    digest.update((query.len() as u64).to_be_bytes());
    digest.update(query);
    digest.update(json);
    let mut sealed = [0; SEAL_BYTES];
    sealed.copy_from_slice(&digest.finalize()[..SEAL_BYTES]);
    sealed
}
