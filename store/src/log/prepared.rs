//! An append as the writer takes it, made on the caller's thread: what is checked, and the contents of its events one
//! behind the other. Events as callers give them lie scattered in memory; to gather them costs the one thread that
//! writes more than to store them does.

use std::ops::Range;

use annals_core::append::{AppendHead, WriteHead};
use annals_core::{Append, AppendError, PerWrite, SchemaFingerprint};
use smallvec::SmallVec;

use super::format::frame::{event_bytes_max, put_contents};
use super::index::Hashes;
use super::options::EVENT_BYTES_MAX;

/// An append, ready to be given its place.
pub(crate) struct Prepared {
    pub(crate) head: AppendHead,
    /// The kept halves of the hashes of ids and streams; of each id in `head`, in order, as the events.
    pub(crate) id_hashes: SmallVec<[u32; 1]>,
    events: SmallVec<[PreparedEvent; 1]>,
    contents: Vec<u8>,
    /// The most bytes that it takes in the log.
    pub(crate) bytes: usize,
}

/// An event; ranges are of the contents of its append.
struct PreparedEvent {
    schema: SchemaFingerprint,
    event_type: Range<u32>,
    metadata: Range<u32>,
    contents: Range<u32>,
}

/// What the writer stores of an event beside what only it can give.
pub(crate) struct Contents<'a> {
    pub(crate) schema: SchemaFingerprint,
    event_type: &'a [u8],
    pub(crate) metadata: &'a [u8],
    /// The frame behind the revision, whole.
    pub(crate) bytes: &'a [u8],
}

impl<'a> Contents<'a> {
    pub(crate) fn event_type(&self) -> &'a str {
        std::str::from_utf8(self.event_type).expect("it was text")
    }
}

impl Prepared {
    /// Prepares an append that takes `most` bytes in the log at most.
    ///
    /// # Errors
    /// [`AppendError::Malformed`] where it, or one of its events, is too large.
    pub(crate) fn of(append: Append, most: usize, hashes: Hashes) -> Result<Prepared, AppendError> {
        let (count, bytes) = measure(&append, most)?;
        let mut id_hashes = SmallVec::with_capacity(count);
        let mut contents = Vec::with_capacity(bytes);
        let mut events = SmallVec::with_capacity(count);
        let mut writes = PerWrite::with_capacity(append.writes.len());
        for write in append.writes {
            let mut ids = SmallVec::with_capacity(write.events.len());
            for event in write.events {
                let [begin, event_type, metadata, end] =
                    put_contents(&mut contents, write.stream.as_str(), &event);
                events.push(PreparedEvent {
                    schema: event.schema,
                    event_type: event_type..event_type + length(event.event_type.as_str().len()),
                    metadata: metadata..metadata + length(event.metadata.len()),
                    contents: begin..end,
                });
                id_hashes.push(hashes.id(event.id, write.stream.as_str().as_bytes()));
                ids.push(event.id);
            }
            writes.push(WriteHead { stream: write.stream, expected: write.expected, ids });
        }
        let head = AppendHead { writes, condition: append.condition };
        Ok(Prepared { head, id_hashes, events, contents, bytes })
    }

    /// What the event of that number holds.
    pub(crate) fn event(&self, number: usize) -> Contents<'_> {
        let event = &self.events[number];
        let bytes = |range: &Range<u32>| &self.contents[range.start as usize..range.end as usize];
        Contents {
            schema: event.schema,
            event_type: bytes(&event.event_type),
            metadata: bytes(&event.metadata),
            bytes: bytes(&event.contents),
        }
    }
}

/// How many events it has, and the most bytes that it takes.
fn measure(append: &Append, most: usize) -> Result<(usize, usize), AppendError> {
    let (mut count, mut bytes) = (0, 0);
    for write in &append.writes {
        for event in &write.events {
            let size = event_bytes_max(write.stream.as_str(), event);
            if size > EVENT_BYTES_MAX {
                let id = event.id;
                let text = format!("event {id} has {size} bytes, {EVENT_BYTES_MAX} at most");
                return Err(AppendError::Malformed(text));
            }
            count += 1;
            bytes += size;
        }
    }
    if bytes > most {
        let text = format!("it has {bytes} bytes, {most} at most");
        return Err(AppendError::Malformed(text));
    }
    Ok((count, bytes))
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("an event is smaller")
}
