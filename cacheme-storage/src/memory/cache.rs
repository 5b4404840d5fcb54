use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use foldhash::quality::FixedState;
use parking_lot::Mutex;

use super::builder::CacheBuilder;
use super::clock::{Clock, NEVER};
use super::entry::{Arriver, Leavers, Listener, Weigher};
use super::lru::LeastRecent;
use super::policy::{Policy, WTinyLfu};
use super::reader_lock::ReaderLock;
use super::sampler::Sampler;
use super::shard::{Inserted, Shard, Terms};
use super::sweeper::Sweeper;

/// A cache that keeps what is worth most, by how often and how lately it was used.
///
/// The policy is W-TinyLFU with a recency test after LIRS, and adapts to the workload. Reads take no exclusive lock and write nothing
/// that another thread reads, but a mark on an entry that had none.
///
/// ```
/// let cache = cacheme_storage::TinyLfu::new(1_000);
/// cache.insert("a".to_string(), 1);
/// assert_eq!(cache.get("a"), Some(1));
/// assert_eq!(cache.get("b"), None);
/// ```
pub type TinyLfu<K, V> = Cache<K, V, WTinyLfu>;

/// A cache that keeps what was used last, in one shard: a use makes an entry the most recently used, exactly.
///
/// ```
/// let cache = cacheme_storage::Lru::builder(2).build();
/// cache.insert("a".to_string(), 1);
/// cache.insert("b".to_string(), 2);
/// assert_eq!(cache.get("a"), Some(1));
/// cache.insert("c".to_string(), 3);
/// assert!(!cache.contains("b"));
/// ```
pub type Lru<K, V> = Cache<K, V, LeastRecent>;

/// The engine of [`TinyLfu`] and [`Lru`]: a bounded cache, shared between threads.
///
/// `get` clones the value; let it be an `Arc` or something as cheap, or look at it in place with [`read`](Self::read).
///
/// A `Clone` or `Eq` of user types, or a closure given to `read`, that calls back into the same cache may read; what it
/// writes may be refused: then nothing is stored or removed. Listeners, `Drop` and the weigher run without a lock and may do anything.
///
/// Clones are the same cache.
pub struct Cache<K, V, P> {
    pub(super) inner: Arc<Inner<K, V, P>>,
}

pub(super) struct Inner<K, V, P> {
    pub(super) hasher: FixedState,
    pub(super) shards: Box<[ReaderLock<Shard<K, V, P>>]>,
    pub(super) sampler: Sampler,
    pub(super) clock: Clock,
    pub(super) listener: Option<Listener<K, V>>,
    pub(super) weigher: Option<Weigher<K, V>>,
    pub(super) capacity: AtomicUsize,
    /// One change of the capacity at a time.
    pub(super) resizing: Mutex<()>,
    pub(super) seed: u64,
    pub(super) sweeper: Sweeper<K, V, P>,
}

impl<K, V, P> Cache<K, V, P> {
    /// A builder of a cache of at most `capacity` entries, or of that weight in all if it is given a weigher; 0 stores nothing.
    pub fn builder(capacity: usize) -> CacheBuilder<K, V, P> {
        CacheBuilder::new(capacity)
    }
}

impl<K: Hash + Eq, V> TinyLfu<K, V> {
    /// A cache of at most `capacity` entries; 0 stores nothing.
    #[must_use]
    pub fn new(capacity: usize) -> Self
    where
        K: Send + Sync + 'static,
        V: Send + Sync + 'static,
    {
        Self::builder(capacity).build()
    }
}

impl<K: Hash + Eq, V> Lru<K, V> {
    /// A cache of at most `capacity` entries; 0 stores nothing.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self::builder(capacity).build()
    }
}

impl<K: Hash + Eq, V, P: Policy> Cache<K, V, P> {
    /// The value under `key`.
    #[inline]
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        V: Clone,
    {
        self.find(key, |(_, value), _| value.clone())
    }

