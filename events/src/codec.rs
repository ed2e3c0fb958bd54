//! The Avro codec of a context: one plan an event type for writing and reading today's schema, and
//! one for each older writer schema met, made once. Fields are matched by name, so a writer's extra
//! fields are passed over, and fields that it lacked take the type's default.

use std::cell::RefCell;
use std::sync::{Arc, OnceLock};

use annals_core::{
    DecodeError, EventSchema, EventType, RecordedEvent, SchemaFingerprint, Schemas, Timestamp,
};
use apache_avro::AvroSchema;
use apache_avro::schema::Name;
use bytes::Bytes;
use parking_lot::RwLock;
use rust_decimal::Decimal;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The plan that bytes of one writer schema are written and read by.
type Plan = serde_avro_fast::Schema;

/// The event types of a context, in the order of its enum.
pub(crate) struct Codec {
    kinds: Vec<Kind>,
    schemas: Vec<EventSchema>,
    /// Plans of older writer schemas; a handful, so a list serves.
    older: RwLock<Vec<(SchemaFingerprint, Arc<Plan>)>>,
}

struct Kind {
    name: String,
    plan: Plan,
    /// The fields whose numbers are times.
    times: Vec<String>,
    /// The fields whose text is a decimal.
    decimals: Vec<String>,
}

impl Codec {
    /// From each event type's generated schema.
    pub(crate) fn new(schemas: &[apache_avro::Schema]) -> Codec {
        let (kinds, schemas) = schemas.iter().map(kind).unzip();
        Codec { kinds, schemas, older: RwLock::default() }
    }

    pub(crate) fn schemas(&self) -> &[EventSchema] {
        &self.schemas
    }

    /// The number of the event type of this full name.
    pub(crate) fn number(&self, event_type: &EventType) -> Option<usize> {
        let name = event_type.name();
        self.kinds.iter().position(|kind| kind.name == name)
    }

