use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use foldhash::quality::FixedState;
use parking_lot::Mutex;

use super::cache::{Cache, Inner, Lru, TinyLfu, share};
use super::clock::Clock;
use super::entry::{Evicted, Listener, Weigher};
use super::lru::LeastRecent;
use super::policy::{Policy, WTinyLfu};
use super::reader_lock::ReaderLock;
use super::sampler::Sampler;
use super::shard::Shard;
use super::sweeper::Sweeper;
use crate::random::random;

/// Builds a [`TinyLfu`].
pub type TinyLfuBuilder<K, V> = CacheBuilder<K, V, WTinyLfu>;

/// Builds an [`Lru`].
pub type LruBuilder<K, V> = CacheBuilder<K, V, LeastRecent>;

/// Builds a [`Cache`].
#[must_use = "a builder does nothing until `build`"]
pub struct CacheBuilder<K, V, P> {
    capacity: usize,
    shards: Option<usize>,
    clock: Clock,
    seed: Option<u64>,
    weigher: Option<Weigher<K, V>>,
    listener: Option<Listener<K, V>>,
    policy: PhantomData<fn() -> P>,
}

/// Entries of the smallest shard: down to here, dividing the cache costs less than 0.0002 of the mean hit ratio.
const SMALLEST_SHARD: usize = 2048;
/// Shards for each core: with sixteen, a writer rarely meets another.
const SHARDS_PER_CORE: usize = 16;
/// Entries of the largest shard, so that doubling its arrays under the lock stays well below a millisecond.
const LARGEST_SHARD: usize = 1 << 16;

impl<K, V, P> CacheBuilder<K, V, P> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            shards: None,
            clock: Clock::real(),
            seed: None,
            weigher: None,
            listener: None,
            policy: PhantomData,
        }
    }

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

    fn finish(self, shards: usize, sweeper: Sweeper<K, V, P>) -> Cache<K, V, P>
    where
        P: Policy,
    {
        let weighted = self.weigher.is_some();
        let seed = self.seed.unwrap_or_else(random);
        let shard = |at| {
            let capacity = share(self.capacity as u64, shards as u64, at);
            ReaderLock::new(Shard::new(capacity, weighted, seed))
        };
        let sampled = P::ADAPTS && !weighted;
        Cache {
            inner: Arc::new(Inner {
                hasher: FixedState::with_seed(seed),
                shards: (0..shards as u64).map(shard).collect(),
                sampler: Sampler::new(if sampled { self.capacity as u64 } else { 0 }),
                clock: self.clock,
                listener: self.listener,
                weigher: self.weigher,
                capacity: AtomicUsize::new(self.capacity),
                resizing: Mutex::new(()),
                seed,
                sweeper,
            }),
        }
    }
}

impl<K, V> TinyLfuBuilder<K, V> {
    /// Divides the cache into so many parts, each with a lock, an equal share of the capacity and a policy of its own.
    ///
    /// Left out, there is one part for every 2 048 entries, up to sixteen for each core. A weighted cache is one part then, since
    /// how many entries it will hold is not known. Say it for one that many threads write to: an entry heavier than a part is refused.
    ///
    /// # Panics
    ///
    /// If it is 0.
    pub fn shards(mut self, shards: usize) -> Self {
        assert!(shards > 0, "a cache has at least one shard");
        self.shards = Some(shards);
        self
    }

    /// The cache.
    #[must_use]
    pub fn build(self) -> TinyLfu<K, V>
    where
        K: Send + Sync + 'static,
        V: Send + Sync + 'static,
    {
        let shards = match self.weigher {
            Some(_) => 1,
            None => shards_for(self.capacity),
        };
        let shards = self.shards.unwrap_or(shards);
        self.finish(shards, Sweeper::new())
    }
}

impl<K, V> LruBuilder<K, V> {
    /// The cache.
    #[must_use]
    pub fn build(self) -> Lru<K, V> {
        self.finish(1, Sweeper::none())
    }
}

fn shards_for(capacity: usize) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let most = (SHARDS_PER_CORE * cores).next_power_of_two();
    let mut shards = 1;
    while shards < most && capacity / (shards * 2) >= SMALLEST_SHARD || capacity / shards > LARGEST_SHARD {
        // What nobody can fill needs no more locks than this.
        if shards == MOST_SHARDS {
            break;
        }
        shards *= 2;
    }
    shards
}

const MOST_SHARDS: usize = 1024;

impl<K, V, P: Policy> fmt::Debug for CacheBuilder<K, V, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct(&format!("{}Builder", P::NAME));
        fields.field("capacity", &self.capacity).finish_non_exhaustive()
    }
}
