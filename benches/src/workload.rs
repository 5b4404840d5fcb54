//! Keys to ask for.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Zipf};

/// How skewed the ranks are.
pub const SKEW: f64 = 0.99;

/// `count` keys of a universe of `keys`, Zipf distributed. The same seed gives the same keys.
#[must_use]
pub fn zipf(keys: usize, count: usize, seed: u64) -> Vec<u64> {
    let mut ranks = zipf_ranks(keys, count, seed);
    ranks.iter_mut().for_each(|rank| *rank = scramble(*rank));
    ranks
}

/// The same, as ranks from 0 on.
#[must_use]
pub fn zipf_ranks(keys: usize, count: usize, seed: u64) -> Vec<u64> {
    let ranks = Zipf::new(keys as f64, SKEW).expect("the parameters are good");
    let mut random = StdRng::seed_from_u64(seed);
    (0..count).map(|_| ranks.sample(&mut random) as u64 - 1).collect()
}

/// `count` keys of a universe of `keys`, each as likely as the others.
#[must_use]
pub fn uniform(keys: usize, count: usize, seed: u64) -> Vec<u64> {
    let mut random = StdRng::seed_from_u64(seed);
    (0..count)
        .map(|_| scramble(random.random_range(0..keys as u64)))
        .collect()
}

/// The keys of these universes by rank.
pub fn universe(keys: usize) -> impl DoubleEndedIterator<Item = u64> {
    (0..keys as u64).map(scramble)
}

/// Keys that no universe holds: the `count` from `start` on.
#[must_use]
pub fn strangers(start: u64, count: usize) -> Vec<u64> {
    (start..)
        .take(count)
        .map(|rank| scramble(rank | 1 << 40))
        .collect()
}

/// A bijection (multiplication by an odd number), so that neighbours in rank are none in the key.
fn scramble(rank: u64) -> u64 {
    rank.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}