    pub(crate) fn encode(&self, number: usize, record: &impl Serialize) -> Bytes {
        thread_local! {
            static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        let mut config = serde_avro_fast::ser::SerializerConfig::new(&self.kinds[number].plan);
        BUFFER.with_borrow_mut(|buffer| {
            buffer.clear();
            let written = serde_avro_fast::to_datum(record, std::mem::take(buffer), &mut config);
            *buffer = written.expect("commands refuse every value that has no encoding");
            Bytes::copy_from_slice(buffer)
        })
    }

    pub(crate) fn decode<T: DeserializeOwned>(
        &self,
        number: usize,
        recorded: &RecordedEvent,
        schemas: &Schemas,
    ) -> Result<T, DecodeError> {
        let read = if recorded.schema == self.schemas[number].fingerprint {
            serde_avro_fast::from_datum_slice(&recorded.data, &self.kinds[number].plan)
        } else {
            let plan = self.older_plan(recorded, schemas)?;
            serde_avro_fast::from_datum_slice(&recorded.data, &plan)
        };
        read.map_err(|error| payload_error(recorded, error.to_string()))
    }

    fn older_plan(
        &self,
        recorded: &RecordedEvent,
        schemas: &Schemas,
    ) -> Result<Arc<Plan>, DecodeError> {
        let known = |plans: &[(SchemaFingerprint, Arc<Plan>)]| {
            let found = plans.iter().find(|(fingerprint, _)| *fingerprint == recorded.schema);
            found.map(|(_, plan)| Arc::clone(plan))
        };
        if let Some(plan) = known(&self.older.read()) {
            return Ok(plan);
        }
        let schema = schemas
            .get(recorded.schema)
            .filter(|schema| schema.event_type == recorded.event_type)
            .ok_or_else(|| DecodeError::UnknownSchema {
                fingerprint: recorded.schema.0,
                stream: recorded.stream.clone(),
                position: recorded.position,
            })?;
        let plan: Plan =
            schema.text.parse().map_err(|error: serde_avro_fast::schema::SchemaError| {
                payload_error(recorded, error.to_string())
            })?;
        let plan = Arc::new(plan);
        self.older.write().push((recorded.schema, Arc::clone(&plan)));
        Ok(plan)
    }

    /// The record as people read it: times as RFC 3339 text, decimals without idle zeros.
    pub(crate) fn json(&self, number: usize, record: &impl Serialize) -> Value {
        let kind = &self.kinds[number];
        let mut json = serde_json::to_value(record).expect("an event is a plain object");
        for field in &kind.times {
            if let Some(value) = json.get_mut(field)
                && let Some(micros) = value.as_i64()
            {
                *value = Value::String(Timestamp(micros).to_string());
            }
        }
        for field in &kind.decimals {
            if let Some(value) = json.get_mut(field)
                && let Some(decimal) = value.as_str().and_then(|text| text.parse::<Decimal>().ok())
            {
                *value = Value::String(decimal.normalize().to_string());
            }
        }
        json
    }
}

fn kind(schema: &apache_avro::Schema) -> (Kind, EventSchema) {
    let apache_avro::Schema::Record(record) = schema else {
        panic!("an event is a record, not {schema:?}");
    };
    let json = serde_json::to_value(schema).expect("a schema is JSON");
    let text = format!("{json:#}\n");
    // serde_avro_fast's fingerprint is the specification's; apache-avro 0.22's is not where logical
    // types occur.
    let mutable: serde_avro_fast::schema::SchemaMut = text.parse().expect("a generated schema");
    let fingerprint = mutable.canonical_form_rabin_fingerprint().expect("a complete schema");
    let fields_of = |wanted: fn(&apache_avro::Schema) -> bool| {
        let of_type = |schema: &apache_avro::Schema| {
            let optional = if let apache_avro::Schema::Union(union) = schema {
                union.variants().iter().any(wanted)
            } else {
                false
            };
            optional || wanted(schema)
        };
        let fields = record.fields.iter().filter(|field| of_type(&field.schema));
        fields.map(|field| field.name.clone()).collect()
    };
    let kind = Kind {
        name: record.name.name().to_owned(),
        plan: mutable.freeze().expect("a generated schema"),
        times: fields_of(|schema| matches!(schema, apache_avro::Schema::TimestampMicros)),
        decimals: fields_of(|schema| matches!(schema, apache_avro::Schema::Decimal(_))),
    };
    let schema = EventSchema {
        fingerprint: SchemaFingerprint(u64::from_le_bytes(fingerprint)),
        event_type: EventType::new(record.name.fullname(None)).expect("a Rust name is valid"),
        text: Arc::from(text),
    };
    (kind, schema)
}

fn payload_error(recorded: &RecordedEvent, reason: String) -> DecodeError {
    DecodeError::Payload {
        event_type: recorded.event_type.clone(),
        stream: recorded.stream.clone(),
        position: recorded.position,
        reason,
    }
}

/// The schema of the event type `name`, from the Rust type of its record.
pub(crate) fn schema_of<T: AvroSchema>(name: &str) -> apache_avro::Schema {
    let mut schema = T::get_schema();
    if let apache_avro::Schema::Record(record) = &mut schema {
        let full = format!("{}.{name}", record.name.namespace().unwrap_or_default());
        record.name = Name::new(full).expect("a Rust name is an Avro name");
    }
    schema
}

/// A codec that is made on first use.
pub(crate) type LazyCodec = OnceLock<Codec>;

/// Writes the enum of a context's events and its [`annals_core::DomainEvent`] from one list of
/// record types. A macro, because the enum, the numbering, the schemas and the reading must each
/// name every type, and one list cannot be forgotten in one of the four places.
macro_rules! domain_events {
    (
        $(#[$doc:meta])*
        $events:ident of $context:literal { $($kind:ident($record:ident)),+ $(,)? }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize)]
        #[serde(untagged)]
        pub enum $events {
            $(#[doc = concat!("`", $context, ".", stringify!($kind), "`.")] $kind($record),)+
        }

        impl $events {
            fn codec() -> &'static crate::codec::Codec {
                static CODEC: crate::codec::LazyCodec = crate::codec::LazyCodec::new();
                CODEC.get_or_init(|| {
                    crate::codec::Codec::new(&[
                        $(crate::codec::schema_of::<$record>(stringify!($kind))),+
                    ])
                })
            }

            fn number(&self) -> usize {
                #[derive(Clone, Copy)]
                enum Number { $($kind),+ }
                match self {
                    $($events::$kind(_) => Number::$kind as usize,)+
                }
            }

            fn read(
                number: usize,
                recorded: &annals_core::RecordedEvent,
                schemas: &annals_core::Schemas,
            ) -> Result<$events, annals_core::DecodeError> {
                type Read = fn(
                    usize,
                    &annals_core::RecordedEvent,
                    &annals_core::Schemas,
                ) -> Result<$events, annals_core::DecodeError>;
                const READ: &[Read] = &[$(|number, recorded, schemas| {
                    let record = $events::codec().decode::<$record>(number, recorded, schemas);
                    record.map($events::$kind)
                }),+];
                READ[number](number, recorded, schemas)
            }
        }

        impl annals_core::DomainEvent for $events {
            const CONTEXT: &'static str = $context;

            fn schemas() -> &'static [annals_core::EventSchema] {
                $events::codec().schemas()
            }

            fn schema(&self) -> &'static annals_core::EventSchema {
                &$events::codec().schemas()[self.number()]
            }

            fn encode(&self) -> bytes::Bytes {
                $events::codec().encode(self.number(), self)
            }

            fn decode(
                recorded: &annals_core::RecordedEvent,
                schemas: &annals_core::Schemas,
            ) -> Result<$events, annals_core::DecodeError> {
                let number = (recorded.event_type.context() == $context)
                    .then(|| $events::codec().number(&recorded.event_type))
                    .flatten()
                    .ok_or_else(|| annals_core::DecodeError::UnknownType {
                        event_type: recorded.event_type.clone(),
                        stream: recorded.stream.clone(),
                        position: recorded.position,
                    })?;
                $events::read(number, recorded, schemas)
            }

            fn to_json(&self) -> serde_json::Value {
                $events::codec().json(self.number(), self)
            }
        }
    };
}
pub(crate) use domain_events;
