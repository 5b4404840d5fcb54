//! Shows a sample of the keys to the policy's shadows.
//!
//! Threads append to a ring without a lock; whoever fills half of it plays that half through the shadows, unless
//! another thread is at it: then the half is lost, which costs a little precision and nobody's time. Hits and misses go
//! through one ring, since their order matters.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::memory::policy::{Chooser, START};

/// Records that are played at once.
const BATCH: usize = 64;

/// The sampler of one cache, over all its shards.
pub(crate) struct Sampler {
    /// A key is sampled if these bits of its hash are zero.
    mask: AtomicU64,
    choice: AtomicUsize,
    next: AtomicUsize,
    ring: Box<[AtomicU32]>,
    chooser: Mutex<Option<Chooser>>,
    /// The number of entries that the chooser was made for.
    entries: AtomicU64,
}

impl Sampler {
    /// A sampler for a cache of so many entries; 0 if that is not known yet: nothing is sampled then.
    pub(crate) fn new(entries: u64) -> Self {
        let sampler = Self {
            mask: AtomicU64::new(u64::MAX),
            choice: AtomicUsize::new(START),
            next: AtomicUsize::new(0),
            ring: std::iter::repeat_with(AtomicU32::default)
                .take(BATCH * 2)
                .collect(),
            chooser: Mutex::new(None),
            entries: AtomicU64::new(0),
        };
        sampler.fit(entries);
        sampler
    }

    /// Begins anew for a cache of another size.
    pub(crate) fn fit(&self, entries: u64) {
        let mut chooser = self.chooser.lock();
        let (new, mask) = if entries == 0 {
            (None, u64::MAX)
        } else {
            let new = Chooser::new(entries, self.choice());
            let mask = new.rate() - 1;
            (Some(new), mask << SAMPLE_SHIFT)
        };
        *chooser = new;
        self.entries.store(entries, Ordering::Relaxed);
        self.mask.store(mask, Ordering::Relaxed);
    }

    /// A cache whose capacity is not counted in entries holds about so many when it is full.
    pub(crate) fn estimate(&self, entries: u64) {
        let before = self.entries.load(Ordering::Relaxed);
        if entries > before * 2 || entries < before / 2 {
            self.fit(entries);
        }
    }

    /// The configuration to play.
    #[inline]
    pub(crate) fn choice(&self) -> usize {
        self.choice.load(Ordering::Relaxed)
    }

    /// A key with this hash was asked for and found, or not found and stored.
    #[inline]
    pub(crate) fn see(&self, hash: u64) {
        if hash & self.mask.load(Ordering::Relaxed) == 0 {
            self.record(hash as u32);
        }
    }

    #[cold]
    fn record(&self, hash: u32) {
        let at = self.next.fetch_add(1, Ordering::Relaxed);
        self.ring[at % self.ring.len()].store(hash, Ordering::Relaxed);
        if (at + 1).is_multiple_of(BATCH)
            && let Some(mut chooser) = self.chooser.try_lock()
            && let Some(chooser) = chooser.as_mut()
        {
            let half = &self.ring[(at + 1 - BATCH) % self.ring.len()..][..BATCH];
            let mut choice = self.choice();
            for hash in half {
                choice = chooser.access(hash.load(Ordering::Relaxed));
            }
            self.choice.store(choice, Ordering::Relaxed);
        }
    }
}

/// The sample looks at the low bits of the upper half of the hash: the shard is chosen by its high ones, everything else by the lower half.
const SAMPLE_SHIFT: u32 = 32;
