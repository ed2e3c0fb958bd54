//! The conversation that an event belongs to, as its metadata says it: Annals' own events in the compact form, those of
//! clients in a JSON object.

use annals_core::{Metadata, RecordedEvent};
use serde::Deserialize;

/// The part of a client's metadata that is looked at.
#[derive(Deserialize)]
struct Foreign {
    #[serde(rename = "$correlationId")]
    correlation: Option<String>,
}

/// The correlation id of an event; nothing where its metadata gives none, or one that is no text.
pub(super) fn correlation(event: &RecordedEvent) -> Option<String> {
    if let Some((_, custom)) = Metadata::foreign_of(&event.metadata) {
        return foreign(custom);
    }
    let metadata = event.metadata();
    let own = metadata.correlation.map(|correlation| correlation.to_string());
    own.or_else(|| foreign(&metadata.custom))
}

fn foreign(custom: &[u8]) -> Option<String> {
    // An array would be taken for the fields of the object.
    if custom.trim_ascii_start().first() != Some(&b'{') {
        return None;
    }
    let correlation = serde_json::from_slice::<Foreign>(custom).ok()?.correlation;
    correlation.filter(|correlation| !correlation.is_empty())
}

#[cfg(test)]
mod tests {
    use annals_core::Content;
    use bytes::Bytes;
    use uuid::Uuid;

    use super::super::projections::testing::event;
    use super::*;

    #[track_caller]
    fn check(metadata: &Metadata, expected: Option<&str>) {
        let event = RecordedEvent { metadata: metadata.encode(), ..event("a-1", 0, "note.Taken") };
        assert_eq!(correlation(&event).as_deref(), expected, "{metadata:?}");
    }

    #[test]
    fn a_conversation_is_named_by_text_in_an_object() {
        for (custom, expected) in [
            (r#"{"$correlationId":"c-1","more":[1]}"#, Some("c-1")),
            (" {\"$correlationId\":\"a\\nb\"}", Some("a\nb")),
            (r#"{"$correlationId":7}"#, None),
            (r#"{"$correlationId":""}"#, None),
            (r#"{"$correlationId":null}"#, None),
            (r#"{"correlationId":"c-1"}"#, None),
            (r#"["c-1"]"#, None),
            (r#"{"$correlationId":"c-1""#, None),
            ("", None),
        ] {
            let custom = Bytes::from_static(custom.as_bytes());
            for content in [Some(Content::Json), Some(Content::Bytes), None] {
                let metadata = Metadata { custom: custom.clone(), content, ..Metadata::default() };
                check(&metadata, expected);
            }
        }
    }

    #[test]
    fn our_own_events_name_theirs_too() {
        let id = Uuid::from_u128(7);
        let metadata = Metadata { correlation: Some(id), ..Metadata::default() };
        check(&metadata, Some(&id.to_string()));
        check(&Metadata::default(), None);
    }
}
