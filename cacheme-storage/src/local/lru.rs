use std::borrow::Borrow;
use std::cell::RefCell;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::time::Duration;

use foldhash::quality::FixedState;
use parking_lot::ReentrantMutex;

use super::clock::{Clock, NEVER};
use super::entry::{Evicted, Leaver, Listener};
use super::seed;
use super::slab::{Node, Slab};

/// A least-recently-used cache: bounded, shared between threads, one lock.
///
/// `get` clones the value; let it be an `Arc` or something as cheap. A `Clone` or `Eq` of user types that calls back
/// into the same cache finds it empty and changes nothing; everything else may call back freely.
///
/// ```
/// let cache = cacheme_storage::Lru::builder(2).build();
/// cache.insert("a".to_string(), 1);
/// cache.insert("b".to_string(), 2);
/// assert_eq!(cache.get("a"), Some(1));
/// cache.insert("c".to_string(), 3);
/// assert!(!cache.contains("b"));
/// ```
pub struct Lru<K, V> {
    hasher: FixedState,
    clock: Clock,
    listener: Option<Listener<K, V>>,
    // Re-entrant so that user code under the lock can be told from another thread; the cell refuses the second entry.
    slab: ReentrantMutex<RefCell<Slab<K, V>>>,
}

/// Builds an [`Lru`].
#[must_use = "a builder does nothing until `build`"]
pub struct LruBuilder<K, V> {
    capacity: usize,
    clock: Clock,
    seed: Option<u64>,
    listener: Option<Listener<K, V>>,
}

impl<K, V> LruBuilder<K, V> {
    /// The clock that expiry goes by.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Seeds the hash, to repeat a run exactly. Left out, every cache has a random seed of its own.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Calls `listener` for every entry that leaves, when no lock is held.
    pub fn on_evict(mut self, listener: impl Fn(&K, &V, Evicted) + Send + Sync + 'static) -> Self {
        self.listener = Some(Arc::new(listener));
        self
    }

    /// The cache.
    #[must_use]
    pub fn build(self) -> Lru<K, V> {
        Lru {
            hasher: FixedState::with_seed(self.seed.unwrap_or_else(seed::random)),
            clock: self.clock,
            listener: self.listener,
            slab: ReentrantMutex::new(RefCell::new(Slab::new(self.capacity))),
        }
    }
}

impl<K, V> Lru<K, V> {
    /// A builder of a cache of at most `capacity` entries; 0 stores nothing.
    pub fn builder(capacity: usize) -> LruBuilder<K, V> {
        LruBuilder {
            capacity,
            clock: Clock::real(),
            seed: None,
            listener: None,
        }
    }
}

