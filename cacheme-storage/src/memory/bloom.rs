use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use foldhash::quality::FixedState;

/// Tells whether a key may have been seen, in a few bits a key: never no for one that was, seldom yes for one that was not.
///
/// Shared between threads, without locks. It forgets everything when as many keys are in it as it was made for, so the
/// rate of false positives holds for ever: as a doorkeeper it says which keys came back within about that many.
///
/// The bits of a key come from two halves of one hash (Kirsch and Mitzenmacher, "Less Hashing, Same Performance", 2006);
/// their number, and that of all bits, is what Bloom's formula gives for the rate (9.6 bits a key for 1 %).
///
/// ```
/// let seen = cacheme_storage::BloomFilter::new(1_000, 0.01);
/// assert!(seen.insert("a"));
/// assert!(!seen.insert("a"));
/// assert!(seen.contains("a"));
/// assert!(!seen.contains("b"));
/// ```
pub struct BloomFilter {
    words: Box<[AtomicU64]>,
    /// Bits a key.
    probes: u32,
    hasher: FixedState,
    capacity: usize,
    /// Keys that were new when they came.
    len: AtomicUsize,
}

impl BloomFilter {
    /// A filter that holds `capacity` keys and takes at most about the share `false_positives` of the others for one of
    /// them when it is full. A capacity of 0 holds none. Its hash has a random seed of its own.
    ///
    /// # Panics
    ///
    /// If `false_positives` is not between 0 and 1, both excluded.
    #[must_use]
    pub fn new(capacity: usize, false_positives: f64) -> Self {
        Self::with_seed(capacity, false_positives, crate::random::random())
    }

    /// A filter with a seed for the hash, to repeat a run exactly.
    ///
    /// # Panics
    ///
    /// If `false_positives` is not between 0 and 1, both excluded.
    #[must_use]
    pub fn with_seed(capacity: usize, false_positives: f64, seed: u64) -> Self {
        assert!(
            false_positives > 0.0 && false_positives < 1.0,
            "a rate of false positives is between 0 and 1"
        );
        let ln2 = std::f64::consts::LN_2;
        let bits_a_key = -false_positives.ln() / (ln2 * ln2);
        let words = (capacity as f64 * bits_a_key / 64.0).ceil() as usize;
        Self {
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
            probes: (bits_a_key * ln2).round().max(1.0) as u32,
            hasher: FixedState::with_seed(seed),
            capacity,
            len: AtomicUsize::new(0),
        }
    }

    /// Adds a key; says whether it was new. A key that is taken for another is not new.
    ///
    /// If two threads add one key at the same time, both may be told that it was new. Keys that are added while the
    /// filter forgets may be forgotten with the others.
    pub fn insert<Q: Hash + ?Sized>(&self, key: &Q) -> bool {
        if self.capacity == 0 {
            return true;
        }
        let hash = self.hasher.hash_one(key);
        if self.has(hash) {
            return false;
        }
        // One thread finds it full, and empties it; those that come meanwhile go on counting from above.
        if self.len.fetch_add(1, Ordering::Relaxed) == self.capacity {
            self.forget();
            self.len.store(1, Ordering::Relaxed);
        }
        for (word, bit) in self.places(hash) {
            self.words[word].fetch_or(bit, Ordering::Relaxed);
        }
        true
    }

    /// Says whether the key is in the filter, or taken for one that is.
    pub fn contains<Q: Hash + ?Sized>(&self, key: &Q) -> bool {
        self.capacity != 0 && self.has(self.hasher.hash_one(key))
    }

    /// Forgets all keys.
    pub fn clear(&self) {
        self.forget();
        self.len.store(0, Ordering::Relaxed);
    }

    /// The number of keys that were new since it was last empty.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed).min(self.capacity)
    }

    /// Says whether no key is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of keys that it holds before it forgets them.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    fn forget(&self) {
        for word in &self.words {
            word.store(0, Ordering::Relaxed);
        }
    }

    fn has(&self, hash: u64) -> bool {
        let set = |(word, bit): (usize, u64)| self.words[word].load(Ordering::Relaxed) & bit != 0;
        self.places(hash).all(set)
    }

    fn places(&self, hash: u64) -> impl Iterator<Item = (usize, u64)> + use<> {
        let bits = self.words.len() as u128 * 64;
        // An odd step comes back to no bit early.
        let step = hash.rotate_left(32) | 1;
        (0..u64::from(self.probes)).map(move |probe| {
            let mixed = hash.wrapping_add(step.wrapping_mul(probe));
            let at = ((u128::from(mixed) * bits) >> 64) as usize;
            (at / 64, 1 << (at % 64))
        })
    }
}

impl fmt::Debug for BloomFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BloomFilter")
            .field("len", &self.len())
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u16),
        Look(u16),
        Clear,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            20 => (0..60_u16).prop_map(Step::Insert),
            5 => (0..60_u16).prop_map(Step::Look),
            1 => Just(Step::Clear),
        ]
    }

    proptest! {
        /// The model is a set of what was new since the filter was last empty. The filter may only differ by keys that it
        /// takes for others, and says so by not calling them new.
        #[test]
        fn knows_what_it_has_seen_and_forgets_when_full(
            capacity in 0..20_usize,
            seed: u64,
            steps in prop::collection::vec(step(), 0..200),
        ) {
            let filter = BloomFilter::with_seed(capacity, 0.01, seed);
            let mut model = HashSet::new();
            for step in steps {
                match step {
                    Step::Insert(key) => {
                        let was_there = model.contains(&key);
                        let new = filter.insert(&key);
                        prop_assert!(!(new && was_there), "seen, but called new");
                        if new && capacity > 0 {
                            if model.len() == capacity {
                                model.clear();
                            }
                            model.insert(key);
                        }
                    }
                    Step::Look(key) => {
                        prop_assert!(filter.contains(&key) || !model.contains(&key));
                    }
                    Step::Clear => {
                        filter.clear();
                        model.clear();
                    }
                }
                prop_assert_eq!(filter.len(), model.len());
                prop_assert_eq!(filter.is_empty(), model.is_empty());
                prop_assert!(model.iter().all(|key| filter.contains(key)));
                if model.is_empty() {
                    prop_assert!((0..60_u16).all(|key| !filter.contains(&key)));
                }
            }
        }
    }

    #[test]
    fn false_positives_are_as_rare_as_it_was_asked_for() {
        for (capacity, rate) in [(200, 0.1), (5_000, 0.01), (50_000, 0.001)] {
            let filter = BloomFilter::with_seed(capacity, rate, 42);
            let mut key = 0_u64;
            while filter.len() < capacity {
                filter.insert(&key);
                key += 1;
            }
            let strangers = (1 << 32)..(1 << 32) + 1_000_000_u64;
            let taken = strangers.filter(|key| filter.contains(key)).count();
            let measured = taken as f64 / 1e6;
            assert!(
                (rate * 0.75..rate * 1.25).contains(&measured),
                "{measured} instead of {rate} at {capacity}"
            );
        }
    }

    #[test]
    fn threads_share_it() {
        let filter = BloomFilter::with_seed(40_000, 0.001, 7);
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let filter = &filter;
                scope.spawn(move || {
                    for key in thread * 10_000..(thread + 1) * 10_000 {
                        filter.insert(&key);
                        assert!(filter.contains(&key));
                    }
                });
            }
        });
        assert!((0..40_000_u64).all(|key| filter.contains(&key)));
    }

    #[test]
    #[should_panic(expected = "between 0 and 1")]
    fn a_rate_of_zero_is_refused() {
        let _ = BloomFilter::new(10, 0.0);
    }
}
