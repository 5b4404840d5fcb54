use std::borrow::Borrow;

use super::table::{MAX_SLOTS, Table};

const NIL: u32 = u32::MAX;

/// Entries in slots that are used again, in order of use, and found by hash.
pub(crate) struct Slab<K, V> {
    capacity: usize,
    table: Table,
    places: Vec<Place<K, V>>,
    free: u32,
    oldest: u32,
    newest: u32,
    len: usize,
}

/// One entry.
pub(crate) struct Node<K, V> {
    pub(crate) key: K,
    pub(crate) value: V,
    pub(crate) deadline: u64,
    pub(crate) hash: u32,
}

struct Place<K, V> {
    node: Option<Node<K, V>>,
    /// Towards the oldest.
    older: u32,
    /// Towards the newest; in a free place the next free one.
    newer: u32,
}

impl<K, V> Slab<K, V> {
    /// A slab of at most `capacity` entries, and never more than a table can hold.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.min(MAX_SLOTS),
            table: Table::default(),
            places: Vec::new(),
            free: NIL,
            oldest: NIL,
            newest: NIL,
            len: 0,
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn oldest(&self) -> Option<u32> {
        (self.oldest != NIL).then_some(self.oldest)
    }

    /// The slot of `key`.
    pub(crate) fn find<Q: Eq + ?Sized>(&self, hash: u32, key: &Q) -> Option<u32>
    where
        K: Borrow<Q>,
    {
        let is_it = |at: u32| {
            let node = self.places[at as usize].node.as_ref();
            node.is_some_and(|node| node.hash == hash && node.key.borrow() == key)
        };
        self.table
            .find(hash, is_it)
            .map(|position| self.table.slot(position))
    }

    /// The entry in an occupied slot.
    pub(crate) fn node(&self, at: u32) -> &Node<K, V> {
        let node = self.places[at as usize].node.as_ref();
        node.expect("a slot that was found is occupied")
    }

    /// Makes the entry the newest.
    pub(crate) fn renew(&mut self, at: u32) {
        self.unlink(at);
        self.link_newest(at);
    }

    /// Adds an entry whose key is not there, as the newest.
    pub(crate) fn add(&mut self, node: Node<K, V>) {
        let hash = node.hash;
        if self.free == NIL {
            self.grow();
        }
        let at = self.free;
        let place = &mut self.places[at as usize];
        self.free = place.newer;
        place.node = Some(node);
        self.link_newest(at);
        self.len += 1;
        let Self { table, places, .. } = self;
        table.insert(hash, at, |at| hash_in(places, at));
    }

    /// Takes the entry out of an occupied slot.
    pub(crate) fn remove(&mut self, at: u32) -> Node<K, V> {
        self.unlink(at);
        let Self { table, places, .. } = self;
        let position = table.find(hash_in(places, at), |other| other == at);
        let position = position.expect("an occupied slot is in the table");
        table.remove(position, |at| hash_in(places, at));
        let place = &mut places[at as usize];
        place.newer = self.free;
        self.free = at;
        self.len -= 1;
        place.node.take().expect("a slot that was found is occupied")
    }

    /// Takes out the entries that `leaves` picks.
    pub(crate) fn remove_where(&mut self, leaves: impl Fn(&Node<K, V>) -> bool) -> Vec<Node<K, V>> {
        let occupied = |at: &u32| self.places[*at as usize].node.as_ref().is_some_and(&leaves);
        let leavers: Vec<u32> = (0..self.places.len() as u32).filter(occupied).collect();
        leavers.into_iter().map(|at| self.remove(at)).collect()
    }

    /// Takes everything out, memory included.
    pub(crate) fn replace_all(&mut self) -> Vec<Node<K, V>> {
        let old = std::mem::replace(self, Self::new(self.capacity));
        old.places.into_iter().filter_map(|place| place.node).collect()
    }

    /// Doubles the slots, up to the capacity.
    fn grow(&mut self) {
        let old = self.places.len();
        let new = (old * 2).max(8).min(self.capacity);
        self.places.reserve_exact(new - old);
        for at in old..new {
            self.places.push(Place {
                node: None,
                older: NIL,
                newer: self.free,
            });
            self.free = at as u32;
        }
        let Self { table, places, .. } = self;
        table.reserve(new, |at| hash_in(places, at));
    }

    fn unlink(&mut self, at: u32) {
        let (older, newer) = (self.places[at as usize].older, self.places[at as usize].newer);
        match older {
            NIL => self.oldest = newer,
            older => self.places[older as usize].newer = newer,
        }
        match newer {
            NIL => self.newest = older,
            newer => self.places[newer as usize].older = older,
        }
    }

    fn link_newest(&mut self, at: u32) {
        let before = self.newest;
        let place = &mut self.places[at as usize];
        (place.older, place.newer) = (before, NIL);
        match before {
            NIL => self.oldest = at,
            before => self.places[before as usize].newer = at,
        }
        self.newest = at;
    }
}

fn hash_in<K, V>(places: &[Place<K, V>], at: u32) -> u32 {
    let node = places[at as usize].node.as_ref();
    node.expect("every slot in the table is occupied").hash
}
