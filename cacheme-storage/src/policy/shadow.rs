//! A small cache of hashes that plays one configuration on the sampled keys, to see what it would hit.
//!
//! It is small, so it can afford what the real one cannot: lists in exact order of use.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::config::{Chance, Config, Contest, Mode, comes_back_sooner};
use super::ghost::Ghost;
use super::sketch::Sketch;

const NIL: u32 = u32::MAX;

/// The lists: window, probation, protected.
const WINDOW: usize = 0;
const PROBATION: usize = 1;
const PROTECTED: usize = 2;

struct Node {
    hash: u32,
    older: u32,
    newer: u32,
    ts: u16,
    irr: u16,
    list: u8,
}

#[derive(Clone, Copy)]
struct List {
    oldest: u32,
    newest: u32,
    len: usize,
}

/// The shadows' common time and what they share.
pub(crate) struct Moment<'a> {
    pub(crate) now: u16,
    /// 1 where a tick is longer than an access.
    pub(crate) coarse: u32,
    pub(crate) sketch: &'a Sketch,
}

/// The cache.
pub(crate) struct Shadow {
    mode: Mode,
    capacity: usize,
    window: usize,
    protected: usize,
    nodes: Vec<Node>,
    slots: HashMap<u32, u32, BuildHasherDefault<Spread>>,
    lists: [List; 3],
    ghost: Ghost,
    chance: Chance,
}

impl Shadow {
    pub(crate) fn new(config: &Config, capacity: usize) -> Self {
        Self {
            mode: config.mode,
            capacity,
            window: config.window_of(capacity as u64) as usize,
            protected: config.protected_of(capacity as u64) as usize,
            nodes: Vec::with_capacity(capacity),
            slots: HashMap::with_capacity_and_hasher(capacity, BuildHasherDefault::default()),
            lists: [List {
                oldest: NIL,
                newest: NIL,
                len: 0,
            }; 3],
            ghost: Ghost::new(capacity),
            chance: Chance::new(1),
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.nodes.len() == self.capacity
    }

    /// When the key was used last, if it is there.
    pub(crate) fn last_use(&self, hash: u32) -> Option<u16> {
        self.slots.get(&hash).map(|at| self.nodes[*at as usize].ts)
    }

    /// A key is asked for, and stored if it is not there; says whether it was.
    pub(crate) fn access(&mut self, hash: u32, moment: &Moment<'_>) -> bool {
        if let Some(&at) = self.slots.get(&hash) {
            self.hit(at, moment.now);
            return true;
        }
        if self.capacity > 0 {
            self.miss(hash, moment);
        }
        false
    }

    fn hit(&mut self, at: u32, now: u16) {
        let node = &mut self.nodes[at as usize];
        node.irr = now.wrapping_sub(node.ts);
        node.ts = now;
        if usize::from(node.list) == WINDOW {
            self.relink(at, WINDOW);
        } else {
            self.relink(at, PROTECTED);
            self.overflow();
        }
    }

    fn miss(&mut self, hash: u32, moment: &Moment<'_>) {
        let left = self.ghost.take(hash);
        let irr = left.map_or(u16::MAX, |ts| moment.now.wrapping_sub(ts));
        if left.is_some() && self.mode != Mode::Plain && self.is_full() {
            let victim = self.victim();
            let idle = |at: u32| moment.now.wrapping_sub(self.nodes[at as usize].ts);
            if victim != NIL && comes_back_sooner(irr, moment.coarse, idle(victim)) {
                let list = if self.mode == Mode::Probe {
                    PROBATION
                } else {
                    PROTECTED
                };
                self.replace(victim, hash, moment.now, irr, list);
                self.overflow();
                return;
            }
        }
        if !self.is_full() {
            let at = self.nodes.len() as u32;
            self.nodes.push(Node {
                hash,
                older: NIL,
                newer: NIL,
                ts: moment.now,
                irr,
                list: WINDOW as u8,
            });
            self.slots.insert(hash, at);
            self.link(at, WINDOW);
            if self.lists[WINDOW].len > self.window {
                self.relink(self.lists[WINDOW].oldest, PROBATION);
            }
            return;
        }
        let candidate = self.lists[WINDOW].oldest;
        let victim = self.victim();
        if self.lists[WINDOW].len < self.window || candidate == NIL {
            self.replace(victim, hash, moment.now, irr, WINDOW);
        } else if victim != NIL && self.admits(candidate, victim, moment) {
            self.relink(candidate, PROBATION);
            self.replace(victim, hash, moment.now, irr, WINDOW);
        } else {
            self.replace(candidate, hash, moment.now, irr, WINDOW);
        }
    }

    fn admits(&mut self, candidate: u32, victim: u32, moment: &Moment<'_>) -> bool {
        let (candidate, victim) = (&self.nodes[candidate as usize], &self.nodes[victim as usize]);
        let contest = Contest {
            candidate: moment.sketch.count(candidate.hash),
            victim: moment.sketch.count(victim.hash),
            irr: candidate.irr,
            idle: moment.now.wrapping_sub(victim.ts),
            coarse: moment.coarse,
        };
        self.mode.admits(&contest, &mut self.chance)
    }

    /// The least recently used of probation, else of the protected.
    fn victim(&self) -> u32 {
        match self.lists[PROBATION].oldest {
            NIL => self.lists[PROTECTED].oldest,
            victim => victim,
        }
    }

    fn overflow(&mut self) {
        if self.lists[PROTECTED].len > self.protected {
            self.relink(self.lists[PROTECTED].oldest, PROBATION);
        }
    }

    /// Gives the place of one that leaves to a new key.
    fn replace(&mut self, at: u32, hash: u32, now: u16, irr: u16, list: usize) {
        self.unlink(at);
        let node = &mut self.nodes[at as usize];
        let (gone, ts) = (node.hash, node.ts);
        (node.hash, node.ts, node.irr) = (hash, now, irr);
        self.ghost.put(gone, ts, now);
        self.slots.remove(&gone);
        self.slots.insert(hash, at);
        self.link(at, list);
    }

    fn relink(&mut self, at: u32, list: usize) {
        self.unlink(at);
        self.link(at, list);
    }

    fn unlink(&mut self, at: u32) {
        let Node {
            older, newer, list, ..
        } = self.nodes[at as usize];
        let list = &mut self.lists[usize::from(list)];
        list.len -= 1;
        match older {
            NIL => list.oldest = newer,
            older => self.nodes[older as usize].newer = newer,
        }
        match newer {
            NIL => list.newest = older,
            newer => self.nodes[newer as usize].older = older,
        }
    }

    fn link(&mut self, at: u32, to: usize) {
        let list = &mut self.lists[to];
        let before = list.newest;
        list.newest = at;
        list.len += 1;
        match before {
            NIL => list.oldest = at,
            before => self.nodes[before as usize].newer = at,
        }
        let node = &mut self.nodes[at as usize];
        (node.older, node.newer, node.list) = (before, NIL, to as u8);
    }
}

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
