use std::borrow::Borrow;

use super::entry::{Arriver, Evicted, Leavers};
use super::table::{MAX_SLOTS, Table};

const NIL: u32 = u32::MAX;

/// Entries in slots that are used again, in order of use, and found by hash.
pub(crate) struct Slab<K, V> {
    /// Of weight; an entry weighs 1 where nobody says otherwise.
    capacity: u64,
    weight: u64,
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
    pub(crate) weight: u32,
}

impl<K, V> Node<K, V> {
    pub(crate) fn into_entry(self) -> (K, V) {
        (self.key, self.value)
    }
}

struct Place<K, V> {
    node: Option<Node<K, V>>,
    /// Towards the oldest.
    older: u32,
    /// Towards the newest; in a free place the next free one.
    newer: u32,
}

impl<K, V> Slab<K, V> {
    /// A slab of at most `capacity`, and never more entries than a table can hold.
    pub(crate) fn new(capacity: u64) -> Self {
        Self {
            capacity,
            weight: 0,
            table: Table::default(),
            places: Vec::new(),
            free: NIL,
            oldest: NIL,
            newest: NIL,
            len: 0,
        }
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    pub(crate) fn set_capacity(&mut self, capacity: u64) {
        self.capacity = capacity;
    }

    pub(crate) fn weight(&self) -> u64 {
        self.weight
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Evicts from the oldest on until the rest weighs no more than `weight`, and there is room for one more.
    pub(crate) fn shrink_to(&mut self, weight: u64, leavers: &mut Leavers<K, V>) {
        while self.oldest != NIL && (self.weight > weight || self.len >= MAX_SLOTS) {
            leavers.push(self.remove(self.oldest).into_entry(), Evicted::Size);
        }
    }

    /// The entries, in the order of their slots.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Node<K, V>> {
        self.places.iter().filter_map(|place| place.node.as_ref())
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
        self.weight += u64::from(node.weight);
        if self.free == NIL {
            self.grow();
        }
        let at = self.free;
        let place = &mut self.places[at as usize];
        self.free = place.newer;
        place.node = Some(node);
        self.link_newest(at);
        self.len += 1;
        self.table.insert(hash, at);
    }

    /// Takes the entry out of an occupied slot.
    pub(crate) fn remove(&mut self, at: u32) -> Node<K, V> {
        self.unlink(at);
        let hash = hash_in(&self.places, at);
        let position = self.table.find(hash, |other| other == at);
        let position = position.expect("an occupied slot is in the table");
        self.table.remove(position, hash);
        let place = &mut self.places[at as usize];
        place.newer = self.free;
        self.free = at;
        self.len -= 1;
        let node = place.node.take().expect("a slot that was found is occupied");
        self.weight -= u64::from(node.weight);
        node
    }

    /// Takes out the entries that `leaves` picks.
    pub(crate) fn remove_where(&mut self, leaves: impl Fn(&Node<K, V>) -> bool) -> Vec<Node<K, V>> {
        let occupied = |at: &u32| self.places[*at as usize].node.as_ref().is_some_and(&leaves);
        let leavers: Vec<u32> = (0..self.places.len() as u32).filter(occupied).collect();
        leavers.into_iter().map(|at| self.remove(at)).collect()
    }

    /// Takes everything out, memory included.
    pub(crate) fn replace_all(&mut self) -> Vec<Node<K, V>> {
        let mut old = std::mem::replace(self, Self::new(self.capacity));
        let places = std::mem::take(&mut old.places);
        places.into_iter().filter_map(|place| place.node).collect()
    }

    /// Doubles the slots, up to what the capacity can need.
    fn grow(&mut self) {
        let old = self.places.len();
        let most = usize::try_from(self.capacity).unwrap_or(MAX_SLOTS).min(MAX_SLOTS);
        let new = (old * 2).max(8).min(most.max(old + 1));
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

impl<K, V> Drop for Slab<K, V> {
    fn drop(&mut self) {
        if std::mem::needs_drop::<(K, V)>() {
            let nodes = self.places.iter_mut().filter_map(|place| place.node.take());
            nodes.for_each(|node| drop(Arriver(Some(node.into_entry()))));
        }
    }
}

fn hash_in<K, V>(places: &[Place<K, V>], at: u32) -> u32 {
    let node = places[at as usize].node.as_ref();
    node.expect("every slot in the table is occupied").hash
}
