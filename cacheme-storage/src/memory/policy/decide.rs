//! Decides which entries stay: W-TinyLFU (Einziger, Eytan, Friedman & Manes, "Adaptive software cache management", 2018) on marked queues, with the recency
//! test of LIRS.

use super::config::{CONFIGS, Chance, Config, Contest, Mode, START, comes_back_sooner};
use super::ghost::Ghost;
use super::segments::{Arrival, MAX_SLOTS, Segment, Segments};
use super::sketch::Sketch;
use super::{Policy, Residents};

/// Marked entries that one arrival may send back to a tail. Bounds the work under the lock when everything is marked;
/// the hand then takes whoever is at the head.
const PASSES: u32 = 32;
/// Entries that change segment at one arrival to follow a new choice of configuration.
const MOVES: u32 = 8;
/// Ticks of the clock in the time in which `capacity` keys arrive: enough to order keys, few enough that 16 bits last for 512 turnovers.
const TICKS: u64 = 128;
/// Entries of one policy, whatever they weigh: with those dead, they stay below the slots there can be.
const MOST_ENTRIES: usize = MAX_SLOTS / 2;
/// Slots that may be dead before the queues are walked to collect them: one in eight, so a removal pays for eight steps.
const DEAD_PART: usize = 8;

/// The policy over one shard.
pub struct WTinyLfu {
    capacity: u64,
    segments: Segments,
    sketch: Sketch,
    ghost: Option<Ghost>,
    /// Entries for which the sketch and the ghost were made.
    sized_for: usize,
    choice: usize,
    window: u64,
    protected: u64,
    now: u16,
    /// Arrivals in this tick.
    part: u32,
    tick: u32,
    passes: u32,
    chance: Chance,
}

impl Policy for WTinyLfu {
    const NAME: &'static str = "TinyLfu";
    const ADAPTS: bool = true;

    fn new(capacity: u64, weighted: bool, seed: u64) -> Self {
        let mut policy = Self {
            capacity,
            segments: Segments::new(weighted),
            sketch: Sketch::new(0),
            ghost: None,
            sized_for: 0,
            choice: START,
            window: 0,
            protected: 0,
            now: 0,
            part: 0,
            tick: 1,
            passes: 0,
            chance: Chance::new(seed),
        };
        policy.apply();
        policy
    }

    #[inline]
    fn capacity(&self) -> u64 {
        self.capacity
    }

    #[inline]
    fn len(&self) -> usize {
        self.segments.len()
    }

    fn weight(&self) -> u64 {
        self.segments.weight()
    }

    #[inline]
    fn slots(&self) -> usize {
        self.segments.slots()
    }

    fn hash(&self, slot: u32) -> u32 {
        self.segments.hash(slot)
    }

    #[inline]
    fn prefetch(&self, hash: u32) {
        self.sketch.prefetch(hash);
        if let Some(ghost) = &self.ghost {
            ghost.prefetch(hash);
        }
    }

    #[inline]
    fn hit(&self, _slot: u32, mark: impl FnOnce()) {
        mark();
    }

    fn arrive(
        &mut self,
        hash: u32,
        weight: u32,
        choice: usize,
        residents: &mut impl Residents,
    ) -> Option<u32> {
        if choice != self.choice {
            self.choice = choice;
            self.apply();
        }
        self.passes = PASSES;
        self.part += 1;
        if self.part >= self.tick {
            self.part = 0;
            self.now = self.now.wrapping_add(1);
        }
        self.sketch.add(hash);
        let left = self.ghost.as_mut().and_then(|ghost| ghost.take(hash));
        let arrival = Arrival {
            hash,
            weight,
            ts: self.now,
            irr: left.map_or(u16::MAX, |ts| self.now.wrapping_sub(ts)),
        };
        let segment = self.make_room(&arrival, left.is_some(), residents)?;
        self.make_slot();
        let slot = self.segments.add(segment, &arrival);
        self.prefetch_next(residents);
        Some(slot)
    }

    #[inline]
    fn weighs(&self, slot: u32, weight: u32) -> bool {
        self.segments.weight_at(slot) == u64::from(weight)
    }

    #[inline]
    fn reweigh(&mut self, slot: u32, weight: u32, residents: &mut impl Residents) {
        self.segments.reweigh(slot, weight);
        self.shrink(residents);
    }

    fn remove(&mut self, slot: u32) {
        self.segments.remove(slot);
    }

    fn resize(&mut self, capacity: u64, residents: &mut impl Residents) {
        self.capacity = capacity;
        self.apply();
        self.shrink(residents);
        self.size(self.segments.slots().min(self.most_entries()));
    }
}

