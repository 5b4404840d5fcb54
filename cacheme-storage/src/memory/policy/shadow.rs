//! A small cache of hashes that plays one configuration on the sampled keys, to see what it would hit.
//!
//! It is the policy itself, with marks as the real cache has them: what decides there decides here, to the letter.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::{Policy, Residents, WTinyLfu};

/// The cache.
pub(crate) struct Shadow {
    /// Its number among the configurations.
    config: usize,
    policy: WTinyLfu,
    kept: Kept,
}

/// The positions of the keys, and which are marked.
#[derive(Default)]
struct Kept {
    slots: HashMap<u32, u32, BuildHasherDefault<Spread>>,
    /// By slot.
    marks: Vec<bool>,
}

impl Residents for Kept {
    #[inline]
    fn take_mark(&mut self, slot: u32, _hash: u32) -> bool {
        std::mem::take(&mut self.marks[slot as usize])
    }

    #[inline]
    fn evict(&mut self, slot: u32, hash: u32) {
        self.marks[slot as usize] = false;
        self.slots.remove(&hash);
    }
}

impl Shadow {
    pub(crate) fn new(config: usize, capacity: usize) -> Self {
        Self {
            config,
            policy: WTinyLfu::new(capacity as u64, false, SEED),
            kept: Kept::default(),
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.policy.len() as u64 == self.policy.capacity()
    }

    /// A key is asked for, and stored if it is not there; says whether it was.
    pub(crate) fn access(&mut self, hash: u32) -> bool {
        if let Some(&slot) = self.kept.slots.get(&hash) {
            self.kept.marks[slot as usize] = true;
            return true;
        }
        if self.policy.capacity() > 0
            && let Some(slot) = self.policy.arrive(hash, 1, self.config, &mut self.kept)
        {
            self.kept.marks.resize(self.policy.slots(), false);
            self.kept.slots.insert(hash, slot);
        }
        false
    }
}

/// Of the coin that shadows toss: all the same one, so that they differ by their configurations alone.
const SEED: u64 = 1;

/// Spreads what is a hash already over the 64 bits that the map looks at.
#[derive(Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn write(&mut self, _: &[u8]) {
        unreachable!("only hashes are keys here")
    }

    fn write_u32(&mut self, hash: u32) {
        self.0 = u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }
}

#[cfg(test)]
#[path = "shadow_tests.rs"]
mod tests;
