//! The window, probation and protected segments as first-in first-out queues, linked through the slots.
//!
//! Singly linked: nothing ever leaves from the middle. A hit only sets a mark elsewhere, and the hand that meets a
//! marked entry at a queue's head sends it to a tail (second chance, as in CLOCK, S3-FIFO and SIEVE). An entry that is
//! removed stays in its queue as a dead slot until a hand passes or [`Segments::collect`] unlinks it.

use crate::memory::simd::prefetch;

/// No slot.
pub(crate) const NIL: u32 = NEXT;
/// Slots are below this number.
pub(crate) const MAX_SLOTS: usize = 1 << 25;

const NEXT: u32 = (1 << 27) - 1;
const SEGMENT_SHIFT: u32 = 27;
const SEGMENT: u32 = 3 << SEGMENT_SHIFT;
const DEAD: u32 = 1 << 29;

/// The segment of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    Window = 0,
    Probation = 1,
    Protected = 2,
}

const SEGMENTS: [Segment; 3] = [Segment::Window, Segment::Probation, Segment::Protected];

/// The policy's record of an entry: 12 bytes.
#[derive(Clone, Copy)]
struct Meta {
    hash: u32,
    /// The next slot of its queue or of the free ones; above it the segment and whether the slot is dead.
    link: u32,
    /// The time at which it arrived, or when a hand last found it marked.
    ts: u16,
    /// The time between its last two arrivals.
    irr: u16,
}

#[derive(Clone, Copy)]
struct Queue {
    head: u32,
    tail: u32,
    /// The head of which [`Segments::new_head`] told last.
    asked: u32,
    /// Of the living.
    weight: u64,
}

/// The queues over all slots.
pub(crate) struct Segments {
    metas: Vec<Meta>,
    /// Empty as long as every entry weighs 1.
    weights: Vec<u32>,
    weighted: bool,
    queues: [Queue; 3],
    free: u32,
    len: usize,
    /// Of all the living.
    weight: u64,
    dead: usize,
}

impl Segments {
    pub(crate) fn new(weighted: bool) -> Self {
        Self {
            metas: Vec::new(),
            weights: Vec::new(),
            weighted,
            queues: [Queue {
                head: NIL,
                tail: NIL,
                asked: NIL,
                weight: 0,
            }; 3],
            free: NIL,
            len: 0,
            weight: 0,
            dead: 0,
        }
    }

