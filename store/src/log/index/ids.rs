//! The ids of a segment's events in memory. Almost none is ever asked for, because a filter answers before, so adding is
//! made cheap: ids stand in the order of their events, and are sorted by the thousand as they come.

/// So many are sorted at first, and so many of those runs then become one.
const RUN: usize = 4096;
const LONG_RUN: usize = 16 * RUN;

/// Kept halves of the hashes of ids, each with the event's number.
#[derive(Default)]
pub(crate) struct Ids {
    /// The hash above, the number below. Long sorted runs, then short ones, then fewer than a run as they came.
    entries: Vec<u64>,
}

impl Ids {
    pub(crate) fn add(&mut self, id: u32, number: u32) {
        self.entries.push(entry(id, number));
        if self.entries.len().is_multiple_of(RUN) {
            let start = self.entries.len() - RUN;
            self.entries[start..].sort_unstable();
        }
        if self.entries.len().is_multiple_of(LONG_RUN) {
            let start = self.entries.len() - LONG_RUN;
            sort_runs(&mut self.entries[start..]);
        }
    }

    /// The numbers of events whose id has this half of a hash.
    pub(crate) fn numbers(&self, id: u32) -> impl Iterator<Item = u32> {
        let (long, others) = self.entries.split_at(self.entries.len() / LONG_RUN * LONG_RUN);
        let (short, rest) = others.split_at(others.len() / RUN * RUN);
        let (first, last) = (entry(id, 0), entry(id, u32::MAX));
        let runs = long.chunks_exact(LONG_RUN).chain(short.chunks_exact(RUN));
        let in_runs = runs.flat_map(move |run| {
            let start = run.partition_point(|entry| *entry < first);
            run[start..].iter().take_while(move |entry| **entry <= last)
        });
        let in_rest = rest.iter().filter(move |entry| (first..=last).contains(*entry));
        in_runs.chain(in_rest).map(|entry| parts(*entry).1)
    }

    /// All, each with the hash above and the number below, sorted.
    pub(crate) fn sorted(&self) -> Vec<u64> {
        let mut entries = self.entries.clone();
        sort_runs(&mut entries);
        entries
    }

    /// The hashes, in no order.
    pub(crate) fn hashes(&self) -> impl Iterator<Item = u32> {
        self.entries.iter().map(|entry| parts(*entry).0)
    }
}

/// Sorts what consists of sorted runs.
#[allow(clippy::stable_sort_primitive, reason = "the stable sort makes use of runs")]
fn sort_runs(entries: &mut [u64]) {
    entries.sort();
}

/// The hash above, the number below.
pub(super) fn entry(id: u32, number: u32) -> u64 {
    u64::from(id) << 32 | u64::from(number)
}

fn parts(entry: u64) -> (u32, u32) {
    let low = u32::try_from(entry & u64::from(u32::MAX)).expect("32 bits are left");
    (u32::try_from(entry >> 32).expect("32 bits are left"), low)
}

#[cfg(not(schedules))]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_is_found_in_runs_and_behind_them() {
        let count = u32::try_from(LONG_RUN + 2 * RUN + 100).expect("small");
        // Every hash occurs more than once.
        let id = |number: u32| (number % 3000).wrapping_mul(0x9e37_79b9);
        let mut ids = Ids::default();
        (0..count).for_each(|number| ids.add(id(number), number));
        for wanted in 0..3000 {
            let mut found: Vec<_> = ids.numbers(id(wanted)).collect();
            found.sort_unstable();
            let expected: Vec<_> = (wanted..count).step_by(3000).collect();
            assert_eq!(found, expected);
        }
        assert_eq!(ids.numbers(1).count(), 0);
        let mut expected: Vec<_> = (0..count).map(|number| entry(id(number), number)).collect();
        expected.sort_unstable();
        assert_eq!(ids.sorted(), expected);
        assert_eq!(ids.hashes().count(), expected.len());
    }
}
