//! Metadata as JSON for foreign protocols, whose clients expect an object: what one of them is shown of Annals' own events,
//! and what such an event is kept as on a foreign server. Bytes that a foreign client wrote do not pass through here.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Metadata;
use crate::codec::SchemaFingerprint;

/// The object. What says that Annals wrote it is that it names a schema, if only the one of bytes that are not Avro.
#[derive(Serialize, Deserialize)]
struct Foreign {
    #[serde(flatten)]
    metadata: Metadata,
    #[serde(rename = "$schema.fingerprint")]
    schema: String,
}

impl Metadata {
    /// The JSON form for foreign protocols of an event with that writer schema.
    pub fn to_foreign_json(&self, schema: SchemaFingerprint) -> Bytes {
        let schema = format!("{:016x}", schema.0);
        let object = Foreign { metadata: self.clone(), schema };
        serde_json::to_vec(&object).expect("metadata has a JSON form").into()
    }

    /// Reads that form; nothing where the bytes are another writer's.
    pub fn from_foreign_json(json: &[u8]) -> Option<(Metadata, SchemaFingerprint)> {
        let object: Foreign = serde_json::from_slice(json).ok()?;
        let digits = object.schema;
        if digits.len() != 16 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        let schema = u64::from_str_radix(&digits, 16).ok()?;
        Some((object.metadata, SchemaFingerprint(schema)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    proptest! {
        #[test]
        fn metadata_survives_its_json(
            correlation in proptest::option::of(any::<u128>()),
            actor in proptest::option::of(".{0,30}"),
            traceparent in proptest::option::of(".{0,30}"),
            tags in proptest::collection::btree_set(".{0,20}", 0..4),
            schema in any::<u64>(),
        ) {
            let metadata = Metadata {
                correlation: correlation.map(Uuid::from_u128), actor, traceparent, tags,
                ..Metadata::default()
            };
            let schema = SchemaFingerprint(schema);
            let json = metadata.to_foreign_json(schema);
            prop_assert_eq!(Metadata::from_foreign_json(&json), Some((metadata, schema)));
        }
    }

    #[test]
    fn the_names_are_a_contract() {
        let metadata = Metadata {
            correlation: Some(Uuid::from_u128(1)),
            causation: Some(Uuid::from_u128(2)),
            actor: Some("ann".to_owned()),
            tenant: Some("t".to_owned()),
            traceparent: Some("00-1-2-01".to_owned()),
            tags: ["course:1".to_owned()].into(),
            ..Metadata::default()
        };
        let json = metadata.to_foreign_json(SchemaFingerprint(255));
        let text = std::str::from_utf8(&json).expect("JSON is text");
        let expected = [
            r#"{"$correlationId":"00000000-0000-0000-0000-000000000001""#,
            r#""$causationId":"00000000-0000-0000-0000-000000000002""#,
            r#""actor":"ann""#,
            r#""tenant":"t""#,
            r#""traceparent":"00-1-2-01""#,
            r#""tags":["course:1"]"#,
            r#""$schema.fingerprint":"00000000000000ff"}"#,
        ];
        assert_eq!(text, expected.join(","));
    }

    #[test]
    fn what_another_wrote_is_not_ours() {
        let fingerprint = |digits: &str| format!(r#"{{"$schema.fingerprint":"{digits}"}}"#);
        for json in [
            String::new(),
            "{}".to_owned(),
            r#"{"actor":"ann"}"#.to_owned(),
            fingerprint("1"),
            fingerprint("+000000000000001"),
            fingerprint("000000000000000g"),
        ] {
            assert_eq!(Metadata::from_foreign_json(json.as_bytes()), None, "{json}");
        }
        let ours = Metadata::from_foreign_json(fingerprint("0000000000000000").as_bytes());
        assert_eq!(ours, Some((Metadata::default(), SchemaFingerprint::NONE)));
    }
}
