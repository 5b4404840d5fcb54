use std::sync::atomic::{AtomicU32, Ordering};

/// How often a single key was found lately.
#[derive(Debug, Default)]
pub(super) struct Finds(AtomicU32);

/// Each look weighs this much of the whole.
const WEIGHT: u32 = 16;
const ALL: u32 = 1 << 16;
/// From here on it pays to look first: a look and a miss together must not outweigh what hits save.
const USUAL: u32 = ALL / 5 * 4;

impl Finds {
    /// Whether keys are mostly found. Not before some were.
    pub(super) fn are_usual(&self) -> bool {
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
        let finds = Finds::default();
        assert!(!finds.are_usual());
        let hits = (0..100).take_while(|_| {
            finds.note(true);
            !finds.are_usual()
        });
        assert_eq!(hits.count(), 24);
        (0..1_000).for_each(|_| finds.note(true));
        let misses = (0..100).take_while(|_| {
            finds.note(false);
            finds.are_usual()
        });
        assert_eq!(misses.count(), 3);
    }

    #[test]
    fn what_is_found_nine_times_of_ten_is_usual_and_two_times_of_three_is_not() {
        for (of, usual) in [(10, true), (3, false)] {
            let finds = Finds::default();
            let mut looks_first = 0;
            for look in 0..3_000 {
                finds.note(look % of != 0);
                looks_first += u32::from(look >= 1_000 && finds.are_usual());
            }
            match usual {
                true => assert!(looks_first > 1_600, "{looks_first} of 2000"),
                false => assert!(looks_first < 200, "{looks_first} of 2000"),
            }
        }
    }
}
