//! Least recently used: the slots in the order of use, exactly.

use parking_lot::Mutex;

use super::policy::{MAX_SLOTS, Policy, Residents};

/// The policy of [`Lru`](super::Lru).
pub struct LeastRecent {
    capacity: u64,
    weight: u64,
    entries: Vec<Entry>,
    free: Vec<u32>,
    /// Hits change it beside each other; whoever writes to the shard has it without the lock.
    order: Mutex<Order>,
}

#[derive(Clone, Copy)]
struct Entry {
    hash: u32,
    weight: u32,
}

/// A ring through the slots. The first link belongs to no slot: it lies between the newest and the oldest.
struct Order(Vec<Link>);

#[derive(Clone, Copy, Default)]
struct Link {
    older: u32,
    newer: u32,
}

impl Order {
    fn oldest(&self) -> Option<u32> {
        self.0[0].newer.checked_sub(1)
    }

    #[inline]
    fn unlink(&mut self, slot: u32) {
        let Link { older, newer } = self.0[slot as usize + 1];
        self.0[older as usize].newer = newer;
        self.0[newer as usize].older = older;
    }

    #[inline]
    fn link_newest(&mut self, slot: u32) {
        let older = self.0[0].older;
        self.0[slot as usize + 1] = Link { older, newer: 0 };
        self.0[older as usize].newer = slot + 1;
        self.0[0].older = slot + 1;
    }
}

impl LeastRecent {
    /// Evicts from the oldest on until there is room for `weight`, and for one more entry.
    fn make_room(&mut self, weight: u64, residents: &mut impl Residents) {
        while self.weight + weight > self.capacity || self.len() >= MAX_SLOTS {
            let Some(slot) = self.order.get_mut().oldest() else {
                return;
            };
            residents.evict(slot, self.hash(slot));
            self.remove(slot);
        }
    }
}

impl Policy for LeastRecent {
    const NAME: &'static str = "Lru";
    const ADAPTS: bool = false;

    fn new(capacity: u64, _weighted: bool, _seed: u64) -> Self {
        Self {
            capacity,
            weight: 0,
            entries: Vec::new(),
            free: Vec::new(),
            order: Mutex::new(Order(vec![Link::default()])),
        }
    }

    fn capacity(&self) -> u64 {
        self.capacity
    }

    fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    fn weight(&self) -> u64 {
        self.weight
    }

    fn slots(&self) -> usize {
        let (used, most) = (self.entries.len(), usize::try_from(self.capacity));
        used.next_power_of_two().min(most.unwrap_or(MAX_SLOTS)).max(used)
    }

    fn hash(&self, slot: u32) -> u32 {
        self.entries[slot as usize].hash
    }

    #[inline]
    fn hit(&self, slot: u32, _mark: impl FnOnce()) {
        let mut order = self.order.lock();
        order.unlink(slot);
        order.link_newest(slot);
    }

    fn arrive(
        &mut self,
        hash: u32,
        weight: u32,
        _choice: usize,
        residents: &mut impl Residents,
    ) -> Option<u32> {
        self.make_room(u64::from(weight), residents);
        let (entry, order) = (Entry { hash, weight }, self.order.get_mut());
        let slot = match self.free.pop() {
            Some(slot) => {
                self.entries[slot as usize] = entry;
                slot
            }
            None => {
                self.entries.push(entry);
                order.0.push(Link::default());
                self.entries.len() as u32 - 1
            }
        };
        order.link_newest(slot);
        self.weight += u64::from(weight);
        Some(slot)
    }

    fn weighs(&self, slot: u32, weight: u32) -> bool {
        self.entries[slot as usize].weight == weight
    }

    fn reweigh(&mut self, slot: u32, weight: u32, residents: &mut impl Residents) {
        let before = std::mem::replace(&mut self.entries[slot as usize].weight, weight);
        self.weight = self.weight - u64::from(before) + u64::from(weight);
        self.make_room(0, residents);
    }

    fn remove(&mut self, slot: u32) {
        self.order.get_mut().unlink(slot);
        self.weight -= u64::from(self.entries[slot as usize].weight);
        self.free.push(slot);
    }

    fn resize(&mut self, capacity: u64, residents: &mut impl Residents) {
        self.capacity = capacity;
        self.make_room(0, residents);
    }
}

#[cfg(test)]
#[path = "lru_tests.rs"]
mod tests;
