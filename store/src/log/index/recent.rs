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
        let (older, younger) = (Filter::with_room(room), Filter::with_room(room));
        RecentIds { room, older, younger, count: 0 }
    }

    pub(crate) fn insert(&mut self, id: u32) {
        if self.count >= self.room {
            let empty = Filter::with_room(self.room);
            self.older = std::mem::replace(&mut self.younger, empty);
            self.count = 0;
        }
        self.count += 1;
        self.younger.insert(spread(id));
    }

    /// False where the id is not among them.
    pub(crate) fn may_hold(&self, id: u32) -> bool {
        let hash = spread(id);
        self.younger.may_hold(hash) || self.older.may_hold(hash)
    }
}
