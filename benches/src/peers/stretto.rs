use stretto::Cache;

use super::{Peer, Setting};

/// How many accesses of a replay pass before it is waited for: a few of its batches.
const SETTLE_EVERY: usize = 256;

struct Stretto(Cache<u64, u64>);

pub(super) fn build(setting: Setting) -> Box<dyn Peer> {
    // Ten counters an entry is what its documentation asks for. Costs are counted in entries, not in bytes of its own.
    let builder = Cache::builder(setting.capacity * 10, setting.capacity as i64);
    let cache = builder.set_ignore_internal_cost(true).finalize();
    Box::new(Stretto(cache.expect("its settings are good")))
}

impl Peer for Stretto {
    fn get(&self, key: u64) -> Option<u64> {
        self.0.get(&key).map(|value| *value.value())
    }

    fn insert(&self, key: u64, value: u64) {
        self.0.insert(key, value, 1);
    }

    fn population(&self) -> usize {
        self.0.len()
    }

    fn settle(&self) {
        self.0.wait().expect("its thread lives as long as the cache");
    }

    // It inserts in a thread of its own; a replay that does not wait measures that thread.
    fn replay(&self, keys: &[u64]) -> u64 {
        super::settled_replay(self, keys, SETTLE_EVERY)
    }
}
