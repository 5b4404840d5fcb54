//! The frequency of keys of late: a count-min sketch (Cormode & Muthukrishnan, "An improved data stream summary", 2005) of
//! 4-bit counters, aged as in TinyLFU (Einziger, Friedman & Manes, "TinyLFU: a highly efficient cache admission
//! policy", 2017).
//!
//! All four counters of a key lie in one block of 64 bytes, so counting and asking cost one cache line each. Ageing
//! halves one block at a time: no pause, and no moment at which every key is worth half.

use crate::memory::simd::prefetch;

/// Counters of one cache line: four rows of 32, two words a row.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Block([u64; WORDS]);

const WORDS: usize = 8;
const ROWS: usize = 4;
/// The largest count of a 4-bit counter. Fifteen is enough to order keys; larger counters only forget more slowly.
pub(crate) const MOST: u32 = 15;

/// Memory of the sketch for each entry of a large cache. Ten bytes are 20 counters, five for each of a key's four: 8 bytes
/// cost 0.0005 of the mean hit ratio, 12 give nothing that can be measured.
const BYTES_PER_ENTRY: usize = 10;
/// Counters are halved once for so many additions an entry of the cache. TinyLFU takes 10; anything from 20 to 40 is
/// better by 0.002, since what is counted here are arrivals and passes of the hand and not every hit.
const ADDITIONS_PER_ENTRY: u64 = 20;
/// Smaller ones have a block for each entry up to so many. A loop through more keys than there is room for is won by who has
/// no false count among a few hundred: one leads to the next, since a key that wins too early is gone when its turn comes.
/// Sixteen kilobytes instead of three give small caches 0.005 of the mean hit ratio, and keep it the same with every seed.
const BLOCKS_OF_SMALL: usize = 256;
/// The smallest sketch: collisions of a few dozen keys are not worth the kilobyte they would save.
const FEWEST_BLOCKS: usize = 16;

/// The counters.
pub(crate) struct Sketch {
    blocks: Box<[Block]>,
    /// Additions after which the next block is halved.
    step: u32,
    since: u32,
    next: usize,
}

impl Sketch {
    /// A sketch for a cache of `entries`.
    pub(crate) fn new(entries: usize) -> Self {
        let blocks = (entries * BYTES_PER_ENTRY)
            .div_ceil(size_of::<Block>())
            .max(entries.min(BLOCKS_OF_SMALL))
            .max(FEWEST_BLOCKS);
        let step = (entries as u64 * ADDITIONS_PER_ENTRY / blocks as u64).max(1);
        Self {
            blocks: vec![Block([0; WORDS]); blocks].into(),
            step: u32::try_from(step).unwrap_or(u32::MAX),
            since: 0,
            next: 0,
        }
    }

    /// Returns a sketch for another number of entries, with these counts. Where it has several blocks for one of before, each
    /// takes all its counts: estimates stay upper bounds.
    pub(crate) fn resized(&self, entries: usize) -> Self {
        let mut new = Self::new(entries);
        let (old, count) = (self.blocks.len(), new.blocks.len());
        for (at, block) in new.blocks.iter_mut().enumerate() {
            *block = self.blocks[at * old / count];
        }
        new
    }

    /// Counts one more for the key: only its smallest counters grow, those that tell (conservative update, Estan &
    /// Varghese, "New directions in traffic measurement and accounting", 2002). Against raising all four that gives 0.002 of the
    /// mean hit ratio, as much as half as much memory again.
    #[inline]
    pub(crate) fn add(&mut self, hash: u32) {
        let at = self.block(hash);
        let block = &mut self.blocks[at];
        let places = places(hash);
        let counts = block.counts(places);
        let least = least(counts);
        if least == u64::from(MOST) {
            return;
        }
        for row in 0..ROWS {
            let (word, shift) = places[row];
            block.0[word] += u64::from(counts[row] == least) << shift;
        }
        self.since += 1;
        if self.since >= self.step {
            self.age();
        }
    }

    /// The number of times that the key was counted lately, at most [`MOST`]; never less than the truth since its block was halved.
    #[inline]
    pub(crate) fn count(&self, hash: u32) -> u32 {
        let block = &self.blocks[self.block(hash)];
        least(block.counts(places(hash))) as u32
    }

    /// Asks for the key's counters.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u32) {
        prefetch(&self.blocks[self.block(hash)]);
    }

    fn age(&mut self) {
        self.since = 0;
        for word in &mut self.blocks[self.next].0 {
            // The mask drops the bit that each counter hands to the one below it.
            *word = (*word >> 1) & 0x7777_7777_7777_7777;
        }
        self.next = if self.next + 1 == self.blocks.len() {
            0
        } else {
            self.next + 1
        };
    }

    #[inline]
    fn block(&self, hash: u32) -> usize {
        ((u64::from(hash) * self.blocks.len() as u64) >> 32) as usize
    }
}

// Plain loops over the rows, here and below: `map` on arrays is not inlined, and costs more than what it does.
impl Block {
    #[inline]
    fn counts(&self, places: [(usize, u32); ROWS]) -> [u64; ROWS] {
        let mut counts = [0; ROWS];
        for row in 0..ROWS {
            let (word, shift) = places[row];
            counts[row] = self.0[word] >> shift & 15;
        }
        counts
    }
}

#[inline]
fn least(counts: [u64; ROWS]) -> u64 {
    let [a, b, c, d] = counts;
    a.min(b).min(c.min(d))
}

/// Words and shifts of a key's counters in its block: six bits a row, from a product that every bit of the hash reaches.
#[inline]
fn places(hash: u32) -> [(usize, u32); ROWS] {
    let bits = u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24;
    let mut places = [(0, 0); ROWS];
    for (row, place) in places.iter_mut().enumerate() {
        let bits = bits >> (6 * row);
        *place = (row * 2 + (bits & 1) as usize, (bits >> 1 & 15) as u32 * 4);
    }
    places
}

#[cfg(test)]
#[path = "sketch_tests.rs"]
mod tests;
