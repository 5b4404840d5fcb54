use std::fmt;

use super::cache::{Lru, TinyLfu};
use super::clock::Clock;
use super::key_bytes::KeyBytes;
use crate::contract::fence::Fence;
use crate::contract::local::{LocalEntry, LocalStorage};
use crate::contract::local_value::LocalValue;
use crate::error::Result;
use crate::url::StorageUrl;

/// The in-memory storage: erased values behind the bytes of their full keys, shared by any number of node types.
///
/// ```
/// use cacheme_storage::{LocalCache, Storage};
///
/// let storage = Storage::local(LocalCache::tlfu(10_000).build());
/// assert_eq!(storage.location(), "local://tlfu?size=10000");
/// ```
pub struct LocalCache {
    bound: Bound,
    cache: Cache,
}

enum Cache {
    Tlfu(TinyLfu<KeyBytes, LocalValue>),
    Lru(Lru<KeyBytes, LocalValue>),
}

/// The policy that keeps the entries.
#[derive(Clone, Copy, Debug)]
enum Policy {
    Tlfu,
    Lru,
}

/// The unit of the capacity.
#[derive(Clone, Copy, Debug)]
enum Bound {
    Size,
    Weight,
}

/// Runs an expression on either kind of cache.
macro_rules! on {
    ($cache:expr, $name:ident => $do:expr) => {
        match $cache {
            Cache::Tlfu($name) => $do,
            Cache::Lru($name) => $do,
        }
    };
}

/// Stands for a weigher, so that the cache asks for weights. The writer of each entry gives its weight.
fn weigh(_: &KeyBytes, _: &LocalValue) -> u32 {
    1
}

/// Builds a [`LocalCache`].
#[derive(Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct LocalCacheBuilder {
    policy: Policy,
    bound: Bound,
    capacity: usize,
    clock: Clock,
}

impl LocalCacheBuilder {
    /// The clock that expiry goes by.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Takes the capacity for a bound on the [weight](LocalEntry::weight) of all entries, rather than on their number.
    pub fn weighted(mut self) -> Self {
        self.bound = Bound::Weight;
        self
    }

    /// The storage.
    #[must_use]
    pub fn build(self) -> LocalCache {
        let weighted = matches!(self.bound, Bound::Weight);
        let cache = match self.policy {
            Policy::Tlfu => {
                let builder = TinyLfu::builder(self.capacity).clock(self.clock);
                Cache::Tlfu(if weighted { builder.weigh(weigh) } else { builder }.build())
            }
            Policy::Lru => {
                let builder = Lru::builder(self.capacity).clock(self.clock);
                Cache::Lru(if weighted { builder.weigh(weigh) } else { builder }.build())
            }
        };
        LocalCache {
            bound: self.bound,
            cache,
        }
    }
}

impl LocalCache {
    /// A storage of at most `size` entries that keeps what is worth most, as [`TinyLfu`] does: `local://tlfu?size=N`, or
    /// `weight=N` for a bound on what they weigh. 0 stores nothing.
    pub fn tlfu(size: usize) -> LocalCacheBuilder {
        Self::builder(Policy::Tlfu, size)
    }

    /// A storage of at most `size` entries that keeps what was used last: `local://lru?size=N` or `weight=N`. 0 stores nothing.
    pub fn lru(size: usize) -> LocalCacheBuilder {
        Self::builder(Policy::Lru, size)
    }

    fn builder(policy: Policy, capacity: usize) -> LocalCacheBuilder {
        LocalCacheBuilder {
            policy,
            bound: Bound::Size,
            capacity,
            clock: Clock::real(),
        }
    }

    /// The storage of a `local://` URL.
    pub(crate) fn open(url: &mut StorageUrl) -> Result<Self> {
        let builder = match url.hosts() {
            "tlfu" => Self::tlfu,
            "lru" => Self::lru,
            _ => {
                return Err(url.error("names no policy; write `local://tlfu?size=N` or `local://lru?size=N`"));
            }
        };
        if !matches!(url.path(), "" | "/") || url.user().is_some() || url.password().is_some() {
            return Err(url.error("has more than a policy and options; write `local://tlfu?size=N`"));
        }
        let size = url.take("size", "a number of entries")?;
        let weight = url.take("weight", "a number, what all entries may weigh")?;
        let builder = match (size, weight) {
            (Some(size), None) => builder(size),
            (None, Some(weight)) => builder(weight).weighted(),
            (Some(_), Some(_)) => return Err(url.error("options `size` and `weight` exclude each other")),
            (None, None) => {
                return Err(url.error("option `size` is missing; write for example `size=10000`"));
            }
        };
        Ok(builder.build())
    }
}

impl LocalStorage for LocalCache {
    fn location(&self) -> String {
        let policy = match self.cache {
            Cache::Tlfu(_) => "tlfu",
            Cache::Lru(_) => "lru",
        };
        let bound = match self.bound {
            Bound::Size => "size",
            Bound::Weight => "weight",
        };
        format!(
            "local://{policy}?{bound}={}",
            on!(&self.cache, cache => cache.capacity())
        )
    }

    fn get(&self, key: &[u8]) -> Option<LocalValue> {
        on!(&self.cache, cache => cache.get(key))
    }

    #[inline]
    fn read(&self, key: &[u8], see: &mut dyn FnMut(&LocalValue)) -> bool {
        on!(&self.cache, cache => cache.read(key, see)).is_some()
    }

    fn entry(&self, key: &[u8]) -> Option<LocalEntry> {
        let (value, ttl) = on!(&self.cache, cache => cache.entry(key))?;
        Some(LocalEntry::new(value, ttl))
    }

    fn insert(&self, key: &[u8], entry: LocalEntry, fence: &Fence) -> bool {
        let LocalEntry { value, ttl, weight } = entry;
        let (key, down) = (KeyBytes::new(key), || !fence.is_raised());
        on!(&self.cache, cache => cache.insert_weighing(weight, key, value, ttl, down))
    }

    fn remove(&self, key: &[u8]) -> bool {
        on!(&self.cache, cache => cache.remove(key))
    }

    fn clear(&self) {
        on!(&self.cache, cache => cache.clear());
    }

    fn len(&self) -> usize {
        on!(&self.cache, cache => cache.len())
    }
}

impl fmt::Debug for LocalCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LocalCache").field(&self.location()).finish()
    }
}

#[cfg(test)]
#[path = "storage_tests.rs"]
mod tests;
