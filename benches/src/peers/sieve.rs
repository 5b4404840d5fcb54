use sieve_cache::ShardedSieveCache;

use super::{Peer, Setting};

struct Sieve(ShardedSieveCache<u64, u64>);

pub(super) fn build(setting: Setting) -> Box<dyn Peer> {
    let cache = ShardedSieveCache::new(setting.capacity).expect("a capacity is not zero");
    Box::new(Sieve(cache))
}

impl Peer for Sieve {
    fn get(&self, key: u64) -> Option<u64> {
        self.0.get(&key)
    }

    fn insert(&self, key: u64, value: u64) {
        self.0.insert(key, value);
    }

    fn population(&self) -> usize {
        self.0.len()
    }
}
