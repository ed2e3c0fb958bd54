//! Which consumer the events of one stream go to. Streams fall into buckets by their hash, and a bucket belongs to the
//! consumer with the highest weight for it (rendezvous hashing: Thaler, Ravishankar, "A name-based mapping scheme for
//! rendezvous", 1996), so one that comes or goes moves as few buckets as can be. A bucket moves only once nothing of it is in
//! flight: two consumers never work on one stream at once.

use super::consumers::ConsumerId;

const BUCKETS: u64 = 1024;

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    owner: Option<ConsumerId>,
    /// Who has those in flight.
    holder: Option<ConsumerId>,
    in_flight: usize,
}

/// The buckets.
#[derive(Clone, Debug)]
pub(crate) struct Pins(Vec<Bucket>);

fn place(pin: u64) -> usize {
    usize::try_from(pin % BUCKETS).unwrap_or(0)
}

/// A number that is the same for the same two, and else as good as random (the end of SplitMix64).
fn weight(bucket: usize, ConsumerId(consumer): ConsumerId) -> u64 {
    let mut z = (bucket as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
        ^ consumer.wrapping_mul(0xD1B5_4A32_D192_ED03);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Pins {
    /// Buckets that belong to nobody.
    pub(crate) fn new() -> Pins {
        Pins(vec![Bucket::default(); place(BUCKETS - 1) + 1])
    }

    /// A consumer came.
    pub(crate) fn join(&mut self, consumer: ConsumerId) {
        for (place, bucket) in self.0.iter_mut().enumerate() {
            let held = bucket.owner.map(|owner| weight(place, owner));
            if held < Some(weight(place, consumer)) {
                bucket.owner = Some(consumer);
            }
        }
    }

    /// A consumer went; these are left. What it had in flight is told one by one.
    pub(crate) fn leave(&mut self, consumer: ConsumerId, left: &[ConsumerId]) {
        for (place, bucket) in self.0.iter_mut().enumerate() {
            if bucket.owner == Some(consumer) {
                bucket.owner = left.iter().copied().max_by_key(|left| weight(place, *left));
            }
        }
    }

    /// To whom an event of this pin may go now; nothing where it must wait for others.
    pub(crate) fn owner(&self, pin: u64) -> Option<ConsumerId> {
        let bucket = &self.0[place(pin)];
        let moves = bucket.in_flight > 0 && bucket.holder != bucket.owner;
        bucket.owner.filter(|_| !moves)
    }

    /// An event was given to its owner.
    pub(crate) fn given(&mut self, pin: u64, consumer: ConsumerId) {
        let bucket = &mut self.0[place(pin)];
        bucket.holder = Some(consumer);
        bucket.in_flight += 1;
    }

    /// It is no longer there.
    pub(crate) fn taken_back(&mut self, pin: u64) {
        let bucket = &mut self.0[place(pin)];
        debug_assert!(bucket.in_flight > 0, "only what was given is taken back");
        bucket.in_flight = bucket.in_flight.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owners(pins: &Pins) -> Vec<Option<ConsumerId>> {
        (0..BUCKETS).map(|pin| pins.owner(pin)).collect()
    }

    #[test]
    fn who_comes_or_goes_moves_few_buckets_and_takes_its_share() {
        let mut pins = Pins::new();
        (0..4).for_each(|consumer| pins.join(ConsumerId(consumer)));
        let before = owners(&pins);
        pins.join(ConsumerId(4));
        let after = owners(&pins);
        let moved = before.iter().zip(&after).filter(|(before, after)| before != after);
        let moved: Vec<_> = moved.map(|(_, after)| *after).collect();
        assert!(moved.iter().all(|owner| *owner == Some(ConsumerId(4))));
        assert!((120..290).contains(&moved.len()), "{}", moved.len());
        pins.leave(ConsumerId(4), &[0, 1, 2, 3].map(ConsumerId));
        assert_eq!(owners(&pins), before);
    }

    #[test]
    fn a_bucket_moves_once_nothing_of_it_is_in_flight() {
        let mut pins = Pins::new();
        pins.join(ConsumerId(0));
        (0..BUCKETS).for_each(|pin| pins.given(pin, ConsumerId(0)));
        (1..20).for_each(|consumer| pins.join(ConsumerId(consumer)));
        let moving = owners(&pins).iter().position(Option::is_none).expect("one moves") as u64;
        pins.taken_back(moving);
        assert!(pins.owner(moving).is_some_and(|owner| owner != ConsumerId(0)));
    }
}