    /// Returns the result of `see` for the value under `key`, which `see` gets by reference.
    ///
    /// Writers of keys in the same shard wait until it returns.
    #[inline]
    pub fn read<Q: Hash + Eq + ?Sized, R>(&self, key: &Q, see: impl FnOnce(&V) -> R) -> Option<R>
    where
        K: Borrow<Q>,
    {
        self.find(key, |(_, value), _| see(value))
    }

    /// The value under `key` and the life it has left; `None` is for ever.
    pub fn entry<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<(V, Option<Duration>)>
    where
        K: Borrow<Q>,
        V: Clone,
    {
        let (value, deadline) = self.find(key, |(_, value), deadline| (value.clone(), deadline))?;
        Some((value, self.inner.clock.left(deadline)))
    }

    #[inline]
    fn find<Q: Hash + Eq + ?Sized, R>(&self, key: &Q, see: impl FnOnce(&(K, V), u64) -> R) -> Option<R>
    where
        K: Borrow<Q>,
    {
        let inner = &*self.inner;
        let hash = inner.hasher.hash_one(key);
        let found = {
            let shard = inner.shard(hash).read()?;
            let Some(found) = shard.find(hash as u32, key) else {
                // A caller that misses stores the key next, as a rule.
                shard.prefetch(hash as u32);
                return None;
            };
            let deadline = shard.deadline(&found);
            if inner.clock.is_before(deadline) {
                shard.hit(&found);
                Some(see(found.entry, deadline))
            } else {
                None
            }
        };
        if found.is_none() {
            self.meet_expired(hash, key);
        } else if P::ADAPTS {
            inner.sampler.see(hash);
        }
        found
    }

    /// Removes `key`, which has expired. Where that is so, more may have, and the task that collects it be gone.
    #[cold]
    fn meet_expired<Q: Hash + Eq + ?Sized>(&self, hash: u64, key: &Q)
    where
        K: Borrow<Q>,
    {
        self.inner.remove_expired(hash, key);
        self.inner.sweeper.wake(&self.inner, self.inner.clock.now());
    }

