use cacheme_storage::{Lru, TinyLfu};

use super::{Peer, Setting};

pub(super) fn tlfu(Setting { capacity, seed, .. }: Setting) -> Box<dyn Peer> {
    Box::new(TinyLfu::<u64, u64>::builder(capacity).seed(seed).build())
}

impl Peer for TinyLfu<u64, u64> {
    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        TinyLfu::get(self, &key)
    }

    #[inline]
    fn insert(&self, key: u64, value: u64) {
        TinyLfu::insert(self, key, value);
    }

    fn population(&self) -> usize {
        self.len()
    }
}

pub(super) fn lru(Setting { capacity, seed, .. }: Setting) -> Box<dyn Peer> {
    Box::new(Lru::<u64, u64>::builder(capacity).seed(seed).build())
}

impl Peer for Lru<u64, u64> {
    fn get(&self, key: u64) -> Option<u64> {
        Lru::get(self, &key)
    }

    fn insert(&self, key: u64, value: u64) {
        Lru::insert(self, key, value);
    }

    fn population(&self) -> usize {
        self.len()
    }
}
