use std::sync::atomic::{AtomicIsize, Ordering};

use tinyufo::TinyUfo;

use super::{Peer, Setting};

/// It has no `len`, so what goes in and what comes out is counted.
struct Ufo {
    cache: TinyUfo<u64, u64>,
    population: Option<AtomicIsize>,
}

pub(super) fn build(setting: Setting) -> Box<dyn Peer> {
    Box::new(Ufo {
        cache: TinyUfo::new(setting.capacity, setting.capacity),
        population: setting.counted.then(AtomicIsize::default),
    })
}

impl Peer for Ufo {
    fn get(&self, key: u64) -> Option<u64> {
        self.cache.get(&key)
    }

    fn insert(&self, key: u64, value: u64) {
        let out = self.cache.put(key, value, 1);
        if let Some(population) = &self.population {
            population.fetch_add(1 - out.len() as isize, Ordering::Relaxed);
        }
    }

    fn population(&self) -> usize {
        let population = self
            .population
            .as_ref()
            .map_or(0, |count| count.load(Ordering::Relaxed));
        population.try_into().unwrap_or(0)
    }
}
