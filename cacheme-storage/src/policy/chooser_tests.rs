use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::policy::START;
use crate::policy::config::{Chance, Contest, Mode, comes_back_sooner};
use crate::policy::ghost::Ghost;

/// A shadow of lists in which the newest is behind.
struct Naive {
    config: usize,
    capacity: usize,
    /// Hash, last use, recency.
    lists: [VecDeque<(u32, u16, u16)>; 3],
    ghost: Ghost,
    chance: Chance,
}

impl Naive {
    fn access(&mut self, hash: u32, moment: &Moment<'_>) -> bool {
        let window = CONFIGS[self.config].window_of(self.capacity as u64) as usize;
        let protected = CONFIGS[self.config].protected_of(self.capacity as u64) as usize;
        let mode = CONFIGS[self.config].mode;
        for at in 0..3 {
            if let Some(position) = self.lists[at].iter().position(|entry| entry.0 == hash) {
                let (_, ts, _) = self.lists[at].remove(position).unwrap();
                let to = if at == 0 { 0 } else { 2 };
                self.lists[to].push_back((hash, moment.now, moment.now.wrapping_sub(ts)));
                self.overflow(protected);
                return true;
            }
        }
        let left = self.ghost.take(hash);
        let irr = left.map_or(u16::MAX, |ts| moment.now.wrapping_sub(ts));
        let full = self.lists.iter().map(VecDeque::len).sum::<usize>() == self.capacity;
        let new = (hash, moment.now, irr);
        let main = if self.lists[1].is_empty() { 2 } else { 1 };
        if full && mode != Mode::Plain && left.is_some() {
            let victim = self.lists[main].front().copied();
            if let Some((_, ts, _)) = victim
                && comes_back_sooner(irr, moment.coarse, moment.now.wrapping_sub(ts))
            {
                self.leave(main, moment.now);
                self.lists[if mode == Mode::Probe { 1 } else { 2 }].push_back(new);
                self.overflow(protected);
                return false;
            }
        }
        if full && (self.lists[0].len() < window || self.lists[0].is_empty()) {
            self.leave(main, moment.now);
        } else if full {
            let candidate = self.lists[0][0];
            let wins = self.lists[main].front().copied().is_some_and(|victim| {
                let contest = Contest {
                    candidate: moment.sketch.count(candidate.0),
                    victim: moment.sketch.count(victim.0),
                    irr: candidate.2,
                    idle: moment.now.wrapping_sub(victim.1),
                    coarse: moment.coarse,
                };
                mode.admits(&contest, &mut self.chance)
            });
            if wins {
                self.leave(main, moment.now);
                self.lists[0].pop_front();
                self.lists[1].push_back(candidate);
            } else {
                self.leave(0, moment.now);
            }
        }
        self.lists[0].push_back(new);
        if !full && self.lists[0].len() > window {
            let oldest = self.lists[0].pop_front().unwrap();
            self.lists[1].push_back(oldest);
        }
        false
    }

    fn leave(&mut self, list: usize, now: u16) {
        let (hash, ts, _) = self.lists[list].pop_front().unwrap();
        self.ghost.put(hash, ts, now);
    }

    fn overflow(&mut self, protected: usize) {
        if self.lists[2].len() > protected {
            let oldest = self.lists[2].pop_front().unwrap();
            self.lists[1].push_back(oldest);
        }
    }
}

proptest! {
    #[test]
    fn shadows_hit_as_on_paper(
        capacity in 1usize..50,
        coarse in 0u32..2,
        keys in prop::collection::vec((0u32..120, any::<bool>()), 1..1500),
    ) {
        let mut sketch = Sketch::new(capacity);
        let mut shadows: Vec<_> = (0..CONFIGS.len())
            .map(|config| {
                let naive = Naive {
                    config,
                    capacity,
                    lists: Default::default(),
                    ghost: Ghost::new(capacity),
                    chance: Chance::new(1),
                };
                (Shadow::new(&CONFIGS[config], capacity), naive)
            })
            .collect();
        let mut now = u16::MAX - 20;
        for (key, passed) in keys {
            // A third of all keys is asked for more often.
            let hash = (if key > 80 { key % 20 } else { key }).wrapping_mul(0x9e37_79b9);
            now = now.wrapping_add(u16::from(passed));
            sketch.add(hash);
            let moment = Moment { now, coarse, sketch: &sketch };
            for (shadow, naive) in &mut shadows {
                prop_assert_eq!(shadow.access(hash, &moment), naive.access(hash, &moment), "config {}", naive.config);
            }
        }
    }
}

#[test]
fn a_loop_and_a_shifting_hot_set_are_told_apart() {
    let mut chooser = Chooser::new(256, START);
    let mix = |key: u32| key.wrapping_mul(0x9e37_79b9);
    // Each key five times within forty accesses, and never again: least recently used is best.
    let mut choice = START;
    for round in 0..20_000u32 {
        for back in [0, 2, 4, 6, 8] {
            choice = chooser.access(mix(round.wrapping_sub(back)));
        }
    }
    assert!(CONFIGS[choice].window >= 350, "{:?}", CONFIGS[choice]);
    // A loop somewhat longer than the cache: least recently used hits nothing.
    for round in 0..200_000u32 {
        choice = chooser.access(mix(round % 400));
    }
    assert!(CONFIGS[choice].window <= 100, "{:?}", CONFIGS[choice]);
}

#[test]
fn samples_are_few_where_there_are_many_keys() {
    for (capacity, rate) in [
        (1, 1),
        (255, 1),
        (256, 2),
        (1000, 4),
        (2048, 8),
        (4096, 8),
        (8192, 16),
        (1 << 20, 2048),
    ] {
        assert_eq!(Chooser::new(capacity, START).rate(), rate, "{capacity}");
    }
}
