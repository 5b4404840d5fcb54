use std::num::NonZeroUsize;
use std::sync::Mutex;

use lru::LruCache;

use super::{Peer, Setting};

struct Locked(Mutex<LruCache<u64, u64>>);

pub(super) fn build(setting: Setting) -> Box<dyn Peer> {
    let capacity = NonZeroUsize::new(setting.capacity).expect("a capacity is not zero");
    Box::new(Locked(Mutex::new(LruCache::new(capacity))))
}

impl Locked {
    fn lock(&self) -> std::sync::MutexGuard<'_, LruCache<u64, u64>> {
        self.0.lock().expect("nothing panics under this lock")
    }
}

impl Peer for Locked {
    fn get(&self, key: u64) -> Option<u64> {
        self.lock().get(&key).copied()
    }

    fn insert(&self, key: u64, value: u64) {
        self.lock().put(key, value);
    }

    fn population(&self) -> usize {
        self.lock().len()
    }
}
