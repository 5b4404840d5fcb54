use std::collections::{BTreeSet, HashMap, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::memory::policy::config::CONFIGS;

/// The entries of the model: which are marked, and who left.
#[derive(Default)]
struct Kept {
    marked: BTreeSet<u32>,
    left: Vec<u32>,
}

/// The real one finds entries by slot, the model by hash; so it is the hash that counts.
impl Residents for Kept {
    fn take_mark(&mut self, _slot: u32, hash: u32) -> bool {
        self.marked.remove(&hash)
    }

    fn evict(&mut self, _slot: u32, hash: u32) {
        self.marked.remove(&hash);
        self.left.push(hash);
    }
}

#[derive(Clone, Copy)]
struct Known {
    ts: u16,
    irr: u16,
    weight: u64,
}

/// The policy as one would write it on paper, of queues with entries in the middle that can be taken out.
struct Naive {
    capacity: u64,
    choice: usize,
    /// Window, probation, protected; the oldest in front.
    queues: [VecDeque<u32>; 3],
    known: HashMap<u32, Known>,
    sketch: Sketch,
    ghost: Ghost,
    sized_for: usize,
    clock: u64,
    tick: u64,
    now: u16,
    passes: u32,
    chance: Chance,
    kept: Kept,
}

impl Naive {
    fn weight_of(&self, queue: usize) -> u64 {
        self.queues[queue]
            .iter()
            .map(|hash| self.known[hash].weight)
            .sum()
    }

    fn full(&self, more: u64) -> bool {
        (0..3).map(|queue| self.weight_of(queue)).sum::<u64>() + more > self.capacity
    }

    fn window(&self) -> u64 {
        (self.capacity * CONFIGS[self.choice].window / 1000).clamp(1.min(self.capacity), self.capacity)
    }

    fn protected(&self) -> u64 {
        let main = self.capacity - self.window();
        main - main / 3
    }

    fn idle(&self, hash: u32) -> u16 {
        self.now.wrapping_sub(self.known[&hash].ts)
    }

    fn pass(&mut self, hash: u32) -> bool {
        if self.passes == 0 || !self.kept.marked.remove(&hash) {
            return false;
        }
        self.passes -= 1;
        self.known.get_mut(&hash).unwrap().ts = self.now;
        self.sketch.add(hash);
        true
    }

    fn shift(&mut self, from: usize, to: usize) {
        let hash = self.queues[from].pop_front().unwrap();
        self.queues[to].push_back(hash);
    }

    fn candidate(&mut self) -> Option<u32> {
        while let Some(&hash) = self.queues[0].front() {
            if !self.pass(hash) {
                return Some(hash);
            }
            self.shift(0, 0);
        }
        None
    }

    fn victim(&mut self) -> Option<u32> {
        loop {
            let queue = if self.queues[1].is_empty() { 2 } else { 1 };
            let &hash = self.queues[queue].front()?;
            if !self.pass(hash) {
                return Some(hash);
            }
            self.shift(queue, 2);
            while self.weight_of(2) > self.protected() {
                self.overflow();
            }
        }
    }

    fn overflow(&mut self) {
        if let Some(&hash) = self.queues[2].front() {
            let to = if self.pass(hash) { 2 } else { 1 };
            self.shift(2, to);
        }
    }

    fn evict(&mut self, hash: u32) {
        self.queues
            .iter_mut()
            .for_each(|queue| queue.retain(|other| *other != hash));
        let known = self.known.remove(&hash).unwrap();
        self.kept.evict(0, hash);
        self.ghost.put(hash, known.ts, self.now);
    }

    fn contend(&mut self, hash: u32, irr: u16, more: u64) -> bool {
        let candidate = self.sketch.count(hash);
        while self.full(more) {
            let Some(victim) = self.victim() else { return false };
            let contest = Contest {
                candidate,
                victim: self.sketch.count(victim),
                irr,
                idle: self.idle(victim),
                coarse: u32::from(self.tick > 1),
            };
            if !CONFIGS[self.choice].mode.admits(&contest, &mut self.chance) {
                return false;
            }
            self.evict(victim);
        }
        true
    }

    fn make_way(&mut self, more: u64) {
        while self.full(more) {
            let Some(hash) = self.victim().or_else(|| self.candidate()) else {
                return;
            };
            self.evict(hash);
        }
    }

    fn arrive(&mut self, hash: u32, weight: u64, choice: usize) -> bool {
        self.choice = choice;
        self.passes = PASSES;
        self.clock += 1;
        if self.clock >= self.tick {
            (self.clock, self.now) = (0, self.now.wrapping_add(1));
        }
        self.sketch.add(hash);
        let left = self.ghost.take(hash);
        let irr = left.map_or(u16::MAX, |ts| self.now.wrapping_sub(ts));
        let Some(queue) = self.place(hash, irr, weight, left.is_some()) else {
            self.ghost.put(hash, self.now, self.now);
            return false;
        };
        self.queues[queue].push_back(hash);
        self.known.insert(
            hash,
            Known {
                ts: self.now,
                irr,
                weight,
            },
        );
        true
    }

    fn place(&mut self, hash: u32, irr: u16, weight: u64, came_back: bool) -> Option<usize> {
        let mode = CONFIGS[self.choice].mode;
        if came_back && mode != Mode::Plain && self.full(weight) {
            let victim = self.victim();
            if victim
                .is_some_and(|victim| comes_back_sooner(irr, u32::from(self.tick > 1), self.idle(victim)))
            {
                self.make_way(weight);
                return Some(if mode == Mode::Probe { 1 } else { 2 });
            }
        }
        if weight > self.window() {
            return self.contend(hash, irr, weight).then_some(1);
        }
        while self.full(weight) && self.weight_of(0) + weight > self.window() {
            let Some(candidate) = self.candidate() else { break };
            if self.contend(candidate, self.known[&candidate].irr, weight) {
                self.shift(0, 1);
            } else {
                self.evict(candidate);
            }
        }
        self.make_way(weight);
        for _ in 0..MOVES {
            if self.weight_of(0) + weight > self.window() && self.candidate().is_some() {
                self.shift(0, 1);
            }
        }
        for _ in 0..MOVES {
            if self.weight_of(2) > self.protected() {
                self.overflow();
            }
        }
        Some(0)
    }

    /// Follows the sizes of the real one's sketch and ghost, which come with its slots.
    fn size(&mut self, real: &WTinyLfu) {
        if real.sized_for != self.sized_for {
            self.sized_for = real.sized_for;
            self.sketch = self.sketch.resized(real.sized_for);
            self.ghost = Ghost::new(real.sized_for);
        }
        self.tick = u64::from(real.tick);
    }
}

proptest! {
    #[test]
    fn decides_as_on_paper(
        capacity in 1u64..40,
        weighted in any::<bool>(),
        seed in any::<u64>(),
        steps in prop::collection::vec((0u8..40, 0u32..60, 1u32..12, 0usize..8), 1..600),
    ) {
        let mut real = WTinyLfu::new(capacity, weighted, seed);
        let mut kept = Kept::default();
        let mut slots: HashMap<u32, u32> = HashMap::new();
        let mut naive = Naive {
            capacity,
            choice: START,
            queues: Default::default(),
            known: HashMap::new(),
            sketch: Sketch::new(0),
            ghost: Ghost::new(0),
            sized_for: 0,
            clock: 0,
            tick: 1,
            now: 0,
            passes: 0,
            chance: Chance::new(seed),
            kept: Kept::default(),
        };
        let mut choice = START;
        for (action, key, weight, other) in steps {
            // Few keys, spread over the 32 bits.
            let hash = key.wrapping_mul(0x9e37_79b9);
            let weight = if weighted { weight.min(naive.capacity as u32) } else { 1 };
            match (action, slots.get(&hash).copied()) {
                (0, _) => choice = other,
                (1, _) => {
                    naive.capacity = 1 + u64::from(key);
                    real.resize(naive.capacity, &mut kept);
                    naive.passes = PASSES;
                    while naive.full(0) {
                        naive.passes = PASSES;
                        naive.make_way_once();
                    }
                    naive.size(&real);
                }
                (2 | 3, Some(slot)) => {
                    real.remove(slot);
                    kept.marked.remove(&hash);
                    naive.kept.marked.remove(&hash);
                    naive.queues.iter_mut().for_each(|queue| queue.retain(|other| *other != hash));
                    naive.known.remove(&hash);
                    slots.remove(&hash);
                }
                (4, Some(slot)) if weighted => {
                    real.reweigh(slot, weight, &mut kept);
                    naive.known.get_mut(&hash).unwrap().weight = u64::from(weight);
                    while naive.full(0) {
                        naive.passes = PASSES;
                        naive.make_way_once();
                    }
                }
                (_, Some(_)) => {
                    kept.marked.insert(hash);
                    naive.kept.marked.insert(hash);
                }
                (_, None) => {
                    let slot = real.arrive(hash, weight, choice, &mut kept);
                    prop_assert_eq!(naive.arrive(hash, u64::from(weight), choice), slot.is_some());
                    naive.size(&real);
                    if let Some(slot) = slot {
                        slots.insert(hash, slot);
                    }
                }
            }
            for hash in &kept.left {
                slots.remove(hash);
            }
            prop_assert_eq!(&kept.left, &naive.kept.left);
            kept.left.clear();
            naive.kept.left.clear();
            prop_assert_eq!(&kept.marked, &naive.kept.marked);
            for (at, segment) in [Segment::Window, Segment::Probation, Segment::Protected].into_iter().enumerate() {
                let living = real.segments.living(segment);
                let hashes: Vec<u32> = living.iter().map(|slot| real.hash(*slot)).collect();
                prop_assert_eq!(&hashes, &Vec::from(naive.queues[at].clone()));
                prop_assert_eq!(real.segments.weight_of(segment), naive.weight_of(at));
            }
            prop_assert_eq!(real.len(), naive.known.len());
            prop_assert!(real.weight() <= naive.capacity);
            // Slots stay few however many entries are removed.
            prop_assert!(real.slots() <= 8 + 100 * 9 / 8);
        }
    }
}

impl Naive {
    fn make_way_once(&mut self) {
        if let Some(hash) = self.victim().or_else(|| self.candidate()) {
            self.evict(hash);
        }
    }
}

#[test]
fn slots_of_removed_entries_are_used_again() {
    let mut policy = WTinyLfu::new(64, false, 1);
    let mut kept = Kept::default();
    for key in 0..100_000u32 {
        let hash = key.wrapping_mul(0x9e37_79b9);
        let slot = policy
            .arrive(hash, 1, START, &mut kept)
            .expect("the window takes it");
        if key % 3 != 0 {
            policy.remove(slot);
        }
    }
    assert!(
        policy.len() <= 64 && policy.slots() <= 64 + 16,
        "{} slots",
        policy.slots()
    );
}