impl WTinyLfu {
    /// Asks for what is known of those who are next in line to leave, and for their entries: for the next arrival, so that it finds
    /// them there. Asking as late as in that arrival hides half of it.
    #[inline]
    fn prefetch_next(&mut self, residents: &mut impl Residents) {
        for segment in [Segment::Window, Segment::Probation] {
            if let Some((slot, hash)) = self.segments.new_head(segment) {
                self.prefetch(hash);
                residents.prefetch(slot, hash);
            }
        }
    }

    #[inline]
    fn shrink(&mut self, residents: &mut impl Residents) {
        while self.segments.weight() > self.capacity {
            self.passes = PASSES;
            match self.victim(residents).or_else(|| self.candidate(residents)) {
                Some(slot) => self.evict_head(slot, residents),
                None => return,
            }
        }
    }

    fn config(&self) -> &'static Config {
        &CONFIGS[self.choice]
    }

    fn apply(&mut self) {
        self.window = self.config().window_of(self.capacity);
        self.protected = self.config().protected_of(self.capacity);
        self.tick = u32::try_from((self.entries() / TICKS).max(1)).unwrap_or(u32::MAX);
    }

    /// Entries of a full cache: its capacity, or a guess from what there was when it is weighted.
    fn entries(&self) -> u64 {
        self.capacity.min(self.sized_for.max(1) as u64)
    }

    fn most_entries(&self) -> usize {
        usize::try_from(self.capacity)
            .unwrap_or(MOST_ENTRIES)
            .min(MOST_ENTRIES)
    }

    #[inline]
    fn coarse(&self) -> u32 {
        u32::from(self.tick > 1)
    }

    #[inline]
    fn idle(&self, slot: u32) -> u16 {
        self.now.wrapping_sub(self.segments.ts(slot))
    }

    fn make_room(
        &mut self,
        arrival: &Arrival,
        came_back: bool,
        residents: &mut impl Residents,
    ) -> Option<Segment> {
        let weight = u64::from(arrival.weight);
        let mode = self.config().mode;
        if came_back && mode != Mode::Plain && self.is_full(weight) {
            let sooner = self
                .victim(residents)
                .is_some_and(|victim| comes_back_sooner(arrival.irr, self.coarse(), self.idle(victim)));
            if sooner {
                self.take_from_main(weight, residents);
                self.take_from_window(weight, residents);
                return Some(if mode == Mode::Probe {
                    Segment::Probation
                } else {
                    Segment::Protected
                });
            }
        }
        if weight > self.window {
            // Too heavy for the window, so it is its own candidate.
            let won = self.contend(arrival, weight, residents);
            if !won {
                self.remember(arrival.hash, arrival.ts);
                return None;
            }
            return Some(Segment::Probation);
        }
        while self.is_full(weight) && self.segments.weight_of(Segment::Window) + weight > self.window {
            let Some(candidate) = self.candidate(residents) else {
                break;
            };
            self.contest(candidate, weight, residents);
        }
        self.take_from_main(weight, residents);
        self.take_from_window(weight, residents);
        self.follow(weight, residents);
        Some(Segment::Window)
    }

    #[inline]
    fn is_full(&self, weight: u64) -> bool {
        self.segments.weight() + weight > self.capacity || self.segments.len() >= MOST_ENTRIES
    }

    /// The window's head against the victims of main: it stays, in probation, if there is room once it has won.
    #[inline]
    fn contest(&mut self, candidate: u32, weight: u64, residents: &mut impl Residents) {
        let arrival = Arrival {
            hash: self.segments.hash(candidate),
            weight: 0,
            ts: self.segments.ts(candidate),
            irr: self.segments.irr(candidate),
        };
        if self.contend(&arrival, weight, residents) {
            self.segments.move_head(Segment::Window, Segment::Probation);
        } else {
            self.evict_head(candidate, residents);
        }
    }

    /// Lets a candidate win room for `weight` from the victims of main, one by one; `false` as soon as it loses.
    #[inline]
    fn contend(&mut self, candidate: &Arrival, weight: u64, residents: &mut impl Residents) -> bool {
        if !self.is_full(weight) {
            return true;
        }
        let count = self.sketch.count(candidate.hash);
        while self.is_full(weight) {
            let Some(victim) = self.victim(residents) else {
                return false;
            };
            let contest = Contest {
                candidate: count,
                victim: self.sketch.count(self.segments.hash(victim)),
                irr: candidate.irr,
                idle: self.idle(victim),
                coarse: self.coarse(),
            };
            if !self.config().mode.admits(&contest, &mut self.chance) {
                return false;
            }
            self.evict_head(victim, residents);
        }
        true
    }

    #[inline]
    fn take_from_main(&mut self, weight: u64, residents: &mut impl Residents) {
        while self.is_full(weight) {
            let Some(victim) = self.victim(residents) else {
                return;
            };
            self.evict_head(victim, residents);
        }
    }

    #[inline]
    fn take_from_window(&mut self, weight: u64, residents: &mut impl Residents) {
        while self.is_full(weight) {
            let Some(candidate) = self.candidate(residents) else {
                return;
            };
            self.evict_head(candidate, residents);
        }
    }

    /// Moves a few entries towards the sizes of the segments that the configuration asks for.
    fn follow(&mut self, weight: u64, residents: &mut impl Residents) {
        for _ in 0..MOVES {
            if self.segments.weight_of(Segment::Window) + weight <= self.window
                || self.candidate(residents).is_none()
            {
                break;
            }
            self.segments.move_head(Segment::Window, Segment::Probation);
        }
        for _ in 0..MOVES {
            if self.segments.weight_of(Segment::Protected) <= self.protected {
                break;
            }
            self.overflow(residents);
        }
    }

    /// The window's head, past those that are marked: they go to its tail.
    #[inline]
    fn candidate(&mut self, residents: &mut impl Residents) -> Option<u32> {
        loop {
            let head = self.segments.head(Segment::Window)?;
            if !self.passes(head, residents) {
                return Some(head);
            }
            self.segments.move_head(Segment::Window, Segment::Window);
        }
    }

    /// The head of probation, else of the protected, past those that are marked: they are protected.
    fn victim(&mut self, residents: &mut impl Residents) -> Option<u32> {
        loop {
            let (segment, head) = match self.segments.head(Segment::Probation) {
                Some(head) => (Segment::Probation, head),
                None => (Segment::Protected, self.segments.head(Segment::Protected)?),
            };
            if !self.passes(head, residents) {
                return Some(head);
            }
            self.segments.move_head(segment, Segment::Protected);
            while self.segments.weight_of(Segment::Protected) > self.protected {
                self.overflow(residents);
            }
        }
    }

    /// Sends the head of the protected to probation, or to its tail if it is marked.
    fn overflow(&mut self, residents: &mut impl Residents) {
        if let Some(head) = self.segments.head(Segment::Protected) {
            let to = if self.passes(head, residents) {
                Segment::Protected
            } else {
                Segment::Probation
            };
            self.segments.move_head(Segment::Protected, to);
        }
    }

    /// Says whether the hand passes this entry over, since it is marked: takes the mark, notes the time, counts one use.
    #[inline]
    fn passes(&mut self, slot: u32, residents: &mut impl Residents) -> bool {
        let hash = self.segments.hash(slot);
        if self.passes == 0 || !residents.take_mark(slot, hash) {
            return false;
        }
        self.passes -= 1;
        self.segments.renew(slot, self.now);
        self.sketch.add(hash);
        true
    }

    /// Evicts a queue's head.
    #[inline]
    fn evict_head(&mut self, slot: u32, residents: &mut impl Residents) {
        let hash = self.segments.hash(slot);
        let ts = self.segments.ts(slot);
        self.segments.drop_head(self.segments.segment(slot));
        residents.evict(slot, hash);
        self.remember(hash, ts);
    }

    #[inline]
    fn remember(&mut self, hash: u32, ts: u16) {
        let entries = self.sized_for;
        let ghost = self.ghost.get_or_insert_with(|| Ghost::new(entries));
        ghost.put(hash, ts, self.now);
    }

    /// Sees to it that a slot is free.
    #[inline]
    fn make_slot(&mut self) {
        if !self.segments.has_free() {
            self.make_slots();
        }
    }

    #[cold]
    fn make_slots(&mut self) {
        let (slots, most) = (self.segments.slots(), self.most_entries());
        if slots < most {
            self.segments.grow((slots * 2).clamp(8, most.max(8)));
            self.size(self.segments.slots().min(most));
        } else if self.segments.dead() * DEAD_PART >= slots {
            self.segments.collect();
        } else {
            self.segments.grow(slots + slots.div_ceil(DEAD_PART));
        }
    }

    /// Fits the sketch, and the ghost if there is one, to a number of entries.
    fn size(&mut self, entries: usize) {
        if entries != self.sized_for {
            self.sketch = self.sketch.resized(entries);
            self.ghost = None;
            self.sized_for = entries;
            self.apply();
        }
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
