//! How far a sequence of events is done, when they end in any order. What is kept is one entry for each event that is not
//! done, however many later ones are.

use std::collections::BTreeMap;

/// How far a sequence is done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The places that are not done, each with the place that was reached before it.
    open: BTreeMap<u64, Option<u64>>,
    reached: Option<u64>,
}

impl Progress {
    /// A sequence that is done through this place.
    pub(crate) fn after(place: Option<u64>) -> Progress {
        Progress { open: BTreeMap::new(), reached: place }
    }

    /// The event at this place, behind all others, is begun. False, and nothing changes, where it is not behind them.
    #[must_use]
    pub(crate) fn begin(&mut self, place: u64) -> bool {
        if self.reached.is_some_and(|reached| reached >= place) {
            return false;
        }
        self.open.insert(place, self.reached);
        self.reached = Some(place);
        true
    }

    /// Up to this place there is nothing more to be done.
    pub(crate) fn pass(&mut self, place: u64) {
        self.reached = self.reached.max(Some(place));
    }

    /// The event at this place is done. Whether it was begun and not done before.
    pub(crate) fn finish(&mut self, place: u64) -> bool {
        self.open.remove(&place).is_some()
    }

    /// Every event up to and including this place is done.
    pub(crate) fn done(&self) -> Option<u64> {
        self.open.first_key_value().map_or(self.reached, |(_, before)| *before)
    }

    /// The place up to which events were looked at.
    pub(crate) fn reached(&self) -> Option<u64> {
        self.reached
    }

    /// How many are not done.
    pub(crate) fn open(&self) -> usize {
        self.open.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn done_is_what_lies_before_the_first_that_is_not(
            steps in proptest::collection::vec((1_u64..4, any::<bool>()), 0..30),
            order in proptest::collection::vec(any::<prop::sample::Index>(), 0..30),
        ) {
            let (mut progress, mut place, mut places) = (Progress::default(), 0, Vec::new());
            for (step, wanted) in steps {
                place += step;
                if wanted {
                    prop_assert!(progress.begin(place));
                } else {
                    progress.pass(place);
                }
                places.push((place, wanted));
            }
            for index in order {
                if places.is_empty() { break; }
                let at = index.index(places.len());
                let was_open = places[at].1;
                prop_assert_eq!(progress.finish(places[at].0), was_open);
                places[at].1 = false;
                let first_open = places.iter().position(|(_, open)| *open).unwrap_or(places.len());
                let expected = first_open.checked_sub(1).map(|before| places[before].0);
                prop_assert_eq!(progress.done(), expected);
            }
        }
    }

    #[test]
    fn what_was_begun_before_is_not_begun_again() {
        let mut progress = Progress::after(Some(7));
        assert!(!progress.begin(7));
        assert!(progress.begin(8));
        assert_eq!((progress.done(), progress.reached(), progress.open()), (Some(7), Some(8), 1));
    }
}
