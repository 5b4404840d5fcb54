//! The hash table from a key's hash to its slot, one cache line a lookup.
//!
//! A line holds twelve words, a byte of the hash for each, and how many entries found this line full and went on to another,
//! counted apart in eight groups by three bits of the hash. So a search compares twelve tags at once, looks at a key in about
//! one of 250 strangers, ends at a line that nobody of its group went past, and removal needs no tombstones: the table does not
//! grow under churn. The same idea as F14 (Bronson & Shi, "Open-sourcing F14 for faster, more memory-efficient hash tables",
//! 2019), with the words in the line. The groups are there for keys that are absent: without them, one such search in three
//! went on to a second line for nothing.
//!
//! Who finds its line full goes a way of its own and not to the neighbour: entries are not moved back, so full lines
//! would grow into long runs (at three quarters full, under churn, until every search walks the whole table).
//!
//! Any number of lines will do (no power of two), so at seven tenths full an entry costs 7.5 bytes.

use crate::memory::simd::{equal_bytes, prefetch};

/// Words of a line.
const WORDS: usize = 12;
/// Words in use of every two lines when the table is as full as it gets, on average. Under churn, one key in nine then lies in a
/// second line; with sixteen, for half a byte more an entry, one in twelve; with eighteen, one in six.
const FILL_OF_TWO: usize = 17;
/// Steps of a key's own width before it goes from neighbour to neighbour, which meets every line.
const OWN_STEPS: usize = 4;

/// The largest number of four bits.
const PAST_MOST: u32 = 15;

/// The bits of a word that are the slot; those above belong to the caller.
const SLOT: u32 = (1 << 30) - 1;

/// 64 bytes, one cache line.
#[derive(Debug)]
#[repr(C, align(64))]
struct Line {
    /// Tags of the first eight words; 0 is an empty one.
    tags: u64,
    /// Tags of the last four.
    more: u32,
    /// Entries that passed here on their way to where they lie: four bits for each group. A count that has reached
    /// [`PAST_MOST`] is not exact any more and stays.
    past: u32,
    words: [u32; WORDS],
}

/// The table. Slots and hashes are 32 bits; where the hash of a slot is needed, the caller tells it.
#[derive(Debug, Default)]
pub(crate) struct Table {
    lines: Box<[Line]>,
    /// Steps from home of the entry that went farthest.
    farthest: usize,
}

/// The position at which [`Table::find`] found a word; good until the next insertion or removal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Position {
    line: usize,
    word: usize,
}

impl Table {
    /// Makes room for so many entries. Cost: a rebuild of the table.
    pub(crate) fn reserve(&mut self, entries: usize, hash_of: impl Fn(u32) -> u32) {
        let lines = entries * 2 / FILL_OF_TWO + 1;
        let new = Self {
            lines: std::iter::repeat_with(Line::empty).take(lines).collect(),
            farthest: 0,
        };
        let old = std::mem::replace(self, new);
        for word in old.words() {
            self.insert(hash_of(word & SLOT), word);
        }
    }