    /// Living entries.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(crate) fn slots(&self) -> usize {
        self.metas.len()
    }

    #[inline]
    pub(crate) fn has_free(&self) -> bool {
        self.free != NIL
    }

    pub(crate) fn dead(&self) -> usize {
        self.dead
    }

    /// Weight of the living.
    #[inline]
    pub(crate) fn weight(&self) -> u64 {
        self.weight
    }

    #[inline]
    pub(crate) fn weight_of(&self, segment: Segment) -> u64 {
        self.queues[segment as usize].weight
    }

    #[inline]
    pub(crate) fn hash(&self, slot: u32) -> u32 {
        self.metas[slot as usize].hash
    }

    #[inline]
    pub(crate) fn ts(&self, slot: u32) -> u16 {
        self.metas[slot as usize].ts
    }

    #[inline]
    pub(crate) fn irr(&self, slot: u32) -> u16 {
        self.metas[slot as usize].irr
    }

    #[inline]
    pub(crate) fn renew(&mut self, slot: u32, ts: u16) {
        self.metas[slot as usize].ts = ts;
    }

    #[inline]
    pub(crate) fn segment(&self, slot: u32) -> Segment {
        SEGMENTS[((self.metas[slot as usize].link & SEGMENT) >> SEGMENT_SHIFT) as usize]
    }

    /// The weight of the entry in a slot.
    #[inline]
    pub(crate) fn weight_at(&self, slot: u32) -> u64 {
        if self.weighted {
            u64::from(self.weights[slot as usize])
        } else {
            1
        }
    }

    /// Adds free slots up to `slots` in all.
    pub(crate) fn grow(&mut self, slots: usize) {
        let old = self.metas.len();
        self.metas.reserve_exact(slots - old);
        for slot in old..slots {
            let next = if slot + 1 < slots {
                slot as u32 + 1
            } else {
                self.free
            };
            self.metas.push(Meta {
                hash: 0,
                link: next | SEGMENT,
                ts: 0,
                irr: 0,
            });
        }
        if slots > old {
            self.free = old as u32;
        }
        if self.weighted {
            self.weights.resize(slots, 0);
        }
    }

    /// Puts a new entry into a free slot, at the tail of a queue.
    ///
    /// # Panics
    ///
    /// If there is no free slot.
    #[inline]
    pub(crate) fn add(&mut self, segment: Segment, arrival: &Arrival) -> u32 {
        let slot = self.free;
        let meta = &mut self.metas[slot as usize];
        self.free = meta.link & NEXT;
        *meta = Meta {
            hash: arrival.hash,
            link: 0,
            ts: arrival.ts,
            irr: arrival.irr,
        };
        if self.weighted {
            self.weights[slot as usize] = arrival.weight;
        }
        self.len += 1;
        self.weight += self.weight_at(slot);
        self.push_tail(segment, slot);
        slot
    }

    /// The oldest living entry of a queue; dead ones before it become free.
    #[inline]
    pub(crate) fn head(&mut self, segment: Segment) -> Option<u32> {
        loop {
            let head = self.queues[segment as usize].head;
            if head == NIL {
                return None;
            }
            if self.metas[head as usize].link & DEAD == 0 {
                return Some(head);
            }
            self.pop(segment);
            self.release(head);
            self.dead -= 1;
        }
    }

    /// Slot and hash at the head of a queue, if it was not there when this was last asked; it may be dead. Asks for what is
    /// known of the one behind it.
    #[inline]
    pub(crate) fn new_head(&mut self, segment: Segment) -> Option<(u32, u32)> {
        let queue = &mut self.queues[segment as usize];
        if queue.head == queue.asked {
            return None;
        }
        queue.asked = queue.head;
        let meta = self.metas.get(queue.head as usize)?;
        if let Some(next) = self.metas.get((meta.link & NEXT) as usize) {
            prefetch(next);
        }
        Some((queue.head, meta.hash))
    }

    /// Moves a queue's head to the tail of a queue.
    #[inline]
    pub(crate) fn move_head(&mut self, from: Segment, to: Segment) {
        let head = self.queues[from as usize].head;
        self.pop(from);
        self.queues[from as usize].weight -= self.weight_at(head);
        self.push_tail(to, head);
    }

    /// Takes a queue's living head out; its slot is free.
    #[inline]
    pub(crate) fn drop_head(&mut self, segment: Segment) {
        let head = self.queues[segment as usize].head;
        self.pop(segment);
        let weight = self.weight_at(head);
        self.queues[segment as usize].weight -= weight;
        self.weight -= weight;
        self.len -= 1;
        self.release(head);
    }

    /// Takes an entry out wherever it is. Its slot stays in the queue, dead.
    pub(crate) fn remove(&mut self, slot: u32) {
        let segment = self.segment(slot);
        let weight = self.weight_at(slot);
        self.queues[segment as usize].weight -= weight;
        self.weight -= weight;
        self.metas[slot as usize].link |= DEAD;
        self.len -= 1;
        self.dead += 1;
    }

    /// Changes what an entry weighs.
    pub(crate) fn reweigh(&mut self, slot: u32, weight: u32) {
        if self.weighted {
            let queue = &mut self.queues[self.segment(slot) as usize];
            let before = u64::from(self.weights[slot as usize]);
            queue.weight = queue.weight - before + u64::from(weight);
            self.weight = self.weight - before + u64::from(weight);
            self.weights[slot as usize] = weight;
        }
    }

    /// Unlinks every dead slot. Cost: a walk over all entries.
    pub(crate) fn collect(&mut self) {
        for segment in SEGMENTS {
            let mut at = self.queues[segment as usize].head;
            let queue = &mut self.queues[segment as usize];
            (queue.head, queue.tail) = (NIL, NIL);
            let mut last = NIL;
            while at != NIL {
                let link = self.metas[at as usize].link;
                if link & DEAD != 0 {
                    self.release(at);
                } else {
                    match last {
                        NIL => self.queues[segment as usize].head = at,
                        last => self.set_next(last, at),
                    }
                    last = at;
                }
                at = link & NEXT;
            }
            if last != NIL {
                self.set_next(last, NIL);
                self.queues[segment as usize].tail = last;
            }
        }
        self.dead = 0;
    }

    /// The living slots of a queue, oldest first.
    #[cfg(test)]
    pub(crate) fn living(&self, segment: Segment) -> Vec<u32> {
        let mut at = self.queues[segment as usize].head;
        let mut living = Vec::new();
        while at != NIL {
            let link = self.metas[at as usize].link;
            if link & DEAD == 0 {
                living.push(at);
            }
            at = link & NEXT;
        }
        living
    }

    #[inline]
    fn pop(&mut self, segment: Segment) {
        let head = self.queues[segment as usize].head;
        let next = self.metas[head as usize].link & NEXT;
        let queue = &mut self.queues[segment as usize];
        queue.head = next;
        if next == NIL {
            queue.tail = NIL;
        }
    }

    #[inline]
    fn push_tail(&mut self, segment: Segment, slot: u32) {
        self.metas[slot as usize].link = NIL | (segment as u32) << SEGMENT_SHIFT;
        let weight = self.weight_at(slot);
        let queue = &mut self.queues[segment as usize];
        queue.weight += weight;
        let tail = queue.tail;
        queue.tail = slot;
        match tail {
            NIL => queue.head = slot,
            tail => self.set_next(tail, slot),
        }
    }

    #[inline]
    fn set_next(&mut self, slot: u32, next: u32) {
        let link = &mut self.metas[slot as usize].link;
        *link = *link & !NEXT | next;
    }

    #[inline]
    fn release(&mut self, slot: u32) {
        self.metas[slot as usize].link = self.free | SEGMENT;
        self.free = slot;
    }
}

/// A new entry.
#[derive(Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) hash: u32,
    pub(crate) weight: u32,
    pub(crate) ts: u16,
    pub(crate) irr: u16,
}
