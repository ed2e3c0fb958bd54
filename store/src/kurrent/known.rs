//! The last events of streams that this process has appended and that are acknowledged: what a writer that follows its own
//! appends names. They never change, so to know them is to have read them.

use annals_core::{EventId, Revision, StreamName};
use quick_cache::unsync::Cache;

/// How many streams are remembered.
const STREAMS: usize = 65_536;

/// The last event of each stream, as far as it is remembered.
pub(super) struct Known(Cache<StreamName, (Revision, EventId)>);

impl Known {
    pub(super) fn new() -> Known {
        Known(Cache::new(STREAMS))
    }

    /// Remembers that this event stands at this revision.
    pub(super) fn learn(&mut self, stream: &StreamName, revision: Revision, id: EventId) {
        self.0.insert(stream.clone(), (revision, id));
    }

    /// Forgets what was known: the server may have been restored.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }

    /// Whether that event stands at that revision; nothing where it must be looked up.
    pub(super) fn stands(
        &self,
        stream: &StreamName,
        revision: Revision,
        id: EventId,
    ) -> Option<bool> {
        let (known, last) = *self.0.get(stream)?;
        (known == revision).then_some(last == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn only_what_was_acknowledged_is_known() {
        let stream = StreamName::new("s-1").expect("a valid name");
        let id = |number| EventId(Uuid::from_u128(number));
        let mut known = Known::new();
        assert_eq!(known.stands(&stream, Revision(4), id(1)), None);
        known.learn(&stream, Revision(4), id(1));
        assert_eq!(known.stands(&stream, Revision(4), id(1)), Some(true));
        assert_eq!(known.stands(&stream, Revision(4), id(2)), Some(false));
        assert_eq!(known.stands(&stream, Revision(5), id(1)), None);
        known.forget();
        assert_eq!(known.stands(&stream, Revision(4), id(1)), None);
    }
}
