//! Puts the events that are read into the index: those of a log that is opened, or of one segment on its own.

use std::sync::Arc;

use annals_core::{EventId, EventType, Metadata, Revision, StreamName};
use bytes::Bytes;

use super::frames::Gathering;
use crate::log::error::{Flaw, ScanError};
use crate::log::format::frame::EventFrame;
use crate::log::format::header::SegmentHeader;
use crate::log::index::{Entry, Index, SharedPart};
use crate::log::names::Names;
use crate::log::scan::Found;

/// An event of a batch whose commit has not come yet.
struct Uncommitted {
    stream: StreamName,
    event_type: EventType,
    id: EventId,
    revision: Revision,
    offset: u32,
    /// The frame's metadata, for its tags.
    metadata: Bytes,
}

/// The index of what is read.
pub(super) struct Indexing<'a> {
    pub(super) index: &'a Index,
    /// Of the segment that is read.
    pub(super) part: Option<SharedPart>,
    names: Names,
    batch: Vec<Uncommitted>,
    /// The segment is read on its own: what stood before it is not known.
    alone: bool,
}

impl<'a> Indexing<'a> {
    pub(super) fn new(index: &'a Arc<Index>, alone: bool) -> Indexing<'a> {
        let names = Names::new(Arc::clone(index), None);
        Indexing { index, part: None, names, batch: Vec::new(), alone }
    }

    /// Begins the part of the segment that is read next.
    pub(super) fn begin(&mut self, header: &SegmentHeader) {
        self.part = Some(self.index.begin(header.segment, header.first_position));
    }
}

impl Gathering for Indexing<'_> {
    fn event(&mut self, block: &Bytes, found: &Found, event: &EventFrame) -> Result<(), Flaw> {
        let bytes = &block[found.start..found.start + found.length];
        let stream = self.names.stream(&bytes[event.stream.clone()]).ok_or(Flaw::Fields)?.clone();
        let event_type = self.names.event_type(&bytes[event.event_type.clone()]);
        self.batch.push(Uncommitted {
            stream,
            event_type: event_type.ok_or(Flaw::Fields)?.clone(),
            id: event.id,
            revision: Revision(event.coordinates.revision),
            offset: found.offset,
            metadata: block.slice_ref(&bytes[event.metadata.clone()]),
        });
        Ok(())
    }

    fn commit(&mut self) -> Result<bool, ScanError> {
        let hashes = self.index.hashes();
        let part = self.part.as_ref().expect("a segment that is read has a part");
        for event in self.batch.drain(..) {
            let next = match self.index.head(&event.stream)? {
                Some(Revision(last)) => last + 1,
                None if self.alone => event.revision.0,
                None => 0,
            };
            if event.revision.0 != next {
                return Ok(false);
            }
            let entry = Entry {
                offset: event.offset,
                id: event.id,
                id_hash: hashes.id(event.id, event.stream.as_str().as_bytes()),
                event_type: event.event_type.as_str(),
                tags: Metadata::tags_of(&event.metadata),
            };
            part.write().add(&event.stream, event.revision, [entry]);
        }
        Ok(true)
    }
}
