use std::borrow::Borrow;
use std::cell::RefCell;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::time::Duration;

use foldhash::quality::FixedState;
use parking_lot::ReentrantMutex;

use super::clock::Clock;
use super::entry::{self, Arriver, Evicted, Leavers, Listener, Weigher};
use super::slab::{Node, Slab};
use crate::random::random;

/// A least-recently-used cache: bounded, shared between threads, one lock.
///
/// `get` clones the value; let it be an `Arc` or something as cheap. A `Clone` or `Eq` of user types that calls back
/// into the same cache, or a closure given to [`read`](Self::read), finds it empty and changes nothing; everything else may call back freely.
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
    weigher: Option<Weigher<K, V>>,
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
    weigher: Option<Weigher<K, V>>,
}

impl<K, V> LruBuilder<K, V> {
    /// Bounds the weight of all entries rather than their number. `weigh` is asked once for each entry, when it is
    /// stored; 0 counts as 1.
    pub fn weigh(mut self, weigh: impl Fn(&K, &V) -> u32 + Send + Sync + 'static) -> Self {
        self.weigher = Some(Arc::new(weigh));
        self
    }

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
            hasher: FixedState::with_seed(self.seed.unwrap_or_else(random)),
            clock: self.clock,
            listener: self.listener,
            weigher: self.weigher,
            slab: ReentrantMutex::new(RefCell::new(Slab::new(self.capacity as u64))),
        }
    }
}

impl<K, V> Lru<K, V> {
    /// A builder of a cache of at most `capacity` entries, or of that weight in all if it is given a weigher; 0 stores nothing.
    pub fn builder(capacity: usize) -> LruBuilder<K, V> {
        LruBuilder {
            capacity,
            clock: Clock::real(),
            seed: None,
            listener: None,
            weigher: None,
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
        self.find(key, |_, value, _| value.clone())
    }

    /// Returns the result of `see` for the value under `key`, which becomes the most recently used.
    ///
    /// Everyone else waits until it returns.
    pub fn read<Q: Hash + Eq + ?Sized, R>(&self, key: &Q, see: impl FnOnce(&V) -> R) -> Option<R>
    where
        K: Borrow<Q>,
    {
        self.find(key, |_, value, _| see(value))
    }

    /// The value under `key` and the life it has left; `None` is for ever.
    pub fn entry<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<(V, Option<Duration>)>
    where
        K: Borrow<Q>,
        V: Clone,
    {
        let (value, deadline) = self.find(key, |_, value, deadline| (value.clone(), deadline))?;
        Some((value, self.clock.left(deadline)))
    }

    fn find<Q: Hash + Eq + ?Sized, R>(&self, key: &Q, see: impl FnOnce(&K, &V, u64) -> R) -> Option<R>
    where
        K: Borrow<Q>,
    {
        let hash = self.hash(key);
        let mut leavers = Leavers::new();
        let found = self.locked(|slab| {
            let at = slab.find(hash, key)?;
            if !self.is_alive(slab.node(at)) {
                leavers.push(slab.remove(at).into_entry(), Evicted::Expired);
                return None;
            }
            slab.renew(at);
            let node = slab.node(at);
            Some(see(&node.key, &node.value, node.deadline))
        });
        leavers.leave(self.listener.as_ref());
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

    /// Stores `value` under `key`; says whether it did: not if the entry is heavier than the cache may be. What was
    /// under the key before is gone even then.
    pub fn insert(&self, key: K, value: V) -> bool {
        self.insert_if(key, value, None, || true)
    }

    /// Stores the entry for `ttl` from now. A `ttl` of zero stores nothing and removes the entry that was there.
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
        let weigher = self.weigher.as_ref();
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
        let hash = self.hash(&key);
        let weight = if self.weigher.is_some() { weight.max(1) } else { 1 };
        let deadline = self.clock.deadline(ttl);
        let mut leavers = Leavers::new();
        // Kept outside, so that an entry that is not stored is dropped after the lock.
        let mut entry = Arriver(Some((key, value)));
        let stored = self.locked(|slab| {
            if !admit() {
                return false;
            }
            let known = entry.0.as_ref().and_then(|(key, _)| slab.find(hash, key));
            if let Some(at) = known {
                let node = slab.remove(at);
                let why = if self.is_alive(&node) {
                    Evicted::Replaced
                } else {
                    Evicted::Expired
                };
                leavers.push(node.into_entry(), why);
            }
            if u64::from(weight) > slab.capacity() || ttl == Some(Duration::ZERO) {
                return false;
            }
            slab.shrink_to(slab.capacity() - u64::from(weight), &mut leavers);
            if let Some((key, value)) = entry.0.take() {
                slab.add(Node {
                    key,
                    value,
                    deadline,
                    hash,
                    weight,
                });
            }
            true
        });
        leavers.leave(self.listener.as_ref());
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
        let mut leavers = Leavers::new();
        leavers.push(
            node.into_entry(),
            if alive { Evicted::Removed } else { Evicted::Expired },
        );
        leavers.leave(self.listener.as_ref());
        alive
    }

    fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> u32 {
        (self.hasher.hash_one(key) >> 32) as u32
    }
}

impl<K, V> Lru<K, V> {
    /// Removes everything.
    pub fn clear(&self) {
        let taken = self.locked(Slab::replace_all);
        self.send_away(taken, Evicted::Removed);
    }

    /// Removes what has expired. Expired entries are never returned; this gives their memory back early.
    pub fn sweep(&self) {
        let now = self.clock.now();
        let taken = self.locked(|slab| slab.remove_where(|node| node.deadline <= now));
        self.send_away(taken, Evicted::Expired);
    }

    /// Changes the capacity, and evicts what is too much.
    pub fn resize(&self, capacity: usize) {
        let mut leavers = Leavers::new();
        self.locked(|slab| {
            slab.set_capacity(capacity as u64);
            slab.shrink_to(slab.capacity(), &mut leavers);
        });
        leavers.leave(self.listener.as_ref());
    }

    /// Copies of all entries that have not expired, in no order. Not a use.
    pub fn iter(&self) -> impl Iterator<Item = (K, V)>
    where
        K: Clone,
        V: Clone,
    {
        let copies = self.locked(|slab| {
            let alive = slab.nodes().filter(|node| self.is_alive(node));
            let copies: Vec<_> = alive.map(|node| (node.key.clone(), node.value.clone())).collect();
            copies
        });
        copies.into_iter().flatten()
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

    /// The sum of the weights of all entries; without a weigher, their number.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.locked(|slab| slab.weight()).unwrap_or(0)
    }

    /// How many entries there may be, or what they may weigh in all if there is a weigher.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.locked(|slab| slab.capacity() as usize).unwrap_or(0)
    }

    fn is_alive(&self, node: &Node<K, V>) -> bool {
        self.clock.is_before(node.deadline)
    }

    /// Runs `work` under the lock, unless this very thread holds it already (user code that called back).
    fn locked<R>(&self, work: impl FnOnce(&mut Slab<K, V>) -> R) -> Option<R> {
        let guard = self.slab.lock();
        let mut slab = guard.try_borrow_mut().ok()?;
        Some(work(&mut slab))
    }

    fn send_away(&self, nodes: Option<Vec<Node<K, V>>>, why: Evicted) {
        for Node { key, value, .. } in nodes.into_iter().flatten() {
            entry::leave((key, value, why), self.listener.as_ref());
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
