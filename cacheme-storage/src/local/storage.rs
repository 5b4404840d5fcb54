use std::fmt;

use super::clock::Clock;
use super::lru::Lru;
use crate::{Fence, LocalEntry, LocalStorage, LocalValue, Result, Storage, url::StorageUrl};

/// The in-memory storage: erased values behind the bytes of their full keys, shared by any number of node types.
///
/// ```
/// use cacheme_storage::{LocalCache, Storage};
///
/// let storage = Storage::local(LocalCache::lru(10_000).build());
/// assert_eq!(storage.location(), "local://lru?size=10000");
/// ```
pub struct LocalCache {
    name: &'static str,
    cache: Lru<Box<[u8]>, Kept>,
}

/// A value and the weight it came with.
#[derive(Clone)]
struct Kept {
    value: LocalValue,
    weight: u32,
}

/// Builds a [`LocalCache`].
#[derive(Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct LocalCacheBuilder {
    name: &'static str,
    size: usize,
    clock: Clock,
}

impl LocalCacheBuilder {
    /// The clock that expiry goes by.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The storage.
    #[must_use]
    pub fn build(self) -> LocalCache {
        LocalCache {
            name: self.name,
            cache: Lru::builder(self.size).clock(self.clock).build(),
        }
    }
}

impl LocalCache {
    /// A storage of at most `size` entries: `local://tlfu?size=N`. 0 stores nothing.
    ///
    /// Evicts the least recently used entry, like [`lru`](Self::lru): frequency is not looked at.
    pub fn tlfu(size: usize) -> LocalCacheBuilder {
        Self::builder("tlfu", size)
    }

    /// A storage of at most `size` entries that keeps what was used last: `local://lru?size=N`. 0 stores nothing.
    pub fn lru(size: usize) -> LocalCacheBuilder {
        Self::builder("lru", size)
    }

    fn builder(name: &'static str, size: usize) -> LocalCacheBuilder {
        LocalCacheBuilder {
            name,
            size,
            clock: Clock::real(),
        }
    }

    /// The storage of a `local://` URL.
    pub(crate) fn open(url: &mut StorageUrl) -> Result<Storage> {
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
        let size =
            size.ok_or_else(|| url.error("option `size` is missing; write for example `size=10000`"))?;
        Ok(Storage::local(builder(size).build()))
    }
}

impl LocalStorage for LocalCache {
    fn location(&self) -> String {
        format!("local://{}?size={}", self.name, self.cache.capacity())
    }

    fn get(&self, key: &[u8]) -> Option<LocalValue> {
        self.cache.get(key).map(|kept| kept.value)
    }

    fn entry(&self, key: &[u8]) -> Option<LocalEntry> {
        let (kept, ttl) = self.cache.entry(key)?;
        Some(LocalEntry::new(kept.value, ttl).with_weight(kept.weight))
    }

    fn insert(&self, key: &[u8], entry: LocalEntry, fence: &Fence) -> bool {
        let kept = Kept {
            value: entry.value,
            weight: entry.weight,
        };
        self.cache
            .insert_if(key.into(), kept, entry.ttl, || !fence.is_raised())
    }

    fn remove(&self, key: &[u8]) -> bool {
        self.cache.remove(key)
    }

    fn clear(&self) {
        self.cache.clear();
    }

    fn len(&self) -> usize {
        self.cache.len()
    }
}

impl fmt::Debug for LocalCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LocalCache").field(&self.location()).finish()
    }
}