    /// The word of the entry with this hash whose slot `is_it`.
    #[inline]
    pub(crate) fn find(&self, hash: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<Position> {
        let way = self.way(hash);
        let line = self.lines.get(way.line)?;
        if let Some(word) = line.find(tag(hash), &mut is_it) {
            return Some(Position { line: way.line, word });
        }
        if line.was_passed(hash) {
            self.find_further(way, hash, is_it)
        } else {
            None
        }
    }

    /// The search goes on after this line.
    #[inline(never)]
    fn find_further(&self, mut way: Way, hash: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<Position> {
        while way.steps < self.farthest {
            self.step(&mut way, hash);
            let line = self.lines.get(way.line)?;
            if let Some(word) = line.find(tag(hash), &mut is_it) {
                return Some(Position { line: way.line, word });
            }
            if !line.was_passed(hash) {
                return None;
            }
        }
        None
    }

    /// Asks for the line where a search for this hash begins.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u32) {
        if let Some(line) = self.lines.get(home(hash, self.lines.len())) {
            prefetch(line);
        }
    }

    /// Adds a word, of a slot and flags; the caller knows that the slot is not in the table, and has made room.
    #[inline]
    pub(crate) fn insert(&mut self, hash: u32, word: u32) {
        let way = self.way(hash);
        if !self.lines[way.line].add(hash, word) {
            self.insert_further(way, hash, word);
        }
    }

    /// The line was full: goes on.
    #[inline(never)]
    fn insert_further(&mut self, mut way: Way, hash: u32, word: u32) {
        loop {
            self.step(&mut way, hash);
            if self.lines[way.line].add(hash, word) {
                self.farthest = self.farthest.max(way.steps);
                return;
            }
        }
    }

    /// Takes out a word that was found by this hash.
    #[inline]
    pub(crate) fn remove(&mut self, position: Position, hash: u32) {
        let way = self.way(hash);
        if way.line != position.line {
            self.take_back(way, position, hash);
        }
        self.lines[position.line].set_tag(position.word, 0);
    }

    /// Takes back that this entry passed the lines on its way.
    #[inline(never)]
    fn take_back(&mut self, mut way: Way, position: Position, hash: u32) {
        while way.line != position.line {
            self.lines[way.line].take_back(hash);
            self.step(&mut way, hash);
        }
    }

    /// Slot and flags at a position.
    #[inline]
    pub(crate) fn word(&self, position: Position) -> u32 {
        self.lines[position.line].words[position.word]
    }

    /// Changes the flags at a position; the slot stays.
    pub(crate) fn set_word(&mut self, position: Position, word: u32) {
        self.lines[position.line].words[position.word] = word;
    }

    #[inline]
    pub(crate) fn slot(&self, position: Position) -> u32 {
        self.word(position) & SLOT
    }

    /// All words.
    pub(crate) fn words(&self) -> impl Iterator<Item = u32> {
        self.lines.iter().flat_map(|line| {
            let occupied = (0..WORDS).filter(|at| line.tag(*at) != 0);
            occupied.map(|at| line.words[at])
        })
    }

    #[inline]
    fn way(&self, hash: u32) -> Way {
        Way {
            line: home(hash, self.lines.len()),
            steps: 0,
        }
    }

    #[inline]
    fn step(&self, way: &mut Way, hash: u32) {
        let lines = self.lines.len();
        let wide = 1 + (((hash & 0xffff) as usize * lines) >> 16);
        way.line += if way.steps < OWN_STEPS { wide } else { 1 };
        // No step is wider than the table.
        if way.line >= lines {
            way.line -= lines;
        }
        way.steps += 1;
    }
}

/// The line where the search for a key begins.
#[inline]
fn home(hash: u32, lines: usize) -> usize {
    ((u64::from(hash) * lines as u64) >> 32) as usize
}

/// The lines that a key looks at, one after the other.
struct Way {
    line: usize,
    steps: usize,
}

impl Line {
    fn empty() -> Self {
        Self {
            tags: 0,
            more: 0,
            past: 0,
            words: Default::default(),
        }
    }

    /// A bit for each word with this tag.
    #[inline]
    fn matches(&self, tag: u8) -> u32 {
        equal_bytes([self.tags, u64::from(self.more)], tag) & ((1 << WORDS) - 1)
    }

    /// The word with this tag that `is_it`.
    #[inline]
    fn find(&self, tag: u8, is_it: &mut impl FnMut(u32) -> bool) -> Option<usize> {
        let mut matches = self.matches(tag);
        while matches != 0 {
            let word = matches.trailing_zeros() as usize;
            if is_it(self.words[word] & SLOT) {
                return Some(word);
            }
            matches &= matches - 1;
        }
        None
    }

