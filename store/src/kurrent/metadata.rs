//! The metadata of an event as the protocol's bytes, and back: JSON that names Annals' fields and the schema, or another
//! writer's bytes as they are. What has both carries the bytes within the JSON, in hexadecimal.

use std::fmt::Write;

use annals_core::metadata::{Content, Metadata};
use annals_core::{NewEvent, SchemaFingerprint};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// An event's metadata and kind of payload on their way.
pub(super) struct Sent {
    pub(super) custom: Bytes,
    pub(super) is_json: bool,
}

/// The same as read back.
pub(super) struct Received {
    /// [`Metadata::encode`]d.
    pub(super) metadata: Bytes,
    pub(super) schema: SchemaFingerprint,
}

/// What Annals' own JSON holds of another writer's bytes.
#[derive(Deserialize)]
struct Carried {
    #[serde(rename = "$annals.custom", default)]
    custom: Option<String>,
    #[serde(rename = "$annals.content", default)]
    content: Option<String>,
}

const JSON: &str = "json";
const BYTES: &str = "bytes";

pub(super) fn sent(event: &NewEvent) -> Sent {
    let mut metadata = Metadata::decode(&event.metadata);
    let (custom, content) = (std::mem::take(&mut metadata.custom), metadata.content.take());
    let own = event.schema != SchemaFingerprint::NONE || metadata != Metadata::default();
    if let Some(content) = content.filter(|_| !own) {
        return Sent { custom, is_json: content == Content::Json };
    }
    let json = metadata.to_foreign_json(event.schema);
    let is_json = match content {
        Some(content) => content == Content::Json,
        None => {
            event.schema == SchemaFingerprint::NONE
                && serde_json::from_slice::<IgnoredAny>(&event.data).is_ok()
        }
    };
    Sent { custom: with_carried(json, &custom, content), is_json }
}

/// The JSON with the bytes and the kind of payload that are to be carried within it.
fn with_carried(json: Bytes, custom: &Bytes, content: Option<Content>) -> Bytes {
    let Some(open) = json.strip_suffix(b"}").filter(|_| !custom.is_empty() || content.is_some())
    else {
        return json;
    };
    let mut text = String::from_utf8_lossy(open).into_owned();
    if !custom.is_empty() {
        text.push_str(",\"$annals.custom\":\"");
        for byte in custom {
            write!(text, "{byte:02x}").expect("a string takes all");
        }
        text.push('"');
    }
    if let Some(content) = content {
        let content = if content == Content::Json { JSON } else { BYTES };
        write!(text, ",\"$annals.content\":\"{content}\"").expect("a string takes all");
    }
    text.push('}');
    text.into()
}

pub(super) fn received(custom: Bytes, is_json: bool) -> Received {
    let Some((metadata, schema)) = own(&custom) else {
        let content = Some(if is_json { Content::Json } else { Content::Bytes });
        let metadata = Metadata { custom, content, ..Metadata::default() };
        return Received { metadata: metadata.encode(), schema: SchemaFingerprint::NONE };
    };
    Received { metadata: metadata.encode(), schema }
}

/// What Annals has written; nothing where another has.
fn own(json: &[u8]) -> Option<(Metadata, SchemaFingerprint)> {
    let (metadata, schema) = Metadata::from_foreign_json(json)?;
    let Carried { custom, content } = serde_json::from_slice(json).ok()?;
    let custom = custom.map_or(Some(Bytes::new()), |digits| bytes_of(&digits))?;
    let content = match content.as_deref() {
        None => None,
        Some(JSON) => Some(Content::Json),
        Some(BYTES) => Some(Content::Bytes),
        Some(_) => return None,
    };
    Some((Metadata { custom, content, ..metadata }, schema))
}

fn bytes_of(digits: &str) -> Option<Bytes> {
    let pair = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    (0..digits.len()).step_by(2).map(pair).collect::<Option<Vec<u8>>>().map(Bytes::from)
}

/// An event's metadata and schema as they are read back, whatever store holds it: what Annals wrote through the protocol
/// may be kept as another writer's bytes.
pub(crate) fn normal(metadata: &Bytes, schema: SchemaFingerprint) -> (Bytes, SchemaFingerprint) {
    if schema == SchemaFingerprint::NONE
        && let Some((_, custom)) = Metadata::foreign_of(metadata)
        && let Some((metadata, schema)) = own(custom)
    {
        return (metadata.encode(), schema);
    }
    (metadata.clone(), schema)
}
