//! The deadlines of entries, and those that have come: for each slot its deadline, for each 64 slots a time before which none of them ends.
//!
//! That is what a timer wheel would tell, for less: no links to keep, nothing moves when a deadline changes, and a cache
//! without deadlines has none of it. Finding what has expired reads 8 bytes for every 64 entries (a megabyte for ten
//! million), and the 64 deadlines of a group once for each time that one of them ends.

use super::clock::NEVER;

const GROUP: usize = 64;

/// The deadlines of a shard's slots, in nanoseconds of its clock.
#[derive(Debug)]
pub(crate) struct Deadlines {
    slots: Vec<u64>,
    /// For each group a time no later than any deadline in it.
    groups: Vec<u64>,
    /// No later than any group's.
    earliest: u64,
}

impl Deadlines {
    pub(crate) fn new() -> Self {
        Self {
            slots: Vec::new(),
            groups: Vec::new(),
            earliest: NEVER,
        }
    }

    /// The deadline of a slot.
    #[inline]
    pub(crate) fn get(&self, slot: u32) -> u64 {
        self.slots.get(slot as usize).copied().unwrap_or(NEVER)
    }

    /// A time before which nothing expires.
    #[inline]
    pub(crate) fn earliest(&self) -> u64 {
        self.earliest
    }

    /// Sets the deadline of a slot; [`NEVER`] for none.
    #[inline]
    pub(crate) fn set(&mut self, slot: u32, deadline: u64) {
        // Where no entry has a deadline, that is all.
        if deadline != NEVER || (slot as usize) < self.slots.len() {
            self.write(slot, deadline);
        }
    }

    fn write(&mut self, slot: u32, deadline: u64) {
        let slot = slot as usize;
        if slot >= self.slots.len() {
            self.slots.resize(slot + 1, NEVER);
            self.groups.resize(slot / GROUP + 1, NEVER);
        }
        self.slots[slot] = deadline;
        let group = &mut self.groups[slot / GROUP];
        *group = deadline.min(*group);
        self.earliest = deadline.min(self.earliest);
    }

    /// Slots whose deadline has come, at the least `most` if there are so many. Their deadlines are taken off.
    pub(crate) fn take_expired(&mut self, now: u64, most: usize) -> Vec<u32> {
        let mut expired = Vec::new();
        if now < self.earliest {
            return expired;
        }
        let mut earliest = NEVER;
        for (at, group) in self.groups.iter_mut().enumerate() {
            if *group <= now && expired.len() < most {
                *group = NEVER;
                let first = at * GROUP;
                let slots = &mut self.slots[first..];
                for (slot, deadline) in (first..).zip(slots.iter_mut().take(GROUP)) {
                    if *deadline <= now {
                        *deadline = NEVER;
                        expired.push(slot as u32);
                    }
                    *group = (*group).min(*deadline);
                }
            }
            earliest = earliest.min(*group);
        }
        self.earliest = earliest;
        expired
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_like_a_map(
            steps in prop::collection::vec((0u32..300, 0u64..50, 0u8..4, 1usize..40), 1..200),
        ) {
            let (mut deadlines, mut model) = (Deadlines::new(), BTreeMap::new());
            let mut now = 0;
            for (slot, time, action, most) in steps {
                match action {
                    0 | 1 => {
                        deadlines.set(slot, now + 1 + time);
                        model.insert(slot, now + 1 + time);
                    }
                    2 => {
                        deadlines.set(slot, NEVER);
                        model.remove(&slot);
                    }
                    _ => {
                        now += time / 4;
                        let due = model.values().filter(|deadline| **deadline <= now).count();
                        let expired = deadlines.take_expired(now, most);
                        prop_assert!(expired.len() >= due.min(most));
                        for slot in expired {
                            prop_assert!(model.remove(&slot).is_some_and(|deadline| deadline <= now));
                        }
                    }
                }
                prop_assert!(model.values().all(|deadline| deadlines.earliest() <= *deadline));
                prop_assert_eq!(deadlines.get(slot), model.get(&slot).copied().unwrap_or(NEVER));
            }
            for slot in 0..300 {
                prop_assert_eq!(deadlines.get(slot), model.get(&slot).copied().unwrap_or(NEVER));
            }
            while !deadlines.take_expired(NEVER - 1, 8).is_empty() {}
            prop_assert_eq!(deadlines.earliest(), NEVER);
        }
    }
}
