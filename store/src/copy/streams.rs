//! What a store holds, stream by stream: how many events, and a digest that each event continues.

use annals_core::codec::SCHEMAS_STREAM;
use annals_core::metadata::Metadata;
use annals_core::{EventId, RecordedEvent, StreamName};
use hashbrown::{HashMap, HashSet};
use sha2::{Digest, Sha256};

use super::CopyError;
use crate::kurrent;
use crate::protocol::names::{STREAM_DELETED, TOMBSTONE_MARK};

/// What becomes of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It is copied in its place.
    Event,
    /// It is a stream's metadata, which would show its effect on what is still to come: it is copied last.
    Metadata,
    /// It is a schema, of which a target may have some already, in another order.
    Schema,
    /// It is the server's own.
    System,
    /// It deletes its stream for good.
    Tombstone,
}

pub(super) fn kind_of(event: &RecordedEvent) -> Kind {
    match event.event_type.as_str() {
        STREAM_DELETED => return Kind::Tombstone,
        // Annals' own server keeps one beside each tombstone, and takes none from clients.
        TOMBSTONE_MARK => return Kind::System,
        _ => {}
    }
    let name = event.stream.as_str();
    match name.strip_prefix("$$") {
        _ if name == SCHEMAS_STREAM => Kind::Schema,
        Some(of) if !of.starts_with('$') || of == SCHEMAS_STREAM => Kind::Metadata,
        None if !name.starts_with('$') => Kind::Event,
        Some(_) | None => Kind::System,
    }
}

/// What a stream holds so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) count: u64,
    pub(super) chain: [u8; 32],
}

impl Sum {
    fn add(&mut self, event: &RecordedEvent) {
        let (metadata, schema) = kurrent::normal(&event.metadata, event.schema);
        // Bytes of no known form are read as another writer's, and so stand for the same.
        let metadata = Metadata::decode(&metadata).encode();
        let mut hasher = Sha256::new();
        hasher.update(self.chain);
        hasher.update(event.id.0.as_bytes());
        hasher.update(schema.0.to_be_bytes());
        for bytes in [event.event_type.as_str().as_bytes(), &metadata[..], &event.data[..]] {
            hasher.update((bytes.len() as u64).to_be_bytes());
            hasher.update(bytes);
        }
        self.chain = hasher.finalize().into();
        self.count += 1;
    }
}

/// What a store holds.
#[derive(Default)]
pub(super) struct Sums {
    streams: HashMap<StreamName, Sum>,
    schemas: HashSet<EventId>,
}

impl Sums {
    /// Counts an event, if it is of those that are copied; where its stream has come to.
    pub(super) fn add(&mut self, event: &RecordedEvent) -> Option<Sum> {
        match kind_of(event) {
            Kind::Event | Kind::Metadata => {
                let sum = self.streams.entry(event.stream.clone()).or_default();
                sum.add(event);
                Some(*sum)
            }
            Kind::Schema => {
                self.schemas.insert(event.id);
                None
            }
            Kind::System | Kind::Tombstone => None,
        }
    }

    pub(super) fn of(&self, stream: &StreamName) -> Option<Sum> {
        self.streams.get(stream).copied()
    }

    pub(super) fn has_schema(&self, id: EventId) -> bool {
        self.schemas.contains(&id)
    }

    pub(super) fn events(&self) -> u64 {
        self.streams.values().map(|sum| sum.count).sum::<u64>() + self.schemas.len() as u64
    }

    pub(super) fn streams(&self) -> u64 {
        self.streams.len() as u64
    }

    /// One digest over all streams, in the order of their names.
    pub(super) fn digest(&self) -> [u8; 32] {
        let mut streams: Vec<_> = self.streams.iter().collect();
        streams.sort_unstable_by_key(|(name, _)| *name);
        let mut hasher = Sha256::new();
        for (name, sum) in streams {
            hasher.update((name.as_str().len() as u64).to_be_bytes());
            hasher.update(name.as_str());
            hasher.update(sum.count.to_be_bytes());
            hasher.update(sum.chain);
        }
        hasher.finalize().into()
    }

    /// Whether the other holds every stream of this, and in it the same and no more.
    pub(super) fn check(&self, other: &Sums) -> Result<(), CopyError> {
        for (stream, sum) in &self.streams {
            let found = other.of(stream).unwrap_or_default();
            if found.count != sum.count {
                let (stream, expected, found) = (stream.clone(), sum.count, found.count);
                return Err(CopyError::Counts { stream, expected, found });
            }
            if found.chain != sum.chain {
                return Err(CopyError::Differs { stream: stream.clone(), events: sum.count });
            }
        }
        if self.schemas.is_subset(&other.schemas) { Ok(()) } else { Err(CopyError::Schema) }
    }
}