    /// Adds a word; where there is no room, counts who passes and says `false`.
    #[inline]
    fn add(&mut self, hash: u32, word: u32) -> bool {
        let empty = self.matches(0);
        if empty == 0 {
            self.pass(hash);
            return false;
        }
        let place = empty.trailing_zeros() as usize;
        self.set_tag(place, tag(hash));
        self.words[place] = word;
        true
    }

    /// Says whether an entry of this hash's group passed here.
    #[inline]
    fn was_passed(&self, hash: u32) -> bool {
        self.past >> group(hash) & PAST_MOST != 0
    }

    #[inline]
    fn pass(&mut self, hash: u32) {
        if self.past >> group(hash) & PAST_MOST != PAST_MOST {
            self.past += 1 << group(hash);
        }
    }

    #[inline]
    fn take_back(&mut self, hash: u32) {
        if self.past >> group(hash) & PAST_MOST != PAST_MOST {
            self.past -= 1 << group(hash);
        }
    }

    fn tag(&self, word: usize) -> u8 {
        if word < 8 {
            (self.tags >> (word * 8)) as u8
        } else {
            (self.more >> ((word - 8) * 8)) as u8
        }
    }

    #[inline]
    fn set_tag(&mut self, word: usize, tag: u8) {
        if word < 8 {
            self.tags = self.tags & !(0xff << (word * 8)) | u64::from(tag) << (word * 8);
        } else {
            let shift = (word - 8) * 8;
            self.more = self.more & !(0xff << shift) | u32::from(tag) << shift;
        }
    }
}

/// The low bits of the hash, never 0; its high ones choose the line.
#[inline]
fn tag(hash: u32) -> u8 {
    (hash as u8).max(1)
}

/// The place in `past` at which the hash's group is counted: by three bits that are not in the tag, and decide little about the line.
#[inline]
fn group(hash: u32) -> u32 {
    (hash >> 8 & 7) * 4
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// The content that the table must have: slots with their hash.
    type Model = BTreeMap<u32, u32>;

    fn check(table: &Table, model: &Model) {
        let mut words: Vec<u32> = table.words().collect();
        words.sort_unstable();
        assert_eq!(words, model.keys().copied().collect::<Vec<_>>());
        for (&slot, &hash) in model {
            let at = table.find(hash, |s| s == slot).expect("in the model");
            assert_eq!(table.slot(at), slot);
        }
        let mut went_past = vec![[0; 8]; table.lines.len()];
        for (&slot, &hash) in model {
            let at = table.find(hash, |s| s == slot).expect("in the model").line;
            let mut way = table.way(hash);
            while way.line != at {
                went_past[way.line][group(hash) as usize / 4] += 1;
                table.step(&mut way, hash);
            }
        }
        for (line, truth) in table.lines.iter().zip(went_past) {
            for (at, truth) in (0..).zip(truth) {
                let counted = line.past >> (at * 4) & PAST_MOST;
                assert!(counted == truth || counted == PAST_MOST);
            }
        }
    }

    proptest! {
        #[test]
        fn behaves_like_a_map(
            // Few distinct hashes at both ends: full lines, long ways, wrap-around.
            steps in prop::collection::vec((0u32..96, prop_oneof![
                Just(7u32), Just(u32::MAX), any::<u32>(), 0u32..40,
            ]), 1..400)
        ) {
            let mut hashes = [0u32; 128];
            let (mut table, mut model) = (Table::default(), Model::new());
            prop_assert!(table.find(7, |_| true).is_none());
            let mut room = 48;
            table.reserve(room, |_| 0);
            for (slot, hash) in steps {
                if slot as usize >= room {
                    room = 96;
                    table.reserve(room, |s| hashes[s as usize]);
                }
                if let Some(known) = model.remove(&slot) {
                    let at = table.find(known, |s| s == slot).unwrap();
                    table.remove(at, known);
                } else {
                    hashes[slot as usize] = hash;
                    table.insert(hash, slot);
                    model.insert(slot, hash);
                }
                check(&table, &model);
                prop_assert!(table.find(hash, |s| s == 127).is_none());
            }
        }
    }
}
