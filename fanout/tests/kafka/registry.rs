//! The registry's client: its answers, and that each is of the right family.

use std::sync::Arc;

use annals_core::codec::{EventSchema, SchemaFingerprint};
use annals_core::family::Family;
use annals_fanout::{RegisteredId, RegistryClient, RegistryError};

use crate::services::{UNDISTURBED, services};
use crate::world::schema;

#[tokio::test]
async fn a_schema_keeps_its_id_and_an_incompatible_one_is_refused_by_name() {
    let _undisturbed = UNDISTURBED.read().await;
    let registry = RegistryClient::new(&services().registry).expect("an address");
    let first = schema("testing.Renamed", 1);
    assert!(registry.is_compatible(&first).await.expect("an answer"), "nothing is there yet");
    let id = registry.register(&first).await.expect("the first version is taken");
    assert_eq!(registry.register(&first).await.expect("again"), id);

    let text: Arc<str> = first.text.replace("\"f\"", "\"g\"").into();
    let second = EventSchema { fingerprint: SchemaFingerprint(2), text, ..first.clone() };
    assert!(!registry.is_compatible(&second).await.expect("an answer"));
    let refused = registry.register(&second).await.expect_err("a new field without a default");
    let RegistryError::Incompatible { subject, .. } = &refused else { panic!("{refused:?}") };
    assert_eq!((subject.as_str(), refused.family()), ("testing.Renamed", Family::Conflict));

    let broken = EventSchema { text: "{\"type\":\"nothing\"}".into(), ..first };
    let refused = registry.register(&broken).await.expect_err("no schema");
    assert_eq!(refused.family(), Family::Malformed, "{refused:?}");
}

#[tokio::test]
async fn what_is_not_there_and_who_does_not_answer_are_told_apart() {
    let _undisturbed = UNDISTURBED.read().await;
    let registry = RegistryClient::new(&services().registry).expect("an address");
    let missing = registry.schema(RegisteredId(987_654)).await.expect_err("no such id");
    assert_eq!(missing.family(), Family::NotFound, "{missing:?}");
    let missing = registry.latest("testing.Nothing").await.expect_err("no such subject");
    assert_eq!(missing.family(), Family::NotFound, "{missing:?}");
    let nobody = RegistryClient::new("http://127.0.0.1:9/").expect("an address");
    let silent = nobody.register(&schema("testing.Silent", 3)).await.expect_err("nobody is there");
    assert_eq!(silent.family(), Family::Unavailable, "{silent:?}");
}
