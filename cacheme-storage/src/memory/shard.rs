//! One part of a [`Cache`](super::Cache): entries, the policy over them and their deadlines, behind one lock.

use std::borrow::Borrow;

use super::clock::{Clock, NEVER};
use super::deadlines::Deadlines;
use super::entry::{self, Evicted, Leavers, Listener};
use super::store::{Found, Store};
use crate::memory::policy::{Policy, Residents};

/// Writes between two looks for expired entries, where the look is not nearly free.
const WRITES_A_SWEEP: u32 = 64;
/// A shard of so many slots is looked through at each write.
const SMALL: usize = 4096;
/// Entries that a write collects at once.
const COLLECTED_AT_ONCE: usize = 256;

/// The shard.
pub(crate) struct Shard<K, V, P> {
    policy: P,
    store: Store<K, V>,
    deadlines: Deadlines,
    writes: u32,
}

/// The properties of an entry on its way in.
pub(crate) struct Terms {
    pub(crate) hash: u32,
    pub(crate) weight: u32,
    /// [`NEVER`] for none.
    pub(crate) deadline: u64,
    /// The configuration that the policy is to play.
    pub(crate) choice: usize,
}

/// The outcome of storing an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inserted {
    Replaced,
    Added,
    Refused,
}

impl<K, V, P: Policy> Shard<K, V, P> {
    /// A shard of at most `capacity`, of entries or of weight.
    pub(crate) fn new(capacity: u64, weighted: bool, seed: u64) -> Self {
        Self {
            policy: P::new(capacity, weighted, seed),
            store: Store::new(),
            deadlines: Deadlines::new(),
            writes: 0,
        }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.policy.len()
    }

    pub(crate) fn weight(&self) -> u64 {
        self.policy.weight()
    }

    #[inline]
    pub(crate) fn capacity(&self) -> u64 {
        self.policy.capacity()
    }

    /// A time before which nothing expires.
    pub(crate) fn earliest(&self) -> u64 {
        self.deadlines.earliest()
    }

    #[inline]
    pub(crate) fn find<Q: Eq + ?Sized>(&self, hash: u32, key: &Q) -> Option<Found<'_, K, V>>
    where
        K: Borrow<Q>,
    {
        self.store.find(hash, key)
    }

    /// The deadline of an entry that was found.
    #[inline]
    pub(crate) fn deadline(&self, found: &Found<'_, K, V>) -> u64 {
        if found.is_timed() {
            self.deadlines.get(found.slot())
        } else {
            NEVER
        }
    }

    /// An entry that was found is used.
    #[inline]
    pub(crate) fn hit(&self, found: &Found<'_, K, V>) {
        self.policy.hit(found.slot(), || found.mark());
    }

