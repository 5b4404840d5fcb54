use mini_moka::sync::ConcurrentCacheExt;
use moka::sync::Cache;

use super::{Peer, Setting};

struct LeftAlone(Cache<u64, u64>);

pub(super) fn left_alone(setting: Setting) -> Box<dyn Peer> {
    Box::new(LeftAlone(Cache::new(setting.capacity as u64)))
}

impl Peer for LeftAlone {
    fn get(&self, key: u64) -> Option<u64> {
        self.0.get(&key)
    }

    fn insert(&self, key: u64, value: u64) {
        self.0.insert(key, value);
    }

    // `entry_count` leaves out what was not settled yet, but what is there answers and takes memory.
    fn population(&self) -> usize {
        self.0.iter().count()
    }

    fn settle(&self) {
        self.0.run_pending_tasks();
    }
}

/// How many accesses of a replay pass before it is settled.
pub(super) const SETTLE_EVERY: usize = 16;

struct Settled(LeftAlone);

pub(super) fn settled(setting: Setting) -> Box<dyn Peer> {
    Box::new(Settled(LeftAlone(Cache::new(setting.capacity as u64))))
}

impl Peer for Settled {
    fn get(&self, key: u64) -> Option<u64> {
        self.0.get(key)
    }

    fn insert(&self, key: u64, value: u64) {
        self.0.insert(key, value);
    }

    fn population(&self) -> usize {
        self.0.population()
    }

    fn settle(&self) {
        self.0.settle();
    }

    fn replay(&self, keys: &[u64]) -> u64 {
        super::settled_replay(self, keys, SETTLE_EVERY)
    }
}

struct Mini(mini_moka::sync::Cache<u64, u64>);

pub(super) fn mini(setting: Setting) -> Box<dyn Peer> {
    Box::new(Mini(mini_moka::sync::Cache::new(setting.capacity as u64)))
}

impl Peer for Mini {
    fn get(&self, key: u64) -> Option<u64> {
        self.0.get(&key)
    }

    fn insert(&self, key: u64, value: u64) {
        self.0.insert(key, value);
    }

    fn population(&self) -> usize {
        self.0.iter().count()
    }

    fn settle(&self) {
        self.0.sync();
    }
}
