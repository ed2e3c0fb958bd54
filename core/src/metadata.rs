//! The metadata of an event and its compact binary form. Foreign bytes (a KurrentDB client's JSON, say) are kept as
//! they are in `custom`; nothing here can fail, because what is stored must always be readable.
//!
//! Form: fields one after the other, each a kind byte, a length as unsigned LEB128, and that many bytes. Unknown kinds
//! are skipped. Bytes that do not parse as such fields are `custom` as a whole.

mod json;

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Who and what led to an event. Names follow KurrentDB's where it has one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// The whole conversation that the event belongs to.
    #[serde(rename = "$correlationId", skip_serializing_if = "Option::is_none", default)]
    pub correlation: Option<Uuid>,
    /// The command (or event) that led to it.
    #[serde(rename = "$causationId", skip_serializing_if = "Option::is_none", default)]
    pub causation: Option<Uuid>,
    /// On whose behalf.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub actor: Option<String>,
    /// In which tenant.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tenant: Option<String>,
    /// W3C trace context.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub traceparent: Option<String>,
    /// Tags that reads and conditions can ask for: any text, by convention `name:value`.
    #[serde(skip_serializing_if = "BTreeSet::is_empty", default)]
    pub tags: BTreeSet<String>,
    /// Another writer's bytes, unread.
    #[serde(skip)]
    pub custom: Bytes,
    /// What a client of a foreign protocol said that the payload is; nothing on Annals' own events.
    #[serde(skip)]
    pub content: Option<Content>,
}

/// What a payload is, as a client of a foreign protocol has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// JSON, by the client's word.
    Json,
    /// Any bytes.
    Bytes,
}

const CORRELATION: u8 = 1;
const CAUSATION: u8 = 2;
const ACTOR: u8 = 3;
const TENANT: u8 = 4;
const TRACEPARENT: u8 = 5;
const TAG: u8 = 6;
const CUSTOM: u8 = 7;
const CONTENT: u8 = 8;

impl Content {
    /// The one byte that stands for it.
    const fn byte(self) -> u8 {
        match self {
            Content::Json => 1,
            Content::Bytes => 2,
        }
    }

    fn of(value: &[u8]) -> Option<Content> {
        match value {
            [1] => Some(Content::Json),
            [2] => Some(Content::Bytes),
            _ => None,
        }
    }
}

impl Metadata {
    /// The compact form; empty metadata is no bytes.
    pub fn encode(&self) -> Bytes {
        if *self == Metadata::default() {
            return Bytes::new();
        }
        let mut out = Vec::with_capacity(64 + self.custom.len());
        let mut field = |kind: u8, value: &[u8]| {
            out.push(kind);
            put_length(&mut out, value.len());
            out.extend_from_slice(value);
        };
        if let Some(id) = self.correlation {
            field(CORRELATION, id.as_bytes());
        }
        if let Some(id) = self.causation {
            field(CAUSATION, id.as_bytes());
        }
        let texts =
            [(ACTOR, &self.actor), (TENANT, &self.tenant), (TRACEPARENT, &self.traceparent)];
        for (kind, text) in texts {
            if let Some(text) = text {
                field(kind, text.as_bytes());
            }
        }
        for tag in &self.tags {
            field(TAG, tag.as_bytes());
        }
        if !self.custom.is_empty() {
            field(CUSTOM, &self.custom);
        }
        if let Some(content) = self.content {
            field(CONTENT, &[content.byte()]);
        }
        out.into()
    }

    /// Reads the compact form; other bytes become `custom`.
    pub fn decode(bytes: &Bytes) -> Metadata {
        Metadata::parse(bytes)
            .unwrap_or_else(|| Metadata { custom: bytes.clone(), ..Metadata::default() })
    }

    fn parse(bytes: &Bytes) -> Option<Metadata> {
        let mut metadata = Metadata::default();
        for field in fields(bytes) {
            let (kind, value) = field?;
            let text = || String::from_utf8(value.to_vec()).ok();
            match kind {
                CORRELATION => metadata.correlation = Some(Uuid::from_slice(value).ok()?),
                CAUSATION => metadata.causation = Some(Uuid::from_slice(value).ok()?),
                ACTOR => metadata.actor = Some(text()?),
                TENANT => metadata.tenant = Some(text()?),
                TRACEPARENT => metadata.traceparent = Some(text()?),
                TAG => {
                    metadata.tags.insert(text()?);
                }
                CUSTOM => metadata.custom = bytes.slice_ref(value),
                CONTENT => metadata.content = Content::of(value),
                _ => {} // A later version's field.
            }
        }
        Some(metadata)
    }

    /// The tags alone, without building the rest: what a store's index asks of every event. Bytes that are not of the
    /// compact form have none.
    pub fn tags_of(bytes: &[u8]) -> Vec<&str> {
        Metadata::tags_in(bytes).collect()
    }

    /// The tags alone, as [`Metadata::tags_of`] has them, one after the other.
    pub fn tags_in(bytes: &[u8]) -> impl Iterator<Item = &str> {
        let sound = fields(bytes).all(|field| field.is_some());
        let sound = if sound { bytes } else { &[] };
        unchecked_fields(sound).filter_map(|field| match field {
            Some((TAG, value)) => std::str::from_utf8(value).ok(),
            Some(_) | None => None,
        })
    }