    /// Says whether `key` is there and has not expired. Not a use.
    pub fn contains<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        let inner = &*self.inner;
        let hash = inner.hasher.hash_one(key);
        let Some(shard) = inner.shard(hash).read() else {
            return false;
        };
        shard
            .find(hash as u32, key)
            .is_some_and(|found| inner.clock.is_before(shard.deadline(&found)))
    }

    /// Stores `value` under `key`; says whether it did. It does not if the entry is heavier than the cache may be, or (in a
    /// [`TinyLfu`]) too heavy for what it is worth; what was under the key before is gone even then.
    pub fn insert(&self, key: K, value: V) -> bool {
        self.insert_if(key, value, None, || true)
    }

    /// Stores the entry for `ttl` from now. A `ttl` of zero stores nothing and removes the entry that was there.
    ///
    /// A [`TinyLfu`] gives the entry's memory back within a second of its end where a tokio runtime is there; else later writes do. Should the
    /// runtime end, or be left lying, the next call on another one that stores an entry with a ttl or meets an expired one sees to
    /// that.
    pub fn insert_with_ttl(&self, key: K, value: V, ttl: Duration) -> bool {
        self.insert_if(key, value, Some(ttl), || true)
    }

    /// Stores if `admit` says so, which is asked under the lock that orders this with [`remove`](Self::remove).
    pub(crate) fn insert_if(
        &self,
        key: K,
        value: V,
        ttl: Option<Duration>,
        admit: impl FnOnce() -> bool,
    ) -> bool {
        let weigher = self.inner.weigher.as_ref();
        let weight = weigher.map_or(1, |weigh| weigh(&key, &value));
        self.insert_weighing(weight, key, value, ttl, admit)
    }

    /// [`insert_if`](Self::insert_if) for an entry of this weight. A cache that counts its entries ignores the weight.
    pub(crate) fn insert_weighing(
        &self,
        weight: u32,
        key: K,
        value: V,
        ttl: Option<Duration>,
        admit: impl FnOnce() -> bool,
    ) -> bool {
        let inner = &*self.inner;
        let hash = inner.hasher.hash_one(&key);
        // An entry without weight would never have to go.
        let weight = if inner.weigher.is_some() { weight.max(1) } else { 1 };
        // Nobody asks for the time where nothing expires.
        let now = ttl.map_or(0, |_| inner.clock.now());
        let terms = Terms {
            hash: hash as u32,
            weight,
            deadline: Clock::deadline_at(now, ttl),
            choice: inner.sampler.choice(),
        };
        let mut leavers = Leavers::new();
        // Kept outside, so that an entry that is not stored is dropped after the lock.
        let mut entry = Arriver(Some((key, value)));
        let Some(mut shard) = inner.shard(hash).write() else {
            return false;
        };
        if !admit() {
            return false;
        }
        let inserted = if u64::from(weight) > shard.capacity() || ttl == Some(Duration::ZERO) {
            if let Some((key, _)) = &entry.0 {
                shard.remove_replaced(terms.hash, key, &inner.clock, &mut leavers);
            }
            Inserted::Refused
        } else {
            shard.insert(&mut entry.0, &terms, &inner.clock, &mut leavers)
        };
        let (full, len) = (leavers.is_empty(), shard.len());
        drop(shard);
        leavers.leave(inner.listener.as_ref());
        if P::ADAPTS && inserted == Inserted::Added {
            inner.sampler.see(hash);
        }
        if P::ADAPTS && inner.weigher.is_some() && !full {
            inner.sampler.estimate(len as u64 * inner.shards.len() as u64);
        }
        if terms.deadline != NEVER && inserted != Inserted::Refused {
            inner.sweeper.wake(&self.inner, now);
        }
        inserted != Inserted::Refused
    }

    /// Removes `key`; says whether it was there and had not expired.
    pub fn remove<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        let inner = &*self.inner;
        let hash = inner.hasher.hash_one(key);
        let mut leavers = Leavers::new();
        let Some(mut shard) = inner.shard(hash).write() else {
            return false;
        };
        let removed = shard.remove(hash as u32, key, &inner.clock, &mut leavers);
        drop(shard);
        leavers.leave(inner.listener.as_ref());
        removed
    }
}

impl<K, V, P: Policy> Cache<K, V, P> {
    /// Removes everything.
    pub fn clear(&self) {
        self.inner.clear();
    }

    /// Removes what has expired. Expired entries are never returned; this gives their memory back early.
    pub fn sweep(&self) {
        self.inner.sweep();
    }

    /// Changes the capacity, and evicts what is too much. The number of shards stays: it is best at capacities like the one
    /// that the cache was built for.
    pub fn resize(&self, capacity: usize) {
        self.inner.resize(capacity);
    }

    /// Copies of all entries that have not expired, in no order. Taken shard by shard, so entries that come and go
    /// meanwhile may be there or not. Not a use.
    pub fn iter(&self) -> impl Iterator<Item = (K, V)> + use<'_, K, V, P>
    where
        K: Clone,
        V: Clone,
    {
        self.inner.shards.iter().flat_map(|shard| {
            let now = self.inner.clock.now();
            let Some(shard) = shard.read() else {
                return Vec::new();
            };
            let alive = shard.iter().filter(|(_, deadline)| now < *deadline);
            alive.map(|(entry, _)| entry.clone()).collect()
        })
    }

    /// The number of entries; expired ones count until they are collected.
    #[must_use]
    pub fn len(&self) -> usize {
        let shards = self.inner.shards.iter().filter_map(ReaderLock::read);
        shards.map(|shard| shard.len()).sum()
    }

