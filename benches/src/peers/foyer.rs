use foyer::{Cache, CacheBuilder, EvictionConfig, LfuConfig, S3FifoConfig};

use super::{Peer, Setting};

struct Foyer(Cache<u64, u64>);

pub(super) fn lfu(setting: Setting) -> Box<dyn Peer> {
    with(setting, LfuConfig::default().into())
}

pub(super) fn s3fifo(setting: Setting) -> Box<dyn Peer> {
    with(setting, S3FifoConfig::default().into())
}

fn with(setting: Setting, eviction: EvictionConfig) -> Box<dyn Peer> {
    let builder = CacheBuilder::new(setting.capacity).with_eviction_config(eviction);
    Box::new(Foyer(builder.build()))
}

impl Peer for Foyer {
    fn get(&self, key: u64) -> Option<u64> {
        self.0.get(&key).map(|entry| *entry.value())
    }

    fn insert(&self, key: u64, value: u64) {
        self.0.insert(key, value);
    }

    fn population(&self) -> usize {
        self.0.entries()
    }
}
