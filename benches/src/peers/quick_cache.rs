use quick_cache::sync::Cache;

use super::{Peer, Setting};

struct Quick(Cache<u64, u64>);

pub(super) fn build(setting: Setting) -> Box<dyn Peer> {
    Box::new(Quick(Cache::new(setting.capacity)))
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
