use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};

use mini_moka::sync::ConcurrentCacheExt;
use moka::sync::Cache;

use super::{Peer, Setting};

struct LeftAlone {
    cache: Cache<u64, u64>,
    population: Option<Arc<AtomicIsize>>,
}

impl LeftAlone {
    fn new(setting: Setting) -> Self {
        let builder = Cache::builder().max_capacity(setting.capacity as u64);
        if !setting.counted {
            let cache = builder.build();
            return Self {
                cache,
                population: None,
            };
        }
        // `entry_count` leaves out what was not settled yet, but what is there answers and takes memory.
        let population = Arc::new(AtomicIsize::new(0));
        let leaver = Arc::clone(&population);
        let listener = move |_, _, _| _ = leaver.fetch_sub(1, Ordering::Relaxed);
        Self {
            cache: builder.eviction_listener(listener).build(),
            population: Some(population),
        }
    }
}

pub(super) fn left_alone(setting: Setting) -> Box<dyn Peer> {
    Box::new(LeftAlone::new(setting))
}

impl Peer for LeftAlone {
    fn get(&self, key: u64) -> Option<u64> {
        self.cache.get(&key)
    }

    fn insert(&self, key: u64, value: u64) {
        self.cache.insert(key, value);
        if let Some(population) = &self.population {
            population.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn population(&self) -> usize {
        let population = self
            .population
            .as_ref()
            .map_or(0, |count| count.load(Ordering::Relaxed));
        population.try_into().unwrap_or(0)
    }

    fn settle(&self) {
        self.cache.run_pending_tasks();
    }
}

/// How many accesses of a replay pass before it is settled.
const SETTLE_EVERY: usize = 16;

struct Settled(LeftAlone);

pub(super) fn settled(setting: Setting) -> Box<dyn Peer> {
    Box::new(Settled(LeftAlone::new(setting)))
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
