//! Keys that left the cache lately, and when they were used last: a key that comes back before the victim's own turn
//! is worth more than the victim, whatever the sketch says. That is the recency test of LIRS (Jiang & Zhang, "LIRS: an
//! efficient low inter-reference recency set replacement policy", 2002), with its non-resident blocks kept as a tag and a time in 4 bytes.

use crate::processor::prefetch;

/// Eight keys, half a cache line; each a tag in the high half and a time in the low one. Tag 0 is an empty place.
#[derive(Clone, Copy)]
#[repr(align(32))]
struct Bucket([u32; WAYS]);

const WAYS: usize = 8;
/// The age of an empty place: older than any.
const EMPTY: u32 = 1 << 16;

/// The keys. Times are ticks that wrap around, so ages are good up to 65 535 ticks.
pub(crate) struct Ghost {
    buckets: Box<[Bucket]>,
}

impl Ghost {
    /// Room for as many keys as the cache has entries. Half as many cost 0.001 of the mean hit ratio, half as many again
    /// give 0.001 more.
    pub(crate) fn new(entries: usize) -> Self {
        let buckets = entries.div_ceil(WAYS).max(1);
        Self {
            buckets: vec![Bucket([0; WAYS]); buckets].into(),
        }
    }

    /// Takes the key out and says when it was used last. One in 8 000 strangers is taken for a key that left.
    #[inline]
    pub(crate) fn take(&mut self, hash: u32) -> Option<u16> {
        let tag = tag(hash);
        let at = self.bucket(hash);
        let places = &mut self.buckets[at].0;
        let mut matches = 0u32;
        for (number, place) in places.iter().enumerate() {
            matches |= u32::from(*place >> 16 == tag) << number;
        }
        if matches == 0 {
            return None;
        }
        let place = &mut places[matches.trailing_zeros() as usize];
        let ts = *place as u16;
        *place = 0;
        Some(ts)
    }

    /// Adds a key that was used last at `ts`, in place of the one that was used longest ago.
    #[inline]
    pub(crate) fn put(&mut self, hash: u32, ts: u16, now: u16) {
        let at = self.bucket(hash);
        let places = &mut self.buckets[at].0;
        // Age and number in one word, so that the maximum is found without a branch.
        let mut oldest = 0;
        for (number, place) in (0..).zip(places.iter()) {
            let age = if *place == 0 {
                EMPTY
            } else {
                u32::from(now.wrapping_sub(*place as u16))
            };
            oldest = oldest.max(age << 3 | number);
        }
        places[oldest as usize % WAYS] = tag(hash) << 16 | u32::from(ts);
    }

    /// Asks for the places of a key.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u32) {
        prefetch(&self.buckets[self.bucket(hash)]);
    }

    #[inline]
    fn bucket(&self, hash: u32) -> usize {
        ((u64::from(hash) * self.buckets.len() as u64) >> 32) as usize
    }
}

/// The low bits of the hash; its high ones choose the bucket.
#[inline]
fn tag(hash: u32) -> u32 {
    (hash & 0xffff).max(1)
}

#[cfg(test)]
#[path = "ghost_tests.rs"]
mod tests;
