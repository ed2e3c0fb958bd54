//! What an event's bytes promise: they give the event back, whoever wrote them and when, and its
//! JSON is for people.

use annals_core::{
    DecodeError, DomainEvent, EventSchema, RecordedEvent, SchemaFingerprint, Schemas,
};
use annals_events::market::TradeRecorded;
use annals_events::{MarketEvent, TradingEvent};
use bytes::Bytes;
use proptest::prelude::*;
use rust_decimal::Decimal;
use serde_json::{Value, json};

mod samples;
use samples::{number, recorded, trade, trading};

fn decode<E: DomainEvent>(recorded: &RecordedEvent) -> E {
    E::decode(recorded, &Schemas::default()).expect("it decodes")
}

/// The sample's JSON written with another schema, as a writer of another version would have.
fn written(event: &impl DomainEvent, schema: &Value, raw: &Value) -> (RecordedEvent, Schemas) {
    let text = schema.to_string();
    let plan: serde_avro_fast::schema::SchemaMut = text.parse().expect("a schema");
    let fingerprint = plan.canonical_form_rabin_fingerprint().expect("a schema");
    let fingerprint = SchemaFingerprint(u64::from_le_bytes(fingerprint));
    let plan = plan.freeze().expect("a schema");
    let mut config = serde_avro_fast::ser::SerializerConfig::new(&plan);
    let data = serde_avro_fast::to_datum_vec(raw, &mut config).expect("the JSON fits");
    let event_type = event.schema().event_type.clone();
    let schemas = Schemas::default();
    schemas.insert(EventSchema { fingerprint, event_type, text: text.into() });
    let recorded =
        RecordedEvent { schema: fingerprint, data: Bytes::from(data), ..recorded(event) };
    (recorded, schemas)
}

fn schema_of(event: &impl DomainEvent) -> Value {
    serde_json::from_str(&event.schema().text).expect("a schema is JSON")
}

fn raw(event: &impl serde::Serialize) -> Value {
    serde_json::to_value(event).expect("serialises")
}

#[test]
fn every_event_survives_its_bytes() {
    assert_eq!(decode::<MarketEvent>(&recorded(&trade())), trade());
    for event in trading() {
        assert_eq!(decode::<TradingEvent>(&recorded(&event)), event);
    }
}

#[test]
fn there_is_a_sample_of_every_type() {
    let types = |events: &[EventSchema]| {
        events.iter().map(|schema| schema.event_type.clone()).collect::<Vec<_>>()
    };
    let sampled: Vec<_> = trading().iter().map(|e| e.schema().event_type.clone()).collect();
    assert_eq!(sampled, types(TradingEvent::schemas()));
    assert_eq!([trade().schema().event_type.clone()], *types(MarketEvent::schemas()));
}

#[test]
fn json_is_for_people() {
    let expected = json!({
        "instrument": "XBTUSD", "traded_at": "2018-01-01T00:00:02.61Z", "price": "13873.5",
        "size": "3000", "taker_side": "sell",
    });
    assert_eq!(trade().to_json(), expected);
    let read_back: MarketEvent = decode(&recorded(&trade()));
    assert_eq!(read_back.to_json(), expected, "idle zeros do not show");
    let placed = &trading()[3];
    assert_eq!(
        placed.to_json(),
        json!({
            "account": "A001", "order": "A001-17", "instrument": "XBTUSD", "side": "buy",
            "kind": "limit", "quantity": "0.5", "limit_price": "14000", "as_of": 69_999,
            "placed_at": "2018-01-01T00:00:02.610007Z",
        })
    );
    assert_eq!(trading()[1].to_json()["deposited_at"], Value::Null);
}

#[test]
fn json_for_people_reads_back_as_the_record() {
    let read: TradeRecorded = serde_json::from_value(trade().to_json()).expect("it reads");
    assert_eq!(MarketEvent::TradeRecorded(read), trade());
}