    /// Asks for what an insertion with this hash will touch.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u32) {
        self.policy.prefetch(hash);
    }

    /// All entries and their deadlines.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&(K, V), u64)> {
        let entries = self.store.iter();
        entries.map(|(slot, entry)| (entry, self.deadlines.get(slot)))
    }

    /// Stores the entry, or leaves it where it is if it may not stay.
    #[inline]
    pub(crate) fn insert(
        &mut self,
        entry: &mut Option<(K, V)>,
        terms: &Terms,
        clock: &Clock,
        leavers: &mut Leavers<K, V>,
    ) -> Inserted
    where
        K: Eq,
    {
        let hash = terms.hash;
        self.collect(clock, leavers);
        let timed = terms.deadline != NEVER;
        let Some((key, _)) = &*entry else {
            return Inserted::Refused;
        };
        if let Some(found) = self.store.find(hash, key) {
            let (slot, position, was_timed) = (found.slot(), found.position(), found.is_timed());
            let expired = was_timed && self.deadlines.get(slot) <= clock.now();
            if let Some(entry) = entry.take() {
                let why = if expired {
                    Evicted::Expired
                } else {
                    Evicted::Replaced
                };
                leavers.push(self.store.replace(position, entry, timed), why);
            }
            // Its mark was set with that.
            self.policy.hit(slot, || ());
            if timed || was_timed {
                self.deadlines.set(slot, terms.deadline);
            }
            return if self.policy.weighs(slot, terms.weight) || self.reweigh(slot, terms.weight, leavers) {
                Inserted::Replaced
            } else {
                Inserted::Refused
            };
        }
        let Self {
            policy,
            store,
            deadlines,
            ..
        } = self;
        let mut keeper = Keeper {
            store,
            deadlines,
            leavers,
        };
        let Some(slot) = policy.arrive(hash, terms.weight, terms.choice, &mut keeper) else {
            return Inserted::Refused;
        };
        store.reserve(policy.slots(), |slot| policy.hash(slot));
        if let Some(entry) = entry.take() {
            store.put(slot, hash, entry, timed);
        }
        if timed {
            deadlines.set(slot, terms.deadline);
        }
        Inserted::Added
    }

    /// The entry in this slot weighs something else now; says whether it is still there when there is room for that.
    #[cold]
    fn reweigh(&mut self, slot: u32, weight: u32, leavers: &mut Leavers<K, V>) -> bool {
        let Self {
            policy,
            store,
            deadlines,
            ..
        } = self;
        policy.reweigh(
            slot,
            weight,
            &mut Keeper {
                store,
                deadlines,
                leavers,
            },
        );
        self.store.is_occupied(slot)
    }

    /// Removes `key`; says whether it was there and alive at `now`.
    pub(crate) fn remove<Q: Eq + ?Sized>(
        &mut self,
        hash: u32,
        key: &Q,
        clock: &Clock,
        leavers: &mut Leavers<K, V>,
    ) -> bool
    where
        K: Borrow<Q>,
    {
        let Some(found) = self.store.find(hash, key) else {
            return false;
        };
        let slot = found.slot();
        let alive = clock.is_before(self.deadline(&found));
        self.take(
            slot,
            if alive { Evicted::Removed } else { Evicted::Expired },
            leavers,
        );
        alive
    }

    /// Removes `key`, since what should have taken its place is not stored.
    pub(crate) fn remove_replaced(&mut self, hash: u32, key: &K, clock: &Clock, leavers: &mut Leavers<K, V>)
    where
        K: Eq,
    {
        if let Some(found) = self.store.find(hash, key) {
            let alive = clock.is_before(self.deadline(&found));
            self.take(
                found.slot(),
                if alive {
                    Evicted::Replaced
                } else {
                    Evicted::Expired
                },
                leavers,
            );
        }
    }

    /// Removes `key` if its time has passed.
    pub(crate) fn remove_expired<Q: Eq + ?Sized>(
        &mut self,
        hash: u32,
        key: &Q,
        clock: &Clock,
        leavers: &mut Leavers<K, V>,
    ) where
        K: Borrow<Q>,
    {
        if let Some(found) = self.store.find(hash, key)
            && !clock.is_before(self.deadline(&found))
        {
            self.take(found.slot(), Evicted::Expired, leavers);
        }
    }

    /// Removes what has expired, at the least `most` entries if there are so many.
    pub(crate) fn sweep(&mut self, now: u64, most: usize, leavers: &mut Leavers<K, V>) {
        for slot in self.deadlines.take_expired(now, most) {
            self.take(slot, Evicted::Expired, leavers);
        }
    }

    /// Changes the capacity and evicts what is too much.
    pub(crate) fn resize(&mut self, capacity: u64, leavers: &mut Leavers<K, V>) {
        let Self {
            policy,
            store,
            deadlines,
            ..
        } = self;
        policy.resize(
            capacity,
            &mut Keeper {
                store,
                deadlines,
                leavers,
            },
        );
    }

    /// Sends all entries of a shard away that nobody else sees any more.
    pub(crate) fn leave(mut self, listener: Option<&Listener<K, V>>) {
        // Without a listener they leave with the store.
        if listener.is_some() {
            for (key, value) in self.store.drain() {
                entry::leave((key, value, Evicted::Removed), listener);
            }
        }
    }

    /// Collects some of what has expired, now and then.
    #[inline]
    fn collect(&mut self, clock: &Clock, leavers: &mut Leavers<K, V>) {
        if self.deadlines.earliest() != NEVER {
            self.collect_timed(clock, leavers);
        }
    }

    fn collect_timed(&mut self, clock: &Clock, leavers: &mut Leavers<K, V>) {
        self.writes += 1;
        if self.writes >= WRITES_A_SWEEP || self.policy.slots() <= SMALL {
            self.writes = 0;
            self.sweep(clock.now(), COLLECTED_AT_ONCE, leavers);
        }
    }

    fn take(&mut self, slot: u32, why: Evicted, leavers: &mut Leavers<K, V>) {
        let entry = self.store.take(slot, self.policy.hash(slot));
        self.policy.remove(slot);
        self.deadlines.set(slot, NEVER);
        leavers.push(entry, why);
    }
}

/// Carries out what the policy decides.
struct Keeper<'a, K, V> {
    store: &'a mut Store<K, V>,
    deadlines: &'a mut Deadlines,
    leavers: &'a mut Leavers<K, V>,
}

impl<K, V> Residents for Keeper<'_, K, V> {
    #[inline]
    fn take_mark(&mut self, slot: u32, _hash: u32) -> bool {
        self.store.take_mark(slot)
    }

    #[inline]
    fn evict(&mut self, slot: u32, hash: u32) {
        self.leavers.push(self.store.take(slot, hash), Evicted::Size);
        self.deadlines.set(slot, NEVER);
    }

    #[inline]
    fn prefetch(&self, slot: u32, hash: u32) {
        self.store.prefetch_entry(slot, hash);
    }
}
