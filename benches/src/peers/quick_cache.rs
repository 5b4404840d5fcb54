use quick_cache::sync::Cache;

use super::{Peer, Setting};

struct Quick(Cache<u64, u64>);

pub(super) fn build(setting: Setting) -> Box<dyn Peer> {
    Box::new(Quick(Cache::new(setting.capacity)))
}

/// Its shards are rounded up, so it may hold a few entries more than asked for; here they are rounded down.
pub(super) fn held(setting: Setting) -> Box<dyn Peer> {
    let capacity = setting.capacity;
    let shards = Cache::<u64, u64>::new(capacity).num_shards();
    Box::new(Quick(Cache::new((capacity / shards * shards).max(1))))
}

impl Peer for Quick {
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
