//! Tells of almost every new event id that it is new, without a look at an index file, in a bounded memory: two filters,
//! of which the older is dropped when the younger is full.

use super::filter::{Filter, fetch};
use super::hash::spread;

/// The ids of the newest events.
pub(crate) struct RecentIds {
    /// Ids that a filter takes.
    room: usize,
    /// None before one was full.
    older: Option<Filter>,
    younger: Filter,
    count: usize,
}

impl RecentIds {
    /// Remembers the newest `room` ids at least, and up to twice as many.
    pub(crate) fn new(room: usize) -> RecentIds {
        RecentIds { room, older: None, younger: RecentIds::filter(room), count: 0 }
    }

    /// Half as large again as a filter for terms: an id that is admitted is looked for in every index file.
    fn filter(room: usize) -> Filter {
        Filter::with_room(room.saturating_mul(3) / 2)
    }

    /// Whether the id may have been met before; it has been now.
    pub(crate) fn meet(&mut self, id: u32) -> bool {
        let hash = spread(id);
        let met_before = self.older.as_ref().is_some_and(|older| older.may_hold(hash));
        self.younger.insert(hash) | met_before
    }

    /// Takes what a look at these ids needs into the processor's cache: to wait for each costs more than all else that an
    /// event does.
    pub(crate) fn fetch(&self, ids: impl Iterator<Item = u32>) {
        let glances = ids.map(|id| {
            let older = self.older.as_ref().map_or(0, |older| older.glance(spread(id)));
            self.younger.glance(spread(id)) ^ older
        });
        fetch(glances);
    }

    /// So many of those met last are stored. The others take room, but drive none of these out.
    pub(crate) fn stored(&mut self, count: usize) {
        self.count += count;
        if self.count >= self.room {
            let empty = RecentIds::filter(self.room);
            self.older = Some(std::mem::replace(&mut self.younger, empty));
            self.count = 0;
        }
    }
}
