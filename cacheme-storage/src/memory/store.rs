//! The entries of a shard: keys and values in slots, side by side, and the table that finds them.
//!
//! Unsafe, because a slot is `MaybeUninit`: an `Option` around a pair of `u64` takes 24 bytes instead of 16, a third of all
//! that an entry costs. What makes it sound is kept in this file alone: **a slot holds an entry exactly while its bit in
//! `occupied` is set, and every word of the table is of such a slot.** Whoever changes one of the three changes all.
#![allow(unsafe_code, reason = "slots without a discriminant, see above")]

use std::borrow::Borrow;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU64, Ordering};

use super::entry::Arriver;
use super::table::{Position, Table};
use crate::memory::simd::prefetch;

/// Set in a word whose entry has a deadline.
const TIMED: u32 = 1 << 30;

/// The entries.
pub(crate) struct Store<K, V> {
    table: Table,
    slots: Vec<Slots<K, V>>,
    occupied: Vec<u64>,
    /// A bit for each slot: set by a hit, taken off by the policy. Apart from the words, so that the policy's hands find a
    /// mark by the slot alone; so dense that all marks of a shard are near.
    marks: Vec<AtomicU64>,
}

/// Slots that begin where a cache line does, so that one of 64 bytes never lies in two.
#[repr(align(64))]
struct Slots<K, V>([MaybeUninit<(K, V)>; TOGETHER]);

/// As many as fill whole lines if a slot's size is a multiple of four.
const TOGETHER: usize = 16;

/// An entry that was found, seen through a shared reference.
pub(crate) struct Found<'a, K, V> {
    store: &'a Store<K, V>,
    position: Position,
    /// The word of the table.
    word: u32,
    pub(crate) entry: &'a (K, V),
}

impl<K, V> Found<'_, K, V> {
    /// Says whether the entry has a deadline.
    #[inline]
    pub(crate) fn is_timed(&self) -> bool {
        self.word & TIMED != 0
    }

    #[inline]
    pub(crate) fn slot(&self) -> u32 {
        self.word & !TIMED
    }

    #[inline]
    pub(crate) fn position(&self) -> Position {
        self.position
    }

    /// Marks it as used.
    #[inline]
    pub(crate) fn mark(&self) {
        // A write only if it changes something: the cache line of hot entries stays shared between cores.
        let bit = 1 << (self.word % 64);
        let marks = &self.store.marks[self.slot() as usize / 64];
        if marks.load(Ordering::Relaxed) & bit == 0 {
            marks.fetch_or(bit, Ordering::Relaxed);
        }
    }
}

impl<K, V> Store<K, V> {
    pub(crate) fn new() -> Self {
        Self {
            table: Table::default(),
            slots: Vec::new(),
            occupied: Vec::new(),
            marks: Vec::new(),
        }
    }

    /// The entry under `key`.
    #[inline(always)]
    pub(crate) fn find<Q: Eq + ?Sized>(&self, hash: u32, key: &Q) -> Option<Found<'_, K, V>>
    where
        K: Borrow<Q>,
    {
        let position = self.table.find(hash, |slot| {
            // SAFETY: the slot is of a word in the table.
            let (its, _) = unsafe { self.entry(slot) };
            its.borrow() == key
        })?;
        let word = self.table.word(position);
        Some(Found {
            store: self,
            position,
            word,
            // SAFETY: as before.
            entry: unsafe { self.entry(word & !TIMED) },
        })
    }

    /// Asks for what it takes to evict an entry.
    #[inline]
    pub(crate) fn prefetch_entry(&self, slot: u32, hash: u32) {
        self.table.prefetch(hash);
        if let Some(slots) = self.slots.get(slot as usize / TOGETHER) {
            prefetch(&slots.0[slot as usize % TOGETHER]);
        }
    }

    /// Makes slots below `slots` usable. `hash_of` tells the hash of an occupied one.
    #[inline]
    pub(crate) fn reserve(&mut self, slots: usize, hash_of: impl Fn(u32) -> u32) {
        if slots > self.slots.len() * TOGETHER {
            self.grow(slots, hash_of);
        }
    }

    #[cold]
    fn grow(&mut self, slots: usize, hash_of: impl Fn(u32) -> u32) {
        let together = slots.div_ceil(TOGETHER);
        self.slots.reserve_exact(together - self.slots.len());
        // SAFETY: there is room, and slots need not be initialised. Made one by one they would pass through the stack, which
        // may be smaller than sixteen entries.
        unsafe { self.slots.set_len(together) };
        let slots = together * TOGETHER;
        self.occupied.resize(slots.div_ceil(64), 0);
        self.marks.resize_with(slots.div_ceil(64), AtomicU64::default);
        self.table.reserve(slots, hash_of);
    }