    /// What the payload is and the bytes that came with it, of an event that a client of a foreign protocol wrote; nothing
    /// of Annals' own events.
    pub fn foreign_of(bytes: &[u8]) -> Option<(Content, &[u8])> {
        let (mut content, mut custom) = (None, &[][..]);
        for field in fields(bytes) {
            match field? {
                (CONTENT, value) => content = Content::of(value),
                (CUSTOM, value) => custom = value,
                _ => {}
            }
        }
        content.map(|content| (content, custom))
    }

    /// The causation id alone: what the executor asks of every event it loads.
    pub fn causation_of(bytes: &[u8]) -> Option<Uuid> {
        let mut causation = None;
        // To the end: bytes that are of another form later on have none.
        for field in fields(bytes) {
            let (kind, value) = field?;
            if kind == CAUSATION {
                causation = Uuid::from_slice(value).ok();
            }
        }
        causation
    }
}

/// The fields, each as kind and value; ends with nothing where the bytes are not of this form.
fn fields(bytes: &[u8]) -> impl Iterator<Item = Option<(u8, &[u8])>> {
    let sound = |(kind, value): &(u8, &[u8])| match *kind {
        CORRELATION | CAUSATION => value.len() == 16,
        ACTOR | TENANT | TRACEPARENT | TAG => std::str::from_utf8(value).is_ok(),
        _ => true, // A later version's field.
    };
    let mut broken = false;
    unchecked_fields(bytes).map_while(move |field| {
        let field = field.filter(sound);
        let before = std::mem::replace(&mut broken, field.is_none());
        (!before).then_some(field)
    })
}

/// As [`fields`], but for whether values are what their kinds say.
fn unchecked_fields(bytes: &[u8]) -> impl Iterator<Item = Option<(u8, &[u8])>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (&kind, after) = rest.split_first()?;
        let field = field(kind, after);
        rest = field.map_or(&[][..], |(_, after)| after);
        Some(field.map(|(value, _)| (kind, value)))
    })
}

/// A field's value, and what follows it.
fn field(kind: u8, mut rest: &[u8]) -> Option<(&[u8], &[u8])> {
    if matches!(kind, 0 | b' '..=b'~') {
        return None; // The first byte of JSON or other text: not ours.
    }
    let length = take_length(&mut rest)?;
    rest.split_at_checked(length)
}

fn put_length(out: &mut Vec<u8>, mut length: usize) {
    loop {
        let [low, ..] = length.to_le_bytes();
        length >>= 7;
        if length == 0 {
            return out.push(low & 0x7f);
        }
        out.push(low | 0x80);
    }
}

fn take_length(bytes: &mut &[u8]) -> Option<usize> {
    let mut length = 0_usize;
    for shift in [0, 7, 14, 21, 28] {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(length);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn metadata_survives_its_bytes(
            causation in proptest::option::of(any::<u128>()),
            actor in proptest::option::of(".{0,300}"),
            tags in proptest::collection::btree_set(".{0,200}", 0..4),
            custom in proptest::collection::vec(any::<u8>(), 0..40),
            content in proptest::option::of(prop_oneof![Just(Content::Json), Just(Content::Bytes)]),
        ) {
            let metadata = Metadata {
                causation: causation.map(Uuid::from_u128), actor, tags, custom: custom.into(), content,
                ..Metadata::default()
            };
            let bytes = metadata.encode();
            let foreign = content.map(|content| (content, &metadata.custom[..]));
            prop_assert_eq!(Metadata::foreign_of(&bytes), foreign);
            prop_assert_eq!(Metadata::causation_of(&bytes), metadata.causation);
            prop_assert!(metadata.tags.iter().eq(Metadata::tags_of(&bytes)));
            prop_assert_eq!(Metadata::decode(&bytes), metadata);
        }

        #[test]
        fn any_bytes_decode_to_something(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let bytes = Bytes::from(bytes);
            let Metadata { tags, causation, .. } = Metadata::decode(&bytes);
            let alone: BTreeSet<_> =
                Metadata::tags_of(&bytes).into_iter().map(str::to_owned).collect();
            prop_assert_eq!(tags, alone);
            prop_assert_eq!(causation, Metadata::causation_of(&bytes));
        }
    }

    #[test]
    fn the_causation_alone_is_what_the_whole_says() {
        let field = |id: u128| [&[CAUSATION, 16][..], &id.to_be_bytes()].concat();
        let repeated = [field(1), field(2)].concat();
        let broken_off = [field(1), vec![TAG, 9]].concat();
        for (bytes, expected) in [(repeated, Some(Uuid::from_u128(2))), (broken_off, None)] {
            let bytes = Bytes::from(bytes);
            assert_eq!(Metadata::decode(&bytes).causation, expected);
            assert_eq!(Metadata::causation_of(&bytes), expected);
        }
    }

    #[test]
    fn foreign_json_is_kept_as_it_is() {
        let bytes = Bytes::from_static(b"{\"$correlationId\":\"x\"}");
        assert_eq!(Metadata::decode(&bytes).custom, bytes);
    }
}