impl<K: Hash + Eq, V> Lru<K, V> {
    /// A cache of at most `capacity` entries; 0 stores nothing.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self::builder(capacity).build()
    }

    /// The value under `key`, which becomes the most recently used.
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        V: Clone,
    {
        self.entry(key).map(|(value, _)| value)
    }

    /// The value with the life it has left.
    pub(crate) fn entry<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<(V, Option<Duration>)>
    where
        K: Borrow<Q>,
        V: Clone,
    {
        let hash = self.hash(key);
        let mut expired = None;
        let found = self.locked(|slab| {
            let at = slab.find(hash, key)?;
            let deadline = slab.node(at).deadline;
            let left = if deadline == NEVER {
                None
            } else {
                let now = self.clock.now();
                if deadline <= now {
                    expired = Some(slab.remove(at));
                    return None;
                }
                Some(Duration::from_nanos(deadline - now))
            };
            slab.renew(at);
            Some((slab.node(at).value.clone(), left))
        });
        self.tell(expired.map(|node| (node.key, node.value, Evicted::Expired)));
        found.flatten()
    }

    /// Whether `key` is there and has not expired. Not a use: its place in the order stays.
    pub fn contains<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        let hash = self.hash(key);
        let alive = |slab: &mut Slab<K, V>| Some(self.is_alive(slab.node(slab.find(hash, key)?)));
        self.locked(alive).flatten().unwrap_or(false)
    }

    /// Stores `value` under `key`; says whether it did: a cache of capacity 0 does not.
    pub fn insert(&self, key: K, value: V) -> bool {
        self.insert_if(key, value, None, || true)
    }

    /// The same for `ttl` from now. A ttl of zero is over at once: nothing is stored, and what was there is gone.
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
        let hash = self.hash(&key);
        let deadline = self.clock.deadline(ttl);
        let mut replaced = None;
        let mut squeezed = None;
        // Kept outside, so that an entry that is not stored is dropped after the lock.
        let mut entry = Some((key, value));
        let stored = self.locked(|slab| {
            if !admit() {
                return false;
            }
            let known = entry.as_ref().and_then(|(key, _)| slab.find(hash, key));
            replaced = known.map(|at| slab.remove(at));
            if slab.capacity() == 0 || ttl == Some(Duration::ZERO) {
                return false;
            }
            if slab.len() == slab.capacity() {
                squeezed = slab.oldest().map(|at| slab.remove(at));
            }
            if let Some((key, value)) = entry.take() {
                slab.add(Node {
                    key,
                    value,
                    deadline,
                    hash,
                });
            }
            true
        });
        self.tell(replaced.map(|node| {
            let why = if self.is_alive(&node) {
                Evicted::Replaced
            } else {
                Evicted::Expired
            };
            (node.key, node.value, why)
        }));
        self.tell(squeezed.map(|node| (node.key, node.value, Evicted::Size)));
        stored.unwrap_or(false)
    }

    /// Removes `key`; says whether it was there and had not expired.
    pub fn remove<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        let hash = self.hash(key);
        let taken = self.locked(|slab| Some(slab.remove(slab.find(hash, key)?)));
        let Some(node) = taken.flatten() else { return false };
        let alive = self.is_alive(&node);
        let why = if alive { Evicted::Removed } else { Evicted::Expired };
        self.tell(Some((node.key, node.value, why)));
        alive
    }

    /// Removes everything.
    pub fn clear(&self) {
        let taken = self.locked(|slab| slab.replace_all());
        for node in taken.into_iter().flatten() {
            self.tell(Some((node.key, node.value, Evicted::Removed)));
        }
    }

    /// Removes what has expired. Expired entries are never returned; this gives their memory back early.
    pub fn sweep(&self) {
        let now = self.clock.now();
        let taken = self.locked(|slab| slab.remove_where(|node| node.deadline <= now));
        for node in taken.into_iter().flatten() {
            self.tell(Some((node.key, node.value, Evicted::Expired)));
        }
    }

    /// How many entries there are; expired ones count until they are met or swept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.locked(|slab| slab.len()).unwrap_or(0)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many entries there may be.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.locked(|slab| slab.capacity()).unwrap_or(0)
    }

    fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> u32 {
        (self.hasher.hash_one(key) >> 32) as u32
    }

    fn is_alive(&self, node: &Node<K, V>) -> bool {
        node.deadline == NEVER || self.clock.now() < node.deadline
    }

    /// Runs `work` under the lock, unless this very thread holds it already (user code that called back).
    fn locked<R>(&self, work: impl FnOnce(&mut Slab<K, V>) -> R) -> Option<R> {
        let guard = self.slab.lock();
        let mut slab = guard.try_borrow_mut().ok()?;
        Some(work(&mut slab))
    }

    fn tell(&self, leaver: Option<Leaver<K, V>>) {
        if let (Some(listener), Some((key, value, why))) = (&self.listener, &leaver) {
            listener(key, value, *why);
        }
    }
}

impl<K, V> fmt::Debug for Lru<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lru").finish_non_exhaustive()
    }
}

impl<K, V> fmt::Debug for LruBuilder<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("LruBuilder");
        fields.field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "lru_tests.rs"]
mod tests;