    /// Puts an entry whose key is not there into a slot.
    ///
    /// # Panics
    ///
    /// If the slot is occupied, or was not made usable.
    #[inline]
    pub(crate) fn put(&mut self, slot: u32, hash: u32, entry: (K, V), timed: bool) {
        let (at, bit) = (slot as usize / 64, 1 << (slot % 64));
        assert!(self.occupied[at] & bit == 0, "a new entry's slot is free");
        self.slot_mut(slot).write(entry);
        self.occupied[at] |= bit;
        *self.marks[at].get_mut() &= !bit;
        self.table.insert(hash, slot | if timed { TIMED } else { 0 });
    }

    /// Takes the entry out of a slot that was found by this hash.
    ///
    /// # Panics
    ///
    /// If there is none.
    #[inline(always)]
    pub(crate) fn take(&mut self, slot: u32, hash: u32) -> (K, V) {
        let position = self.position(slot, hash);
        self.table.remove(position, hash);
        self.occupied[slot as usize / 64] &= !(1 << (slot % 64));
        // SAFETY: the slot was of a word in the table, and is not occupied from here on: nobody reads the entry again.
        unsafe { self.slot_mut(slot).assume_init_read() }
    }

    /// Puts an entry in the place of one with an equal key, as used; gives the old one.
    #[inline]
    pub(crate) fn replace(&mut self, position: Position, entry: (K, V), timed: bool) -> (K, V) {
        let slot = self.table.slot(position);
        self.table
            .set_word(position, slot | if timed { TIMED } else { 0 });
        *self.marks[slot as usize / 64].get_mut() |= 1 << (slot % 64);
        // SAFETY: the slot is of a word in the table.
        let old = unsafe { self.slot_mut(slot).assume_init_mut() };
        std::mem::replace(old, entry)
    }

    /// Takes the mark off the entry in a slot; says whether it was there.
    #[inline]
    pub(crate) fn take_mark(&mut self, slot: u32) -> bool {
        let marks = self.marks[slot as usize / 64].get_mut();
        let bit = 1 << (slot % 64);
        let marked = *marks & bit != 0;
        *marks &= !bit;
        marked
    }

    /// Takes all entries out.
    pub(crate) fn drain(&mut self) -> Vec<(K, V)> {
        let table = std::mem::take(&mut self.table);
        self.occupied.fill(0);
        let slots = table.words().map(|word| word & !TIMED);
        // SAFETY: the slots were of words in the table, each of one, and are not occupied any more: nobody reads them again.
        let entries = slots
            .map(|slot| unsafe { self.slot_mut(slot).assume_init_read() })
            .collect();
        self.slots.clear();
        self.occupied.clear();
        self.marks.clear();
        entries
    }

    /// Says whether an entry is in the slot.
    pub(crate) fn is_occupied(&self, slot: u32) -> bool {
        self.occupied[slot as usize / 64] >> (slot % 64) & 1 == 1
    }

    /// All entries, with their slots.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &(K, V))> {
        let slots = self.table.words().map(|word| word & !TIMED);
        // SAFETY: the slots are of words in the table.
        slots.map(|slot| (slot, unsafe { self.entry(slot) }))
    }

    #[inline]
    fn position(&self, slot: u32, hash: u32) -> Position {
        let found = self.table.find(hash, |other| other == slot);
        found.expect("an occupied slot is in the table under its hash")
    }

    /// # Safety
    ///
    /// The slot must be of a word in the table.
    #[inline]
    unsafe fn entry(&self, slot: u32) -> &(K, V) {
        debug_assert!(self.occupied[slot as usize / 64] >> (slot % 64) & 1 == 1);
        // SAFETY: words are only of occupied slots, which lie within the vector and are initialised. Where those that lie
        // together fill their lines, they follow each other as if they all lay together.
        unsafe {
            if size_of::<Slots<K, V>>() == TOGETHER * size_of::<(K, V)>() {
                &*self.slots.as_ptr().cast::<(K, V)>().add(slot as usize)
            } else {
                let slots = self.slots.get_unchecked(slot as usize / TOGETHER);
                slots.0[slot as usize % TOGETHER].assume_init_ref()
            }
        }
    }

    #[inline]
    fn slot_mut(&mut self, slot: u32) -> &mut MaybeUninit<(K, V)> {
        &mut self.slots[slot as usize / TOGETHER].0[slot as usize % TOGETHER]
    }
}

impl<K, V> Drop for Store<K, V> {
    fn drop(&mut self) {
        if !std::mem::needs_drop::<(K, V)>() {
            return;
        }
        for word in std::mem::take(&mut self.table).words() {
            let slot = word & !TIMED;
            // SAFETY: the slot is of a word in the table, each slot of one word only, and the store is gone afterwards.
            let entry = unsafe { self.slot_mut(slot).assume_init_read() };
            drop(Arriver(Some(entry)));
        }
    }
}
