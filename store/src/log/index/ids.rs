//! The ids of a segment's events in memory. Almost none is ever asked for, because a filter answers before, so adding is
//! made cheap: ids stand in the order of their events, and each thousand is sorted as it fills up.

/// So many are sorted at a time.
const RUN: usize = 4096;

/// Kept halves of the hashes of ids, each with the event's number.
#[derive(Default)]
pub(crate) struct Ids {
    /// The hash above, the number below. Sorted runs, and behind them fewer than a run as they came.
    entries: Vec<u64>,
}

impl Ids {
    pub(crate) fn add(&mut self, id: u32, number: u32) {
        self.entries.push(entry(id, number));
        if self.entries.len().is_multiple_of(RUN) {
            let start = self.entries.len() - RUN;
            self.entries[start..].sort_unstable();
        }
    }

    /// The numbers of events whose id has this half of a hash.
    pub(crate) fn numbers(&self, id: u32) -> impl Iterator<Item = u32> {
        let (runs, rest) = self.entries.split_at(self.entries.len() / RUN * RUN);
        let (first, last) = (entry(id, 0), entry(id, u32::MAX));
        let in_runs = runs.chunks_exact(RUN).flat_map(move |run| {
            let start = run.partition_point(|entry| *entry < first);
            run[start..].iter().take_while(move |entry| **entry <= last)
        });
        let in_rest = rest.iter().filter(move |entry| (first..=last).contains(*entry));
        in_runs.chain(in_rest).map(|entry| parts(*entry).1)
    }

    /// All, as hash and number, by hash.
    pub(crate) fn sorted(&self) -> Vec<(u32, u32)> {
        let mut entries = self.entries.clone();
        #[allow(clippy::stable_sort_primitive, reason = "the stable sort makes use of the runs")]
        entries.sort();
        entries.into_iter().map(parts).collect()
    }

    /// The hashes, in no order.
    pub(crate) fn hashes(&self) -> impl Iterator<Item = u32> {
        self.entries.iter().map(|entry| parts(*entry).0)
    }
}

fn entry(id: u32, number: u32) -> u64 {
    u64::from(id) << 32 | u64::from(number)
}

fn parts(entry: u64) -> (u32, u32) {
    let low = u32::try_from(entry & u64::from(u32::MAX)).expect("32 bits are left");
    (u32::try_from(entry >> 32).expect("32 bits are left"), low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_is_found_in_runs_and_behind_them() {
        let count = u32::try_from(2 * RUN + 100).expect("small");
        // Every hash occurs two or three times.
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
        let mut expected: Vec<_> = (0..count).map(|number| (id(number), number)).collect();
        expected.sort_unstable();
        assert_eq!(ids.sorted(), expected);
        assert_eq!(ids.hashes().count(), expected.len());
    }
}
