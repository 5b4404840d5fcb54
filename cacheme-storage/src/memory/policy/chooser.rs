//! Finds the configuration that is best now: each is played by a shadow on the same sample of the keys.
//!
//! Sampling by key, as in SHARDS (Waldspurger et al., "Efficient MRC construction with SHARDS", 2015) and mini-simulations
//! (Waldspurger et al., "Cache modeling and optimization using miniature simulations", 2017): a cache of C entries sees of all
//! keys what a cache of C/R entries sees of every R-th.

use super::config::CONFIGS;
use super::shadow::Shadow;

/// Shadows hold at most so many keys: what more would add in precision, it costs in time.
const LARGEST: u64 = 512;
/// Keys are sampled one in eight at the least where …
const RATE: u64 = 8;
/// … a shadow has so many entries even then. With 64, small caches record half as much, and the mean hit ratio is 0.001
/// lower, with more of a difference from seed to seed.
const SMALLEST: u64 = 256;

/// The shadows and what they scored.
pub(crate) struct Chooser {
    rate: u64,
    size: usize,
    shadows: Vec<Shadow>,
    scores: [Score; CONFIGS.len()],
    /// Samples that the scores stand for.
    weight: f64,
    samples: usize,
    /// Samples before anything is scored.
    warming: usize,
    current: usize,
}

#[derive(Clone, Copy, Default)]
struct Score {
    hits: f64,
    /// Samples in which this one and the current one differed: the variance of their difference.
    differ: f64,
}

/// Samples between two looks at the scores, or four times the size of a shadow if that is more.
const EPOCH: usize = 256;
/// The part of a score that is left after each look.
const DECAY: f64 = 0.8;
/// The hits that a new configuration must gain, beyond what chance explains, in parts of all samples.
const WORTH: f64 = 0.004;

impl Chooser {
    /// For a cache of so many entries that plays this configuration now.
    pub(crate) fn new(capacity: u64, current: usize) -> Self {
        let rate = rate(capacity);
        let size = usize::try_from(capacity / rate).unwrap_or(usize::MAX);
        Self {
            rate,
            size,
            shadows: (0..CONFIGS.len())
                .map(|config| Shadow::new(config, size))
                .collect(),
            scores: [Score::default(); CONFIGS.len()],
            weight: 0.0,
            samples: 0,
            warming: size * 2,
            current,
        }
    }

    /// One key in so many is to be shown; a power of two.
    pub(crate) fn rate(&self) -> u64 {
        self.rate
    }

    /// A sampled key was asked for. Says what is best from now on.
    pub(crate) fn access(&mut self, hash: u32) -> usize {
        let mut hits = [false; CONFIGS.len()];
        for (hit, shadow) in hits.iter_mut().zip(&mut self.shadows) {
            *hit = shadow.access(hash);
        }
        if self.warming > 0 {
            if self.shadows[self.current].is_full() {
                self.warming -= 1;
            }
            return self.current;
        }
        self.weight += 1.0;
        for (score, hit) in self.scores.iter_mut().zip(hits) {
            score.hits += f64::from(u8::from(hit));
            score.differ += f64::from(u8::from(hit != hits[self.current]));
        }
        self.samples += 1;
        if self.samples >= EPOCH.max(4 * self.size) {
            self.samples = 0;
            self.choose();
        }
        self.current
    }

    fn choose(&mut self) {
        let surely = |score: &Score| score.hits - score.differ.sqrt();
        let best =
            (0..CONFIGS.len()).max_by(|a, b| surely(&self.scores[*a]).total_cmp(&surely(&self.scores[*b])));
        if let Some(best) = best {
            let gain = self.scores[best].hits - self.scores[self.current].hits;
            if gain > WORTH * self.weight + self.scores[best].differ.sqrt() {
                self.current = best;
            }
        }
        self.weight *= DECAY;
        for score in &mut self.scores {
            score.hits *= DECAY;
            score.differ *= DECAY;
        }
    }
}

/// One key in so many: shadows no larger than they may be, and fewer samples where they are large enough.
fn rate(capacity: u64) -> u64 {
    let mut rate = 1;
    while capacity / rate > LARGEST || rate < RATE && capacity / rate >= SMALLEST {
        rate *= 2;
    }
    rate
}

#[cfg(test)]
#[path = "chooser_tests.rs"]
mod tests;
