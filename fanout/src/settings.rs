//! Where Kafka is and how the topics are made; shared by the relay and the feed, which must name the same topics.

use std::collections::BTreeMap;

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use serde::{Deserialize, Serialize};

/// The connection to Kafka and the shape of the topics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct KafkaSettings {
    /// `host:port`, several separated by commas.
    pub brokers: String,
    /// Put before every topic's name and consumer group, so that several stores can share a cluster.
    pub topic_prefix: String,
    /// Copies of each topic; -1 takes the cluster's default.
    pub replication: i32,
    /// The largest record that a topic takes, in bytes; the cluster must allow it.
    pub message_bytes_max: u32,
    /// How batches of records are packed: `none`, `lz4`, `zstd`, `snappy` or `gzip`. The headers of neighbours are
    /// nearly the same, so packing makes a fraction of them.
    pub compression: String,
    /// Further librdkafka settings for every client, such as `security.protocol` and `sasl.username`.
    pub properties: BTreeMap<String, String>,
}

impl Default for KafkaSettings {
    fn default() -> KafkaSettings {
        KafkaSettings {
            brokers: "127.0.0.1:9092".to_owned(),
            topic_prefix: String::new(),
            replication: -1,
            message_bytes_max: 20 << 20,
            compression: "lz4".to_owned(),
            properties: BTreeMap::new(),
        }
    }
}

impl KafkaSettings {
    /// The topic of a context, `context.events`.
    pub fn topic(&self, context: &str) -> String {
        format!("{}{context}.events", self.topic_prefix)
    }

    /// The Kafka consumer group of a projection.
    pub fn group(&self, group: &str) -> String {
        format!("{}annals.{group}", self.topic_prefix)
    }

    /// What every client is configured with: defaults that `properties` may change, and then what they may not,
    /// because exactness rests on it.
    fn client(&self, defaults: &[(&str, &str)], fixed: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        for (name, value) in defaults {
            config.set(*name, *value);
        }
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        for (name, value) in fixed {
            config.set(*name, *value);
        }
        config.set("bootstrap.servers", &self.brokers);
        config.set("client.id", "annals");
        config.set("allow.auto.create.topics", "false");
        config.set("reconnect.backoff.max.ms", "1000");
        config.set("topic.metadata.refresh.fast.interval.ms", "100");
        config.set("topic.metadata.refresh.interval.ms", "10000");
        // Apart from fatal ones, librdkafka's messages repeat what the callers are told as errors.
        config.set_log_level(RDKafkaLogLevel::Warning);
        config
    }

    /// What the client that makes the topics is configured with.
    pub(crate) fn admin(&self) -> ClientConfig {
        self.client(&[], &[])
    }

    /// What every consumer is configured with: positions are looked for explicitly, nothing is committed unasked.
    pub(crate) fn consumer(&self, group: &str) -> ClientConfig {
        let defaults = [
            ("fetch.wait.max.ms", "100"),
            ("fetch.queue.backoff.ms", "5"),
            ("fetch.message.max.bytes", "2097152"),
            ("queued.max.messages.kbytes", "16384"),
        ];
        let fixed = [
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "error"),
            ("enable.partition.eof", "true"),
            ("check.crcs", "true"),
        ];
        let mut config = self.client(&defaults, &fixed);
        let fetch_bytes = self.message_bytes_max.max(4 << 20);
        config.set("group.id", self.group(group));
        config.set("fetch.max.bytes", fetch_bytes.to_string());
        config.set("receive.message.max.bytes", (fetch_bytes + (1 << 20)).to_string());
        config
    }

    /// What the relay's producer is configured with: in order, without doubles, and never giving a record up.
    pub(crate) fn producer(&self) -> ClientConfig {
        let defaults = [
            ("linger.ms", "5"),
            ("batch.size", "1000000"),
            ("batch.num.messages", "10000"),
            ("queue.buffering.max.messages", "100000"),
            ("queue.buffering.max.kbytes", "65536"),
        ];
        let fixed = [
            ("enable.idempotence", "true"),
            ("enable.gapless.guarantee", "true"),
            ("acks", "all"),
            ("message.timeout.ms", "0"),
        ];
        let mut config = self.client(&defaults, &fixed);
        config.set("compression.type", &self.compression);
        config.set("message.max.bytes", self.message_bytes_max.to_string());
        config
    }
}

/// Passes librdkafka's own messages on to the log of this process.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Logged;

impl ClientContext for Logged {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_line(level, facility, message);
    }

    fn error(&self, error: rdkafka::error::KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, reason, "client error");
    }
}

impl rdkafka::consumer::ConsumerContext for Logged {}

/// One line of librdkafka's.
pub(crate) fn log_line(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error
        | RDKafkaLogLevel::Warning
        | RDKafkaLogLevel::Notice => {
            tracing::info!(target: "librdkafka", facility, message);
        }
        RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
            tracing::debug!(target: "librdkafka", facility, message);
        }
    }
}
