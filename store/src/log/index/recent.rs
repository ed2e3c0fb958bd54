//! Tells of almost every new event id that it is new, without a look at an index file, in a bounded memory: two filters,
//! of which the older is dropped when the younger is full.

use super::filter::Filter;
use super::hash::spread;

/// The ids of the newest events.
pub(crate) struct RecentIds {
    /// Ids that a filter takes.
    room: usize,
    older: Filter,
    younger: Filter,
    count: usize,
}

impl RecentIds {
    /// Remembers the newest `room` ids at least, and up to twice as many.
    pub(crate) fn new(room: usize) -> RecentIds {
        let (older, younger) = (RecentIds::filter(room), RecentIds::filter(room));
        RecentIds { room, older, younger, count: 0 }
    }

    /// Half as large again as a filter for terms: an id that is admitted is looked for in every index file.
    fn filter(room: usize) -> Filter {
        Filter::with_room(room.saturating_mul(3) / 2)
    }

    /// Whether the id may have been met before; it has been now.
    pub(crate) fn meet(&mut self, id: u32) -> bool {
        let hash = spread(id);
        let met = self.younger.may_hold(hash) || self.older.may_hold(hash);
        self.younger.insert(hash);
        met
    }

    /// So many of those met last are stored. The others take room, but drive none of these out.
    pub(crate) fn stored(&mut self, count: usize) {
        self.count += count;
        if self.count >= self.room {
            let empty = RecentIds::filter(self.room);
            self.older = std::mem::replace(&mut self.younger, empty);
            self.count = 0;
        }
    }
}
