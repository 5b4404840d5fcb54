//! The recent hit rate of single keys, which decides whether a look before an acquire pays.

use std::sync::atomic::{AtomicU32, Ordering};

/// The share of single keys that were found lately.
#[derive(Debug, Default)]
pub(super) struct HitRate(AtomicU32);

/// Each look weighs this much of the whole.
const WEIGHT: u32 = 16;
const ALL: u32 = 1 << 16;
/// From here on it pays to look first: a look and a miss together must not outweigh what hits save.
const USUAL: u32 = ALL / 5 * 4;

impl HitRate {
    /// Says whether keys are mostly found. Not before some were.
    pub(super) fn is_high(&self) -> bool {
        self.0.load(Ordering::Relaxed) > USUAL
    }

    /// Takes note of a look. Of two at the same moment, one may be lost.
    pub(super) fn note(&self, found: bool) {
        let so_far = self.0.load(Ordering::Relaxed);
        let add = if found { ALL / WEIGHT } else { 0 };
        let now = so_far - so_far / WEIGHT + add;
        // Read first: a shared line is written only when things change.
        if now != so_far {
            self.0.store(now, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_hits_makes_them_usual_and_a_few_misses_unusual() {
        let rate = HitRate::default();
        assert!(!rate.is_high());
        let hits = (0..100).take_while(|_| {
            rate.note(true);
            !rate.is_high()
        });
        assert_eq!(hits.count(), 24);
        (0..1_000).for_each(|_| rate.note(true));
        let misses = (0..100).take_while(|_| {
            rate.note(false);
            rate.is_high()
        });
        assert_eq!(misses.count(), 3);
    }

    #[test]
    fn what_is_found_nine_times_of_ten_is_usual_and_two_times_of_three_is_not() {
        for (of, usual) in [(10, true), (3, false)] {
            let rate = HitRate::default();
            let mut looks_first = 0;
            for look in 0..3_000 {
                rate.note(look % of != 0);
                looks_first += u32::from(look >= 1_000 && rate.is_high());
            }
            match usual {
                true => assert!(looks_first > 1_600, "{looks_first} of 2000"),
                false => assert!(looks_first < 200, "{looks_first} of 2000"),
            }
        }
    }
}