#[test]
fn a_field_with_a_default_may_be_missing_from_an_older_writer() {
    for event in trading() {
        let schema = schema_of(&event);
        let fields = schema["fields"].as_array().expect("a record has fields");
        for field in fields.iter().filter(|field| field.get("default").is_some()) {
            let name = field["name"].as_str().expect("a name");
            let mut older = schema.clone();
            older["fields"].as_array_mut().expect("fields").retain(|f| f["name"] != name);
            let mut raw = raw(&event);
            raw.as_object_mut().expect("an object").remove(name);
            let (recorded, schemas) = written(&event, &older, &raw);
            let read = TradingEvent::decode(&recorded, &schemas);
            let read = read.unwrap_or_else(|error| panic!("without {name}: {error}"));
            assert_eq!(read.to_json()[name], Value::Null, "{name} takes its default");
        }
    }
}

#[test]
fn a_field_that_a_writer_had_and_we_have_not_is_passed_over() {
    let mut schema = schema_of(&trade());
    let extra = json!({"name": "venue", "type": ["null", "string"], "default": null});
    schema["fields"].as_array_mut().expect("fields").insert(1, extra);
    let mut json = raw(&trade());
    json["venue"] = json!("elsewhere");
    let (recorded, schemas) = written(&trade(), &schema, &json);
    assert_eq!(MarketEvent::decode(&recorded, &schemas).expect("it decodes"), trade());
}

#[test]
fn an_int_that_became_a_long_is_read() {
    let event = &trading()[6];
    let mut schema = schema_of(event);
    let fields = schema["fields"].as_array_mut().expect("fields");
    let print = fields.iter_mut().find(|field| field["name"] == "print").expect("a print");
    assert_eq!(print["type"], "long");
    print["type"] = json!("int");
    let (recorded, schemas) = written(event, &schema, &raw(event));
    assert_eq!(&TradingEvent::decode(&recorded, &schemas).expect("it decodes"), event);
}

#[test]
fn what_cannot_be_read_is_named_with_its_place() {
    let good = recorded(&trade());
    let unknown = RecordedEvent { schema: SchemaFingerprint(0xabc), ..good.clone() };
    let error = MarketEvent::decode(&unknown, &Schemas::default()).expect_err("no such schema");
    assert!(matches!(error, DecodeError::UnknownSchema { fingerprint: 0xabc, .. }), "{error}");
    let cut = RecordedEvent { data: good.data.slice(..good.data.len() - 3), ..good.clone() };
    let error = MarketEvent::decode(&cut, &Schemas::default()).expect_err("bytes are missing");
    assert!(matches!(error, DecodeError::Payload { .. }), "{error}");
    let error = TradingEvent::decode(&good, &Schemas::default()).expect_err("another context");
    assert!(matches!(error, DecodeError::UnknownType { .. }), "{error}");
}

proptest! {
    #[test]
    fn every_decimal_that_fits_survives(mantissa in -(10_i128.pow(28) - 1)..10_i128.pow(28)) {
        let size = Decimal::from_i128_with_scale(mantissa, 8);
        prop_assert!(annals_events::avro::decimal_fits(size));
        let MarketEvent::TradeRecorded(trade) = trade();
        let event = MarketEvent::TradeRecorded(TradeRecorded { size, ..trade });
        prop_assert_eq!(decode::<MarketEvent>(&recorded(&event)), event);
    }

    #[test]
    fn any_bytes_are_an_event_or_an_error_but_never_a_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..80),
    ) {
        for event in trading() {
            let recorded = RecordedEvent { data: Bytes::from(bytes.clone()), ..recorded(&event) };
            drop(TradingEvent::decode(&recorded, &Schemas::default()));
        }
    }
}

#[test]
fn a_decimal_that_does_not_fit_is_told_apart() {
    use annals_events::avro::decimal_fits;
    assert!(decimal_fits(number("-99999999999999999999.99999999")));
    assert!(!decimal_fits(number("100000000000000000000")));
    assert!(!decimal_fits(number("0.000000001")));
    assert!(decimal_fits(number("0.1000000000")));
}
