//! Replays: `get`, and `insert` on a miss.

use crate::peers::Peer;

/// What came out of a replay.
#[derive(Clone, Copy, Debug)]
pub struct Replayed {
    /// Accesses that found their key.
    pub hits: u64,
    /// The largest population that was seen, or the first above the capacity.
    pub population: usize,
}

/// How many accesses pass between two looks at the population.
const LOOK_EVERY: usize = 4_096;

/// Replays `keys` in one thread, in a cache that was built to be counted.
pub fn replay(peer: &dyn Peer, keys: &[u64], capacity: usize) -> Replayed {
    let mut replayed = Replayed {
        hits: 0,
        population: 0,
    };
    for chunk in keys.chunks(LOOK_EVERY) {
        replayed.hits += peer.replay(chunk);
        // A look may cost a walk through the cache, so it ends when the verdict is clear.
        if replayed.population <= capacity {
            replayed.population = replayed.population.max(peer.population());
        }
    }
    replayed
}
