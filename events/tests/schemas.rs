//! The published contract, `schemas/avro/`, is what the Rust types say, and stays readable for
//! ever.
//!
//! `UPDATE_SCHEMAS=1 cargo test -p annals-events --test schemas` writes the files. A version that
//! was published before moves to `schemas/avro/history/NAME.FINGERPRINT.avsc`; nothing is ever
//! deleted there.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use annals_core::{DomainEvent, EventSchema};
use annals_events::{MarketEvent, TradingEvent};
use apache_avro::Schema;
use apache_avro::schema_compatibility::SchemaCompatibility;
use serde_json::Value;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/avro")
}

fn today() -> Vec<EventSchema> {
    [MarketEvent::schemas(), TradingEvent::schemas()].concat()
}

/// The `.avsc` files of a folder: file name without the ending, and text.
fn published(folder: &Path) -> BTreeMap<String, String> {
    let Ok(entries) = fs::read_dir(folder) else { return BTreeMap::new() };
    let paths = entries.map(|entry| entry.expect("a readable folder").path());
    let schemas = paths.filter(|path| path.extension().is_some_and(|end| end == "avsc"));
    let read = |path: PathBuf| {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        (name, fs::read_to_string(&path).expect("a readable file"))
    };
    schemas.map(read).collect()
}

fn fingerprint(text: &str) -> u64 {
    let schema: serde_avro_fast::schema::SchemaMut = text.parse().expect("a schema");
    u64::from_le_bytes(schema.canonical_form_rabin_fingerprint().expect("a schema"))
}

fn update() {
    let folder = folder();
    let published = published(&folder);
    for schema in today() {
        let name = schema.event_type.as_str();
        if let Some(old) = published.get(name)
            && fingerprint(old) != schema.fingerprint.0
        {
            let history = folder.join("history");
            fs::create_dir_all(&history).expect("a writable folder");
            let kept = history.join(format!("{name}.{:016x}.avsc", fingerprint(old)));
            fs::write(kept, old).expect("a writable folder");
        }
        let text: &str = &schema.text;
        fs::write(folder.join(format!("{name}.avsc")), text).expect("a writable folder");
    }
}

#[test]
fn every_event_has_its_published_schema_and_every_schema_its_event() {
    if std::env::var_os("UPDATE_SCHEMAS").is_some_and(|value| value == "1") {
        update();
    }
    let published = published(&folder());
    let today: BTreeMap<_, _> = today()
        .into_iter()
        .map(|schema| (schema.event_type.as_str().to_owned(), schema.text.as_ref().to_owned()))
        .collect();
    let names = |of: &BTreeMap<String, String>| of.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&published), names(&today), "schemas/avro/ against the events");
    for (name, text) in &today {
        let hint = "schemas/avro is out of step; UPDATE_SCHEMAS=1 writes it anew";
        assert_eq!(published.get(name), Some(text), "{name}: {hint}");
    }
}

/// What two versions say of a field that both have and the canonical form leaves out: its logical
/// type.
fn logical_types(schema: &Value) -> BTreeMap<String, String> {
    let fields = schema["fields"].as_array().expect("a record has fields");
    let told = |field: &Value| {
        let one = std::slice::from_ref(&field["type"]);
        let variants = field["type"].as_array().map_or(one, Vec::as_slice);
        let logical = |variant: &Value| {
            let of = |key: &str| variant.get(key).map(Value::to_string).unwrap_or_default();
            format!("{} {} {}", of("logicalType"), of("precision"), of("scale"))
        };
        variants.iter().map(logical).collect::<Vec<_>>().join("|").trim().to_owned()
    };
    let name = |field: &Value| field["name"].as_str().expect("a name").to_owned();
    fields.iter().map(|field| (name(field), told(field))).collect()
}

