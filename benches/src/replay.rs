//! Replays: `get`, and `insert` on a miss.

use crate::peers::Peer;

/// What came out of a replay.
#[derive(Clone, Copy, Debug)]
pub struct Replayed {
    /// Accesses that found their key.
    pub hits: u64,
    /// The largest population that was seen.
    pub population: usize,
}

/// How many accesses pass between two looks at the population.
const LOOK_EVERY: usize = 4_096;

/// Replays `keys` in one thread.
///
/// Looking at the population may cost as much as walking through the cache, so large caches are looked at less often.
pub fn replay(peer: &dyn Peer, keys: &[u64], capacity: usize) -> Replayed {
    let mut replayed = Replayed {
        hits: 0,
        population: 0,
    };
    for chunk in keys.chunks(LOOK_EVERY.max(capacity / 16)) {
        replayed.hits += peer.replay(chunk);
        replayed.population = replayed.population.max(peer.population());
    }
    replayed
}
