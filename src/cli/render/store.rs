//! The log and its schemas as text.

use annals_core::Timestamp;
use serde::Serialize;

use super::super::output::Look;
use super::{Paint, finish, grouped, number, paint, table};
use crate::import::Imported;

/// What `annals store info` tells.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in super::super) struct StoreInfo {
    /// The folder of the log.
    pub(in super::super) folder: String,
    /// The store's identity.
    pub(in super::super) id: uuid::Uuid,
    /// Grows with every restore.
    pub(in super::super) epoch: u32,
    /// The position of the last event.
    pub(in super::super) head: Option<u64>,
    /// Durable events.
    pub(in super::super) events: u64,
    /// When the first and the last of them were recorded.
    pub(in super::super) first_time: Option<Timestamp>,
    pub(in super::super) last_time: Option<Timestamp>,
    /// Streams that have an event.
    pub(in super::super) streams: u64,
    /// Segment files.
    pub(in super::super) segments: u64,
    /// Bytes in them.
    pub(in super::super) bytes: u64,
    /// Index files of sealed segments.
    pub(in super::super) index_files: u64,
    /// Bytes in them.
    pub(in super::super) index_bytes: u64,
}

/// One schema in the log.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in super::super) struct SchemaInfo {
    /// The event type it belongs to.
    #[serde(rename = "type")]
    pub(in super::super) event_type: String,
    /// Its CRC-64-AVRO fingerprint, in hexadecimal.
    pub(in super::super) fingerprint: String,
    /// Whether this version writes it.
    pub(in super::super) current: bool,
    /// The schema itself.
    pub(in super::super) schema: serde_json::Value,
}

pub(in super::super) fn store_info(info: &StoreInfo, look: Look) -> String {
    let mut table = table(look, &["WHAT", "FIGURE"]);
    let head = info.head.map_or_else(|| "none yet".to_owned(), grouped);
    let time = |time: Option<Timestamp>| time.map_or("-".to_owned(), |time| time.to_string());
    let rows = [
        ("folder", info.folder.clone()),
        ("store", format!("{}, epoch {}", info.id, info.epoch)),
        ("last position", head),
        ("events", grouped(info.events)),
        ("the first recorded", time(info.first_time)),
        ("the last recorded", time(info.last_time)),
        ("streams", grouped(info.streams)),
        ("segments", grouped(info.segments)),
        ("bytes", grouped(info.bytes)),
        ("index files", grouped(info.index_files)),
        ("bytes in them", grouped(info.index_bytes)),
    ];
    table.add_rows(rows.map(|(what, figure)| [what.to_owned(), figure]));
    finish(&table)
}

pub(in super::super) fn schemas(schemas: &[SchemaInfo], look: Look) -> String {
    if schemas.is_empty() {
        return "the log holds no schema yet".to_owned();
    }
    let mut table = table(look, &["TYPE", "FINGERPRINT", "FIELDS", "WRITTEN"]);
    for schema in schemas {
        let fields = schema.schema.get("fields").and_then(|fields| fields.as_array());
        let written = if schema.current {
            "now".to_owned()
        } else {
            paint(look, Paint::Faint, "by an older version")
        };
        table.add_row([
            schema.event_type.clone().into(),
            schema.fingerprint.clone().into(),
            number(fields.map_or(0, Vec::len)),
            written.into(),
        ]);
    }
    finish(&table)
}

/// What an import did.
pub(in super::super) fn imported(imported: &Imported, look: Look) -> String {
    let (trades, added) = (grouped(imported.trades), grouped(imported.added));
    let text = format!("{trades} trades in the file, {added} of them new in the log");
    let next = "annals serve brings the views up to date";
    format!("{text}\n{}", paint(look, Paint::Faint, next))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_log_is_told_in_figures() {
        let info = StoreInfo {
            folder: ".annals/log".to_owned(),
            id: uuid::Uuid::from_u128(7),
            epoch: 1,
            head: Some(1_234_566),
            events: 1_234_567,
            first_time: Some(Timestamp(1_514_764_802_610_000)),
            last_time: None,
            streams: 101,
            segments: 3,
            bytes: 160_000_000,
            index_files: 2,
            index_bytes: 3_000_000,
        };
        insta::assert_snapshot!(store_info(&info, Look::default()), @r"
        WHAT                FIGURE
        folder              .annals/log
        store               00000000-0000-0000-0000-000000000007, epoch 1
        last position       1,234,566
        events              1,234,567
        the first recorded  2018-01-01T00:00:02.61Z
        the last recorded   -
        streams             101
        segments            3
        bytes               160,000,000
        index files         2
        bytes in them       3,000,000
        ");
    }

    #[test]
    fn schemas_are_listed_with_the_one_in_use() {
        let schema = |fingerprint: &str, current| SchemaInfo {
            event_type: "trading.OrderPlaced".to_owned(),
            fingerprint: fingerprint.to_owned(),
            current,
            schema: json!({"fields": [{}, {}]}),
        };
        let both = [schema("00000000000000aa", false), schema("00000000000000ab", true)];
        insta::assert_snapshot!(schemas(&both, Look::default()), @r"
        TYPE                 FINGERPRINT       FIELDS  WRITTEN
        trading.OrderPlaced  00000000000000aa       2  by an older version
        trading.OrderPlaced  00000000000000ab       2  now
        ");
    }
}