    /// Says whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The sum of the weights of all entries; without a weigher, their number.
    #[must_use]
    pub fn weight(&self) -> u64 {
        let shards = self.inner.shards.iter().filter_map(ReaderLock::read);
        shards.map(|shard| shard.weight()).sum()
    }

    /// The number of entries that there may be, or what they may weigh in all if there is a weigher.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.inner.capacity.load(Ordering::Relaxed)
    }
}

impl<K, V, P: Policy> Inner<K, V, P> {
    /// The shard by the upper half of the hash; the lower half is for what is inside.
    #[inline]
    pub(super) fn shard(&self, hash: u64) -> &ReaderLock<Shard<K, V, P>> {
        let at = ((hash >> 32) * self.shards.len() as u64) >> 32;
        &self.shards[at as usize]
    }

    fn remove_expired<Q: Eq + ?Sized>(&self, hash: u64, key: &Q)
    where
        K: Borrow<Q>,
    {
        let mut leavers = Leavers::new();
        if let Some(mut shard) = self.shard(hash).write() {
            shard.remove_expired(hash as u32, key, &self.clock, &mut leavers);
        }
        leavers.leave(self.listener.as_ref());
    }

    fn clear(&self) {
        for shard in &self.shards {
            let Some(mut shard) = shard.write() else { continue };
            let empty = Shard::new(shard.capacity(), self.weigher.is_some(), self.seed);
            let full = std::mem::replace(&mut *shard, empty);
            drop(shard);
            full.leave(self.listener.as_ref());
        }
    }

    /// Removes what has expired, a little at a time.
    fn sweep(&self) {
        for shard in 0..self.shards.len() {
            while self.sweep_some(shard).is_none() {}
        }
    }

    /// Removes some of what has expired in the shard with this number. Says when to look again, a time before which nothing
    /// expires; `None` if there may be more.
    pub(super) fn sweep_some(&self, shard: usize) -> Option<u64> {
        let shard = &self.shards[shard];
        let now = self.clock.now();
        // User code that holds the lock and calls back sweeps nothing.
        let due = shard.read().map_or(NEVER, |shard| shard.earliest());
        if now < due {
            return Some(due);
        }
        let mut leavers = Leavers::new();
        let Some(mut shard) = shard.write() else {
            return Some(due);
        };
        shard.sweep(now, SWEPT_AT_ONCE, &mut leavers);
        drop(shard);
        leavers.leave(self.listener.as_ref());
        None
    }

    /// A time before which nothing expires.
    pub(super) fn earliest(&self) -> u64 {
        let shards = self.shards.iter().filter_map(ReaderLock::read);
        shards.map(|shard| shard.earliest()).min().unwrap_or(NEVER)
    }

    fn resize(&self, capacity: usize) {
        let _one = self.resizing.lock();
        self.capacity.store(capacity, Ordering::Relaxed);
        let shards = self.shards.len() as u64;
        for (at, shard) in (0..).zip(&self.shards) {
            let mut leavers = Leavers::new();
            let Some(mut shard) = shard.write() else { continue };
            shard.resize(share(capacity as u64, shards, at), &mut leavers);
            drop(shard);
            leavers.leave(self.listener.as_ref());
        }
        if P::ADAPTS && self.weigher.is_none() {
            self.sampler.fit(capacity as u64);
        }
    }
}

/// Entries that a sweep collects under one lock.
const SWEPT_AT_ONCE: usize = 1024;

/// The part of a capacity that the shard with this number has.
pub(super) fn share(capacity: u64, shards: u64, at: u64) -> u64 {
    capacity / shards + u64::from(at < capacity % shards)
}

impl<K, V, P> Clone for Cache<K, V, P> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<K, V, P: Policy> fmt::Debug for Cache<K, V, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct(P::NAME);
        fields.field("capacity", &self.capacity()).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "cache_stress.rs"]
mod stress;
#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
