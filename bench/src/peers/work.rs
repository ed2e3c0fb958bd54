//! What is measured of every system, and the load that it takes.

use std::sync::LazyLock;

use bytes::Bytes;
use serde::Serialize;
use uuid::Uuid;

use super::System;
use crate::log::EVENT_BYTES;

/// A measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Work {
    /// One event a call, many connections.
    Single,
    /// One event a request, many connections with a stream each.
    ManyStreams,
    /// The same of as many callers, over few connections with a stream each.
    FewStreams,
    /// One event a request, one stream with many requests in flight.
    OneStream,
    /// One event a call, with a tag that no event may have yet.
    Condition,
    /// A hundred events a call.
    Hundred,
    /// Everything that those hundreds became.
    ReadAll,
    /// What it takes on the disk, indexes included.
    Bytes,
}

/// Who appends how much.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Connections, each by a caller of its own.
    pub(crate) connections: usize,
    /// Events of an append.
    pub(crate) events: usize,
    /// Whether each append has a condition.
    pub(crate) condition: bool,
    /// Over a stream of requests with so many without an answer; none for a call each.
    pub(crate) in_flight: Option<usize>,
}

/// The payload of every event, which no owner is counted of.
pub(crate) fn payload() -> Bytes {
    static PAYLOAD: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let byte = |place: usize| u8::try_from((place * 31 + 7) % 251).unwrap_or_default();
        (0..EVENT_BYTES).map(byte).collect()
    });
    Bytes::from_static(&PAYLOAD)
}

/// A new id, as text: without the machinery of formatting, which costs a client as much as the rest of an event.
pub(crate) fn new_id() -> String {
    Uuid::new_v4().hyphenated().encode_lower(&mut Uuid::encode_buffer()).to_owned()
}

impl Work {
    /// What begins with a load on an empty store, in the order in which it is done.
    pub(crate) const LOADS: [Work; 6] = [
        Work::Single,
        Work::ManyStreams,
        Work::FewStreams,
        Work::OneStream,
        Work::Condition,
        Work::Hundred,
    ];

    /// The load; none for what is measured after another's.
    pub(crate) fn load(self) -> Option<Load> {
        let load = |connections, events, condition, in_flight| {
            Some(Load { connections, events, condition, in_flight })
        };
        match self {
            Work::Single => load(64, 1, false, None),
            Work::ManyStreams => load(64, 1, false, Some(1)),
            Work::FewStreams => load(4, 1, false, Some(16)),
            Work::OneStream => load(1, 1, false, Some(1_024)),
            Work::Condition => load(64, 1, true, None),
            Work::Hundred => load(16, 100, false, None),
            Work::ReadAll | Work::Bytes => None,
        }
    }

    /// Whether this system has something to compare.
    pub(crate) fn suits(self, system: System) -> bool {
        match self {
            Work::Single | Work::Hundred | Work::Bytes => true,
            Work::ManyStreams | Work::FewStreams | Work::OneStream => system == System::Annals,
            Work::Condition | Work::ReadAll => system != System::Postgres,
        }
    }

    /// The measurement of the others that this one is held against.
    pub(crate) fn against(self) -> Work {
        match self {
            Work::ManyStreams | Work::FewStreams | Work::OneStream => Work::Single,
            Work::Single | Work::Condition | Work::Hundred | Work::ReadAll | Work::Bytes => self,
        }
    }

    /// For people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Work::Single => "append, 64 connections x 1 event",
            Work::ManyStreams => "append stream, 64 connections x 1 in flight",
            Work::FewStreams => "append stream, 4 connections x 16 in flight",
            Work::OneStream => "append stream, 1 connection x 1,024 in flight",
            Work::Condition => "append with a condition, 64 connections x 1 event",
            Work::Hundred => "append, 16 connections x 100 events",
            Work::ReadAll => "read all, 1 connection",
            Work::Bytes => "bytes on disk an event, indexes included",
        }
    }

    /// What its figure counts.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Work::Bytes => "bytes",
            Work::Single
            | Work::ManyStreams
            | Work::FewStreams
            | Work::OneStream
            | Work::Condition
            | Work::Hundred
            | Work::ReadAll => "events/s",
        }
    }

    /// By what way this system takes it.
    pub(crate) fn way(self, system: System) -> &'static str {
        match (self, system) {
            (Work::Bytes, System::Postgres) => "table and its two indexes, without the WAL",
            (Work::Bytes, System::Annals) => {
                "the log's files, without zeros at the end, the last segment without index"
            }
            (Work::Bytes, System::Umadb) => "its file, without zeros at the end",
            (Work::Single, System::Postgres) => "one insert a commit, Unix socket",
            (_, System::Postgres) => "one insert of many rows a commit, Unix socket",
            (Work::ManyStreams | Work::FewStreams | Work::OneStream, _) => "gRPC, bidirectional",
            (Work::ReadAll, _) => "gRPC, batches, from the page cache",
            (Work::Condition, _) => "gRPC, unary, no event may have the tag",
            (Work::Single | Work::Hundred, _) => "gRPC, unary",
        }
    }
}

/// Holds what a reader got against what was written.
pub(crate) fn check(in_order: bool, bytes: usize) {
    assert!(in_order, "positions only grow");
    assert_eq!(bytes, EVENT_BYTES, "the payload is what was written");
}
