//! From the store to its projection workers: the in-process feed, and Kafka with a schema registry behind the same
//! seam (`annals_core::feed`). Fan-out is a fold whose sink is a topic: it never changes an event, never skips one, and
//! holds no truth of its own; every topic can be deleted and is published again from the log.

mod in_process;
mod instant;
mod kafka_feed;
mod locate;
mod progress;
mod publisher;
mod reader;
mod record;
mod registry;
mod relay;
mod settings;
mod topic;

pub use in_process::InProcessFeed;
pub use kafka_feed::KafkaFeed;
pub use record::{
    CE_ID, CE_SOURCE, CE_SPECVERSION, CE_SUBJECT, CE_TIME, CE_TYPE, CONTENT_TYPE, METADATA,
    POSITION, PREVIOUS, REVISION, SCHEMA, THROUGH_KEY, TIME,
};
pub use registry::{RegisteredId, RegistryClient, RegistryError};
pub use relay::{Relay, RelayError, RelayHandle, RelayOptions, RelayState, RelayStatus};
pub use settings::KafkaSettings;
pub use topic::TopicError;