/// Why readers and writers of the two versions would not understand each other.
fn breaks(old: &str, new: &str) -> Option<String> {
    let parsed = |text| Schema::parse_str(text).expect("a schema");
    let (older, newer) = (parsed(old), parsed(new));
    if let Err(error) = SchemaCompatibility::can_read(&older, &newer) {
        return Some(format!("today's reader cannot follow the old writer: {error}"));
    }
    if let Err(error) = SchemaCompatibility::can_read(&newer, &older) {
        return Some(format!("an old reader cannot follow today's writer: {error}"));
    }
    let json = |text| serde_json::from_str::<Value>(text).expect("JSON");
    let newer = logical_types(&json(new));
    let changed = logical_types(&json(old))
        .into_iter()
        .find(|(field, logical)| newer.get(field).is_some_and(|now| now != logical));
    changed.map(|(field, was)| format!("the logical type of {field} is not {was} any more"))
}

#[test]
fn every_version_ever_published_still_resolves() {
    let today: BTreeMap<_, _> =
        today().into_iter().map(|s| (s.event_type.as_str().to_owned(), s.text)).collect();
    for (name, old) in published(&folder().join("history")) {
        let (event, print) = name.rsplit_once('.').expect("NAME.FINGERPRINT");
        assert_eq!(format!("{:016x}", fingerprint(&old)), print, "{name} was changed");
        let new = today.get(event).unwrap_or_else(|| panic!("{event} is gone, its history is not"));
        assert_eq!(breaks(&old, new), None, "{name}");
    }
}

#[test]
fn a_change_that_some_reader_could_not_follow_is_caught() {
    let today = MarketEvent::schemas()[0].text.to_string();
    let changed = |change: fn(&mut Vec<Value>)| {
        let mut schema: Value = serde_json::from_str(&today).expect("JSON");
        change(schema["fields"].as_array_mut().expect("fields"));
        breaks(&today, &schema.to_string())
    };
    assert_eq!(changed(|_| ()), None);
    let optional =
        serde_json::json!({"name": "venue", "type": ["null", "string"], "default": null});
    assert_eq!(breaks(&today, &today), None);
    let mut extended: Value = serde_json::from_str(&today).expect("JSON");
    extended["fields"].as_array_mut().expect("fields").push(optional);
    assert_eq!(breaks(&today, &extended.to_string()), None);
    let removed = changed(|fields| fields.retain(|field| field["name"] != "size"));
    assert!(removed.expect("an old reader asks for it").contains("old reader"));
    let renamed = changed(|fields| fields[0]["name"] = "symbol".into());
    assert!(renamed.is_some());
    let rescaled = changed(|fields| fields[2]["type"]["scale"] = 2.into());
    assert!(rescaled.expect("cents are no longer what they were").contains("price"));
}

/// CRC-64-AVRO, as the Avro specification's section "Schema Fingerprints" gives it.
fn rabin(canonical: &str) -> u64 {
    const EMPTY: u64 = 0xc15d_213a_a4d7_a795;
    let table =
        |byte: u64| (0..8).fold(byte, |f, _| (f >> 1) ^ (EMPTY & 0_u64.wrapping_sub(f & 1)));
    canonical.bytes().fold(EMPTY, |f, byte| (f >> 8) ^ table((f ^ u64::from(byte)) & 0xff))
}

#[test]
fn fingerprints_are_those_of_the_specification() {
    assert_eq!(rabin("\"null\""), 7_195_948_357_588_979_594, "the specification's test data");
    let canonical = concat!(
        r#"{"name":"market.TradeRecorded","type":"record","fields":["#,
        r#"{"name":"instrument","type":"string"},{"name":"traded_at","type":"long"},"#,
        r#"{"name":"price","type":"bytes"},{"name":"size","type":"bytes"},"#,
        r#"{"name":"taker_side","type":"#,
        r#"{"name":"market.Side","type":"enum","symbols":["buy","sell"]}}]}"#
    );
    assert_eq!(MarketEvent::schemas()[0].fingerprint.0, rabin(canonical));
}
