use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::memory::policy::config::CONFIGS;

/// Knows keys and marks by their hashes alone.
#[derive(Default)]
struct Hashes {
    there: BTreeSet<u32>,
    marked: BTreeSet<u32>,
}

impl Residents for Hashes {
    fn take_mark(&mut self, _slot: u32, hash: u32) -> bool {
        self.marked.remove(&hash)
    }

    fn evict(&mut self, _slot: u32, hash: u32) {
        self.marked.remove(&hash);
        assert!(self.there.remove(&hash), "only what is there leaves");
    }
}

proptest! {
    #[test]
    fn hits_what_a_cache_with_this_policy_hits(
        config in 0..CONFIGS.len(),
        capacity in 0usize..64,
        keys in prop::collection::vec(0u32..120, 1..1500),
    ) {
        let mut shadow = Shadow::new(config, capacity);
        let mut policy = WTinyLfu::new(capacity as u64, false, SEED);
        let mut hashes = Hashes::default();
        // Everything that is there is marked, more than the hand passes at once; so marked ones leave too.
        let all_marked = (0..60).chain(0..60).chain(100..120);
        for key in all_marked.clone().chain(keys).chain(all_marked) {
            // A third of all keys is asked for more often.
            let hash = (if key > 80 { key % 20 } else { key }).wrapping_mul(0x9e37_79b9);
            let hit = hashes.there.contains(&hash);
            if hit {
                hashes.marked.insert(hash);
            } else if capacity > 0 && policy.arrive(hash, 1, config, &mut hashes).is_some() {
                hashes.there.insert(hash);
            }
            prop_assert_eq!(shadow.access(hash), hit);
            prop_assert_eq!(shadow.is_full(), hashes.there.len() == capacity);
        }
    }
}
