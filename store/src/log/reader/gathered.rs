//! Events on their way into a batch, built from the frames that a scan finds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use annals_core::{Batch, Position, RecordedEvent, Revision};
use bytes::Bytes;

use super::{BATCH_BYTES, TURN, Wanted};
use crate::log::error::{Damage, Flaw, ScanError};
use crate::log::format::frame::{EventFrame, Frame};
use crate::log::names::Names;
use crate::log::scan::{Found, FrameScan};

/// Builds an event from its frame, which begins at `start` of `block`. Nothing where a name is no
/// name.
pub(crate) fn build(
    block: &Bytes,
    start: usize,
    frame: &EventFrame,
    names: &mut Names,
) -> Option<RecordedEvent> {
    let at = |range: &std::ops::Range<usize>| start + range.start..start + range.end;
    let shared = |range: &std::ops::Range<usize>| {
        if range.is_empty() { Bytes::new() } else { block.slice(at(range)) }
    };
    Some(RecordedEvent {
        id: frame.id,
        stream: names.stream(&block[at(&frame.stream)])?.clone(),
        revision: Revision(frame.coordinates.revision),
        position: Position(frame.coordinates.position),
        event_type: names.event_type(&block[at(&frame.event_type)])?.clone(),
        time: frame.coordinates.time,
        schema: frame.schema,
        metadata: shared(&frame.metadata),
        data: shared(&frame.data),
    })
}

/// A batch on its way.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) events: Vec<RecordedEvent>,
    /// The first and the last position looked at.
    pub(super) first: Option<Position>,
    pub(super) through: Option<Position>,
    pub(super) bytes: u64,
    matched_bytes: u64,
    /// How long regular expressions were matched.
    pub(super) matching: Duration,
}

impl Gathered {
    pub(super) fn is_full(&self, wanted: u64) -> bool {
        let much = if self.events.is_empty() { 4 * BATCH_BYTES } else { BATCH_BYTES };
        self.events.len() as u64 >= wanted || self.bytes >= much || self.took_its_turn()
    }

    /// Whether regular expressions were matched for so long that others come first.
    pub(super) fn took_its_turn(&self) -> bool {
        self.matching >= TURN
    }

    pub(super) fn look(
        &mut self,
        wanted: &Wanted,
        names: &mut Names,
        scan: &FrameScan,
        found: &Found,
    ) -> Result<(), ScanError> {
        self.bytes += found.length as u64;
        let Frame::Event(event) = &found.frame else { return Ok(()) };
        self.add(wanted, names, scan.block(), found.start, event).map_err(|flaw| {
            let position = Some(event.coordinates.position);
            Damage { offset: u64::from(found.offset), position, ..scan.damage(flaw) }.into()
        })
    }

    pub(super) fn add(
        &mut self,
        wanted: &Wanted,
        names: &mut Names,
        block: &Bytes,
        start: usize,
        event: &EventFrame,
    ) -> Result<(), Flaw> {
        self.through = Some(Position(event.coordinates.position));
        self.first = self.first.or(self.through);
        let name = |range: &std::ops::Range<usize>| &block[start + range.start..start + range.end];
        let stream = names.stream(name(&event.stream)).ok_or(Flaw::Fields)?;
        let event_type = std::str::from_utf8(name(&event.event_type)).map_err(|_| Flaw::Fields)?;
        let began = wanted.filter.has_pattern().then(Instant::now);
        let admitted = wanted.admits(stream, event_type);
        self.matching += began.map_or(Duration::ZERO, |began| began.elapsed());
        if !admitted || !wanted.filter.query.matches(event_type, name(&event.metadata)) {
            return Ok(());
        }
        let event = build(block, start, event, names).ok_or(Flaw::Fields)?;
        self.matched_bytes += (event.metadata.len() + event.data.len()) as u64;
        self.events.push(event);
        Ok(())
    }

    pub(super) fn batch(self) -> Batch {
        let through = self.through;
        Batch { events: Arc::new(self.events()), through, caught_up: false }
    }

    pub(super) fn events(mut self) -> Vec<RecordedEvent> {
        // A few events must not keep the whole of a large block in memory.
        if self.matched_bytes * 4 < self.bytes {
            for event in &mut self.events {
                event.metadata = Bytes::copy_from_slice(&event.metadata);
                event.data = Bytes::copy_from_slice(&event.data);
            }
        }
        self.events
    }
}
